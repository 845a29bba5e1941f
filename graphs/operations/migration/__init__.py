"""Migrations: memories from elsewhere, brought here with their ids and times, and taken back if that was wrong."""
