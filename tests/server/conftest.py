"""Clients of the server that these tests share; those that need one of their own are in tests/deployments."""

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.support.server import Server, sign_in


@pytest.fixture
def client(server: Server) -> LangGraphClient:
    """A client of a user whom no other test knows."""
    return server.client(sign_in())
