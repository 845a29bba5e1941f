"""The rights of users: export, erasure, files, records and retention."""
