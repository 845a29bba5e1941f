"""Nodes that every agent's graph consists of."""
