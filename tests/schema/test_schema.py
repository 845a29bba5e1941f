"""The schema: complete, closed by default, and applied by a role like Supabase's `postgres`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo

from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.pools import open_pool
from graphs.memory.database.schema import read_scripts
from graphs.memory.database.statements import Statement, load_sources
from graphs.memory.errors import ConfigurationError
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.migration.jsonl import open_jsonl
from graphs.operations.operations import Operations
from tests.support.sql import rows

MEMORY_TABLES = {
    "agent_executions", "audit_logs", "audit_seals", "belief_graphs",
    "brain_load_errors", "brain_loads",
    "cognitive_metrics", "company_brain", "deleted_runs",
    "deliveries", "embedding_models", "erased_records", "erasures", "external_copies", "files",
    "goal_assessments",
    "history_embeddings", "job_failures", "job_migrations", "memories", "memory_embeddings",
    "memory_history", "memory_logs", "memory_relationships", "migrated_memories", "migrations",
    "organisation_members", "organisations",
    "personal_business_tables", "recall_receipts", "row_history", "runs", "schema_versions",
    "sessions",
    "shadow_comparisons", "turns", "user_brain", "users",
}  # fmt: skip
BUSINESS_TABLES = {"application_scores", "applications", "dealers", "leads", "robot_catalog"}

TABLES = """
SELECT n.nspname AS schema, c.relname AS name, c.relrowsecurity AS protected
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('memory', 'public', 'langgraph', 'procrastinate')
"""


async def test_every_table_is_there_and_under_row_level_security(database: str) -> None:
    tables = await rows(database, TABLES)
    names = {
        schema: {t["name"] for t in tables if t["schema"] == schema}
        for schema in ("memory", "public", "langgraph")
    }
    assert names["memory"] == MEMORY_TABLES
    assert names["public"] == BUSINESS_TABLES
    assert names["langgraph"] == {
        "checkpoint_migrations",
        "checkpoints",
        "checkpoint_blobs",
        "checkpoint_writes",
    }
    assert [t for t in tables if not t["protected"]] == []


async def privileges(database: str, role: str) -> dict[str, set[str]]:
    """Return the privileges of a role on each table, as the database reports them."""
    granted = await rows(
        database,
        """SELECT n.nspname || '.' || c.relname AS name, p.kind
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
          unnest(ARRAY[
            'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'
          ]) AS p (kind)
        WHERE c.relkind = 'r' AND n.nspname IN ('memory', 'public', 'langgraph', 'procrastinate')
          AND has_schema_privilege(%s, n.oid, 'USAGE')
          AND has_table_privilege(%s, c.oid, p.kind)""",
        role,
        role,
    )
    found: dict[str, set[str]] = {}
    for row in granted:
        found.setdefault(row["name"], set()).add(row["kind"])
    return found


async def test_anonymous_callers_can_do_nothing(database: str) -> None:
    assert await privileges(database, "anon") == {}


@pytest.mark.parametrize("role", ["authenticated", "service_role"])
async def test_records_are_append_only_and_thread_state_is_out_of_reach(
    database: str, role: str
) -> None:
    granted = await privileges(database, role)
    assert not [name for name in granted if name.startswith("langgraph.")]
    assert "memory.schema_versions" not in granted
    assert granted["memory.audit_logs"] == granted["memory.memory_history"] == {"SELECT"}
    assert granted["memory.memory_logs"] == {"SELECT", "INSERT"}
    assert not [
        name for name, kinds in granted.items() if kinds & {"TRUNCATE", "REFERENCES", "TRIGGER"}
    ]


async def test_every_function_has_a_fixed_search_path_and_is_closed_to_anonymous_callers(
    database: str,
) -> None:
    functions = await rows(
        database,
        """SELECT proname, proconfig, has_function_privilege('anon', oid, 'EXECUTE') AS open
        FROM pg_proc WHERE pronamespace = 'memory'::regnamespace""",
    )
    assert functions
    assert [
        f["proname"]
        for f in functions
        if not any(c.startswith("search_path") for c in f["proconfig"] or [])
    ] == []
    assert [f["proname"] for f in functions if f["open"]] == []


async def test_every_foreign_key_has_an_index(database: str) -> None:
    """Ensure that the deletion of a memory never reads whole tables."""
    bare = await rows(
        database,
        """SELECT conrelid::regclass::text AS name, conname FROM pg_constraint AS c
        WHERE contype = 'f' AND connamespace IN ('memory'::regnamespace, 'public'::regnamespace)
          AND NOT EXISTS (SELECT 1 FROM pg_index AS i WHERE i.indrelid = c.conrelid
            AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)""",
    )
    assert bare == []


async def test_applying_it_again_changes_nothing(database: str, index: IndexConfig) -> None:
    async with MemoryManager.from_conn_string(database, index=index) as store:
        await store.aput(("users", "u1"), "k", {"n": 1})
        async with await psycopg.AsyncConnection.connect(database) as conn:
            scripts = read_scripts()
            for script in (
                scripts.supabase_schema,
                *scripts.business_tables.values(),
                scripts.local_supabase,
            ):
                await conn.execute(script)
        assert await store.aget(("users", "u1"), "k") is not None


async def test_a_business_table_takes_part_in_export_and_erasure_once_it_is_said_to(
    database: str,
) -> None:
    """Declare a table twice, drop one, and declare one without a user column, which is refused."""
    user = str(uuid4())
    personal = "SELECT name FROM memory.personal_tables() WHERE name = 'public.orders'"
    await rows(
        database,
        "CREATE TABLE public.orders (id bigint PRIMARY KEY, user_id text NOT NULL, actor text)",
    )
    assert await rows(database, personal) == []
    for _ in range(2):
        await rows(database, "SELECT memory.keep_as_personal('public.orders')")
    await rows(
        database,
        "INSERT INTO public.orders VALUES (1, %s, 'an actor of a film'), (2, 'another', %s)",
        user,
        user,
    )

    async with MemoryManager.from_conn_string(database) as store:
        with acting_as(Principal.user(user)):
            exported = [line async for line in store.export_user(user) if "public.orders" in line]
            certificate = await store.erase_user(user)
    assert len([line for line in exported if "an actor of a film" in line]) == 1
    assert certificate.erased["public.orders"] == 1
    assert [row["id"] for row in await rows(database, "SELECT id FROM public.orders")] == [2]

    await rows(database, "DROP TABLE public.orders")
    assert await rows(database, personal) == []
    await rows(database, "CREATE TABLE public.things (owner text)")
    with pytest.raises(psycopg.errors.UndefinedColumn, match="needs a column user_id of type text"):
        await rows(database, "SELECT memory.keep_as_personal('public.things')")


async def test_the_threads_that_a_business_table_names_are_nobodys_to_erase(database: str) -> None:
    """Keep other users' threads: a user can write any thread id into their own rows."""
    user, thread = str(uuid4()), str(uuid4())
    for type_ in ("text", "uuid"):
        await rows(
            database,
            f"CREATE TABLE public.tickets_{type_} (user_id text NOT NULL, thread_id {type_})",
        )
        await rows(database, f"SELECT memory.keep_as_personal('public.tickets_{type_}')")
        await rows(database, f"INSERT INTO public.tickets_{type_} VALUES (%s, %s)", user, thread)
    await rows(
        database,
        """INSERT INTO langgraph.checkpoints
          (thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata)
        VALUES (%s, '', '1', '{}', '{}')""",
        thread,
    )
    async with MemoryManager.from_conn_string(database) as store:
        with acting_as(Principal.user(user)):
            certificate = await store.erase_user(user)
    assert (
        certificate.erased["public.tickets_text"] == certificate.erased["public.tickets_uuid"] == 1
    )
    assert len(await rows(database, "SELECT 1 FROM langgraph.checkpoints")) == 1


