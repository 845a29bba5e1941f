"""The checks, one file for each capability; importing a file registers its checks."""
