"""The rights of users: export, erasure, files, audit records, and retention."""
