"""Deliveries: none by default; otherwise every committed change, in order, redacted."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig, PutOp

from graphs.deployment.pools import open_pool
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.errors import (
    AccessDenied,
    ConfigurationError,
    DeliveryFailed,
    DeliveryNotFound,
    InvalidInput,
)
from graphs.memory.jobs.tasks import Timing
from graphs.memory.outbox import deliveries
from graphs.memory.outbox.adapter import (
    Copies,
    Outbound,
    Outgoing,
    Pseudonym,
    Pseudonyms,
    SwitchedAdapter,
)
from graphs.memory.outbox.intents import (
    MemoryWritten,
    SessionEnded,
    TurnCommitted,
    UserErased,
)
from graphs.memory.principal import Principal, acting_as
from graphs.memory.redaction.redactor import Redactor
from graphs.memory_manager import MemoryManager
from tests.integration.test_memory import turn
from tests.support.adapters import KEY, Notebook, outbound_to
from tests.support.sql import rows

AT_ONCE = Timing(backoff=0)


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
async def told(
    database: str, index: IndexConfig, extractor: Mem0Extractor, notebook: Notebook
) -> AsyncIterator[MemoryManager]:
    """Yield a service store with an adapter, the notebook; failures are retried at once."""
    async with (
        open_pool(database) as pool,
        MemoryManager(
            pool,
            index=index,
            principal=Principal.service(),
            extractor=extractor,
            extract_after=0,
            timing=AT_ONCE,
            outbound=outbound_to(notebook),
        ) as store,
    ):
        yield store


def fact(user_id: str, text: str) -> dict[str, Any]:
    return {
        "identity": user_id,
        "timestamp": datetime.now(UTC).isoformat(),
        "agent": "assistant",
        "session_id": "s1",
        "type": "fact",
        "content": text,
    }


async def outbox(database: str) -> list[dict[str, Any]]:
    return await rows(database, "SELECT * FROM memory.deliveries ORDER BY created_at, id")


# Off ----------------------------------------------------------------------------------------------


async def test_without_an_adapter_nothing_is_put_in_the_outbox(
    store: MemoryManager, database: str, user_id: str
) -> None:
    await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k.", "Noted.", "m1"))
    await store.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await store.intents.emit(SessionEnded(user_id=user_id, session_id="s1"))
    await store.jobs.run_pending()
    assert await outbox(database) == []
    assert [job.task for job in await store.jobs.list() if job.task == "deliver"] == []
    assert await store.deliveries.health() == []


async def test_what_a_switched_off_adapter_had_waiting_is_skipped_and_can_be_replayed(
    told: MemoryManager,
    store: MemoryManager,
    notebook: Notebook,
    user_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.write_memory(user_id, "s1", fact(user_id, "Likes cake."))
    await store.jobs.run_pending()
    assert [d.status for d in await store.deliveries.list()] == ["skipped", "skipped"]
    assert len([line for line in caplog.messages if "notebook is switched off" in line]) == 1
    assert await told.deliveries.replay_all("notebook") == 2
    await told.jobs.run_pending()
    assert notebook.texts == {"Likes tea.", "Likes cake."}


async def test_an_adapter_that_is_switched_on_late_can_be_told_of_what_there_was(
    store: MemoryManager,
    told: MemoryManager,
    notebook: Notebook,
    user_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliveries, "PORTION", 2)
    for text in ("One.", "Two.", "Three."):
        await store.write_memory(user_id, "s1", fact(user_id, text))
    await store.write_memory(user_id, "s1", turn(user_id, "What is this?", "A test.", "m1"))
    await store.aput(("users", user_id, "notes"), "k", {"text": "an application's"})
    await told.deliveries.tell_all("notebook")
    await told.jobs.run_pending()
    assert notebook.texts == {"One.", "Two.", "Three."}
    with pytest.raises(InvalidInput, match="switched on"):
        await store.deliveries.tell_all("notebook")


async def test_an_adapter_that_cannot_be_searched_has_no_shadow() -> None:
    class Mute:
        name = "mute"
        takes: frozenset[Any] = frozenset()

        async def deliver(self, outgoing: Outgoing) -> Copies:
            return {}

        async def check(self) -> None: ...

        async def close(self) -> None: ...

    with pytest.raises(ConfigurationError, match="mute"):
        Outbound([SwitchedAdapter(Mute(), "shadow")], KEY)


# Deliveries ---------------------------------------------------------------------------------------


async def test_a_memory_is_told_redacted_under_a_pseudonym_and_digests_of_what_was_taken_out_stay(
    told: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    await told.write_memory(user_id, "s1", fact(user_id, "My address is ann@example.com."))
    await told.jobs.run_pending()

    [outgoing] = notebook.told
    [copy] = outgoing.memories
    assert (outgoing.kind, copy.type) == ("memory_written", "fact")
    assert copy.text is not None
    assert copy.text.text == "My address is <email_1>."
    assert outgoing.user == Pseudonyms(KEY).of_user(user_id)
    assert user_id not in repr(outgoing)
    [delivery] = await told.deliveries.list(user_id=user_id)
    assert delivery.status == "delivered"
    assert delivery.redactions == [
        {"kind": "email", "digest": Redactor(KEY).digest("email", "ann@example.com")}
    ]
    assert "ann@example.com" not in delivery.model_dump_json()


async def test_a_turn_is_told_once_with_both_sides_and_the_fact_in_it_by_itself(
    told: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    await told.write_memory(user_id, "s1", turn(user_id, "My budget is 80k.", "Noted.", "m1"))
    await told.jobs.run_pending()
    assert [
        (o.kind, [(c.type, c.role, c.text and c.text.text) for c in o.memories])
        for o in notebook.told
    ] == [
        (
            "turn_committed",
            [("turn", "user", "My budget is 80k."), ("turn", "assistant", "Noted.")],
        ),
        ("memory_written", [("fact", None, "My budget is 80k.")]),
    ]
    assert notebook.told[0].session is not None
    assert "s1" not in repr(notebook.told[0].session)


async def test_what_is_forgotten_is_forgotten_outside_whatever_path_it_took(
    told: MemoryManager, database: str, notebook: Notebook, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    await told.write_memory(user_id, "s1", turn(user_id, "What is this?", "A test.", "m1"))
    for key in ("deleted", "decayed", "expired"):
        ttl = 1 if key == "expired" else None
        await told.aput(scope, key, {"content": key, "type": "fact", "importance": 0.1}, ttl=ttl)
    await told.jobs.run_pending()
    assert notebook.texts == {"What is this?", "A test.", "deleted", "decayed", "expired"}

    await told.adelete(scope, "deleted")
    await told.adelete(("users", user_id, "turns", "s1"), "m1:user")
    await rows(database, "UPDATE memory.memories SET expires_at = now() WHERE key = 'expired'")
    await told.sweep_ttl()
    await rows(
        database,
        """ALTER TABLE memory.memories DISABLE TRIGGER memories_stamped;
        UPDATE memory.memories SET updated_at = now() - interval '2 days' WHERE key = 'decayed'""",
    )
    await told.decay_memory(user_id, 1)
    await told.jobs.run_pending()
    assert notebook.texts == {"A test."}


async def test_what_an_application_keeps_for_itself_and_what_is_not_a_persons_stays_here(
    told: MemoryManager, database: str, user_id: str
) -> None:
    await told.aput(("users", user_id, "notes"), "k", {"text": "mine"})
    await told.aput(("orgs", "robots", "facts"), "k", {"content": "theirs", "type": "fact"})
    await told.aput(("agents", "sales"), "k", {"content": "shared", "type": "fact"})
    assert await outbox(database) == []


async def test_a_write_that_fails_tells_nothing(
    told: MemoryManager, database: str, user_id: str
) -> None:
    mine = PutOp(("users", user_id, "facts"), "k", {"content": "mine", "type": "fact"})
    anothers = PutOp(("users", str(uuid4()), "facts"), "k", {"content": "not mine", "type": "fact"})
    with acting_as(Principal.user(user_id)), pytest.raises(AccessDenied):
        await told.abatch([mine, anothers])
    assert await outbox(database) == []


async def test_a_change_beside_the_text_is_not_told(
    told: MemoryManager, database: str, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    await told.aput(scope, "k", {"content": "Likes tea.", "type": "fact", "importance": 0.9})
    await told.aput(scope, "k", {"content": "Likes tea.", "type": "fact", "importance": 0.4})
    assert len(await outbox(database)) == 1


async def test_the_end_of_a_session_is_noted_and_told_and_undone_by_the_next_turn(
    told: MemoryManager, database: str, notebook: Notebook, user_id: str
) -> None:
    await told.write_memory(user_id, "s1", turn(user_id, "Hello there.", "Hi.", "m1"))
    with acting_as(Principal.user(user_id)):
        await told.intents.emit(SessionEnded(user_id=user_id, session_id="s1"))
    assert [
        s["ended_at"] is None for s in await rows(database, "SELECT ended_at FROM memory.sessions")
    ] == [False]
    await told.jobs.run_pending()
    assert notebook.told[-1].kind == "session_ended"
    assert notebook.told[-1].session == notebook.told[0].session
    await told.write_memory(user_id, "s1", turn(user_id, "One more thing.", "Yes?", "m2"))
    assert [
        s["ended_at"] for s in await rows(database, "SELECT ended_at FROM memory.sessions")
    ] == [None]


async def test_an_adapter_is_only_told_what_it_takes(
    database: str, index: IndexConfig, user_id: str
) -> None:
    facts, everything = Notebook("facts", ["memory_written", "user_erased"]), Notebook("everything")
    async with MemoryManager.from_conn_string(
        database, index=index, outbound=outbound_to(facts, everything)
    ) as store:
        await store.write_memory(user_id, "s1", turn(user_id, "Hello there.", "Hi.", "m1"))
        await store.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
        await store.jobs.run_pending()
    assert [o.kind for o in facts.told] == ["memory_written"]
    assert {o.kind for o in everything.told} == {"turn_committed", "memory_written"}


async def test_nobody_emits_about_another_or_that_somebody_was_erased(
    told: MemoryManager, user_id: str
) -> None:
    with acting_as(Principal.user(str(uuid4()))), pytest.raises(AccessDenied):
        await told.intents.emit(TurnCommitted(user_id=user_id, session_id="s1", exchange="m1"))
    with pytest.raises(InvalidInput, match="erase_user"):
        await told.intents.emit(UserErased(pseudonym="0" * 32))  # type: ignore[arg-type]


async def test_what_somebody_claims_about_anothers_memory_tells_nothing_of_it(
    told: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    thief = str(uuid4())
    await told.write_memory(user_id, "s1", fact(user_id, "The safe is behind the painting."))
    [item] = await told.asearch(("users", user_id, "facts"))
    with acting_as(Principal.user(thief)):
        await told.intents.emit(
            MemoryWritten(user_id=thief, namespace=item.namespace, key=item.key)
        )
    # The second intent is emitted by the service.
    await told.intents.emit(MemoryWritten(user_id="nobody", namespace=item.namespace, key=item.key))
    await told.jobs.run_pending()
    assert notebook.copies == {
        Pseudonyms(KEY).of_user(user_id).text: {
            Pseudonyms(KEY)
            .of("memory", f"users.{user_id}.facts.", item.key)
            .text: "The safe is behind the painting."
        },
        Pseudonyms(KEY).of_user(thief).text: {},
        Pseudonyms(KEY).of_user("nobody").text: {},
    }


# Failing ------------------------------------------------------------------------------------------


async def test_a_delivery_that_fails_is_made_again_under_the_same_id_before_what_comes_after_it(
    told: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    notebook.failures = [DeliveryFailed("not now"), DeliveryFailed("still not")]
    for text in ("One.", "Two.", "Three."):
        await told.write_memory(user_id, "s1", fact(user_id, text))
    await told.jobs.run_pending()
    assert [copy.text and copy.text.text for o in notebook.told for copy in o.memories] == [
        "One.",
        "Two.",
        "Three.",
    ]
    assert [o.again for o in notebook.told] == [True, False, False]
    made = (await told.deliveries.list())[::-1]
    assert [(d.status, d.attempts) for d in made] == [
        ("delivered", 3),
        ("delivered", 1),
        ("delivered", 1),
    ]


async def test_one_persons_failures_keep_nobody_else_waiting(
    told: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    notebook.failures = [DeliveryFailed("busy", retry_after=600)]
    await told.write_memory(user_id, "s1", fact(user_id, "Mine."))
    await told.write_memory(user_id, "s1", fact(user_id, "Mine, too."))
    await told.write_memory(other := str(uuid4()), "s1", fact(other, "Another's."))
    await told.jobs.run_pending()
    assert notebook.texts == {"Another's."}
    [waiting] = [
        job for job in await told.jobs.list(task="deliver") if job.attempts and job.status == "todo"
    ]
    assert waiting.scheduled_at is not None
    assert 500 < (waiting.scheduled_at - datetime.now(UTC)).total_seconds() <= 600


async def test_what_goes_on_failing_stays_as_a_dead_letter_until_it_is_replayed(
    told: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    notebook.failures = [DeliveryFailed("no")] * AT_ONCE.attempts
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    [dead] = await told.deliveries.list(status="failed")
    assert (dead.attempts, dead.error) == (AT_ONCE.attempts, "no")
    assert {job.status for job in await told.jobs.list(task="deliver")} == {"succeeded"}
    await told.jobs.run_pending()
    assert notebook.told == []

    await told.deliveries.replay(dead.id)
    await told.jobs.run_pending()
    assert notebook.texts == {"Likes tea."}
    assert await told.deliveries.list(status="failed") == []
    with pytest.raises(DeliveryNotFound):
        await told.deliveries.replay(dead.id)


async def test_what_is_hopeless_is_not_tried_again(
    told: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    notebook.failures = [DeliveryFailed("never", hopeless=True)]
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    assert [(d.status, d.attempts) for d in await told.deliveries.list()] == [("failed", 1)]


async def test_a_delivery_whose_job_is_gone_is_queued_again_and_given_up_after_enough_deaths(
    told: MemoryManager, database: str, notebook: Notebook, user_id: str
) -> None:
    for text in ("One.", "Two."):
        await told.write_memory(user_id, "s1", fact(user_id, text))
    await rows(database, "DELETE FROM procrastinate.procrastinate_jobs")
    await rows(
        database,
        f"""UPDATE memory.deliveries SET attempts = {AT_ONCE.attempts}
        WHERE id = (SELECT id FROM memory.deliveries ORDER BY created_at LIMIT 1)""",
    )
    assert await told.deliveries.rescue() == 0
    assert await told.deliveries.rescue(older_than=0) == 1
    assert await told.deliveries.rescue(older_than=0) == 0
    await told.jobs.run_pending()
    assert notebook.texts == {"Two."}
    [dead] = await told.deliveries.list(status="failed")
    assert "cut off" in (dead.error or "")


async def test_an_intent_of_another_version_is_a_dead_letter(
    told: MemoryManager, database: str, notebook: Notebook, user_id: str
) -> None:
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await rows(
        database, """UPDATE memory.deliveries SET intent = intent || '{"kind": "memory_dreamt"}'"""
    )
    await told.jobs.run_pending()
    [dead] = await told.deliveries.list(status="failed")
    assert "version" in (dead.error or "")
    assert notebook.told == []


async def test_a_worker_that_dies_at_any_point_loses_nothing_and_doubles_nothing(
    told: MemoryManager, notebook: Notebook, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die before and after the attempt is recorded, and before and after the answer is."""
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    [delivery] = await told.deliveries.list()
    courier: Any = told._courier
    for step in ("_begin", "_delivered"):
        for when in ("before", "after"):
            real = getattr(courier, step)

            async def dies(*args: Any, real: Any = real, when: str = when) -> Any:
                if when == "after":
                    await real(*args)
                raise KeyboardInterrupt  # our code does not catch it

            with monkeypatch.context() as patched, acting_as(Principal.service()):
                patched.setattr(courier, step, dies)
                with pytest.raises(KeyboardInterrupt):
                    await courier.deliver(str(delivery.id))
    with acting_as(Principal.service()):
        await courier.deliver(str(delivery.id))
    assert notebook.texts == {"Likes tea."}
    assert {o.id for o in notebook.told} == {delivery.id}
    assert [o.again for o in notebook.told] == [True, True]
    assert [d.status for d in await told.deliveries.list()] == ["delivered"]


