"""Values of $NAME in guides: databases, poolers and services, created when a guide uses them."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from langgraph.store.postgres import PostgresStore
from psycopg.conninfo import make_conninfo

from graphs.memory.values.ids import to_id
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from tests.conftest import as_url, create_database, drop_database
from tests.support.mem0_platform_stub import Mem0Account
from tests.support.outside import TOKEN, Mem0Stub
from tests.support.past import make_baseline, use_offline_model
from tests.support.pooler import Pooler

USER_ID = "a0000000-0000-4000-8000-000000000001"
OTHER_ID = "b0000000-0000-4000-8000-000000000002"
MEMORIES = {
    "tea": "Likes green tea in the morning.",
    "budget": "The budget for a welding robot is 80,000 dollars.",
    "lyon": "Lives in Lyon.",
}
"""The facts of $USER_ID."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The environment in which a guide is followed.

    Args:
        postgres: The server, as its superuser.
        name: The deployment's database.
        folder: The working directory.
        stack: Closes everything that is created for the guide.
    """

    postgres: str
    name: str
    folder: Path
    stack: ExitStack

    @property
    def database(self) -> str:
        """Return the connection string of the deployment's database."""
        return make_conninfo(self.postgres, dbname=self.name)


def empty_database(scene: Scene) -> str:
    """Create a database without any schema."""
    name = create_database(scene.postgres, "template0")
    scene.stack.callback(drop_database, scene.postgres, name)
    return as_url(scene.postgres, name)


def older_database(scene: Scene) -> str:
    """Return a database of the version before, in which $USER_ID has memories."""
    name = create_database(scene.postgres, "template0")
    scene.stack.callback(drop_database, scene.postgres, name)
    asyncio.run(_live_in(make_conninfo(scene.postgres, dbname=name)))
    return as_url(scene.postgres, name)


def too_old_database(scene: Scene) -> str:
    """Return a database from before the first step."""
    name = create_database(scene.postgres, "template0")
    scene.stack.callback(drop_database, scene.postgres, name)
    asyncio.run(make_baseline(make_conninfo(scene.postgres, dbname=name)))
    with psycopg.connect(make_conninfo(scene.postgres, dbname=name)) as conn:
        conn.execute("DROP TABLE memory.shadow_comparisons")
    return as_url(scene.postgres, name)


async def _live_in(database: str) -> None:
    await make_baseline(database)
    await use_offline_model(database)
    index: Any = {
        "dims": 256,
        "embed": OfflineEmbeddings(),
        "fields": ["$"],
        "model": "offline:wordllama",
    }
    async with MemoryManager.from_conn_string(database, index=index) as store:
        for key, content in MEMORIES.items():
            await store.aput(("users", USER_ID, "facts"), key, {"content": content, "type": "fact"})


def pooler(scene: Scene) -> str:
    """Start PgBouncer in transaction mode before the deployment's database, on a random port."""
    port = scene.stack.enter_context(Pooler(scene.postgres)).port
    return f"postgresql://postgres@127.0.0.1:{port}/{scene.name}"


def mem0_account(scene: Scene) -> str:
    """Start an account of the Mem0 Platform with three memories of two users."""
    return str(scene.stack.enter_context(Mem0Account(3).running()).url)


def mem0_collection(scene: Scene) -> str:
    """Create a database with a collection of mem0's library that holds two memories."""
    name = create_database(scene.postgres, "template0")
    scene.stack.callback(drop_database, scene.postgres, name)
    with psycopg.connect(make_conninfo(scene.postgres, dbname=name)) as conn:
        conn.execute("CREATE EXTENSION vector")
        conn.execute("CREATE TABLE mem0 (id uuid PRIMARY KEY, vector vector(256), payload jsonb)")
        for text in ("Sails on weekends.", "Owns a red boat."):
            conn.execute(
                """INSERT INTO mem0 VALUES (gen_random_uuid(), NULL, jsonb_build_object(
                'data', %s::text,
                'user_id', %s::text, 'created_at', '2025-01-01T00:00:00+00:00'))""",
                (text, OTHER_ID),
            )
    return as_url(scene.postgres, name)


def langgraph_store(scene: Scene) -> str:
    """Create a database with a LangGraph store that holds two items."""
    name = create_database(scene.postgres, "template0")
    scene.stack.callback(drop_database, scene.postgres, name)
    with PostgresStore.from_conn_string(make_conninfo(scene.postgres, dbname=name)) as store:
        store.setup()
        store.put(("users", OTHER_ID, "facts"), "k1", {"text": "Collects stamps."})
        store.put(("memories", OTHER_ID), "k2", {"text": "Speaks Danish."})
    return as_url(scene.postgres, name)


def hosted_mem0(scene: Scene) -> str:
    """Start a stub of hosted Mem0."""
    return str(scene.stack.enter_context(Mem0Stub().running()).url)


VARIABLES: Mapping[str, Callable[[Scene], str]] = {
    "DATABASE_URL": lambda scene: as_url(scene.postgres, scene.name),
    "USER_ID": lambda _: USER_ID,
    "OTHER_ID": lambda _: OTHER_ID,
    "MEMORY_ID": lambda _: to_id(("users", USER_ID, "facts"), "tea"),
    "EMPTY_URL": empty_database,
    "OLDER_URL": older_database,
    "TOO_OLD_URL": too_old_database,
    "POOLER_URL": pooler,
    "MEM0_ADDRESS": mem0_account,
    "MEM0_KEY": lambda _: TOKEN,
    "MEM0_URL": mem0_collection,
    "STORE_URL": langgraph_store,
    "MEM0_SERVER": hosted_mem0,
}
