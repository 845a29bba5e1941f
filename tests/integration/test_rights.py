"""A user can get all data about them, and have it erased without residue."""

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from langchain_core.messages import HumanMessage
from langgraph.store.base import IndexConfig, PutOp
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from graphs.agents.assistant import graph as assistant
from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.clients.supabase import supabase_client
from graphs.deployment.pools import open_pool
from graphs.deployment.settings import Settings
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.errors import AccessDenied, InvalidInput
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.support.adapters import Notebook, outbound_to
from tests.support.sql import rows
from tests.support.storage_stub import SERVICE_KEY, storage_stub

ANN, BOB = "a0000000-0000-4000-8000-00000000000a", "b0000000-0000-4000-8000-00000000000b"

OTHER_TABLES = """
INSERT INTO memory.users (id, display_name) VALUES ('{user}', 'Secret {name}');
INSERT INTO memory.organisations (id, name) VALUES ('robots', 'Robots') ON CONFLICT DO NOTHING;
INSERT INTO memory.organisation_members (organisation_id, user_id) VALUES ('robots', '{user}');
INSERT INTO memory.user_brain (user_id, slug, memory_id)
  SELECT user_id, 'k', id FROM memory.memories
  WHERE user_id = '{user}' ORDER BY id LIMIT 1;
INSERT INTO memory.shadow_comparisons (candidate, user_id, at_most, ours, theirs, our_seconds)
  VALUES ('ranking', '{user}', 1, '["secret_{name}"]', '[]', 0);
INSERT INTO memory.job_failures (job_id, user_id, error)
  VALUES (hashtext('{user}'), '{user}', 'secret_{name}');
INSERT INTO memory.brain_loads (id, job_id, kind, user_id)
  VALUES (md5('{user}')::uuid, 0, 'user', '{user}');
INSERT INTO memory.brain_load_errors (load_id, user_id, slug, error)
  VALUES (md5('{user}')::uuid, '{user}', 'secret_{name}', 'InvalidValue');
INSERT INTO memory.migrations (id, source, origin) VALUES (md5('{user}')::uuid, 'jsonl', 'a file');
INSERT INTO memory.migrated_memories
  (migration_id, memory_id, namespace, key, user_id, source_id, version)
  VALUES (md5('{user}')::uuid, 0, 'users.{user}.facts.', 'secret_{name}', '{user}',
    'secret_{name}', now());
INSERT INTO public.applications (id, user_id, amount, term_months)
  VALUES (md5('{user}')::uuid, '{user}', 1000, 12);
INSERT INTO public.application_scores
  (application_id, user_id, score, decision, reasons, inputs, rule)
  VALUES (md5('{user}')::uuid, '{user}', 1, 'declined', '["secret_{name}"]', '{{}}', '1');
INSERT INTO public.leads (user_id, interest) VALUES ('{user}', 'secret_{name}');
"""
"""A row in every table that no operation of these tests fills."""


@pytest.fixture
async def store(
    database: str, index: IndexConfig, extractor: Mem0Extractor
) -> AsyncIterator[MemoryManager]:
    """Yield a service store with files, extraction of facts, and an adapter."""
    with storage_stub() as stub:
        settings = Settings(supabase_url=stub.url, supabase_service_role_key=SecretStr(SERVICE_KEY))
        async with (
            open_pool(database) as pool,
            supabase_client(settings) as supabase,
            MemoryManager(
                pool,
                index=index,
                principal=Principal.service(),
                supabase=supabase,
                extractor=extractor,
                outbound=outbound_to(Notebook()),
            ) as store,
        ):
            yield store


async def live(store: MemoryManager, database: str, user: str, name: str) -> None:
    """Do everything as a user that leaves data behind."""
    with acting_as(Principal.user(user)):
        for n in range(3):
            await store.aput(("users", user, "notes"), f"k{n % 2}", {"text": f"secret_{name} {n}"})
        await store.files.save(user, f"secret_{name}.pdf", b"%PDF")
        await store.log_event(user, "signed.in", {"as": f"secret_{name}"})
        async with open_pool(database) as pool:
            graph = assistant.copy({"store": store, "checkpointer": PostgresCheckpointer(pool)})
            thread: Any = {"configurable": {"thread_id": str(uuid4())}, "run_id": uuid4()}
            await graph.ainvoke(
                {"messages": [HumanMessage(f"My budget is secret_{name}.", id=str(uuid4()))]},
                thread,
            )
        said: Any = {"session_id": f"secret_{name}", "agent": f"secret_{name}"}
        held = await store.beliefs.hold(user, f"There is a secret_{name}.", **said)
        await store.beliefs.revise(user, held.key, f"There are secrets_{name}.", **said)
        goal = await store.goals.set(user, f"Keep secret_{name}.", **said)
        await store.goals.assess(user, goal.key, assessment={"of": f"secret_{name}"})
        await store.reflections.write(
            user, f"The secret_{name} is safe.", on=[held.address], **said
        )
        await store.metrics.record(user, f"secret_{name}", 1)
        await store.recall_memory(user, f"secret_{name}")
        with pytest.raises(AccessDenied):
            await store.recall_memory(BOB if user == ANN else ANN, f"secret_{name}")
    await store.jobs.run_pending()
    await rows(database, OTHER_TABLES.format(user=user, name=name))
    await store.recall_receipts(user)


