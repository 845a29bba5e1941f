"""Background jobs: the queue and its workers."""
