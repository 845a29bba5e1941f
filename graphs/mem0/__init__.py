"""Mem0: its way of making facts of talk, over our tables."""
