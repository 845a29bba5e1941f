"""Extraction of facts from conversations, and their consolidation."""
