"""The brain: memories that a slug names, of users and companies, and the loads that fill it."""
