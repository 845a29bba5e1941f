"""Parts of the checkpointer: its tables, runs, writes and deletions of threads."""
