"""JSON lines as a source: one memory or item per line, or the output of `export-user`."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from graphs.memory.errors import ContractError, InvalidInput
from graphs.memory.store.payloads import key_of
from graphs.memory.values.namespaces import from_text
from graphs.operations.migration.exported import Export, has_memory, is_head, moment, parsed
from graphs.operations.migration.records import SourceChange, memory, rejected
from graphs.operations.migration.source import (
    RecordBatch,
    Rejected,
    SourceRecord,
    SourceVersion,
)

_TOGETHER = 200
"""Lines per batch."""


class _JsonLine(BaseModel):
    model_config = ConfigDict(extra="forbid")

    created_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event: Literal["ADD", "UPDATE", "DELETE"]
    at: AwareDatetime
    old: str | None = None
    new: str | None = None


class MemoryLine(_JsonLine):
    """A memory of a user (`user_id`), or agent knowledge (`agent` alone)."""

    content: Any
    user_id: Any = None
    id: str | None = Field(None, min_length=1)
    type: Any = "fact"
    agent: Any = None
    session_id: str | None = None
    run_id: str | None = None
    tags: Any = ()
    importance: Any = 0.5
    metadata: Any = None
    embedding: list[float] | None = None
    history: list[_Change] = []


class _Version(BaseModel):
    model_config = ConfigDict(extra="forbid")

    value: dict[str, Any]
    valid_from: AwareDatetime
    valid_to: AwareDatetime
    operation: Literal["update", "delete"] = "update"


class ItemLine(_JsonLine):
    """An item of a store. `index` lists the paths to embed, as in `aput`."""

    namespace: tuple[str, ...]
    key: str
    value: dict[str, Any]
    index: list[str] | Literal[False] | None = None
    ttl_minutes: float | None = None
    session_id: str | None = None
    run_id: str | None = None
    history: list[_Version] = []


class JsonLines:
    """A file of JSON lines.

    Args:
        path: the file, in UTF-8.
        digest: SHA-256 of its content.
        lines: number of lines that are not empty.
        history: the earlier versions of each memory of an export.
        is_export: whether `export-user` wrote the file.
        keep_vectors: whether `embedding` comes from the deployment's own model.
    """

    name = "jsonl"

    def __init__(
        self,
        path: Path,
        digest: str,
        lines: int,
        history: Mapping[int, list[SourceVersion]],
        *,
        is_export: bool,
        keep_vectors: bool,
    ) -> None:
        self._path = path
        self._lines = lines
        self._history = history
        self._is_export = is_export
        self._keep_vectors = keep_vectors
        self.origin = f"{path.name} sha256:{digest}"
        self.options = {"keep_vectors": keep_vectors, "export": is_export}

    async def count(self) -> int | None:
        """Return the number of memories."""
        return self._lines

    async def batches(self, after: str | None) -> AsyncIterator[RecordBatch]:
        """Yield its lines. The cursor is the byte offset after the last line, and its number."""
        offset, number = map(int, after.split(":")) if after else (0, 0)
        while True:
            batch = await asyncio.to_thread(self._read, offset, number)
            if batch is None:
                return
            yield batch
            offset, number = map(int, batch.cursor.split(":"))

    async def ask(self, *_: object) -> None:
        """Return None, since a file cannot search."""

    def _read(self, offset: int, number: int) -> RecordBatch | None:
        records: list[SourceRecord] = []
        refused: list[Rejected] = []
        with self._path.open("rb") as file:
            file.seek(offset)
            for line in iter(file.readline, b""):
                number += 1
                if line.strip() and (not self._is_export or has_memory(parsed(line))):
                    self._take(line, number, records, refused)
                if len(records) + len(refused) == _TOGETHER:
                    break
            return (
                RecordBatch(records, f"{file.tell()}:{number}", refused)
                if records or refused
                else None
            )

    def _take(
        self, line: bytes, number: int, records: list[SourceRecord], refused: list[Rejected]
    ) -> None:
        source_id, told = f"line {number}", None
        try:
            told = _object(line)
            records.append(self._exported(told["row"]) if self._is_export else self._record(told))
        except ValidationError as error:
            first = error.errors()[0]
            problem = ContractError({".".join(map(str, first["loc"])) or "line": first["msg"]})
            refused.append(rejected(source_id, problem, told))
        except ContractError as error:
            refused.append(rejected(source_id, error, told))
        except (KeyError, TypeError) as error:
            refused.append(
                Rejected(source_id, str(error.args[0]), "is missing, or has the wrong type", told)
            )
        except (ValueError, RecursionError) as error:
            raw = line.decode("utf-8", "replace").rstrip("\n")
            refused.append(Rejected(source_id, "line", f"is not JSON: {error}", raw))

    def _record(self, told: dict[str, Any]) -> SourceRecord:
        if "namespace" in told:
            return _item(ItemLine.model_validate(told))
        line = MemoryLine.model_validate(told)
        key = line.id or (key_of(line.content) if isinstance(line.content, str) else "")
        # Without any time of its own, a memory is as old as the file.
        made = (
            line.created_at
            or line.updated_at
            or datetime.fromtimestamp(self._path.stat().st_mtime).astimezone()
        )
        return memory(
            key,
            line.content,
            key=key,
            user_id=line.user_id,
            agent=line.agent,
            session_id=line.session_id,
            run_id=line.run_id,
            type_=line.type,
            tags=line.tags,
            importance=line.importance,
            metadata=line.metadata,
            created_at=made,
            updated_at=line.updated_at,
            expires_at=line.expires_at,
            changes=[SourceChange(change.event, change.at, change.old) for change in line.history],
            vector=line.embedding if self._keep_vectors else None,
        )

    def _exported(self, row: dict[str, Any]) -> SourceRecord:
        is_memory = "content" in row["value"]
        return SourceRecord(
            str(row["id"]),
            from_text(row["namespace"]),
            row["key"],
            row["value"],
            fields=["content"] if is_memory and "type" in row["value"] else None,
            ttl_minutes=row["ttl_minutes"],
            session_id=row["session_id"],
            run_id=row["run_id"],
            history=self._history.get(row["id"], ()),
            created_at=moment(row["created_at"]),
            updated_at=moment(row["updated_at"]),
            expires_at=moment(row["expires_at"]),
        )


def _item(line: ItemLine) -> SourceRecord:
    return SourceRecord(
        "/".join((*line.namespace, line.key)),
        line.namespace,
        line.key,
        line.value,
        line.index,
        line.created_at,
        line.updated_at,
        line.expires_at,
        line.ttl_minutes,
        line.session_id,
        line.run_id,
        [
            SourceVersion(each.value, each.valid_from, each.valid_to, each.operation)
            for each in line.history
        ],
    )


def line_of(record: SourceRecord) -> str:
    """Return a record as a line that this source can read, without its vectors."""
    line = ItemLine(
        namespace=record.namespace,
        key=record.key,
        value=dict(record.value),
        index=list(record.fields) if record.fields else None if record.fields is None else False,
        created_at=record.created_at,
        updated_at=record.updated_at,
        expires_at=record.expires_at,
        ttl_minutes=record.ttl_minutes,
        session_id=record.session_id,
        run_id=record.run_id,
        history=[
            _Version(
                value=dict(v.value),
                valid_from=v.valid_from,
                valid_to=v.valid_to,
                operation=v.operation,
            )
            for v in record.history
        ],
    )
    return line.model_dump_json(exclude_defaults=True)


async def open_jsonl(
    path: Path, *, keep_vectors: bool = False, allow_changed: bool = False
) -> JsonLines:
    """Open a file of JSON lines. It is read once, to count lines and compute its digest.

    Args:
        path: the file.
        keep_vectors: whether `embedding` comes from the deployment's own model. Otherwise the texts
            are embedded again.
        allow_changed: take an export also if it was changed, truncated or rewritten since.

    Raises:
        InvalidInput: it cannot be read, is empty, or is an export that was changed.
    """
    try:
        return await asyncio.to_thread(_opened, path, keep_vectors, allow_changed)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error


def _opened(path: Path, keep_vectors: bool, allow_changed: bool) -> JsonLines:
    history: dict[int, list[SourceVersion]] = {}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        first = next((line for line in file if line.strip()), None)
        if first is None:
            raise InvalidInput(f"{path} is empty: give the file that was written.")
        file.seek(0)
        if is_export := is_head(parsed(first)):
            export = Export(file)
            if export.damage and not allow_changed:
                raise InvalidInput(
                    f"{path} is not the export that was written: {export.damage}. Nothing was "
                    "imported. If you know the change, repeat it with --allow-changed."
                )
            lines, history = export.memories, export.history
        else:
            lines = sum(bool(line.strip()) for line in file)
    return JsonLines(path, digest, lines, history, is_export=is_export, keep_vectors=keep_vectors)


def _object(line: bytes) -> dict[str, Any]:
    told = json.loads(line)
    if not isinstance(told, dict):
        raise ContractError({"line": "is not a JSON object"})
    return told
