"""Extraction of facts with Mem0, over our tables."""