async def test_a_memory_that_changed_or_went_before_it_was_told_is_told_as_it_is(
    told: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    await told.aput(scope, "changed", {"content": "old", "type": "fact"})
    await told.aput(scope, "changed", {"content": "new", "type": "fact"})
    await told.aput(scope, "gone", {"content": "gone", "type": "fact"})
    await told.adelete(scope, "gone")
    await told.jobs.run_pending()
    assert notebook.texts == {"new"}
    assert not any("old" in repr(o) or "gone" in repr(o.memories) for o in notebook.told)


# Erasure ------------------------------------------------------------------------------------------


async def test_an_erasure_is_told_under_the_pseudonym_after_what_was_under_way(
    told: MemoryManager, database: str, notebook: Notebook, user_id: str
) -> None:
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.write_memory(other := str(uuid4()), "s1", fact(other, "Likes cake."))
    await told.jobs.run_pending()
    await told.write_memory(user_id, "s1", fact(user_id, "Likes it green."))

    certificate = await told.erase_user(user_id)
    assert certificate.erased["erasures queued outside"] == 1
    assert certificate.erased["memory.external_copies"] == 1
    await told.jobs.run_pending()
    assert notebook.texts == {"Likes cake."}
    assert [o.kind for o in notebook.told] == ["memory_written", "memory_written", "user_erased"]
    [left] = [row for row in await outbox(database) if row["user_id"] != other]
    assert left["status"] == "delivered"
    assert user_id not in json.dumps(left, default=str)


async def test_who_was_never_told_of_is_erased_without_a_word_outside(
    told: MemoryManager, database: str, notebook: Notebook, user_id: str
) -> None:
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    assert "erasures queued outside" not in (await told.erase_user(user_id)).erased
    await told.jobs.run_pending()
    assert notebook.told == []
    assert await outbox(database) == []


async def test_a_delivery_in_the_air_while_its_person_is_erased_leaves_nothing(
    told: MemoryManager,
    database: str,
    notebook: Notebook,
    user_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Erase the user between the service's copy and its answer; the erasure is delivered next."""
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    real = notebook.deliver

    async def meanwhile(outgoing: Outgoing) -> Copies:
        copies = await real(outgoing)
        if outgoing.kind == "memory_written":
            await told.erase_user(user_id)
        return copies

    monkeypatch.setattr(notebook, "deliver", meanwhile)
    await told.jobs.run_pending()
    assert notebook.texts == set()
    assert [o.kind for o in notebook.told] == ["memory_written", "user_erased"]
    assert await rows(database, "SELECT * FROM memory.external_copies") == []


async def test_what_is_written_of_an_erased_person_anew_leaves_only_after_the_erasure(
    told: MemoryManager, notebook: Notebook, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delay the erasure, as a replay does: it would also erase the new copies at the service."""
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    real = notebook.deliver

    async def refuses_to_erase(outgoing: Outgoing) -> Copies:
        if outgoing.kind == "user_erased":
            raise DeliveryFailed("never", hopeless=True)
        return await real(outgoing)

    monkeypatch.setattr(notebook, "deliver", refuses_to_erase)
    for _ in range(2):
        await told.erase_user(user_id)
        await told.write_memory(user_id, "s1", fact(user_id, "Likes cake."))
        await told.jobs.run_pending()
        assert notebook.texts == {"Likes tea."}
        [waiting] = await told.deliveries.list(user_id=user_id)
        assert "erased" in str(waiting.error)

    monkeypatch.setattr(notebook, "deliver", real)
    await told.deliveries.replay_all(notebook.name)
    for _ in range(10):
        await told.jobs.run_pending()
    assert notebook.texts == {"Likes cake."}
    assert await told.deliveries.list(status="failed") == []


async def test_an_erasure_for_a_switched_off_adapter_is_not_skipped_but_kept(
    told: MemoryManager, store: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    await store.erase_user(user_id)
    await store.jobs.run_pending()
    [kept] = await store.deliveries.list(status="failed")
    assert kept.intent["kind"] == "user_erased"
    await told.deliveries.replay(kept.id)
    await told.jobs.run_pending()
    assert notebook.texts == set()


# Inspection ---------------------------------------------------------------------------------------


async def test_a_person_sees_their_own_deliveries_and_only_the_service_all_and_their_health(
    told: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.write_memory(other := str(uuid4()), "s1", fact(other, "Likes cake."))
    with acting_as(Principal.user(user_id)):
        assert [d.user_id for d in await told.deliveries.list(user_id=user_id)] == [user_id]
        for refused in (
            told.deliveries.list(),
            told.deliveries.list(user_id=other),
            told.deliveries.replay_all("notebook"),
            told.deliveries.replay(uuid4()),
            told.deliveries.rescue(),
            told.deliveries.tell_all("notebook"),
            told.deliveries.health(),
            told.shadow.summary(),
        ):
            with pytest.raises(AccessDenied):
                await refused
    notebook.failures = [DeliveryFailed("down for repairs")]
    [health] = await told.deliveries.health()
    assert (health.adapter, health.mode, health.pending, health.delivered) == (
        "notebook",
        "on",
        2,
        0,
    )
    assert (health.reachable, health.problem) == (False, "down for repairs")
    await told.jobs.run_pending()
    [health] = await told.deliveries.health()
    assert (health.reachable, health.pending, health.delivered, health.behind_seconds) == (
        True,
        0,
        2,
        None,
    )


async def test_the_health_of_the_memory_knows_of_dead_letters(
    told: MemoryManager, store: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    assert (await store.health.check()).parts["adapters"].status == "off"
    notebook.failures = [DeliveryFailed("never", hopeless=True)]
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    part = (await told.health.check()).parts["adapters"]
    assert part.status == "degraded"
    assert "graph-memory outbox" in (part.advice or "")


def test_nobody_makes_a_pseudonym_but_pseudonyms() -> None:
    with pytest.raises(TypeError):
        Pseudonym("ann")
    for wrong in ("", "*", "ann", "g" * 32):
        with pytest.raises(ValueError, match="pseudonym"):
            Pseudonyms.again(wrong)
