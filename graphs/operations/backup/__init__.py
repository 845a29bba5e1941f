"""Backups: a consistent snapshot in a file, and its restore."""
