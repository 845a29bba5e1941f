"""Whether both sides hold the same: every key, value and time."""

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
"""Items, or namespaces, that are compared together."""

_TOLD = 20
"""Differences that are told; the others are counted."""


_AT_THIS_MOMENT = timedelta(seconds=5)
"""What expires within it may be gone on one side already."""


class ItemDifference(BaseModel):
    """An item that is not the same on both sides."""

    model_config = ConfigDict(frozen=True)

    item: str = Field(description="Its namespace and key there.")
    problem: str


class Agreement(BaseModel):
    """What a comparison of both sides found."""

    model_config = ConfigDict(frozen=True)

    there: int = Field(description="How many items the source has.")
    here: int = Field(description="How many of those that the migration brought are here.")
    differing: int = Field(description="How many are not the same on both sides.")
    differences: list[ItemDifference] = Field(description="The first of them.")


class Comparing:
    """Compares a source with what a migration brought.

    Args:
        database: our side.
        source: the other side.
        migration: what brought it.
    """

    def __init__(self, database: Database, source: LangGraphStore, migration: Migration) -> None:
        self._database = database
        self._source = source
        self._id = str(migration.id)

    async def compare(self) -> Agreement:
        """Compare sums over both sides and, only where they differ, item by item.

        Nobody may write meanwhile. An item whose life a reader here has prolonged is the same.
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
        """Return what no following will bring into agreement: items without a place here, or whose place is taken.

        Others may go on writing meanwhile.
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
        """What a namespace is called here; what has no place here differs under whatever name."""
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
        """What is here and was deleted there."""
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
                        item=source_id(place), problem="is here, and there no more"
                    )

    async def _ask(self, queries: Sequence[Query[Any]]) -> list[Any]:
        return await to_the_end(self._database.run(Principal.owner(), queries))


def _obstacle(here: Any) -> str | None:
    if here is None or here.untouched:
        return None
    return "was written here by somebody else: its address was taken, or it was changed after it had come"


def _problem(item: Item, here: Any) -> str | None:
    if here is None:
        return (
            None
            if item.expires_at and item.expires_at - datetime.now(UTC) < _AT_THIS_MOMENT
            else "is not here"
        )
    if (obstacle := _obstacle(here)) is not None:
        return obstacle
    if here.value != item.value:
        return "has another value here"
    there = (item.created_at, item.updated_at, item.ttl_minutes)
    prolonged = item.expires_at and here.expires_at and here.expires_at > item.expires_at
    if there != (here.created_at, here.updated_at, here.ttl_minutes):
        return "has other times here"
    return (
        None if prolonged or here.expires_at == item.expires_at else "expires at another time here"
    )
