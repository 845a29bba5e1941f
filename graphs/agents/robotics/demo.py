"""Demo data for the example agents: dealers, robots, applications and leads.

The rows lie in `data/`, one line of JSON each. Loading them again writes only what differs from the
files, and leaves users' applications and leads as they are.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any
from uuid import UUID, uuid5

from langgraph.store.base import GetOp, PutOp

from graphs.agents.robotics.applications import inputs_of, latest, record_score
from graphs.agents.robotics.geography import place_of
from graphs.agents.robotics.robots import DESCRIPTIONS
from graphs.agents.robotics.scoring import score
from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory_manager import MemoryManager

_SQL = statements.load("demo", __package__)
_IDS = UUID("5f0c2f7e-6a52-4a5e-9d0b-1f6f3c0a9b11")

QUESTIONS = {
    "dealer_matching": "Which welding dealers are within 200 miles of 48201?",
    "knowledge": "Which robot can weld thick steel plate?",
    "financing": "Can I finance $64,900 over 48 months with $13,000 down, $1.8 million revenue, "
    "6 years in business?",
    "sales": "We are interested in a palletizer for our cold store, with a budget of $90,000",
    "supervisor": "Which robot stacks boxes on pallets for less than $50,000?",
}
"""A first question for each agent."""

Row = dict[str, Any]


async def load(memory: MemoryManager, user_id: str) -> dict[str, int]:
    """Load the data, and return the number of rows written by kind. Act as the service.

    Args:
        memory: the memory to load into.
        user_id: the user who gets applications and leads, beside the customers in the data.
    """
    robots = await _read("robots")
    descriptions = [
        PutOp(
            DESCRIPTIONS,
            r["model"],
            {"content": r["description"], "model": r["model"]},
            ["content"],
        )
        for r in robots
    ]
    known = await memory.abatch([GetOp(op.namespace, op.key) for op in descriptions])
    changed = [
        op
        for op, item in zip(descriptions, known, strict=True)
        if getattr(item, "value", None) != op.value
    ]
    await memory.abatch(changed)
    applications = await _of_people("applications", user_id)
    written = {
        "dealers": await _put(
            memory, "dealers", [await _placed(dealer) for dealer in await _read("dealers")]
        ),
        "robots": await _put(memory, "robots", robots),
        "descriptions": len(changed),
        "applications": await _put(memory, "applications", applications),
        "leads": await _put(memory, "leads", await _of_people("leads", user_id)),
    }
    return {**written, "scores": await _score(memory, applications)}


async def remove(memory: MemoryManager, user_id: str) -> dict[str, int]:
    """Remove the data, and return the number of rows deleted by kind. Act as the service."""
    robots = [row["model"] for row in await _read("robots")]
    dealers = [_id("dealers", row["name"]) for row in await _read("dealers")]
    known = [
        item
        for item in await memory.abatch([GetOp(DESCRIPTIONS, model) for model in robots])
        if item
    ]
    await memory.abatch([PutOp(DESCRIPTIONS, model, None) for model in robots])
    return {
        "applications": await _remove(
            memory, "applications", _ids(await _of_people("applications", user_id))
        ),
        "leads": await _remove(memory, "leads", _ids(await _of_people("leads", user_id))),
        "robots": await _remove(memory, "robots", robots),
        "descriptions": len(known),
        "dealers": await _remove(memory, "dealers", dealers),
    }


async def _score(memory: MemoryManager, applications: Sequence[Row]) -> int:
    """Score the applications without a score, as the financing agent would."""
    scored = 0
    for application in applications:
        found = await memory.ask(latest(application["user_id"], application["id"], limit=1))
        if found and found[0].score is None:
            scored += await record_score(
                memory, application["user_id"], found[0], score(inputs_of(found[0]))
            )
    return scored


async def _read(kind: str) -> list[Row]:
    file = resources.files(__package__ or "").joinpath("data", f"{kind}.jsonl")
    text = await asyncio.to_thread(file.read_text, encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


async def _of_people(kind: str, user_id: str) -> list[Row]:
    """Return rows with ids and owners: a customer of the data, or the user if none is named."""
    return [
        {
            **row,
            "id": _id(kind, f"{row['customer'] or user_id}:{n}"),
            "user_id": _id("customers", row["customer"]) if row["customer"] else user_id,
            "company": row["customer"],
            "business_name": row["customer"],
        }
        for n, row in enumerate(await _read(kind))
    ]


async def _placed(dealer: Row) -> Row:
    return {
        **asdict(await place_of(dealer["zip_code"])),
        **dealer,
        "id": _id("dealers", dealer["name"]),
    }


def _id(kind: str, name: str) -> str:
    """Return the same id for the same name every time."""
    return str(uuid5(_IDS, f"{kind}:{name}"))


def _ids(rows: Sequence[Row]) -> list[str]:
    return [row["id"] for row in rows]


async def _put(memory: MemoryManager, kind: str, rows: Sequence[Row]) -> int:
    return await memory.ask(
        Query(_SQL[f"put_{kind}"], {"rows": json.dumps(rows)}, lambda found: int(found[0].n))
    )


async def _remove(memory: MemoryManager, kind: str, keys: Sequence[str]) -> int:
    return await memory.ask(
        Query(_SQL[f"remove_{kind}"], {"keys": list(keys)}, lambda found: int(found[0].n))
    )
