"""Backups: everything of one moment in a file, and back again."""
