"""The nodes that every agent's graph is made of."""
