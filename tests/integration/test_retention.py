"""Single memories are erased for good, and old records go after their periods."""

from datetime import UTC, datetime
from typing import Any

import pytest

from graphs.deployment.pools import open_pool
from graphs.memory.errors import AccessDenied, MemoryNotFound, VersionConflict
from graphs.memory.knowledge.memories import Revision
from graphs.memory.principal import Principal, acting_as
from graphs.memory.rights.retention import Keeping
from graphs.memory_manager import MemoryManager
from tests.integration.test_rights import ANN, BOB, live, residue, store
from tests.support.sql import rows

__all__ = ["store"]  # the fixture

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
            "memory.row_history": 3,
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
    for why in ("secret_reason", "secret_reason again"):
        await store.relationships.relate(
            ANN, (scope, "forgotten"), (scope, "once"), "about", metadata={"why": why}
        )
    assert len(await rows(database, _EARLIER_ROWS)) == 1
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
    assert await rows(database, _EARLIER_ROWS) == []
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


_EARLIER_ROWS = "SELECT id FROM memory.row_history WHERE source = 'memory_relationships'"

_AGED = """
ALTER TABLE memory.audit_logs DISABLE TRIGGER audit_kept;
ALTER TABLE memory.memory_history DISABLE TRIGGER history_kept;
UPDATE memory.audit_logs SET at = at - interval '40 days';
UPDATE memory.memory_history SET valid_from = valid_from - interval '40 days',
  valid_to = valid_to - interval '40 days';
UPDATE memory.recall_receipts SET at = at - interval '40 days';
UPDATE memory.deliveries SET created_at = created_at - interval '40 days';
UPDATE memory.agent_executions SET started_at = started_at - interval '40 days';
UPDATE memory.row_history SET valid_to = valid_to - interval '40 days';
UPDATE memory.runs SET began_at = began_at - interval '40 days';
INSERT INTO memory.runs (run_id, user_id, session_id, began_at)
  SELECT 'never wrote', user_id, session_id, began_at FROM memory.runs LIMIT 1;
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
    tables = (
        "audit_logs",
        "memory_history",
        "history_embeddings",
        "row_history",
        "recall_receipts",
        "agent_executions",
        "memory_logs",
    )

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
        forgetting = MemoryManager(
            pool, principal=Principal.service(), keeping=Keeping(as_of_days=30)
        )
        assert await forgetting.prune_records() == {"prune_vectors": before["history_embeddings"]}
        assert (await left())["memory_history"] == before["memory_history"]
        pruning = MemoryManager(pool, principal=Principal.service(), keeping=everything)
        await pruning.prune_records()
    after = await left()
    assert {table: after[table] for table in tables[1:]} == dict.fromkeys(tables[1:], 0)
    audited = await rows(database, "SELECT action FROM memory.audit_logs")
    assert {row["action"] for row in audited} == {"memory.erased"}
    assert 0 < after["deliveries"] < before["deliveries"]
    [head] = await rows(database, "SELECT run_id FROM memory.runs")
    assert head["run_id"] != "never wrote", "sessions go on from their heads"
    assert await store.verify_audit() == []
    assert (await store.erase_user(ANN)).erased["erasures queued outside"] == 1
    assert await store.verify_audit() == []
    await store.seal_audit()
    assert await store.verify_audit() == []
