"""LangGraph's `BaseStore`: calls, batches and items."""
