"""The audit log: events, reads, accepted writes, and the seals over them."""
