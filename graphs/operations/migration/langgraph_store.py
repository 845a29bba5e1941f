"""LangGraph's AsyncPostgresStore as a source, with its namespaces mapped to those here."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphs.memory.errors import ConfigurationError, InvalidValue
from graphs.memory.search.embeddings import Index
from graphs.memory.values.namespaces import Address, Namespace
from graphs.operations.migration.langgraph_tables import (
    Item,
    LangGraphTables,
    SourceAddress,
    Tables,
)
from graphs.operations.migration.renaming import Renaming, Rule
from graphs.operations.migration.source import RecordBatch, Rejected, SourceRecord

COPIED = "copied"
"""The cursor of the last batch."""

_TOGETHER = 200
"""Items per batch."""


class LangGraphStore:
    """A LangGraph store that is copied while applications write to it. Create it with `open`.

    Args:
        tables: its tables.
        there: facts about them.
        rules: namespace rules such as `memories.{user}=users.{user}.memories`; the first match
            applies.
        index: the deployment's embedding configuration; None without vector search.
        keep_vectors: whether the store's vectors come from the deployment's embedding model.
        follow: whether its changes are followed.
    """

    name = "langgraph-store"

    def __init__(
        self,
        tables: LangGraphTables,
        there: Tables,
        rules: Sequence[str],
        index: Index | None,
        *,
        keep_vectors: bool,
        follow: bool,
    ) -> None:
        self.tables = tables
        self.there = there
        self._rules = tuple(rules)
        self._renaming = Renaming(tuple(map(Rule.parse, rules)))
        self._index = index
        self._keep_vectors = keep_vectors
        self._follow = follow
        self.is_copied = False
        """True once the last batch has been read."""

    @classmethod
    async def open(
        cls,
        tables: LangGraphTables,
        index: Index | None = None,
        *,
        rules: Sequence[str] = (),
        keep_vectors: bool = False,
        follow: bool = False,
    ) -> "LangGraphStore":
        """Return a store that can be read and, with `follow`, followed.

        Raises:
            ConfigurationError: it cannot, or its vectors cannot come from the deployment's model.
            InvalidValue: a rule is invalid.
        """
        there = await tables.check(follow=follow)
        if keep_vectors and (index is None or there.dimensions != index.dimensions):
            ours = (
                f"{index.name} has {index.dimensions}"
                if index
                else "this deployment embeds nothing"
            )
            theirs = f"{there.dimensions} dimensions" if there.dimensions else "no vectors"
            raise ConfigurationError(
                f"The store has {theirs}, and {ours}: these are not the same model. Leave out "
                "--keep-vectors to embed the items again."
            )
        return cls(tables, there, rules, index, keep_vectors=keep_vectors, follow=follow)

    @property
    def origin(self) -> str:
        """Return an identifier of the store's tables."""
        return f"{self.there.database}.{self.tables.schema} {self.there.identity}"

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the options of reading."""
        how = {"keep_vectors": self._keep_vectors, "follow": self._follow}
        return {"schema": self.tables.schema, "map": list(self._rules), **how}

    async def count(self) -> int | None:
        """Return the number of items that have not expired."""
        return await self.tables.count()

    async def batches(self, after: str | None) -> AsyncIterator[RecordBatch]:
        """Yield the items in the order of the primary key.

        The last batch, which may be empty, has the cursor `COPIED`. If the item of the cursor was
        deleted meanwhile, copying restarts from the beginning; items that are already here stay.
        """
        if after is not None and is_copied(after):
            return
        place = (await self.tables.place_of(after) if after else None) or ("", "")
        while True:
            places = await self.tables.places(place, _TOGETHER)
            is_last = len(places) < _TOGETHER
            self.is_copied = is_last
            yield self.batch(await self.items(places), COPIED if is_last else _digest(places[-1]))
            if is_last:
                return
            place = places[-1]

    async def ask(self, scope: Namespace, query: str, limit: int) -> list[Address] | None:
        """Return the items nearest to a query; None if the vectors come from another model."""
        if not (self._keep_vectors and self._index):
            return None
        vector = (await self._index.embed_queries([query]))[query]
        # `to_vector` puts a header of four bytes before the numbers.
        numbers: list[float] = np.frombuffer(vector[4:], ">f2").tolist()
        places = await self.tables.search(self._renaming.pattern(scope), numbers, limit)
        return [(self.namespace(prefix), key) for prefix, key in places]

    async def items(self, places: Sequence[SourceAddress]) -> list[Item]:
        """Return the unexpired items at some addresses."""
        indexed = self.there.dimensions is not None
        return (
            await self.tables.items(places, indexed=indexed, vectors=self._keep_vectors)
            if places
            else []
        )

    def namespace(self, prefix: str) -> Namespace:
        """Return the namespace here of a prefix there.

        Raises:
            InvalidValue: no rule gives it one.
        """
        return self._renaming.apply(tuple(prefix.split(".")))

    def batch(self, items: Sequence[Item], cursor: str) -> RecordBatch:
        """Return items as records. Items without a valid address here are rejected."""
        records, rejected = [], []
        for item in items:
            try:
                records.append(self._record(item))
            except InvalidValue as error:
                rejected.append(
                    Rejected(source_id(item.place), error.path, error.problem, item.value)
                )
        return RecordBatch(records, cursor, rejected)

    def _record(self, item: Item) -> SourceRecord:
        if not isinstance(item.value, Mapping):
            kind = type(item.value).__name__
            raise InvalidValue(
                "value", f"is not a JSON object but a {kind}: change or delete it in the source"
            )
        prefix, key = item.place
        # An item that the store was told not to embed has no vectors there, and gets none here.
        embeds = self.there.dimensions is None or item.fields is not None
        return SourceRecord(
            source_id(item.place),
            self.namespace(prefix),
            key,
            item.value,
            fields=None if embeds else False,
            created_at=item.created_at,
            updated_at=item.updated_at,
            expires_at=item.expires_at,
            ttl_minutes=item.ttl_minutes,
            vectors=item.vectors,
        )


def source_id(place: SourceAddress) -> str:
    """Return the id of an item in reports and in the ledger. `place_of` parses it."""
    return json.dumps(place, ensure_ascii=False)


def place_of(source_id: str) -> SourceAddress:
    """Return the address of a source id."""
    prefix, key = json.loads(source_id)
    return prefix, key


def is_copied(cursor: str | None) -> bool:
    """Return whether a cursor says that the initial copy is complete."""
    return cursor is not None and not _is_digest(cursor)


def _is_digest(cursor: str) -> bool:
    return len(cursor) == hashlib.sha256().digest_size * 2


def _digest(place: SourceAddress) -> str:
    """Return a digest of an address. The statement `place` computes the same."""
    prefix, key = place
    return hashlib.sha256(f"{len(prefix)}:{prefix}{key}".encode()).hexdigest()
