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
from pydantic import SecretStr

from graphs.agents.assistant import graph as assistant
from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.clients.supabase import supabase_client
from graphs.deployment.pools import open_pool
from graphs.deployment.settings import Settings
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.errors import AccessDenied, MemoryNotFound, VersionConflict
from graphs.memory.knowledge.memories import Revision
from graphs.memory.principal import Principal, acting_as
from graphs.memory.rights.retention import Keeping
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


# One memory ---------------------------------------------------------------------------------------


async def test_a_memory_that_is_erased_for_good_leaves_no_text_and_the_seals_hold(
    store: MemoryManager, database: str
) -> None:
    said: Any = {"session_id": "s", "agent": "sales"}
    with acting_as(Principal.user(ANN)):
        goal = await store.goals.set(ANN, "Keep the secret_one.", **said)
        kept = await store.goals.set(ANN, "Keep the garden.", **said)
        await store.goals.assess(ANN, goal.key, assessment={"of": "secret_one"})
        await store.relationships.relate(
            ANN, kept.address, goal.address, "about", metadata={"why": "secret_one"}
        )
        await store.memories.revise(ANN, goal.address, Revision(content="Tell the secret_one."))
        await store.recall_memory(ANN, "secret_one")
        await store.recall_receipts(ANN)
        await store.seal_audit()
        assert len(await residue(database, "secret_one")) >= 4
        await store.recall_memory(ANN, "secret_one")  # its receipt is written meanwhile

        certificate = await store.memories.forget(ANN, goal.address, for_good=True)

        assert await residue(database, "secret_one") == {}
        assert certificate is not None
        assert certificate.erased == {
            "memory.memories": 1,
            "memory.memory_embeddings": 1,
            "memory.memory_history": 2,
            "memory.audit_logs": 5,
            "memory.recall_receipts": 2,
        }
        mentioned = [found["key"] for r in await store.recall_receipts(ANN) for found in r.chosen]
        assert mentioned == [kept.key, kept.key]
        assert (await store.memories.history(ANN, goal.address)).items == []
        assert (await store.memories.get(ANN, kept.address)).content == "Keep the garden."
    assert await store.verify_audit() == []
    await store.seal_audit()
    assert await store.verify_audit() == []
    assert [d["intent"]["kind"] for d in await rows(database, _TOLD_OF, goal.key)][-1] == (
        "memory_forgotten"
    )
    await store.erase_user(ANN)
    assert await store.verify_audit() == []


_TOLD_OF = """SELECT intent FROM memory.deliveries WHERE intent ->> 'key' = %s
ORDER BY created_at"""


async def test_what_is_left_of_a_forgotten_memory_can_be_erased_for_good(
    store: MemoryManager, database: str
) -> None:
    address = (("users", ANN, "notes"), "k")
    for text in ("secret", "more secret"):
        await store.aput(*address, {"text": text})
    read = await store.memories.get(ANN, address)
    with pytest.raises(VersionConflict):
        await store.memories.forget(ANN, address, expected=read.created_at, for_good=True)
    await store.memories.forget(ANN, address)
    certificate = await store.memories.forget(ANN, address, for_good=True)
    assert certificate is not None
    assert certificate.erased == {"memory.memory_history": 2}
    assert await residue(database, "secret") == {}
    with pytest.raises(MemoryNotFound):
        await store.memories.forget(ANN, address, for_good=True)
    await store.aput(*address, {"text": "new"})
    assert (await store.memories.get(ANN, address)).content == "new"


async def test_only_who_may_delete_a_memory_may_erase_it_for_good(
    store: MemoryManager, database: str
) -> None:
    await rows(
        database,
        f"""INSERT INTO memory.organisations (id, name) VALUES ('robots', 'Robots');
        INSERT INTO memory.organisation_members (organisation_id, user_id, role)
        VALUES ('robots', '{ANN}', 'admin'), ('robots', '{BOB}', 'member')""",
    )
    own = (("users", ANN, "agent:sales"), "k")
    shared = (("orgs", "robots", "brain"), "tax_regime")
    await store.aput(*own, {"text": "secret"})
    await store.brain.save_company_memories("robots", {"tax_regime": "secret"})
    everything = await rows(database, "SELECT * FROM memory.memories ORDER BY id")
    for principal, user in (
        (Principal.user(BOB), BOB),
        (Principal.user(ANN).through("support"), ANN),
        (Principal.service(), BOB),
    ):
        with acting_as(principal), pytest.raises(MemoryNotFound):
            await store.memories.forget(user, own, for_good=True)
    with acting_as(Principal.user(BOB)):
        with pytest.raises(AccessDenied):
            await store.memories.forget(BOB, shared, for_good=True)
        with pytest.raises(AccessDenied):
            await store.brain.forget_company_memory("robots", "tax_regime", for_good=True)
    assert await rows(database, "SELECT * FROM memory.memories ORDER BY id") == everything
    with acting_as(Principal.user(ANN).through("sales")):
        assert await store.memories.forget(ANN, own, for_good=True)
    with acting_as(Principal.user(ANN)):
        assert await store.brain.forget_company_memory("robots", "tax_regime", for_good=True)
    await store.erase_user(ANN)
    assert await residue(database, "secret") == {}
    assert await store.verify_audit() == []


# Periods ------------------------------------------------------------------------------------------


