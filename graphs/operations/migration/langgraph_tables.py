"""The tables of LangGraph's AsyncPostgresStore: read them, follow changes, refuse writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.errors import LockNotAvailable

from graphs.memory.database import statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import ConfigurationError, SetupRequired, StoreUnavailable
from graphs.memory.principal import Principal
from graphs.operations.errors import SourceFailed, SourceUnavailable

_SQL = statements.load("langgraph_tables", __package__)

SourceAddress = tuple[str, str]
"""The address of an item in the source: `prefix` and `key`."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Facts about the source's tables, and the rights of the connection's role."""

    role: str
    database: str
    is_there: bool
    identity: str
    """An identifier of the tables, constant for as long as they exist."""
    may_read: bool
    may_follow: bool
    is_current: bool
    dimensions: int | None
    """Dimensions of the vectors; None for a store without vectors."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item as the source stores it."""

    place: SourceAddress
    value: Any
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    ttl_minutes: float | None
    fields: Sequence[str] | None = None
    """Fields that have vectors; None if there are none."""
    vectors: dict[str, list[float]] = field(default_factory=dict)
    """The requested vectors; empty unless all of them belong to this value."""


@dataclass(frozen=True, slots=True)
class ChangedPlaces:
    """Addresses of changed items, and the ids of these changes in the queue."""

    places: Sequence[SourceAddress] = ()
    ids: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Lag:
    """The number and age of changes that are not applied yet."""

    changes: int
    seconds: float
    """Age of the oldest change."""