# A role like Supabase's `postgres`: no superuser, no right to make roles --------------------------


AT = "2024-05-01T00:00:00Z"


@pytest.fixture
def plain_owner(postgres: str) -> Iterator[str]:
    """Yield the connection string of an ordinary role that owns an empty database."""
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute("CREATE ROLE project_owner LOGIN")
        conn.execute("CREATE DATABASE project OWNER project_owner TEMPLATE template0")
    yield make_conninfo(postgres, dbname="project", user="project_owner")
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute("DROP DATABASE project WITH (FORCE)")
        conn.execute("DROP ROLE project_owner")


async def test_a_role_that_is_no_superuser_applies_it_as_on_hosted_supabase(
    postgres: str, plain_owner: str, index: IndexConfig, tmp_path: Path
) -> None:
    superuser = make_conninfo(postgres, dbname="project")
    await rows(superuser, read_scripts().local_supabase)
    await rows(superuser, "GRANT anon, authenticated, service_role TO project_owner")
    async with MemoryManager.from_conn_string(plain_owner, index=index) as store:
        with pytest.raises(ConfigurationError, match="CREATE EXTENSION vector"):
            await store.setup()
    # Supabase lets its `postgres` create it.
    await rows(superuser, "CREATE EXTENSION vector SCHEMA extensions")

    async with (
        MemoryManager.from_conn_string(plain_owner, index=index) as store,
        open_pool(plain_owner) as pool,
    ):
        await store.setup()
        await PostgresCheckpointer(pool).setup()
        user_id = str(uuid4())
        with acting_as(Principal.user(user_id)):
            await store.aput(("users", user_id), "k", {"text": "robot"})
            assert len(await store.asearch((), query="robot")) == 1
        with acting_as(Principal.user(str(uuid4()))):
            assert await store.asearch(()) == []
        audit = await rows(superuser, "SELECT actor FROM memory.audit_logs")
        assert [record["actor"] for record in audit] == [user_id]
        await store.seal_audit()
        with acting_as(Principal.user(user_id)):
            assert (await store.erase_user(user_id)).erased["memory.memories"] == 1
        old = {
            "user_id": str(uuid4()),
            "content": "Likes tea.",
            "history": [{"event": "UPDATE", "at": AT, "old": "No."}],
        }
        (tmp_path / "old.jsonl").write_text(json.dumps(old))
        done = await Operations(store).migrations.run(await open_jsonl(tmp_path / "old.jsonl"))
        await store.seal_audit()
        assert (
            (await Operations(store).migrations.roll_back(str(done.id))).removed
            == done.brought
            == 1
        )
        assert await store.verify_audit() == []


