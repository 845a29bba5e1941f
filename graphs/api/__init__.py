"""What is served beside the LangGraph API: who may come in, and the HTTP routes of the memory."""
