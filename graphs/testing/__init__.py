"""A contract suite for stores; `graphs.testing.conformance` is its entry point."""
