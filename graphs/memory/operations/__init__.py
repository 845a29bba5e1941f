"""What operators do that takes more than a call of the store."""
