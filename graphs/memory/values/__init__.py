"""The values that all of the memory speaks of: text, namespaces, ids, pages."""
