"""The HTTP API beside the LangGraph API: sign-in, the memory's routes, MCP and the inspector."""
