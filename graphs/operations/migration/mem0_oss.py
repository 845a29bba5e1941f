"""mem0's open-source version as a source: its pgvector tables and its SQLite history."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from graphs.memory.database import statements
from graphs.memory.database.database import Pool
from graphs.memory.database.driver_errors import TRANSIENT
from graphs.memory.errors import ConfigurationError, ContractError, error_sentence
from graphs.memory.values.namespaces import Address, Namespace, decode_label
from graphs.operations.errors import SourceFailed, SourceUnavailable
from graphs.operations.migration.records import (
    SourceChange,
    expiry,
    memory,
    moment,
    rejected,
)
from graphs.operations.migration.source import RecordBatch, Rejected, SourceRecord

_SQL = statements.load_sources("mem0_oss", __package__)

_TOGETHER = 200
"""Rows per batch."""

_FIRST = "00000000-0000-0000-0000-000000000000"
_NOT_METADATA = frozenset(
    {
        "data",
        "hash",
        "text_lemmatized",
        "created_at",
        "updated_at",
        "expiration_date",
        "user_id",
        "agent_id",
        "run_id",
    }
)
"""Parts of a payload that have their own columns here, or that only mem0 uses."""

Embed = Callable[[str], Awaitable[Sequence[float]]]
"""A callable that embeds a query with the model of the collection."""

ChangesById = Mapping[str, Sequence[SourceChange]]


class Mem0Collection:
    """A mem0 collection on pgvector.

    Args:
        pool: connections to its database. They only read.
        collection: the table.
        origin: an identifier of the collection.
        embed: embeds with the collection's model: vectors are kept, and it can be searched. None to
            embed the memories again.
        history: mem0's SQLite file with the history of its memories.
    """

    name = "mem0-oss"

    def __init__(
        self,
        pool: Pool,
        collection: str,
        origin: str,
        *,
        embed: Embed | None = None,
        history: Path | None = None,
    ) -> None:
        self._pool = pool
        self._collection = Identifier(*collection.split("."))
        self._embed = embed
        self._history = history
        self.origin = origin
        self.options = {"keep_vectors": embed is not None, "history": history is not None}

    async def count(self) -> int | None:
        """Return the number of memories."""
        return int((await self._rows("count", {}))[0]["memories"])

    async def batches(self, after: str | None) -> AsyncIterator[RecordBatch]:
        """Yield its memories. The cursor is the id of the last one."""
        while rows := await self._rows(
            "page", {"after": after or _FIRST, "limit": _TOGETHER, **self._wanted()}
        ):
            changes: ChangesById = {}
            if self._history:
                changes = await asyncio.to_thread(
                    _changes, self._history, [row["id"] for row in rows]
                )
            taken = [self._taken(row, changes.get(row["id"], ())) for row in rows]
            after = str(rows[-1]["id"])
            refused = [each for each in taken if isinstance(each, Rejected)]
            yield RecordBatch(
                [each for each in taken if isinstance(each, SourceRecord)], after, refused
            )

    async def ask(self, scope: Namespace, query: str, limit: int, /) -> list[Address] | None:
        """Return the nearest memories of a user or an agent; None if the model differs."""
        if self._embed is None:
            return None
        vector = json.dumps([*await self._embed(query)])
        kind = "user_id" if scope[0] == "users" else "agent_id"
        given = {"kind": kind, "owner": decode_label(scope[1]), "query": vector, "limit": limit}
        return [((*scope[:2], "facts"), row["id"]) for row in await self._rows("nearest", given)]

    def _wanted(self) -> dict[str, bool]:
        return {"vectors": self._embed is not None}

    async def _rows(self, name: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        with _reading():
            async with self._pool.connection() as conn:
                statement = SQL(_SQL[name]).format(collection=self._collection)
                return await (await conn.execute(statement, given, prepare=False)).fetchall()

    def _taken(
        self, row: Mapping[str, Any], changes: Sequence[SourceChange]
    ) -> SourceRecord | Rejected:
        """Return a row as a record, or the reason why it cannot be one."""
        source_id, payload = row["id"], row["payload"]
        try:
            return _record(
                source_id, payload, json.loads(row["vector"]) if row["vector"] else None, changes
            )
        except ContractError as error:
            return rejected(source_id, error, payload)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Rejected(source_id, "payload", f"does not have mem0's format: {error}", payload)


def _record(
    source_id: str,
    payload: Mapping[str, Any],
    vector: Sequence[float] | None,
    changes: Sequence[SourceChange],
) -> SourceRecord:
    made = moment(payload.get("created_at") or payload["updated_at"])
    return memory(
        source_id,
        payload.get("data"),
        key=source_id,
        user_id=payload.get("user_id"),
        agent=payload.get("agent_id"),
        run_id=payload.get("run_id"),
        tags=payload.get("categories") or (),
        metadata={
            name: value
            for name, value in payload.items()
            if name not in {*_NOT_METADATA, "categories"}
        },
        created_at=made,
        updated_at=moment(payload["updated_at"]) if payload.get("updated_at") else made,
        expires_at=expiry(payload["expiration_date"]) if payload.get("expiration_date") else None,
        changes=changes,
        vector=vector,
    )


def _changes(history: Path, memories: Sequence[str]) -> ChangesById:
    """Return the changes of some memories by id."""
    found: dict[str, list[SourceChange]] = {}
    try:
        with closing(sqlite3.connect(f"{history.absolute().as_uri()}?mode=ro", uri=True)) as file:
            for memory_id, event, old, at in file.execute(
                _SQL["history"], {"memories": json.dumps(memories)}
            ):
                found.setdefault(memory_id, []).append(SourceChange(event, moment(at), old))
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise SourceFailed(f"{history} is not mem0's history: {error}.") from error
    return found


@contextmanager
def _reading() -> Iterator[None]:
    """Translate driver errors into errors that say what to do about the source."""
    try:
        yield
    except TRANSIENT as error:
        raise SourceUnavailable(
            f"The database of MIGRATE_FROM_URL is not reachable: {error_sentence(error)}"
        ) from error
    except psycopg.Error as error:
        raise SourceFailed(
            f"The database of MIGRATE_FROM_URL reported an error: {error_sentence(error)}"
        ) from error


async def open_collection(
    pool: Pool,
    collection: str,
    *,
    embed: Embed | None = None,
    dimensions: int | None = None,
    history: Path | None = None,
) -> Mem0Collection:
    """Return a collection as a source, after checking that it is one.

    Args:
        pool: connections to its database.
        collection: name of the table, with its schema unless the search path has it.
        embed: embeds with the collection's model, if it is also the deployment's.
        dimensions: dimensions of the deployment's model.
        history: mem0's SQLite file, to import the history as well.

    Raises:
        ConfigurationError: there is no such table, or its vectors are from another model.
        SourceFailed: it cannot be read.
    """
    with _reading():
        async with pool.connection() as conn:
            quoted = {"collection": Identifier(*collection.split(".")).as_string()}
            found = await (await conn.execute(_SQL["describe"], quoted, prepare=False)).fetchall()
            [whose] = await (await conn.execute(_SQL["whose"], prepare=False)).fetchall()
    if not found:
        raise ConfigurationError(
            f"The database of MIGRATE_FROM_URL has no mem0 table {collection}: "
            "name the right one with --collection."
        )
    if embed and found[0]["dimensions"] != dimensions:
        raise ConfigurationError(
            f"The vectors of {collection} have {found[0]['dimensions']} dimensions, and the "
            f"configured model has {dimensions}: these are different models. Leave out "
            "--keep-vectors to embed the memories again."
        )
    origin = f"{collection} in {whose['database']} ({whose['number']})"
    return Mem0Collection(pool, collection, origin, embed=embed, history=history)
