"""From talk to facts, and how facts stay true."""
