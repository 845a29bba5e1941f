"""Parts of the checkpointer: its writes, and its deletions of threads."""
