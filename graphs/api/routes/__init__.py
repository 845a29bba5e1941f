"""Routes of the memory; a router that any FastAPI app can include."""

from graphs.api.routes.health import router

__all__ = ["router"]
