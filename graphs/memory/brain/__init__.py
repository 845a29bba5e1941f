"""The brain: memories of users and companies, named by slugs, and the loads that fill it."""
