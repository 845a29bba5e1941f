"""Migrations: import memories with their ids and times, verify the import, roll it back."""
