"""The parts of `MemoryManager`. They receive their connections and open none themselves."""
