"""The tables of LangGraph's AsyncPostgresStore: what is in them, what changes in them, and whether they may change."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.errors import LockNotAvailable

from graphs.memory.database import statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import (
    ConfigurationError,
    SetupRequired,
    SourceFailed,
    SourceUnavailable,
    StoreUnavailable,
)
from graphs.memory.principal import Principal

_SQL = statements.load("langgraph_tables", __package__)

SourceAddress = tuple[str, str]
"""Where an item lies there: `prefix` and `key`."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What there is, and what the connection's role may do with it."""

    role: str
    database: str
    is_there: bool
    identity: str
    """Which tables they are: the same for as long as they live."""
    may_read: bool
    may_follow: bool
    is_current: bool
    dimensions: int | None
    """Those of the vectors; None where the store has none."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it lies there."""

    place: SourceAddress
    value: Any
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    ttl_minutes: float | None
    fields: Sequence[str] | None = None
    """Which fields have vectors; None where none has."""
    vectors: dict[str, list[float]] = field(default_factory=dict)
    """Those that were asked for, if all of them were made of this value."""


@dataclass(frozen=True, slots=True)
class ChangedPlaces:
    """Places where something changed, and the numbers under which that was noted."""

    places: Sequence[SourceAddress] = ()
    ids: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Lag:
    """How far we are behind."""

    changes: int
    seconds: float
    """How long the oldest of them has waited."""