async def residue(database: str, *markers: str) -> dict[str, list[Any]]:
    """Return every row of the whole database that contains a marker, as text or as bytes."""
    tables = await rows(
        database,
        """SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema')""",
    )
    wanted = [text for marker in markers for text in (marker, marker.encode().hex())]
    found = {}
    for table in (row["name"] for row in tables):
        hits = await rows(
            database,
            f"SELECT t::text FROM {table} AS t "
            "WHERE EXISTS (SELECT FROM unnest(%s::text[]) AS m WHERE strpos(t::text, m) > 0)",
            wanted,
        )
        if hits:
            found[table] = hits
    return found


async def exported(store: MemoryManager, user: str) -> list[str]:
    return [line async for line in store.export_user(user)]


async def test_an_erased_person_leaves_no_residue_and_others_keep_everything(
    store: MemoryManager, database: str
) -> None:
    await live(store, database, ANN, "ann")
    await live(store, database, BOB, "bob")
    await store.seal_audit()
    of_bob = await residue(database, "secret_bob")
    assert len(await residue(database, ANN, "secret_ann")) >= 20, "every table has data to erase"

    certificate = await store.erase_user(ANN)

    assert await residue(database, ANN, "secret_ann") == {}
    assert await residue(database, "secret_bob") == of_bob
    assert certificate.subject == hashlib.sha256(ANN.encode()).hexdigest()
    assert certificate.erased["memory.user_brain"] == certificate.erased["memory.files"] == 1
    assert certificate.erased["langgraph.checkpoints"] > 0
    assert certificate.erased["jobs"] == 1
    assert await store.verify_audit() == []
    await store.seal_audit()
    assert await store.verify_audit() == []


THREAD = """INSERT INTO langgraph.checkpoints
  (thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata) VALUES (%s, '', %s, '{}', %s)"""


async def write_in(database: str, thread: str, user: str, namespace: str) -> None:
    """Write rows that name a thread, as SQL lets anybody do."""
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute(
            "INSERT INTO memory.recall_receipts (actor, user_id, query, chosen, nearly, thread_id) "
            "VALUES (%s, %s, 'q', '[]', '[]', %s)",
            [user, user, thread],
        )
        await conn.execute(
            "INSERT INTO memory.memories (namespace, key, value, thread_id) "
            "VALUES (%s, %s, '{}', %s)",
            [namespace, thread, thread],
        )


async def test_a_thread_goes_with_who_ran_it_whatever_rows_name_it(
    store: MemoryManager, database: str
) -> None:
    for thread, who in (("anns", ANN), ("bobs", BOB), ("both", ANN), ("both", BOB)):
        noted = Jsonb({"langgraph_auth_user_id": who, "run_id": f"run of {thread}"})
        await rows(database, THREAD, thread, who, noted)
    for thread in ("without a server", "of several", "with an organisation"):
        await rows(database, THREAD, thread, "1", Jsonb({}))
    await write_in(database, "bobs", ANN, f"users.{ANN}.notes.")  # she names his
    await write_in(database, "anns", BOB, f"users.{BOB}.notes.")  # he names hers
    await write_in(database, "without a server", ANN, f"users.{ANN}.notes.")
    await write_in(database, "of several", ANN, f"users.{ANN}.notes.")
    await write_in(database, "of several", BOB, f"users.{BOB}.notes.")
    await write_in(database, "with an organisation", ANN, "orgs.acme.notes.")

    certificate = await store.erase_user(ANN)

    assert certificate.erased["langgraph.checkpoints"] == 2
    left = await rows(database, "SELECT DISTINCT thread_id FROM langgraph.checkpoints ORDER BY 1")
    assert [row["thread_id"] for row in left] == [
        *("bobs", "both", "of several", "with an organisation")
    ]
    with pytest.raises(psycopg.Error, match="was deleted"):
        await rows(database, "SELECT memory.refuse_deleted_runs('{run of anns}', '{anns}')")


async def test_what_others_read_just_before_leaves_no_record_after_the_certificate(
    store: MemoryManager, database: str, index: IndexConfig
) -> None:
    """Read in another process, which records it a second later."""
    await store.aput(("users", ANN, "notes"), "k", {"text": "secret"})
    async with MemoryManager.from_conn_string(
        database, index=index, principal=Principal.service()
    ) as other:
        await other.aget(("users", ANN, "notes"), "k")
        with acting_as(Principal.user(ANN)):
            await other.asearch(("users", ANN))
            with pytest.raises(AccessDenied):
                await other.aput(("users", BOB, "notes"), "k", {})
        await store.erase_user(ANN)
        await other.access.finish()
        assert await residue(database, ANN) == {}


async def test_what_was_erased_elsewhere_is_in_the_certificate(
    store: MemoryManager,
) -> None:
    certificate = await store.erase_user(ANN, {"server threads": 3})
    assert certificate.erased == {"server threads": 3}
    wrong: Any
    for wrong in ({"a": -1}, {"a": "b"}, {"a": None}):
        with pytest.raises(InvalidInput, match="numbers"):
            await store.erase_user(ANN, wrong)


