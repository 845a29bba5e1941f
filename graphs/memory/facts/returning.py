"""Facts that came back after an undo or a fork, compared with those stored while they were away.

A fact takes the place of another one by its address. One that was away when a later one was stored
comes back at an address of its own, beside it. This decides on the two as if both had been there.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.store.base import GetOp, Item, PutOp, SearchOp

from graphs.memory.access import Access
from graphs.memory.contract import COLLECTIONS
from graphs.memory.database import statements
from graphs.memory.database.database import PrincipalQueries, to_the_end
from graphs.memory.database.query import Query, Rows
from graphs.memory.facts.changes import said_at
from graphs.memory.facts.consolidation import Decision, Fact, Known, decide
from graphs.memory.principal import Principal
from graphs.memory.search import search
from graphs.memory.store import items
from graphs.memory.store.embedder import Embedder
from graphs.memory.store.items import ExpectingPutOp
from graphs.memory.values.namespaces import Namespace, to_text, user_scope

_SQL = statements.load("returning", __package__)

_NEAR_FACTS = 20
"""Nearest facts that each one is compared with."""


async def compare_returned(
    access: Access, embedder: Embedder, principal: Principal, user_id: str, keys: Sequence[str]
) -> None:
    """Retire facts that are contradicted by facts said later, where one of the two came back.

    A fact is retired in the name of the run that said the later one: if that run is undone, it is
    back. Calling it again changes nothing.

    Args:
        access: the way to the database.
        embedder: the store's embedding model and search.
        principal: who acts.
        user_id: the user.
        keys: the keys of the facts that came back.

    Raises:
        VersionConflict: a fact was changed meanwhile; call it again.
    """
    scope = user_scope(user_id, COLLECTIONS["fact"])
    found = await _ask(access, principal, [_present(scope, keys)])
    back = [item for item in found[0][0] if item and _content(item)]
    if not back:
        return
    texts = [_content(item) for item in back]
    ops = [SearchOp(scope, limit=_NEAR_FACTS, query=text) for text in texts]
    vectors = (await embedder.prepare(ops, principal)).vectors
    model = embedder.how.model
    near = await _ask(
        access,
        principal,
        [search.search(op, vectors.get(op.query or ""), model, wide=False) for op in ops],
    )
    retired: dict[str, tuple[Item, str]] = {}
    for item, answer in zip(back, near, strict=True):
        others = {other.key: other for other in answer.items if other.key != item.key}
        known = [
            Known(_fact(other), other.score, past="held_until" in other.value)
            for other in others.values()
            if _content(other) and other.key not in retired
        ]
        decision = await asyncio.to_thread(decide, _fact(item), known)
        retired |= _retired(item, others, decision)
    if retired:
        await _delete(access, embedder, principal, user_id, retired)


def _retired(
    item: Item, others: Mapping[str, Any], decision: Decision
) -> dict[str, tuple[Item, str]]:
    """Return the facts to retire by key, each with the key of the fact that it gives way to."""
    if decision.about and decision.verdict in ("past", "duplicate"):
        return {item.key: (item, decision.about[0])}
    return {key: (others[key], item.key) for key in decision.retires if key in others}


async def _delete(
    access: Access,
    embedder: Embedder,
    principal: Principal,
    user_id: str,
    retired: Mapping[str, tuple[Item, str]],
) -> None:
    scope = user_scope(user_id, COLLECTIONS["fact"])
    [writers] = await _ask(access, principal, [_writers(scope, [by for _, by in retired.values()])])
    puts = [
        ExpectingPutOp(PutOp(scope, key, None), item.updated_at)
        for key, (item, _) in retired.items()
    ]
    writes = (await embedder.prepare(puts, principal)).writes
    how = embedder.how
    parts = [
        PrincipalQueries(
            principal, items.put([write], how.model, how.configuration), writers.get(by, {})
        )
        for write, (_, by) in zip(writes, retired.values(), strict=True)
    ]
    await to_the_end(access.database.run_parts(parts))


def _present(scope: Namespace, keys: Sequence[str]) -> Query[Any]:
    # A comparison is not a read by the user: it does not extend the time to live.
    return items.get([GetOp(scope, key, refresh_ttl=False) for key in keys])


def _writers(scope: Namespace, keys: Sequence[str]) -> Query[dict[str, dict[str, str]]]:
    names = ("session_id", "thread_id", "run_id", "checkpoint_id")

    def read(rows: Rows) -> dict[str, dict[str, str]]:
        return {
            row.key: {name: getattr(row, name) for name in names if getattr(row, name)}
            for row in rows
        }

    return Query(_SQL["writers"], {"namespace": to_text(scope), "keys": list(keys)}, read)


async def _ask(access: Access, principal: Principal, queries: Sequence[Query[Any]]) -> list[Any]:
    return await to_the_end(access.database.run(principal, queries))


def _content(item: Item) -> str:
    content = item.value.get("content")
    return content if isinstance(content, str) else ""


def _fact(item: Item) -> Fact:
    return Fact(item.key, _content(item), said_at(item.value, item.updated_at))
