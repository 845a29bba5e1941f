"""The operator's command, `graph-memory`."""
