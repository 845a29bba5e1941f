"""Clients of the shared server; tests that need a server of their own are in tests/deployments."""

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.support.server import Server, sign_in


@pytest.fixture
def client(server: Server) -> LangGraphClient:
    """Return a client of a new user."""
    return server.client(sign_in())
