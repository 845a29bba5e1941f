"""Events, and the log of accepted writes. Changes of memories are recorded by triggers, which no path can skip."""

import asyncio
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast
from uuid import uuid4

from graphs.memory.contract import AuditProblem, MemoryPayload
from graphs.memory.database import statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.transaction import Query, Rows
from graphs.memory.errors import (
    AccessDenied,
    ContractError,
    EmbeddingFailed,
    GraphMemoryError,
    IdempotencyConflict,
    InvalidInput,
    InvalidValue,
)
from graphs.memory.principal import Principal, current_provenance
from graphs.memory.values.namespaces import Namespace, to_text
from graphs.memory.values.text import cleaned, problem_with, to_json

log = logging.getLogger(__name__)

_SQL = statements.load("audit", __package__)

RESERVED = "memory."
"""How the types of events begin that only the database's triggers record."""

Addresses = list[tuple[Namespace, str]]
Provenance = tuple[tuple[str, str], ...]

_NOTED_SECONDS = 1.0
_MOST_NOTED = 100_000


class _Read(NamedTuple):
    """Reads of one scope by one caller."""

    principal: Principal
    provenance: Provenance
    scope: Namespace


def event(user_id: str | None, event_type: str, data: dict[str, Any]) -> Query[None]:
    """Ask for an event to be logged, about a user or (None) about the service; once, however often it is tried.

    Raises:
        ContractError: the type is empty, or the data is not JSON.
    """
    if not event_type or problem_with(event_type) or event_type.startswith(RESERVED):
        raise ContractError({"event_type": f"must be a non-empty text that does not begin with {RESERVED!r}"})
    try:
        text = to_json(data, "data")
    except InvalidValue as error:
        raise ContractError({error.path: error.problem}) from error
    given = {"user_id": user_id, "event_type": event_type, "data": text, "event_id": uuid4()}
    return Query(_SQL["log_event"], given)


SEALED = ("audit_logs", "memory_history")
"""The records that are sealed."""

PORTION = 10_000
"""How many records one seal covers at most."""


def seal(source: str) -> Query[int]:
    """Ask for a portion of what was recorded since the last time to be sealed; how many records that were."""
    given = {"source": source, "most": PORTION}
    part = SchemaPart.HISTORY if source == "memory_history" else None
    return Query(_SQL["seal"], given, lambda rows: int(rows[0].sealed), part)


async def seal_all(database: Database) -> str | None:
    """Seal all that was recorded since the last time, and return the digest of the last seal."""
    for source in SEALED:
        sealed = PORTION
        while sealed == PORTION:
            [sealed] = await to_the_end(database.run(Principal.service(), [seal(source)]))
    [digest] = await to_the_end(database.run(Principal.service(), [head()]))
    log.info("The audit log is sealed; its last seal is %s", digest)
    return cast("str | None", digest)


def head() -> Query[str | None]:
    """Ask for the digest of the last seal."""
    return Query(_SQL["head"], {}, lambda rows: str(rows[0].digest) if rows else None)


def verify(noted: str | None) -> Query[list[AuditProblem]]:
    """Ask what does not fit the seals, of which one was noted elsewhere.

    Raises:
        InvalidInput: what was noted is no digest.
    """
    if noted is not None and not re.fullmatch("[0-9a-f]{64}", noted):
        raise InvalidInput(f"head must be the digest of a seal, 64 hexadecimal digits; got {noted!r}.")
    return Query(
        _SQL["verify"], {"head": noted}, lambda rows: [AuditProblem.model_validate(row._asdict()) for row in rows]
    )