async def test_without_the_right_to_make_roles_the_error_says_what_to_run(
    postgres: str, plain_owner: str
) -> None:
    async with MemoryManager.from_conn_string(plain_owner) as store:
        with pytest.raises(ConfigurationError, match=r"schema/local_supabase\.sql"):
            await store.setup()


# Plans --------------------------------------------------------------------------------------------


async def plan(
    database: str,
    statement: Statement,
    parameters: dict[str, Any],
    principal: Principal | None = None,
    first: Statement | None = None,
) -> str:
    principal = principal or Principal.service()
    async with await psycopg.AsyncConnection.connect(database) as conn:
        settings: dict[str, Any] = {"role": principal.role, "claims": principal.claims}
        settings |= {"provenance": "{}", "seconds": None}
        await conn.execute(load_sources("database", "graphs.memory.database")["begin"], settings)
        if first:
            await conn.execute(first.source)
        cursor = await conn.execute(f"EXPLAIN {statement.source}", parameters)
        return "\n".join(row[0] for row in await cursor.fetchall())


async def test_hot_statements_read_a_scope_by_its_index(database: str, index: IndexConfig) -> None:
    """Use tables so large that a sequential scan would read a hundred times the wanted rows."""
    from langgraph.store.base import PutOp

    from graphs.memory.database import statements

    scope: dict[str, Any] = {
        "low": "users.u1.",
        "high": "users.u1/",
        "contains": "{}",
        "lacks": [],
        "filter": None,
    }
    scope |= {"limit": 10, "offset": 0, "wide": None, "looked_at": 30}
    vector = "[" + ",".join(["0.1"] * 256) + "]"
    nearest = statements.load("search", "graphs.memory.search")["nearest"].with_constants(
        model=1, dimensions=256
    )
    filtered = statements.load("search", "graphs.memory.search")["nearest_filtered"].with_constants(
        model=1, dimensions=256
    )

    async with MemoryManager.from_conn_string(database, index=index) as store:
        await store.setup()
        assert "memories_id_key" in await plan(database, filtered, scope | {"query": vector}), (
            "a plan made for an empty table"
        )
        await store.abatch(
            [PutOp(("users", f"u{n % 100}"), f"k{n}", {"text": f"robot {n}"}) for n in range(5_000)]
        )
    await rows(
        database, "UPDATE memory.memories SET expires_at = now() WHERE namespace <> 'users.u1.'"
    )
    await rows(database, "ANALYZE memory.memories, memory.memory_embeddings")

    assert "memories_pkey" in await plan(
        database,
        statements.load("items", "graphs.memory.store")["get"],
        {"namespaces": ["users.u1."], "keys": ["k1"]},
    )
    assert "Seq Scan on memories" not in await plan(
        database, statements.load("search", "graphs.memory.search")["browse"], scope
    )
    assert "memory_embeddings_pkey" in await plan(database, nearest, scope | {"query": vector})
    assert "embeddings_vectors_1" in await plan(database, nearest, scope | {"query": vector})
    assert "embeddings_vectors_1" in await plan(database, filtered, scope | {"query": vector})
    assert "memories_id_key" in await plan(database, filtered, scope | {"query": vector})
    found = await plan(database, nearest, scope | {"query": vector})
    assert "Seq Scan" not in found
    assert "memories_expiry" not in found, "the expired items of everybody"
    walk = found[found.index("CTE best") :]
    assert walk.index("Limit") < walk.index("Nested Loop") < walk.index("Sort")


