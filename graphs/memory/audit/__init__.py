"""The audit log: events, reads, and the seals over both."""
