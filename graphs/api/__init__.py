"""What is served beside the LangGraph API: who may come in, and the HTTP routes of the memory."""

from graphs.memory.extras import extra

with extra("server"):
    import fastapi  # noqa: F401
    import jwt  # noqa: F401