async def test_what_a_period_removes_goes_from_the_history_and_the_seals_hold(
    store: MemoryManager, database: str
) -> None:
    scope = ("users", ANN, "facts")
    untouched = {"type": "fact", "importance": 0.1}
    for n in range(2):
        await store.aput(scope, "once", {"content": f"secret_code {n}"}, ttl=10)
        await store.aput(scope, "decayed", {**untouched, "content": f"secret_habit {n}"})
        await store.aput(scope, "forgotten", {**untouched, "content": f"version {n}"})
    await store.aput(scope, "rewritten", {"content": "secret_note"}, ttl=10)
    await store.aput(scope, "rewritten", {"content": "secret_later note"}, ttl=10)
    await store.adelete(scope, "forgotten")
    said: Any = {"identity": ANN, "agent": "a", "session_id": "s", "timestamp": datetime.now(UTC)}
    await store.write_memory(
        ANN, "s", said | {"type": "turn", "content": {"id": "m", "user": "secret_word"}}
    )
    await store.seal_audit()
    await rows(
        database,
        """UPDATE memory.memories SET expires_at = now() WHERE key IN ('once', 'rewritten');
        UPDATE memory.turns SET created_at = now() - interval '40 days';
        ALTER TABLE memory.memories DISABLE TRIGGER memories_stamped;
        UPDATE memory.memories SET updated_at = now() - interval '40 days' WHERE key = 'decayed';
        ALTER TABLE memory.memories ENABLE TRIGGER memories_stamped""",
    )

    await store.aput(scope, "rewritten", {"content": "written anew"})
    await store.sweep_ttl()
    assert (await store.decay_memory(ANN, 30)).trimmed == 1
    assert await store.expire_turns(30) == 1

    with acting_as(Principal.user(ANN)):
        for key in ("once", "decayed", "rewritten"):
            assert (await store.memories.history(ANN, (scope, key))).items == []
        with pytest.raises(AccessDenied):
            await store.prune_records()
    assert await residue(database, "secret_word") == {}
    pruned = await store.prune_records()
    assert pruned == {"prune_history": 6}, "an earlier version of each, and its mark"
    assert await residue(database, "secret_code", "secret_habit", "secret_note") == {}
    assert await residue(database, "secret_later") == {}
    kept = (await store.memories.history(ANN, (scope, "forgotten"))).items
    assert [version.content for version in kept] == ["version 1", "version 0"]
    assert await store.prune_records() == {}
    for _ in range(2):
        assert await store.verify_audit() == []
        await store.seal_audit()


_AGED = """
ALTER TABLE memory.audit_logs DISABLE TRIGGER audit_kept;
ALTER TABLE memory.memory_history DISABLE TRIGGER history_kept;
UPDATE memory.audit_logs SET at = at - interval '40 days';
UPDATE memory.memory_history SET valid_from = valid_from - interval '40 days',
  valid_to = valid_to - interval '40 days';
UPDATE memory.recall_receipts SET at = at - interval '40 days';
UPDATE memory.deliveries SET created_at = created_at - interval '40 days';
UPDATE memory.agent_executions SET started_at = started_at - interval '40 days';
UPDATE memory.memory_logs SET created_at = created_at - interval '40 days';
ALTER TABLE memory.audit_logs ENABLE TRIGGER audit_kept;
ALTER TABLE memory.memory_history ENABLE TRIGGER history_kept;
"""


async def test_old_records_go_after_their_periods_and_an_erasure_still_finds_everything(
    store: MemoryManager, database: str
) -> None:
    await live(store, database, ANN, "ann")
    await rows(database, _AGED)
    await store.seal_audit()
    tables = ("audit_logs", "memory_history", "recall_receipts", "agent_executions", "memory_logs")

    async def left() -> dict[str, int]:
        counts = {}
        for table in (*tables, "deliveries"):
            [row] = await rows(database, f"SELECT count(*) AS n FROM memory.{table}")
            counts[table] = row["n"]
        return counts

    before = await left()
    assert all(before.values()), "each table has rows to prune"
    everything = Keeping(
        receipt_days=30, history_days=30, audit_days=30, delivery_days=30, execution_days=30
    )
    async with open_pool(database) as pool:
        kept_for_ever = MemoryManager(pool, principal=Principal.service())
        assert await kept_for_ever.prune_records() == {}
        assert await left() == before
        decaying = MemoryManager(
            pool,
            principal=Principal.service(),
            keeping=Keeping(receipt_days=30, decay_days=60),
        )
        assert await decaying.prune_records() == {"blank_receipts": before["recall_receipts"]}
        [blank] = await rows(
            database, "SELECT count(*) AS n FROM memory.recall_receipts WHERE query = ''"
        )
        assert blank["n"] == (await left())["recall_receipts"] == before["recall_receipts"]
        pruning = MemoryManager(pool, principal=Principal.service(), keeping=everything)
        await pruning.prune_records()
    after = await left()
    assert {table: after[table] for table in tables[1:]} == dict.fromkeys(tables[1:], 0)
    audited = await rows(database, "SELECT action FROM memory.audit_logs")
    assert {row["action"] for row in audited} == {"memory.erased"}
    assert 0 < after["deliveries"] < before["deliveries"]
    assert await store.verify_audit() == []
    assert (await store.erase_user(ANN)).erased["erasures queued outside"] == 1
    assert await store.verify_audit() == []
    await store.seal_audit()
    assert await store.verify_audit() == []


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
