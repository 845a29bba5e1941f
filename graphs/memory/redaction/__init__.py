"""Redaction of personal data and secrets in data for external services."""