async def test_a_turn_finds_its_memory_by_its_address_with_a_plan_for_an_empty_table(
    database: str,
) -> None:
    from graphs.memory.database import statements

    person = Principal.user(str(uuid4()))
    turns = statements.load("sessions", "graphs.memory.conversations")["put_turns"]
    given = {
        "user_id": person.user_id,
        "session_id": "s",
        "exchange": "m",
        "agent": "a",
        "namespaces": ["n."],
        "roles": ["user"],
        "keys": ["k"],
    }
    found = await plan(database, turns, given, person)
    assert "memories_pkey" in found
    assert "memories_user" not in found


async def test_a_hybrid_search_never_compares_every_pair(database: str, index: IndexConfig) -> None:
    """Look candidates up one by one, with plans for an empty table and for scopes of few items."""
    from langgraph.store.base import PutOp

    from graphs.memory.database import statements

    given: dict[str, Any] = {
        "low": "users.u1.",
        "high": "users.u1/",
        "contains": "{}",
        "lacks": [],
        "filter": None,
    }
    given |= {
        "query": "robot",
        "configuration": "simple",
        "vector": "[" + ",".join(["0.1"] * 256) + "]",
    }
    given |= {
        "whole": 1500,
        "known": False,
        "most": 200,
        "rare": 500,
        "wide": None,
        "filtered": False,
    }
    hybrid = {
        name: it.with_constants(model=1, dimensions=256)
        for name, it in statements.load("hybrid", "graphs.memory.search").items()
    }

    for users in (0, 1000):
        async with MemoryManager.from_conn_string(database, index=index) as store:
            await store.abatch(
                [PutOp(("users", f"u{n}"), "k", {"text": f"robot {n}"}) for n in range(users)]
            )
        await rows(database, "ANALYZE memory.memories, memory.memory_embeddings")
        candidates = await plan(database, hybrid["candidate_signals"], given)
        assert "Index Cond: (id = ANY" in candidates
        assert (
            "Index Cond: ((namespace = i.namespace) AND (key = i.key) AND (model = 1))"
            in candidates
        )
        assert "Full Join" in await plan(database, hybrid["signals"], given)
        fetch = {"ids": [1], "namespaces": ["users.u1."], "positions": [1]}
        assert "Index Cond: (id = ANY" in await plan(database, hybrid["fetch"], given | fetch)


USER = "a0000000-0000-4000-8000-00000000000a"


@pytest.mark.parametrize(
    "principal", [Principal.service(), Principal.user(USER)], ids=["service", "person"]
)
async def test_a_traversal_follows_edges_by_their_index_in_order(
    database: str, principal: Principal
) -> None:
    """Never read or sort all edges of a hub, with plans for empty tables and for full ones."""
    from graphs.memory.database import statements

    relationships = statements.load("relationships", "graphs.memory.knowledge")
    given: dict[str, Any] = {
        "user_id": USER,
        "namespace": f"users.{USER}.",
        "key": "k1",
        "hops": 3,
        "types": None,
    }
    given |= {"outgoing": True, "incoming": True, "least": 0.0, "limit": 50}
    for memories in (0, 3000):
        await rows(
            database,
            f"""INSERT INTO memory.memories (namespace, key, value)
              SELECT 'users.{USER}.', 'k' || n, '{{}}' FROM generate_series(1, {memories}) AS n;
            INSERT INTO memory.memory_relationships (user_id, source_id, target_id, type, strength)
              SELECT '{USER}', a.id, b.id, 'next', random()
              FROM memory.memories AS a, memory.memories AS b
              WHERE a.id % 1000 = 0 OR b.id = a.id + 1 ON CONFLICT DO NOTHING""",
        )
        await rows(database, "ANALYZE memory.memories, memory.memory_relationships")
        found = await plan(
            database, relationships["traverse"], given, principal, relationships["in_order"]
        )
        for index, end in (("relationships_out", "source_id"), ("relationships_in", "target_id")):
            assert re.search(
                rf"Scan using {index} on .*\n +Index Cond: \(\({end} = [^\n]*user_id = ", found
            ), found
        assert "memories_id_key" in found
        assert not [
            bad for bad in ("Seq Scan", "Hash Join", "Merge Join", "Bitmap") if bad in found
        ], found
        assert not re.search(r"Sort Key: r(_1)?\.strength", found), found
