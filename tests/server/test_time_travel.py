"""Memory follows the graph of a served deployment: rollbacks, deleted runs, edits and forks.

This is about what is stored. What a fork reads is in `tests/integration/test_as_of.py`.
"""

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError

from tests.support.chat import facts, says
from tests.support.conversation import (
    Conversation,
    all_facts,
    notes,
    said,
    until,
)
from tests.support.server import Server, sign_in
from tests.support.sql import rows

REX, BUDGET, MORE = "My dog is called Rex.", "My budget is 80k.", "My budget is 120k now."
TOM, VOLVO, BIKE = "My cat is called Tom.", "My car is a Volvo.", "My bike is a Brompton."


async def about(talks: Conversation) -> tuple[list[str], list[str]]:
    """Return what was said in a conversation, and the user's facts."""
    return await said(talks.client, talks.thread_id), await all_facts(talks.client)


# Rollbacks


async def written_and_under_way(client: LangGraphClient) -> tuple[Conversation, str]:
    """Say two things; the second in a run that has written memory, and has not ended."""
    talks = Conversation(client, "lingering")
    await Conversation(client, "assistant", talks.thread_id).say(BUDGET)
    assert await all_facts(client) == [BUDGET]
    run_id = await talks.start(MORE)
    await until(lambda: facts(client, 0), lambda found: MORE in found)
    return talks, run_id


async def cancelled(client: LangGraphClient) -> None:
    """2.1, 2.2, 2.3: turns are gone, no fact is left, and a replaced value is back."""
    talks, run_id = await written_and_under_way(client)
    assert await notes(client) == [MORE]
    await client.runs.cancel(talks.thread_id, run_id, action="rollback", wait=True)
    await until(lambda: said(client, talks.thread_id), lambda found: MORE not in found)
    assert await about(talks) == ([BUDGET], [BUDGET])
    assert (await notes(client), await talks.messages()) == ([], [BUDGET])


async def replaced(client: LangGraphClient) -> None:
    """2.5: the next message rolls the run back."""
    talks, _ = await written_and_under_way(client)
    talks.agent = "assistant"
    await talks.say(TOM, multitask_strategy="rollback")
    assert await about(talks) == ([BUDGET, TOM], [BUDGET, TOM])
    assert (await notes(client), await talks.messages()) == ([], [BUDGET, TOM])


async def pending(client: LangGraphClient) -> None:
    """Roll back a run that has not begun, and the one before it."""
    talks, run_id = await written_and_under_way(client)
    waiting = await talks.start(TOM, multitask_strategy="enqueue")
    await client.runs.cancel(talks.thread_id, waiting, action="rollback")
    await client.runs.cancel(talks.thread_id, run_id, action="rollback", wait=True)
    await until(lambda: said(client, talks.thread_id), lambda found: MORE not in found)
    assert await about(talks) == ([BUDGET], [BUDGET])
    assert await talks.messages() == [BUDGET]


async def interrupted(client: LangGraphClient) -> None:
    """2.6: an interrupt keeps what was written."""
    talks, run_id = await written_and_under_way(client)
    await client.runs.cancel(talks.thread_id, run_id, action="interrupt", wait=True)
    talks.agent = "assistant"
    await talks.say(TOM)
    assert await about(talks) == ([MORE, BUDGET, TOM], [MORE, TOM])


async def test_a_run_that_is_rolled_back_under_way_never_happened(server: Server) -> None:
    ways = (cancelled, replaced, pending, interrupted)
    await asyncio.gather(*(way(server.client(sign_in())) for way in ways))


