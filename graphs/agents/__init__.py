"""Agents of the example: one file for each graph in `langgraph.json`."""
