"""Fixtures that several test modules share."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from langgraph.store.base import IndexConfig
from langgraph.store.postgres.aio import AsyncPostgresStore
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from graphs.memory_manager import MemoryManager
from tests.attacks.people import USERS
from tests.attacks.world import make_world
from tests.conftest import create_database, drop_database
from tests.support.application import old_store
from tests.support.backups import HOSTILE, erase

ANNE, *_, ERASED = USERS


@pytest.fixture(scope="session")
def origin(postgres: str, template: str, index: IndexConfig) -> Iterator[str]:
    """Yield a database with rows in every table, seals, an erasure, and unusual values."""
    name = create_database(postgres, template)
    url = make_conninfo(postgres, dbname=name)
    make_world(url, index)

    async def age() -> None:
        async with MemoryManager.from_conn_string(url, index=index) as store:
            await store.log_event(ANNE.id, "noted", {"text": HOSTILE, "n": 1e-7})
            await store.aput(
                ("users", ANNE.id, "odd %"),
                HOSTILE,
                {"text": HOSTILE, "big": 2**64 - 1, "none": None},
            )
            await store.seal_audit()
            await erase(url, ERASED.id)
            await store.seal_audit()

    asyncio.run(age())
    with psycopg.connect(url) as conn:
        conn.execute(
            "INSERT INTO memory.cognitive_metrics (user_id, name, value, metadata) "
            "VALUES (%s, 'm', 'NaN', 'null')",
            [ANNE.id],
        )
        conn.execute(
            "INSERT INTO memory.audit_logs (actor, action, data) VALUES ('x', 'noted', 'null')"
        )
        conn.execute(
            "INSERT INTO public.dealers "
            "(name, zip_code, city, state, latitude, longitude, specialties) "
            "VALUES ('d', '00501', 'c', 's', 0.1, 1e-300, ARRAY['a,b', NULL, '\"'])"
        )
        conn.execute(
            "INSERT INTO public.robot_catalog (model, maker, category, price) "
            "VALUES ('r', 'm', 'c', 12.50)"
        )
    yield url
    drop_database(postgres, name)


@pytest.fixture
def copy(postgres: str, origin: str) -> Iterator[str]:
    """Yield a copy of the `origin` database."""
    name = create_database(postgres, str(conninfo_to_dict(origin)["dbname"]))
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@pytest.fixture
def elsewhere(postgres: str) -> Iterator[str]:
    """Yield the connection string of another database, for a LangGraph store."""
    name = create_database(postgres, "template0")
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@pytest.fixture
async def old(database: str, index: IndexConfig) -> AsyncIterator[AsyncPostgresStore]:
    """Yield a LangGraph store in our own database."""
    async with old_store(database, index) as store:
        yield store