async def test_a_finished_run_that_is_deleted_never_happened(client: LangGraphClient) -> None:
    """2.4, 2.7, 2.9, 7.4: what was written later by others stays."""
    talks, other = Conversation(client), Conversation(client)
    first = await talks.say(BUDGET)
    assert await all_facts(client) == [BUDGET]
    second = await talks.say(MORE)
    await other.say(REX)
    assert await all_facts(client) == [MORE, REX]

    with pytest.raises(NotFoundError):
        await client.runs.delete(other.thread_id, second)
    assert await about(talks) == ([MORE, BUDGET], [MORE, REX]), "it is no run of that thread"

    await client.runs.delete(talks.thread_id, second)
    assert await about(talks) == ([BUDGET], [BUDGET, REX])
    with pytest.raises(NotFoundError):
        await client.runs.delete(talks.thread_id, second)
    assert await talks.messages() == [BUDGET]

    found = (await client.store.search_items((), filter={"type": "fact"}))["items"]
    [mine] = [item for item in found if item["value"]["content"] == BUDGET]
    changed = {**mine["value"], "content": "My budget is 85k."}
    await client.store.put_item(mine["namespace"], mine["key"], changed)
    await client.runs.delete(talks.thread_id, first)
    assert await about(talks) == ([], ["My budget is 85k.", REX])
    await talks.say(TOM)
    assert await about(talks) == ([TOM], ["My budget is 85k.", TOM, REX])


async def test_nobody_undoes_the_run_of_another(client: LangGraphClient, server: Server) -> None:
    """7.3, 7.4: neither in the thread that it is in, nor in one of theirs."""
    talks = Conversation(client)
    run_id = await talks.say(REX)
    stranger = Conversation(server.client(sign_in()))
    await stranger.say(TOM)
    for thread_id in (talks.thread_id, stranger.thread_id):
        with pytest.raises(NotFoundError):
            await stranger.client.runs.delete(thread_id, run_id)
    assert await about(talks) == ([REX], [REX])
    assert await talks.messages() == [REX]


async def test_all_that_an_agent_of_a_supervisor_writes_knows_its_run(
    client: LangGraphClient, server_database: str
) -> None:
    """2.10, 1.13: turns, log, execution, facts; and the second message is no fork."""
    talks = Conversation(client, "supervisor")
    first = await talks.say("We need a palletizer. My budget is 80k.")
    second = await talks.say("And " + REX)
    assert await about(talks) == (
        ["And My dog is called Rex.", "We need a palletizer. My budget is 80k."],
        await all_facts(client),
    )
    for run_id in (first, second):
        for table in ("turns", "memory_logs", "agent_executions", "memories", "runs"):
            found = await rows(
                server_database, f"SELECT * FROM memory.{table} WHERE run_id = %s", run_id
            )
            assert found, f"{table} of run {run_id}"
    thread = (talks.thread_id,)
    nobody = "SELECT key FROM memory.memories WHERE thread_id = %s AND run_id IS NULL"
    assert await rows(server_database, nobody, *thread) == []
    lost = (
        "SELECT t.id FROM memory.turns AS t WHERE t.thread_id = %s AND NOT EXISTS ("
        "SELECT FROM langgraph.checkpoints AS c WHERE c.thread_id = t.thread_id "
        "AND c.checkpoint_ns = '' AND c.checkpoint_id = t.checkpoint_id)"
    )
    assert await rows(server_database, lost, *thread) == []
    lines = "SELECT run_id, parent_run, as_of FROM memory.runs WHERE session_id = %s"
    line = {
        r["run_id"]: (r["parent_run"], r["as_of"])
        for r in await rows(server_database, lines, *thread)
    }
    assert line == {first: (None, None), second: (first, None)}

    await client.runs.delete(talks.thread_id, second)
    assert await said(client, talks.thread_id) == ["We need a palletizer. My budget is 80k."]
    assert REX not in await all_facts(client)