async def test_every_table_that_names_a_person_is_known(
    store: MemoryManager, database: str
) -> None:
    """Find new tables that name a user in another column, so that none is forgotten."""
    await live(store, database, ANN, "ann")
    full = {
        table for table in await residue(database, ANN) if table.startswith(("memory.", "public."))
    }
    known = await rows(database, "SELECT name FROM memory.personal_tables()")
    assert {row["name"] for row in known} == full
    assert set((await store.erase_user(ANN)).erased) >= full


async def test_the_certificate_tells_what_went_and_is_in_the_audit_log(
    store: MemoryManager, database: str
) -> None:
    await store.aput(("users", ANN, "notes"), "k", {"text": "secret"})
    certificate = await store.erase_user(ANN)
    assert certificate.erased == {
        "memory.memories": 1,
        "memory.memory_embeddings": 1,
        "memory.audit_logs": 1,
    }
    [kept] = await rows(database, "SELECT * FROM memory.erasures")
    assert (kept["id"], kept["digest"].hex()) == (certificate.id, certificate.digest)
    [audited] = await rows(database, "SELECT * FROM memory.audit_logs")
    assert (audited["action"], audited["data"]["digest"]) == ("memory.erased", certificate.digest)
    assert (await store.erase_user(ANN)).erased == {}


async def test_an_erasure_that_no_record_tells_of_is_found(
    store: MemoryManager, database: str
) -> None:
    await store.aput(("users", ANN, "notes"), "k", {"text": "secret"})
    await store.seal_audit()
    await rows(
        database,
        """BEGIN; SET LOCAL memory.erasing = 'by hand';
        INSERT INTO memory.erased_records SELECT 'audit_logs', a.id, memory.record_digest(a),
          '00000000-0000-0000-0000-000000000000' FROM memory.audit_logs AS a;
        INSERT INTO memory.erasures (id, subject, erased, digest)
        VALUES ('00000000-0000-0000-0000-000000000000', '', '{}', '');
        DELETE FROM memory.audit_logs; COMMIT""",
    )
    [problem] = await store.verify_audit()
    assert problem.source == "erasures"


async def test_only_the_person_and_the_service_may_export_and_erase(
    store: MemoryManager, database: str
) -> None:
    await store.aput(("users", ANN, "notes"), "k", {"text": "secret"})
    with acting_as(Principal.user(BOB)):
        with pytest.raises(AccessDenied):
            await store.erase_user(ANN)
        with pytest.raises(AccessDenied):
            await exported(store, ANN)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await rows(database, as_person(BOB, f"SELECT memory.erase_user('{ANN}')"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await rows(
            database,
            as_person(BOB, f"SELECT memory.export_rows('{ANN}', 'memory.memories', NULL, 10)"),
        )
    with acting_as(Principal.user(ANN)):
        assert len(await exported(store, ANN)) > 2
        assert (await store.erase_user(ANN)).erased["memory.memories"] == 1


def as_person(user: str, statement: str) -> str:
    claims = json.dumps({"sub": user, "role": "authenticated"})
    return (
        f"BEGIN; SET LOCAL ROLE authenticated; SET LOCAL request.jwt.claims = '{claims}'; "
        f"{statement}; COMMIT"
    )


async def test_an_export_is_everything_about_the_person_and_nothing_of_others(
    store: MemoryManager, database: str
) -> None:
    await live(store, database, ANN, "ann")
    await live(store, database, BOB, "bob")
    before = datetime.now(UTC)

    lines = await exported(store, ANN)

    first, *content, last = map(json.loads, lines)
    assert (first["format"], first["version"], first["user_id"]) == (
        "graph-native-memory/user",
        1,
        ANN,
    )
    assert datetime.fromisoformat(first["exported_at"]) >= before
    told: dict[str, int] = {}
    for line in content:
        told[line["table"]] = told.get(line["table"], 0) + 1
    assert told == last["rows"]
    assert (
        last["sha256"]
        == hashlib.sha256("".join(f"{line}\n" for line in lines[:-1]).encode()).hexdigest()
    )
    known = await rows(database, "SELECT name FROM memory.personal_tables()")
    assert set(told) == {row["name"] for row in known}
    assert not any("secret_bob" in line for line in lines)
    [note] = [
        line["row"]
        for line in content
        if line["table"] == "memory.memories" and line["row"]["key"] == "k0"
    ]
    assert note["value"] == {"text": "secret_ann 2"}


async def test_an_export_of_many_pages_is_complete(store: MemoryManager) -> None:
    await store.abatch(
        [PutOp(("users", ANN, "notes"), f"k{n}", {"text": f"note {n}"}) for n in range(1203)]
    )
    content = [json.loads(line) for line in await exported(store, ANN)]
    keys = [
        line["row"]["key"] for line in content if line.get("table") == "memory.memory_embeddings"
    ]
    assert sorted(keys) == sorted(f"k{n}" for n in range(1203))
    assert content[-1]["rows"]["memory.memories"] == 1203
