"""A conversation on a real checkpointer that goes on from any of its checkpoints."""

import uuid
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.graph.state import CompiledStateGraph

from graphs.agents.assistant import graph as assistant
from graphs.checkpointer import PostgresCheckpointer
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager

Checkpoint = str


class Thread:
    """A thread of a user with an agent, whose runs have ids, as those of a server do."""

    def __init__(
        self,
        store: MemoryManager,
        checkpointer: PostgresCheckpointer,
        user_id: str,
        thread_id: str | None = None,
        graph: CompiledStateGraph[Any, Any, Any, Any] = assistant,
    ) -> None:
        self.store, self.checkpointer, self.user_id = store, checkpointer, user_id
        self.thread_id = thread_id or str(uuid.uuid4())
        self.graph = graph.copy({"store": store, "checkpointer": checkpointer})
        self.before: dict[str, Checkpoint | None] = {}
        """The checkpoint before each run: what an edit of its message names."""
        self.run_id = ""
        self.state: dict[str, Any] = {}

    def config(self, at: Checkpoint | None = None, **metadata: Any) -> Any:
        place = {"thread_id": self.thread_id, "checkpoint_ns": ""}
        return {
            "configurable": place | ({"checkpoint_id": at} if at else {}),
            "metadata": metadata,
        }

    async def run(self, given: Any, at: Checkpoint | None = None) -> str:
        """Run the graph, from a checkpoint if one is given, and return the id of the run."""
        self.run_id = str(uuid.uuid4())
        with acting_as(Principal.user(self.user_id).through(self.graph.name)):
            self.state = await self.graph.ainvoke(given, self.config(at, run_id=self.run_id))
        return self.run_id

    async def say(self, text: str, at: Checkpoint | None = None, id_: str | None = None) -> str:
        """Say something, from a checkpoint if one is given, and return the id of the run."""
        message = HumanMessage(text, id=id_ or str(uuid.uuid4()))
        before = at or await self.newest()
        run_id = await self.run({"messages": [message]}, at)
        self.before[run_id] = before or await self._first()
        return run_id

    async def newest(self) -> Checkpoint | None:
        state = await self.graph.aget_state(self.config())
        found = state.config["configurable"].get("checkpoint_id")
        return str(found) if found else None

    async def _first(self) -> Checkpoint:
        *_, first = [state async for state in self.graph.aget_state_history(self.config())]
        return str(first.config["configurable"]["checkpoint_id"])

    async def inside(self, run_id: str, node: str) -> Checkpoint:
        """Return the checkpoint of a run before one of its nodes."""
        async for state in self.graph.aget_state_history(self.config()):
            if (state.metadata or {}).get("run_id") == run_id and state.next == (node,):
                return str(state.config["configurable"]["checkpoint_id"])
        raise LookupError(node)


async def known(store: MemoryManager, user_id: str) -> dict[str, list[str]]:
    """Return what a user's memory holds: the texts of turns and facts, sorted."""
    found = await store.asearch(("users", user_id), limit=1000)
    return {
        kind: sorted(i.value["content"] for i in found if i.value.get("type") == kind)
        for kind in ("turn", "fact")
    }


def said(turns: Sequence[str]) -> list[str]:
    """Return the user's part of turns."""
    return [text for text in turns if not text.startswith("[")]
