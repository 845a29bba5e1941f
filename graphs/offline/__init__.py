"""What stands in for a model where there is no key."""
