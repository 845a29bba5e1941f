"""A hundred conversations at once on one server."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from tests.support.chat import says
from tests.support.server import Server, sign_in
from tests.support.sql import rows

CONVERSATIONS = 100


async def known(database: str, people: Sequence[str]) -> None:
    """Wait until each user has a fact, which a job extracts."""
    query = """SELECT count(DISTINCT user_id) AS people FROM memory.memories
    WHERE user_id = ANY (%s) AND value ->> 'type' = 'fact'"""
    for _ in range(300):
        if (await rows(database, query, list(people)))[0]["people"] == len(people):
            break
        await asyncio.sleep(0.2)


async def test_of_a_hundred_conversations_at_once_each_recalls_its_own_and_is_stored_once(
    server: Server, server_database: str
) -> None:
    people = [str(uuid4()) for _ in range(CONVERSATIONS)]
    client = server.client()  # shared by all users: the header says who is signed in

    async def speak(person: str, text: str) -> tuple[str, Any]:
        """Say something in a new thread; return the thread and its final state."""
        signed_in = {"Authorization": f"Bearer {sign_in(person)}"}
        thread = (await client.threads.create(headers=signed_in))["thread_id"]
        return thread, await client.runs.wait(
            thread, "assistant", input=says(text), headers=signed_in
        )

    told = await asyncio.gather(
        *(speak(person, f"My locker is number L{n}X.") for n, person in enumerate(people))
    )
    await known(server_database, people)
    asked = await asyncio.gather(*(speak(person, "What number is my locker?") for person in people))

    for n, (_, state) in enumerate(asked):
        assert f"L{n}X" in state["messages"][-1]["content"]
        assert not [
            other for other in range(CONVERSATIONS) if other != n and f"L{other}X" in str(state)
        ]
    stored = await rows(
        server_database,
        "SELECT user_id, session_id, count(*) AS turns FROM memory.turns "
        "WHERE user_id = ANY (%s) GROUP BY 1, 2",
        people,
    )
    threads = {
        (person, thread)
        for said in (told, asked)
        for person, (thread, _) in zip(people, said, strict=True)
    }
    assert {(row["user_id"], row["session_id"]) for row in stored} == threads
    assert {row["turns"] for row in stored} == {2}, "one message and one answer, each stored once"


async def test_runs_without_a_thread_that_end_together_all_answer_and_cost_no_other_thread(
    server: Server,
) -> None:
    """Each such run deletes a thread of its own at its end; users delete threads meanwhile."""
    client, room = server.client(sign_in()), asyncio.Semaphore(25)
    kept = {(await client.threads.create())["thread_id"] for _ in range(10)}

    async def ask(n: int) -> str:
        async with room:
            if n % 3 == 0:
                await client.threads.delete((await client.threads.create())["thread_id"])
            state: Any = await client.runs.wait(None, "assistant", input=says(f"I am number {n}."))
            return str(state["messages"][0]["content"])

    answers = await asyncio.gather(*(ask(n) for n in range(60)))

    assert answers == [f"I am number {n}." for n in range(60)]
    assert {thread["thread_id"] for thread in await client.threads.search(limit=100)} == kept
