"""Shapes of agents: graphs that are built from nodes."""
