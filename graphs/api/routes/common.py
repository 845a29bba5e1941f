"""What the routes have in common."""

from fastapi import Request

from graphs.memory_manager import MemoryManager


def memory(request: Request) -> MemoryManager:
    """Return the deployment's memory, which the app's lifespan opened."""
    manager: MemoryManager = request.app.state.memory
    return manager
