"""A conversation with a served agent, through the SDK alone, that goes on from any checkpoint."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import uuid4

from langgraph_sdk.client import LangGraphClient

from tests.support.chat import facts, says

T = TypeVar("T")

_LAST = [
    f"My {kin} is called Sam." for kin in ("uncle", "aunt", "sister", "cousin", "nephew", "niece")
]


class Conversation:
    """A thread of a user with an agent.

    Args:
        client: the client of the user.
        agent: the agent.
        thread_id: the thread; a new one by default.
    """

    def __init__(
        self, client: LangGraphClient, agent: str = "assistant", thread_id: str | None = None
    ) -> None:
        self.client, self.agent = client, agent
        self.thread_id = thread_id or str(uuid4())

    async def start(
        self, text: str | None, at: Any = None, id_: str | None = None, **more: Any
    ) -> str:
        """Start a run, from a checkpoint if one is given, and return its id."""
        given = says(text, id=id_ or str(uuid4())) if text is not None else None
        run = await self.client.runs.create(
            self.thread_id, self.agent, input=given, checkpoint=at, if_not_exists="create", **more
        )
        return str(run["run_id"])

    async def say(
        self, text: str | None, at: Any = None, id_: str | None = None, **more: Any
    ) -> str:
        """Say something, and return the id of the run once it has ended."""
        run_id = await self.start(text, at, id_, **more)
        await self.client.runs.join(self.thread_id, run_id)
        return run_id

    async def history(self) -> list[Any]:
        return list(await self.client.threads.get_history(self.thread_id, limit=200))

    async def newest(self) -> Any:
        return (await self.client.threads.get_state(self.thread_id))["checkpoint"]

    async def before(self, text: str) -> Any:
        """Return the checkpoint that chat clients name to edit a message: where it was not yet."""
        seen = [state for state in await self.history() if text in _texts(state)]
        return seen[-1]["parent_checkpoint"]

    async def inside(self, node: str, last: str) -> Any:
        """Return the checkpoint before a node, where a message is the last one of the user."""
        return next(
            state["checkpoint"]
            for state in await self.history()
            if state["next"] == [node] and _texts(state)[-1:] == [last]
        )

    async def messages(self) -> list[str]:
        """Return the messages of the user at the head of the thread."""
        return _texts(await self.client.threads.get_state(self.thread_id))


def _texts(state: Any) -> list[str]:
    messages = (state["values"] or {}).get("messages", [])
    return [str(m["content"]) for m in messages if m["type"] == "human"]


async def until(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """Ask until the answer holds, and return it."""
    for _ in range(300):
        if holds(answer := await ask()):
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(f"It did not come about: {answer}")


async def said(client: LangGraphClient, thread_id: str) -> list[str]:
    """Return what the user said in a thread, as memory has it, sorted."""
    found = await client.store.search_items((), filter={"type": "turn"}, limit=200)
    values = [item["value"] for item in found["items"]]
    return sorted(
        value["content"]
        for value in values
        if value["role"] == "user" and value["session_id"] == thread_id
    )


async def notes(client: LangGraphClient) -> list[str]:
    """Return the notes that the lingering agent saved."""
    found = (await client.store.search_items((), limit=200))["items"]
    return [str(i["value"]["content"]) for i in found if i["namespace"][-1] == "notes"]


async def all_facts(client: LangGraphClient) -> list[str]:
    """Return the user's facts, sorted, once those of all stored turns were made.

    Facts of a user are made in the order in which the turns were stored. So one more tells that all
    jobs before it are done.
    """
    before = await facts(client, 0)
    last = next(text for text in _LAST if text not in before)
    await Conversation(client).say(last)
    found = await until(lambda: facts(client, 0), lambda found: last in found)
    return [fact for fact in found if fact not in _LAST]