@pytest.mark.parametrize("seed", [1, 2])
async def test_twenty_rollbacks_at_any_moment_leave_nothing(server: Server, seed: int) -> None:
    """2.11."""
    moments = random.Random(seed)  # noqa: S311
    people = [server.client(sign_in()) for _ in range(4)]

    async def roll_back(client: LangGraphClient, number: int) -> None:
        talks = Conversation(client, "lingering")
        run_id = await talks.start(f"My budget is {number}k.")
        await asyncio.sleep(moments.uniform(0, 0.8))
        with suppress(NotFoundError):  # LangGraph says so of one that had not begun
            await client.runs.cancel(talks.thread_id, run_id, action="rollback")
        await until(lambda: client.runs.list(talks.thread_id), lambda found: not found)

    async def talk(client: LangGraphClient) -> None:
        for number in range(5):
            await roll_back(client, number)

    await asyncio.gather(*(talk(client) for client in people))
    for client in people:
        await Conversation(client).say(REX)
        assert await all_facts(client) == [REX]
        everything = (await client.store.search_items((), limit=200))["items"]
        assert "budget" not in str([item["value"] for item in everything])
        for thread in await client.threads.search(limit=20):
            history = await client.threads.get_history(thread["thread_id"], limit=100)
            assert "budget" not in str(history)


# Edits


async def test_an_edit_sets_what_was_said_aside_until_somebody_goes_on_there(
    client: LangGraphClient,
) -> None:
    """6.1, 6.2, 3.1, 3.2, 6.10: memory is what the head of the thread says."""
    talks = Conversation(client)
    await talks.say(REX)
    await talks.say(BUDGET)
    end = await talks.newest()
    assert await about(talks) == ([BUDGET, REX], [BUDGET, REX])
    await talks.say(TOM, at=await talks.before(BUDGET))
    assert await about(talks) == ([TOM, REX], [TOM, REX])
    await talks.say(VOLVO, at=await talks.before(TOM))
    end_of_edit = await talks.newest()
    assert await about(talks) == ([VOLVO, REX], [VOLVO, REX])

    await talks.say(BIKE, at=end)
    assert await about(talks) == ([BIKE, BUDGET, REX], [BIKE, BUDGET, REX])
    await talks.say(MORE, at=end_of_edit)
    assert await about(talks) == ([MORE, VOLVO, REX], [MORE, VOLVO, REX])


async def test_edits_before_facts_of_the_first_message_and_of_one_said_elsewhere_too(
    server: Server,
) -> None:
    async def before_its_facts(talks: Conversation) -> None:
        """6.3."""
        await talks.say(REX)
        await talks.say(BUDGET)
        await talks.say(TOM, at=await talks.before(BUDGET))
        assert await about(talks) == ([TOM, REX], [TOM, REX])

    async def of_the_first(talks: Conversation) -> None:
        """6.4, 1.12."""
        for text in (REX, BUDGET, VOLVO):
            await talks.say(text)
        assert await all_facts(talks.client) == [BUDGET, VOLVO, REX]
        await talks.say(TOM, at=await talks.before(REX))
        assert await about(talks) == ([TOM], [TOM])

    async def said_elsewhere_too(talks: Conversation) -> None:
        """6.7."""
        other = Conversation(talks.client)
        await talks.say(REX)
        await talks.say(BUDGET)
        await other.say(BUDGET)
        assert await all_facts(talks.client) == [BUDGET, REX]
        await talks.say(TOM, at=await talks.before(BUDGET))
        assert await about(talks) == ([TOM, REX], [BUDGET, TOM, REX])
        assert await said(talks.client, other.thread_id) == [BUDGET]

    async def that_never_wrote(talks: Conversation) -> None:
        """6.8."""
        await talks.say(REX)
        await talks.say(BUDGET)
        at = await talks.before(BUDGET)
        await talks.say(TOM, at=at, interrupt_before=["write_memory"])
        talks.agent = "slow"
        run_id = await talks.start(VOLVO, at=at)
        await asyncio.sleep(0.5)
        await talks.client.runs.cancel(talks.thread_id, run_id, wait=True)
        assert await about(talks) == ([BUDGET, REX], [BUDGET, REX])

    edits = (before_its_facts, of_the_first, said_elsewhere_too, that_never_wrote)
    await asyncio.gather(*(edit(Conversation(server.client(sign_in()))) for edit in edits))


# Forks