class ReadLog:
    """Records who read which scope, from which run: what one caller reads of it within a second is one record.

    It is written behind the reads. A process that is killed loses the last second; a database that is away loses
    nothing until it has been away for so long that there are `_MOST_NOTED` scopes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[_Read, Counter[str]] = {}
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def note(self, principal: Principal, provenance: Provenance, scope: Namespace, kind: str, found: int) -> None:
        """Have a read recorded soon.

        Args:
            principal: who read.
            provenance: which run and node.
            scope: the namespace, or the prefix of one.
            kind: `gets`, `searches` or `lists`.
            found: how many items it gave.
        """
        noted = self._noted.setdefault(_Read(principal, provenance, scope), Counter())
        noted[kind] += 1
        noted["found"] += found
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_later())

    async def finish(self) -> None:
        """Return when every read that was noted is recorded, or was reported as not recorded."""
        async with self._writing:
            if self._task:
                self._task.cancel()  # it sleeps, or waits for its turn
            await self._write()

    async def _write_later(self) -> None:
        while self._noted:
            await asyncio.sleep(_NOTED_SECONDS)
            async with self._writing:
                await self._write()

    async def _write(self) -> None:
        noted, self._noted = self._noted, {}
        if not noted:
            return
        query: Query[None] = Query(_SQL["log_reads"], {"reads": json.dumps([_record(*read) for read in noted.items()])})
        try:
            await to_the_end(self._database.run(Principal.service(), [query]))
        except GraphMemoryError as error:
            log.warning("%d records of reads could not be written yet: %s", len(noted), error)
            for read, counts in list(noted.items())[: _MOST_NOTED - len(self._noted)]:
                self._noted.setdefault(read, Counter()).update(counts)


def _record(read: _Read, counts: Counter[str]) -> dict[str, Any]:
    """What the database is told of a read."""
    who = read.principal.user_id or read.principal.role
    return {**dict(read.provenance), "actor": who, "namespace": to_text(read.scope), "data": counts}


class Reporter:
    """Puts failures in the audit log, if the database takes them; the errors themselves go on to the caller."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def denials(self, principal: Principal) -> AsyncIterator[None]:
        """Report what the database does not let a principal do in the block."""
        try:
            yield
        except AccessDenied as error:
            await self.denied(principal, error)
            raise

    async def denied(self, principal: Principal, error: AccessDenied) -> None:
        """Report what a principal may not do."""
        told = {"about": error.about} if error.about else {"message": str(error)}
        await self._report(principal, "access.denied", error, **told)

    async def embedding_failed(self, principal: Principal, model: str, error: EmbeddingFailed) -> None:
        """Report that an embedding model did not answer."""
        cause = type(error.__cause__).__name__  # and not its words: they may quote what was to be embedded
        await self._report(principal, "embedding.failed", error, model=model, cause=cause)

    async def _report(self, principal: Principal, event_type: str, error: GraphMemoryError, **details: str) -> None:
        told = {"error": type(error).__name__} | {name: cleaned(text) for name, text in details.items()}
        query = event(principal.user_id, event_type, told)
        try:
            await to_the_end(self._database.run(Principal.service(), [query], current_provenance()))
        except GraphMemoryError as unwritten:
            log.warning("A failure could not be put in the audit log: %s (%s)", told["error"], unwritten)


class Claim(NamedTuple):
    """What makes a write the same as another: its key, and a digest of what it says."""

    key: str | None
    digest: str


def claim_of(payload: MemoryPayload, task_id: str | None, beside: Sequence[Mapping[str, Any]] = ()) -> Claim:
    """Return what identifies a write: the key that its writer gave it, or the task of the graph and what it says.

    Without either it is a write of its own. The timestamp is left out: a retried node says the same thing a little
    later. `beside` is what is written with it.
    """
    said = payload.model_dump_json(exclude={"timestamp", "idempotency_key"})
    said += "".join(json.dumps(dict(part)) for part in beside)
    digest = _sha256(said)
    if payload.idempotency_key is not None:
        return Claim(_sha256(f"key:{payload.idempotency_key}"), digest)
    return Claim(_sha256(f"{task_id}:{said}") if task_id else None, digest)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def claim_write(payload: MemoryPayload, addresses: Addresses, claim: Claim) -> Query[bool]:
    """Ask for a payload to be logged as accepted; True if it was, False if the same write was stored before."""
    given = {
        "user_id": payload.identity,
        "session_id": payload.session_id,
        "agent": payload.agent,
        "type": payload.type,
        "memories": json.dumps(addresses),
        "idempotency_key": claim.key,
        "digest": claim.digest,
        "said_at": payload.timestamp,
    }
    return Query(_SQL["claim_write"], given, bool)


def claimed_write(user_id: str, claim: Claim) -> Query[Addresses]:
    """Ask what an earlier write under the same key became.

    Raises:
        IdempotencyConflict: when it is answered, if that write said something else.
    """

    def read(rows: Rows) -> Addresses:
        if rows and rows[0].digest not in (None, claim.digest):
            raise IdempotencyConflict
        return [(tuple(namespace), key) for namespace, key in rows[0].memories] if rows else []

    return Query(_SQL["claimed_write"], {"user_id": user_id, "idempotency_key": claim.key}, read)
