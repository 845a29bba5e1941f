"""Chat and embedding models that work without keys and without a network."""
