"""Memory and the graph's time: runs, the lines that they form, undo, and reads of the past."""
