"""The HTTP API beside the LangGraph API: sign-in, the memory's routes, MCP and the inspector."""

from graphs.memory.extras import extra

with extra("server"):
    import fastapi  # noqa: F401
    import jwt  # noqa: F401
