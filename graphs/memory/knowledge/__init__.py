"""Beliefs, goals, reflections and metrics, and the graph of relationships between memories."""
