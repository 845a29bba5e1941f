"""A database of victims for each entry point."""

from collections.abc import Iterator

import psycopg
import pytest
from langgraph.store.base import IndexConfig

from tests.attacks.served import Deployment
from tests.attacks.tally import OVERALL, Tally
from tests.attacks.world import World, make_world
from tests.conftest import as_url, create_database, drop_database
from tests.support.pooler import Pooler


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Yield the counter of one test's attempts; it is added to the total of the test run."""
    counted = Tally()
    yield counted
    request.config.stash[OVERALL].add(counted)


@pytest.fixture(scope="session")
def world(postgres: str, template: str, index: IndexConfig) -> Iterator[World]:
    """Yield a database in which every table holds data of every victim."""
    name = create_database(postgres, template)
    yield make_world(psycopg.conninfo.make_conninfo(postgres, dbname=name), index)
    drop_database(postgres, name)


@pytest.fixture(scope="session")
def pooler(postgres: str) -> Iterator[Pooler]:
    """Yield PgBouncer in transaction mode before the test's Postgres."""
    with Pooler(postgres) as running:
        yield running


@pytest.fixture(scope="session", params=["direct", "pgbouncer"])
def route(request: pytest.FixtureRequest, world: World) -> str:
    """Return a connection string of the victims' database, directly or through a pooler."""
    if request.param == "direct":
        return world.database
    pooler: Pooler = request.getfixturevalue("pooler")
    return pooler.url_for(world.database)


@pytest.fixture(scope="session")
def deployment(
    postgres: str, template: str, index: IndexConfig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Yield a running server with Supabase's sign-in, on a database like `world`."""
    name = create_database(postgres, template)
    make_world(as_url(postgres, name), index)
    with Deployment(
        tmp_path_factory.mktemp("attacked") / "project", as_url(postgres, name)
    ) as running:
        yield running
    drop_database(postgres, name)
