"""What `MemoryManager` is made of. Each helper receives a connection or plain data and opens nothing itself."""
