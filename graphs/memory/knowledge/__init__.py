"""Beliefs, goals, reflections and metrics, and how memories lead to one another."""
