"""A person's rights: export, erasure, files, and how long data is kept."""
