"""One file per graph that `langgraph.json` declares."""
