"""One server with several users for most tests; those that break it start their own."""

from collections.abc import Iterator

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.conftest import make_project
from tests.support.server import JWT_SECRET, Server, sign_in


@pytest.fixture(scope="session")
def server(server_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = make_project(tmp_path_factory.mktemp("server") / "project")
    running = Server(folder, {"DATABASE_URL": server_database, "SUPABASE_JWT_SECRET": JWT_SECRET}).start()
    yield running
    running.stop()


@pytest.fixture
def client(server: Server) -> LangGraphClient:
    """A client of a user whom no other test knows."""
    return server.client(sign_in())
