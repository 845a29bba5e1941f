"""A comparison of both sides of a migration: every key, value and time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.query import Query
from graphs.memory.errors import InvalidValue
from graphs.memory.principal import Principal
from graphs.memory.values.namespaces import to_text
from graphs.operations.migration.langgraph_store import LangGraphStore, place_of, source_id
from graphs.operations.migration.langgraph_tables import Item
from graphs.operations.migration.ledger import Migration
from graphs.operations.migration.writing import check

_SQL = statements.load("following", __package__)

_TOGETHER = 1000
"""Items, or namespaces, compared in one batch."""

_TOLD = 20
"""Differences that are listed; the others are only counted."""


_AT_THIS_MOMENT = timedelta(seconds=5)
"""Items that expire within this time may already be deleted on one side."""


class ItemDifference(BaseModel):
    """An item that differs between the two sides."""

    model_config = ConfigDict(frozen=True)

    item: str = Field(description="Namespace and key in the source.")
    problem: str


class Agreement(BaseModel):
    """The result of comparing both sides."""

    model_config = ConfigDict(frozen=True)

    there: int = Field(description="Number of items in the source.")
    here: int = Field(description="Number of the migration's items in this store.")
    differing: int = Field(description="Number of items that differ.")
    differences: list[ItemDifference] = Field(description="The first differences.")


class Comparing:
    """Compares a source with the items that a migration imported.

    Args:
        database: the store's database.
        source: the source.
        migration: the migration.
    """

    def __init__(self, database: Database, source: LangGraphStore, migration: Migration) -> None:
        self._database = database
        self._source = source
        self._id = str(migration.id)

    async def compare(self) -> Agreement:
        """Compare checksums of both sides and, only if they differ, item by item.

        Both sides must be free of writes meanwhile. An item whose expiry was extended by a read in
        this store counts as equal.
        """
        at = await self._source.tables.moment()
        counts: Query[tuple[int, int]] = Query(
            _SQL["digest"],
            {"id": self._id, "at": at},
            lambda rows: (int(rows[0].items), int(rows[0].digest)),
        )
        (_, here), there = await asyncio.gather(
            self._ask([Query(_SQL["without_limit"]), counts]), self._digest(at)
        )
        if there == here:
            return Agreement(there=there[0], here=here[0], differing=0, differences=[])
        found = [difference async for difference in self._differences()]
        found += [difference async for difference in self._left_over()]
        return Agreement(
            there=there[0], here=here[0], differing=len(found), differences=found[:_TOLD]
        )

    async def obstacles(self) -> Agreement:
        """Return the items that following alone will never make equal.

        These are items without a valid address here, and items whose address is taken. Writes may
        continue meanwhile.
        """
        there = await self._source.tables.count()
        found = [difference async for difference in self._differences(only_obstacles=True)]
        return Agreement(
            there=there, here=there - len(found), differing=len(found), differences=found[:_TOLD]
        )

    async def _digest(self, at: str) -> tuple[int, int]:
        items = digest = 0
        prefix = ""
        while prefixes := await self._source.tables.prefixes(prefix, _TOGETHER):
            prefix = prefixes[-1]
            counted = await self._source.tables.digest(
                {each: self._name(each) for each in prefixes}, at
            )
            items, digest = items + counted[0], digest + counted[1]
        return items, digest

    def _name(self, prefix: str) -> str:
        """Return the namespace here as text; empty if it has none, so that the sums differ."""
        try:
            return ".".join(self._source.namespace(prefix))
        except InvalidValue:
            return ""

    async def _differences(self, *, only_obstacles: bool = False) -> AsyncIterator[ItemDifference]:
        place = ("", "")
        while places := await self._source.tables.places(place, _TOGETHER):
            place = places[-1]
            items = await self._source.tables.items(places, indexed=False)
            batch = self._source.batch(items, "")
            unfit = [*batch.rejected, *check(batch.records, None)[1]]
            for rejected in unfit:
                yield ItemDifference(
                    item=rejected.source_id, problem=f"{rejected.field} {rejected.problem}"
                )
            left_out = {rejected.source_id for rejected in unfit}
            known = [item for item in items if source_id(item.place) not in left_out]
            here = await self._here(known)
            for n, item in enumerate(known):
                problem = _obstacle(here.get(n)) if only_obstacles else _problem(item, here.get(n))
                if problem:
                    yield ItemDifference(item=source_id(item.place), problem=problem)

    async def _here(self, items: Sequence[Item]) -> dict[int, Any]:
        given = {
            "id": self._id,
            "namespaces": [to_text(self._source.namespace(item.place[0])) for item in items],
            "keys": [item.place[1] for item in items],
            "sources": [source_id(item.place) for item in items],
        }
        found: Query[dict[int, Any]] = Query(
            _SQL["here"], given, lambda rows: {row.n - 1: row for row in rows}
        )
        [rows] = await self._ask([found])
        here: dict[int, Any] = rows
        return here

    async def _left_over(self) -> AsyncIterator[ItemDifference]:
        """Yield the items that are here and were deleted in the source."""
        namespace = key = ""
        while True:
            given = {"id": self._id, "namespace": namespace, "key": key, "limit": _TOGETHER}
            noted: Query[list[Any]] = Query(_SQL["noted"], given, list)
            [rows] = await self._ask([noted])
            if not rows:
                return
            namespace, key = rows[-1].namespace, rows[-1].key
            places = [place_of(row.source_id) for row in rows]
            there = {item.place for item in await self._source.tables.items(places, indexed=False)}
            for place in places:
                if place not in there:
                    yield ItemDifference(
                        item=source_id(place), problem="is in this store, but not in the source"
                    )

    async def _ask(self, queries: Sequence[Query[Any]]) -> list[Any]:
        return await to_the_end(self._database.run(Principal.owner(), queries))


def _obstacle(here: Any) -> str | None:
    if here is None or here.untouched:
        return None
    return "was written here by another writer: its address was taken, or it was changed"


def _problem(item: Item, here: Any) -> str | None:
    if here is None:
        return (
            None
            if item.expires_at and item.expires_at - datetime.now(UTC) < _AT_THIS_MOMENT
            else "is not in this store"
        )
    if (obstacle := _obstacle(here)) is not None:
        return obstacle
    if here.value != item.value:
        return "has a different value here"
    there = (item.created_at, item.updated_at, item.ttl_minutes)
    prolonged = item.expires_at and here.expires_at and here.expires_at > item.expires_at
    if there != (here.created_at, here.updated_at, here.ttl_minutes):
        return "has different times here"
    return (
        None if prolonged or here.expires_at == item.expires_at else "has a different expiry here"
    )