class LangGraphTables:
    """The tables of one store.

    Args:
        database: the source's database.
        schema: the schema of the tables.
    """

    def __init__(self, database: Database, schema: str = "public") -> None:
        self._database = database
        self.schema = schema

    async def check(self, *, follow: bool = False) -> Tables:
        """Check that the tables can be read and, with `follow`, followed. Return facts about them.

        Raises:
            ConfigurationError: they cannot; the message says what is missing.
        """
        [found] = await self._run([_query("describe", _tables, schema=self.schema)])
        there: Tables = found
        name = f'"{self.schema}".store'
        if not there.is_there:
            raise ConfigurationError(
                f"There is no table {name} in the database {there.database}: connect to the "
                "store's database, and give the schema of its tables with --source-schema."
            )
        if not there.may_read:
            raise ConfigurationError(
                f"The role {there.role} may not read the store: GRANT SELECT ON ALL TABLES IN "
                f'SCHEMA "{self.schema}" TO "{there.role}".'
            )
        if not there.is_current:
            raise ConfigurationError(
                f"{name} is of an old version, without expiry: call AsyncPostgresStore's `setup()` "
                "on it once."
            )
        if follow and not there.may_follow:
            raise ConfigurationError(
                f"To follow changes, the role {there.role} creates a trigger and a schema. As the "
                f'owner: GRANT TRIGGER ON {name} TO "{there.role}"; GRANT CREATE ON DATABASE '
                f'"{there.database}" TO "{there.role}". Or connect as the owner.'
            )
        return there

    async def count(self) -> int:
        """Return the number of items that have not expired."""
        [items] = await self._run([_query("count", lambda rows: int(rows[0].items))])
        return int(items)

    async def places(self, after: SourceAddress, limit: int) -> list[SourceAddress]:
        """Return the addresses after one, at most `limit`."""
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
        """Return the address of a digest; None if the item was deleted."""
        query = _query(
            "place", lambda rows: (rows[0].prefix, rows[0].key) if rows else None, digest=digest
        )
        [place] = await self._run([query])
        found: SourceAddress | None = place
        return found

    async def search(
        self, pattern: str, vector: Sequence[float], limit: int
    ) -> list[SourceAddress]:
        """Return the addresses of the items nearest to a vector, best first.

        Args:
            pattern: regular expression for the prefix.
            vector: the query's embedding.
            limit: most results.
        """
        given = {"pattern": pattern, "vector": json.dumps(list(vector)), "limit": limit}
        [places] = await self._run(
            [_query("search", lambda rows: [(r.prefix, r.key) for r in rows], **given)]
        )
        return list(places)

    async def prefixes(self, after: str, limit: int) -> list[str]:
        """Return the prefixes after one, at most `limit`."""
        query = _query(
            "prefixes", lambda rows: [row.prefix for row in rows], after=after, limit=limit
        )
        [prefixes] = await self._run([query])
        return list(prefixes)

    async def moment(self) -> str:
        """Return the current time of the source's server."""
        [moment] = await self._run([_query("moment", lambda rows: rows[0].at)])
        return str(moment)

    async def digest(self, namespaces: Mapping[str, str], at: str) -> tuple[int, int]:
        """Return the number of unexpired items under some prefixes, and a checksum over them.

        Args:
            namespaces: the name of each prefix in the checksum.
            at: the moment at which expiry is judged.
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
        """Return the items at some addresses, except for missing and expired ones.

        Args:
            places: the addresses.
            indexed: whether the store has vectors.
            vectors: whether to return them.
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

    # Following -------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Queue every change of an item from now on. Idempotent.

        Raises:
            ConfigurationError: another store of this database is followed, or the tables were
                replaced.
        """
        await self._run([_query("follow")])
        is_followed, _ = await self.state()
        if not is_followed:
            raise ConfigurationError(
                "The schema graph_memory_migration of this database belongs to other tables: roll "
                "back their migration first. If there is none, DROP SCHEMA "
                "graph_memory_migration CASCADE."
            )

    async def changes(self, limit: int) -> ChangedPlaces:
        """Return the oldest queued changes, at most `limit`."""

        def read(rows: Rows) -> ChangedPlaces:
            return ChangedPlaces(
                [(r.prefix, r.key) for r in rows], [id_ for r in rows for id_ in r.ids]
            )

        [changes] = await self._run([_query("changes", read, limit=limit)])
        found: ChangedPlaces = changes
        return found

    async def forget(self, changes: ChangedPlaces) -> None:
        """Delete applied changes from the queue."""
        await self._run([_query("forget_changes", ids=list(changes.ids))])

    async def lag(self) -> Lag:
        """Return the number and age of the queued changes."""
        [lag] = await self._run(
            [_query("lag", lambda rows: Lag(int(rows[0].changes), float(rows[0].seconds)))]
        )
        found: Lag = lag
        return found

    async def state(self) -> tuple[bool, bool]:
        """Return whether changes are queued, and whether writes are refused."""
        query = _query(
            "is_followed",
            lambda rows: (bool(rows[0].followed), bool(rows[0].stopped)),
            schema=self.schema,
        )
        [state] = await self._run([query])
        followed, stopped = state
        return followed, stopped

    async def stop_writes(self) -> None:
        """Refuse new writes. Running writes are waited for and have committed when this returns."""
        await self._run([_query("stop_writes")])

    async def moved(self) -> None:
        """Refuse writes permanently; until now they were refused for a retry."""
        await self._run([_query("moved")])

    async def open_writes(self) -> None:
        """Accept writes again. Changes are queued as before."""
        await self._run([_query("open_writes")])

    async def unfollow(self) -> None:
        """Remove everything that this project created there: triggers, queue and functions."""
        await self._run([_query("unfollow")])

    async def _run(self, queries: Sequence[Query[Any]]) -> list[Any]:
        there = [_query("look_there", schema=self.schema), *queries]
        try:
            return (await to_the_end(self._database.run(Principal.owner(), there)))[1:]
        except SetupRequired as error:
            raise SourceFailed(
                f"The store's tables, or the queue of their changes, were deleted "
                f"({error.__cause__}): roll the migration back, and start again."
            ) from error
        except StoreUnavailable as error:
            if isinstance(error.__cause__, LockNotAvailable):
                raise SourceUnavailable(
                    "A long transaction holds a lock on the store. The migration did not wait for "
                    "it, since other writers would have had to wait as well. Try again, or end "
                    "that transaction (pg_stat_activity)."
                ) from error
            raise SourceUnavailable(f"The migration's source: {error}") from error


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
