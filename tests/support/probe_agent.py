"""An agent that makes the store calls in its input: stands for nodes with mistakes in them."""

from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    note: str
    calls: list[dict[str, Any]]
    seen: list[str]


async def probe(state: State, runtime: Runtime[Any]) -> State:
    seen = []
    for call in state.get("calls") or ():
        args = [tuple(part) if isinstance(part, list) else part for part in call["args"]]
        try:
            seen.append(str(await getattr(runtime.store, call["method"])(*args, **call["kwargs"])))
        except Exception as error:  # noqa: BLE001  every error is part of the answer
            seen.append(f"{type(error).__name__}: {error}")
    return {"seen": seen, "calls": []}


graph = StateGraph(State).add_node(probe).add_edge(START, "probe").add_edge("probe", END).compile()
