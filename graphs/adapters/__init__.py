"""Adapters to external services. They are off unless they are switched on."""