class LangGraphTables:
    """The tables of one store.

    Args:
        database: where they are.
        schema: the schema that they lie in.
    """

    def __init__(self, database: Database, schema: str = "public") -> None:
        self._database = database
        self.schema = schema

    async def check(self, *, follow: bool = False) -> Tables:
        """Return what there is, if it can be read and (`follow`) followed.

        Raises:
            ConfigurationError: it cannot; the message says what is missing.
        """
        [found] = await self._run([_query("describe", _tables, schema=self.schema)])
        there: Tables = found
        name = f'"{self.schema}".store'
        if not there.is_there:
            raise ConfigurationError(
                f"There is no table {name} in the database {there.database}: name the store's database and, with "
                "--source-schema, the schema its tables lie in."
            )
        if not there.may_read:
            raise ConfigurationError(
                f'The role {there.role} may not read the store: GRANT SELECT ON ALL TABLES IN SCHEMA "{self.schema}" '
                f'TO "{there.role}".'
            )
        if not there.is_current:
            raise ConfigurationError(
                f"{name} is of an old version, without expiry: have AsyncPostgresStore's `setup()` called there once."
            )
        if follow and not there.may_follow:
            raise ConfigurationError(
                f"To follow changes the role {there.role} makes a trigger, and a schema of its own. As the owner: "
                f'GRANT TRIGGER ON {name} TO "{there.role}"; GRANT CREATE ON DATABASE "{there.database}" TO '
                f'"{there.role}". Or connect as the owner.'
            )
        return there

    async def count(self) -> int:
        """Return how many items there are that have not expired."""
        [items] = await self._run([_query("count", lambda rows: int(rows[0].items))])
        return int(items)

    async def places(self, after: SourceAddress, limit: int) -> list[SourceAddress]:
        """Return the places that come after one, at most `limit`."""
        prefix, key = after
        query = _query(
            "addresses",
            lambda rows: [(r.prefix, r.key) for r in rows],
            prefix=prefix,
            key=key,
            limit=limit,
        )
        [places] = await self._run([query])
        return list(places)

    async def place_of(self, digest: str) -> SourceAddress | None:
        """Return the place that a digest is of; None if nothing lies there any more."""
        query = _query(
            "place", lambda rows: (rows[0].prefix, rows[0].key) if rows else None, digest=digest
        )
        [place] = await self._run([query])
        found: SourceAddress | None = place
        return found

    async def search(
        self, pattern: str, vector: Sequence[float], limit: int
    ) -> list[SourceAddress]:
        """Return the places of the items nearest to a vector, among those whose prefix matches a regular expression."""
        given = {"pattern": pattern, "vector": json.dumps(list(vector)), "limit": limit}
        [places] = await self._run(
            [_query("search", lambda rows: [(r.prefix, r.key) for r in rows], **given)]
        )
        return list(places)

    async def prefixes(self, after: str, limit: int) -> list[str]:
        """Return the prefixes that come after one, at most `limit`."""
        query = _query(
            "prefixes", lambda rows: [row.prefix for row in rows], after=after, limit=limit
        )
        [prefixes] = await self._run([query])
        return list(prefixes)

    async def moment(self) -> str:
        """Return what time it is there."""
        [moment] = await self._run([_query("moment", lambda rows: rows[0].at)])
        return str(moment)

    async def digest(self, namespaces: Mapping[str, str], at: str) -> tuple[int, int]:
        """Return how many items some prefixes have that have not expired at a moment, and a sum over all that they are.

        Args:
            namespaces: what each prefix is called in the sum.
            at: the moment.
        """
        given = {"prefixes": [*namespaces], "namespaces": [*namespaces.values()], "at": at}
        [digest] = await self._run(
            [_query("digest", lambda rows: (int(rows[0].items), int(rows[0].digest)), **given)]
        )
        items, total = digest
        return items, total

    async def items(
        self, places: Sequence[SourceAddress], *, indexed: bool, vectors: bool = False
    ) -> list[Item]:
        """Return what lies at some places now; nothing for those where nothing does, or what has expired.

        Args:
            places: where to look.
            indexed: whether the store has vectors at all.
            vectors: whether they are wanted.
        """
        given: dict[str, Any] = {
            "prefixes": [prefix for prefix, _ in places],
            "keys": [key for _, key in places],
        }
        if indexed:
            given["vectors"] = vectors
        [items] = await self._run(
            [_query("items_and_vectors" if indexed else "items", _items, **given)]
        )
        return list(items)

    # Following ------------------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Have every change of an item noted from now on; again, it changes nothing.

        Raises:
            ConfigurationError: another store in this database is followed, or these tables took the place of others.
        """
        await self._run([_query("follow")])
        is_followed, _ = await self.state()
        if not is_followed:
            raise ConfigurationError(
                "The schema graph_memory_migration of this database follows other tables than these: roll back "
                "the migration of those first. If there is none, DROP SCHEMA graph_memory_migration CASCADE."
            )

    async def changes(self, limit: int) -> ChangedPlaces:
        """Return what changed and was not carried out yet, the oldest first; at most `limit` changes."""

        def read(rows: Rows) -> ChangedPlaces:
            return ChangedPlaces(
                [(r.prefix, r.key) for r in rows], [id_ for r in rows for id_ in r.ids]
            )

        [changes] = await self._run([_query("changes", read, limit=limit)])
        found: ChangedPlaces = changes
        return found

    async def forget(self, changes: ChangedPlaces) -> None:
        """Take away changes that were carried out."""
        await self._run([_query("forget_changes", ids=list(changes.ids))])

    async def lag(self) -> Lag:
        """Return how many changes wait."""
        [lag] = await self._run(
            [_query("lag", lambda rows: Lag(int(rows[0].changes), float(rows[0].seconds)))]
        )
        found: Lag = lag
        return found

    async def state(self) -> tuple[bool, bool]:
        """Return whether changes are noted, and whether writes are refused."""
        query = _query(
            "is_followed",
            lambda rows: (bool(rows[0].followed), bool(rows[0].stopped)),
            schema=self.schema,
        )
        [state] = await self._run([query])
        followed, stopped = state
        return followed, stopped

    async def stop_writes(self) -> None:
        """Refuse writes from now on; those that are under way are waited for, and committed when this returns."""
        await self._run([_query("stop_writes")])

    async def moved(self) -> None:
        """Refuse writes for good, and say so: until now it was for a moment."""
        await self._run([_query("moved")])

    async def open_writes(self) -> None:
        """Take writes again; changes are noted as before."""
        await self._run([_query("open_writes")])

    async def unfollow(self) -> None:
        """Remove all that is ours there: what notes changes, the changes, and what refuses writes."""
        await self._run([_query("unfollow")])

    async def _run(self, queries: Sequence[Query[Any]]) -> list[Any]:
        there = [_query("look_there", schema=self.schema), *queries]
        try:
            return (await to_the_end(self._database.run(Principal.owner(), there)))[1:]
        except SetupRequired as error:
            raise SourceFailed(
                f"The store's tables, or what notes their changes, are gone ({error.__cause__}): roll the migration "
                "back, and begin anew."
            ) from error
        except StoreUnavailable as error:
            if isinstance(error.__cause__, LockNotAvailable):
                raise SourceUnavailable(
                    "Somebody has been writing to the store in one transaction for so long that it was not waited for: "
                    "others would have had to wait as well. Try again, or end that transaction (pg_stat_activity)."
                ) from error
            raise SourceUnavailable(f"The store that is migrated from: {error}") from error


def _query(name: str, read: Any = None, **given: Any) -> Query[Any]:
    return Query(_SQL[name], given, read) if read else Query(_SQL[name], given)


def _tables(rows: Rows) -> Tables:
    return Tables(*rows[0])


def _items(rows: Rows) -> list[Item]:
    return [_item(row) for row in rows]


def _item(row: Any) -> Item:
    fields: list[str] | None = getattr(row, "fields", None)
    vectors: list[str] = getattr(row, "vectors", None) or []
    are_whole = fields is not None and len(fields) == len(vectors)
    return Item(
        (row.prefix, row.key),
        json.loads(row.value),
        row.created_at,
        row.updated_at,
        row.expires_at,
        row.ttl_minutes,
        fields,
        dict(zip(fields or (), map(json.loads, vectors), strict=True)) if are_whole else {},
    )
