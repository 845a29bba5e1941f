"""Routes of recall: context, searches and receipts."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from fastapi import Query

from graphs.api import examples
from graphs.api.examples import answer
from graphs.api.models import (
    ContextView,
    Listed,
    MemoryRef,
    RecalledEntry,
    RecalledView,
    ReceiptView,
    ShortName,
    Text,
    listed,
)
from graphs.api.routes.common import (
    AS_OF,
    Mine,
    MineDep,
    NameQuery,
    PageLimit,
    answered,
    routes,
)
from graphs.memory.contract import MemoryType, RecallReceipt
from graphs.memory.search.recalled import content_of

router = routes("recall")

SearchText = Annotated[Text | None, Query(description="What to search for, in plain words.")]


@router.get(
    "/context",
    dependencies=[AS_OF],
    responses=answered(200, answer(examples.CONTEXT, "The snapshot."), 501),
)
async def load_context(
    mine: MineDep,
    session_id: Annotated[ShortName, Query(description="The conversation.")],
    query: SearchText = None,
    agent: NameQuery = None,
    limit: PageLimit = 8,
) -> ContextView:
    """Return the snapshot a run starts with: session, recent turns, relevant memories, profile."""
    found = await mine.memory.load_context(
        mine.user_id, session_id, query=query, agent=agent, limit=limit
    )
    return ContextView.of(found)


@router.get(
    "/recall",
    dependencies=[AS_OF],
    responses=answered(
        200, answer({"items": [examples.RECALLED]}, "What was found, best first."), 501
    ),
)
async def recall_memories(
    mine: MineDep,
    query: SearchText = None,
    tags: Annotated[
        list[ShortName], Query(description="Only memories with all of these tags.")
    ] = [],  # noqa: B006  FastAPI copies it
    types: Annotated[
        list[MemoryType] | None, Query(description="Only these types; by default all except turns.")
    ] = None,
    agent: NameQuery = None,
    limit: PageLimit = 5,
    explain: Annotated[
        bool, Query(description="Add the addends of each score as `explanation`.")
    ] = False,
) -> Listed[RecalledView]:
    """Return the memories that are relevant to a query, best first. Without a query, the latest."""
    found = await mine.memory.recall_memory(
        mine.user_id, query or "", tags, types=types, agent=agent, limit=limit, explain=explain
    )
    return listed(RecalledView.of(memory) for memory in found)


@router.get(
    "/recalls",
    responses=answered(
        200, answer({"items": [examples.RECEIPT]}, "What was recalled, the latest first.")
    ),
)
async def list_recalls(
    mine: MineDep, run_id: NameQuery = None, limit: PageLimit = 20
) -> Listed[ReceiptView]:
    """List recalls: the memories chosen, those nearly chosen, and why. The latest comes first."""
    receipts = await mine.memory.recall_receipts(mine.user_id, run_id=run_id, limit=limit)
    return Listed(items=await with_contents(mine, receipts))


async def with_contents(mine: Mine, receipts: Sequence[RecallReceipt]) -> list[ReceiptView]:
    """Return receipts with the current content of their memories, which takes one query."""
    told = [entry for receipt in receipts for entry in (*receipt.chosen, *receipt.nearly)]
    addresses = dict.fromkeys((tuple(entry["namespace"]), entry["key"]) for entry in told)
    values = await mine.values(addresses)

    def entries(of: Iterable[dict[str, Any]]) -> list[RecalledEntry]:
        return [
            _entry(entry, values.get((tuple(entry["namespace"]), entry["key"]))) for entry in of
        ]

    return [
        ReceiptView(
            **dict(receipt) | {"chosen": entries(receipt.chosen), "nearly": entries(receipt.nearly)}
        )
        for receipt in receipts
    ]


def _entry(entry: dict[str, Any], value: dict[str, Any] | None) -> RecalledEntry:
    ref = MemoryRef.at(tuple(entry["namespace"]), entry["key"])
    type_ = (value or {}).get("type")
    return RecalledEntry(
        **dict(ref),
        score=entry["score"],
        parts=entry["parts"],
        content=content_of(value) if value is not None else None,
        type=type_ if isinstance(type_, str) else None,
    )
