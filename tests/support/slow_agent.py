"""An agent with a slow answer, so that its runs can be interrupted."""

import asyncio
from typing import Any

from langchain_core.messages import AIMessage

from graphs.nodes.state import State
from graphs.shapes.graph import with_memory


async def respond(state: State) -> dict[str, Any]:
    await asyncio.sleep(3)
    return {"messages": [AIMessage("At last.")]}


graph = with_memory(respond, name="slow")