async def test_going_on_at_the_newest_checkpoint_sets_nothing_aside(
    client: LangGraphClient,
) -> None:
    """1.2, 1.11: chat clients name the newest checkpoint, and so may a resume."""
    talks = Conversation(client)
    await talks.say(REX)
    await talks.say(BUDGET, at=await talks.newest())
    await talks.say(TOM, at=await talks.newest(), interrupt_before=["respond"])
    await talks.say(None, at=await talks.newest())
    await talks.say(VOLVO)
    assert await about(talks) == ([BUDGET, VOLVO, TOM, REX], [BUDGET, VOLVO, TOM, REX])


async def test_forks_of_studio_and_of_scripts_set_the_left_branch_aside(server: Server) -> None:
    async def talk_twice(client: LangGraphClient) -> Conversation:
        talks = Conversation(client)
        await talks.say(REX)
        await talks.say(BUDGET)
        assert await all_facts(client) == [BUDGET, REX]
        return talks

    async def edited_in_studio(talks: Conversation) -> None:
        """1.5, 1.7: a fork with another message, a run on it, and the next message."""
        fork: Any = await talks.client.threads.update_state(
            talks.thread_id, says(TOM), as_node="__start__", checkpoint=await talks.before(BUDGET)
        )
        await talks.say(None, at=fork["checkpoint"])
        assert await about(talks) == ([TOM, REX], [TOM, REX])
        await talks.say(VOLVO)
        assert await about(talks) == ([VOLVO, TOM, REX], [VOLVO, TOM, REX])

    async def without_an_id(talks: Conversation) -> None:
        """1.6: a fork at an old state, then a plain message."""
        old = [s for s in await talks.history() if not s["next"]][1]["checkpoint"]
        await talks.client.threads.update_state(talks.thread_id, {"messages": []}, checkpoint=old)
        await talks.say(TOM)
        assert await about(talks) == ([TOM, REX], [TOM, REX])

    async def run_again_from_here(talks: Conversation) -> None:
        """1.10, 1.9: a copy of a checkpoint inside of a run, and a run on the copy."""
        copy: Any = await talks.client.threads.update_state(
            talks.thread_id,
            None,
            as_node="__copy__",
            checkpoint=await talks.inside("respond", BUDGET),
        )
        await talks.say(None, at=copy["checkpoint"])
        assert await about(talks) == ([BUDGET, REX], [BUDGET, REX])

    forks = (edited_in_studio, without_an_id, run_again_from_here)

    async def check(fork: Any) -> None:
        await fork(await talk_twice(server.client(sign_in())))

    await asyncio.gather(*map(check, forks))


async def test_two_clients_that_fork_a_thread_at_once_leave_one_head(
    client: LangGraphClient,
) -> None:
    """7.9: the branch that wrote last is the head's."""
    talks = Conversation(client)
    await talks.say(REX)
    await talks.say(BUDGET)
    at = await talks.before(BUDGET)
    await asyncio.gather(
        *(talks.say(text, at=at, multitask_strategy="enqueue") for text in (TOM, VOLVO))
    )
    [last] = [text for text in await talks.messages() if text != REX]
    assert await about(talks) == ([last, REX], [last, REX])


async def test_the_copy_of_a_thread_sets_nothing_of_the_original_aside(
    client: LangGraphClient,
) -> None:
    """3.5."""
    talks = Conversation(client)
    await talks.say(REX)
    await talks.say(BUDGET)
    copied: Any = await client.threads.copy(talks.thread_id)  # type: ignore[func-returns-value]
    copy = Conversation(client, thread_id=copied["thread_id"])
    await copy.say(TOM)
    await talks.say(VOLVO)
    assert await about(talks) == ([BUDGET, VOLVO, REX], [BUDGET, VOLVO, TOM, REX])
    assert await said(client, copy.thread_id) == [TOM]
    await talks.say(BIKE, at=await talks.before(VOLVO))
    assert await about(talks) == ([BIKE, BUDGET, REX], [BIKE, BUDGET, TOM, REX])
