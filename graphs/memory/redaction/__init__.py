"""Personal data and secrets taken out of what leaves for other services."""
