"""Runs: what each wrote to memory, on which line of a conversation, and undo and redo of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from graphs.memory.access import Access
from graphs.memory.database import statements
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.transaction import Transaction
from graphs.memory.errors import RunNotFound
from graphs.memory.values.models import FrozenModel
from graphs.memory.values.namespaces import Namespace, from_text, to_text
from graphs.memory.values.paging import Page, named, page_of

_SQL = statements.load("runs", __package__)

Outcome = Literal["removed", "restored", "brought_back", "left", "refused", "lost"]

Status = Literal["kept", "left", "undone"]

Why = Literal["set_aside", "forgotten", "replaced"]


@dataclass(frozen=True, slots=True)
class RunPlace:
    """The place of a run in its conversation, as the state of its graph has it.

    Args:
        run_id: the run.
        parent: the last run that had written memory on this line; None at its beginning.
        knows: whether the state can tell the parent. If not, the run goes on where its session is.
        began: the run that loaded the context, if another one was interrupted and this one resumed.
    """

    run_id: str
    parent: str | None = None
    knows: bool = False
    began: str | None = None


def begin_run(
    user_id: str, session_id: str, agent: str | None, thread_id: str | None, place: RunPlace
) -> Query[datetime | None]:
    """Return the query that a run begins with. Its answer is the moment to read; None for now.

    A run that goes on where another one went on, and wrote, is a fork: it reads what that one could
    read. Asking again for the same run changes nothing.
    """
    given = {
        "user_id": user_id,
        "session_id": session_id,
        "agent": agent,
        "run_id": place.run_id,
        "thread_id": thread_id,
        "parent": place.parent,
        "knows": place.knows,
    }
    return Query(_SQL["begin_run"], given, lambda rows: rows[0].as_of)


def end_run(user_id: str, session_id: str, agent: str, place: RunPlace) -> Query[None]:
    """Return the query that a run ends with, in the transaction of its last write.

    The session goes on from this run. What the runs of the line that it leaves wrote is set aside.
    """
    given = {
        "user_id": user_id,
        "session_id": session_id,
        "agent": agent,
        "run_id": place.run_id,
        "began": place.began,
        "parent": place.parent,
        "knows": place.knows,
    }
    return Query(_SQL["end_run"], given)


class Run(FrozenModel):
    """A run that began to read memory, or wrote it."""

    run_id: str
    session_id: str
    agent: str | None = None
    thread_id: str | None = None
    parent_run: str | None = Field(
        default=None, description="The last run that had written memory where this one began."
    )
    resumes: str | None = Field(default=None, description="The interrupted run that it resumed.")
    began_at: datetime
    as_of: datetime | None = Field(
        default=None, description="The moment of memory that it reads; null for the present."
    )
    wrote_at: datetime | None = Field(default=None, description="Null while it has not ended.")
    status: Status = Field(
        description="`kept`; `left`, where the conversation went on from an earlier place; or "
        "`undone`."
    )
    is_head: bool = Field(description="Whether the session goes on from this run.")
    memories: int = Field(description="Memories of the user that it wrote and that stand today.")


class Change(FrozenModel):
    """How an undo or a redo changed one address."""

    namespace: Namespace
    key: str
    outcome: Outcome = Field(
        description="`removed`; `restored` to another version; `brought_back`; `left`, since "
        "something that counts was written later; `refused`, since the person may not write there "
        "today; or `lost`, where no history has the value that was replaced."
    )
    before: str | None = Field(
        default=None, description="The text that was there; null for none, or an unknown one."
    )
    after: str | None = Field(default=None, description="The text that is there now.")


class Settled(FrozenModel):
    """How an undo or a redo changed memory."""

    changes: list[Change]

    def of(self, outcome: Outcome) -> list[Change]:
        """Return the changes of one kind."""
        return [change for change in self.changes if change.outcome == outcome]


class SetAside(FrozenModel):
    """What a run wrote that does not stand any more."""

    namespace: Namespace
    key: str
    type: str | None = None
    content: str | None = None
    written_at: datetime
    ended_at: datetime
    why: Why = Field(
        description="`set_aside` with this run, or another one; `forgotten` by the person; or "
        "`replaced` by a later write, which may be a deletion."
    )


class Runs:
    """Runs of users. Every method acts as the current principal, and refuses other users' data.

    Args:
        access: checks the principal and runs the queries.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self.home_loop = access.home_loop

    async def list(
        self,
        user_id: str,
        *,
        session_id: str | None = None,
        thread_id: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Run]:
        """Return a page of a user's runs, or of a session or thread of theirs, the latest first.

        Raises:
            InvalidInput: the cursor is not from an earlier page, or the limit is out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {
            "user_id": user_id,
            "session_id": session_id,
            "thread_id": thread_id,
            "only": None,
        }
        query = Query(_SQL["runs"], given | named(cursor, limit), _runs)
        found = await self._access.ask(user_id, query)
        return page_of(found, limit, lambda run: (run.began_at, run.run_id))

    async def get(self, user_id: str, run_id: str) -> Run:
        """Return a run.

        Raises:
            RunNotFound: the user has no run with this id.
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {"user_id": user_id, "only": [run_id], "session_id": None, "thread_id": None}
        given |= named(None, 1)
        if not (found := await self._access.ask(user_id, Query(_SQL["runs"], given, _runs))):
            raise RunNotFound(run_id)
        [run] = found
        return run

    async def statuses(self, user_id: str, run_ids: Iterable[str]) -> dict[str, Status]:
        """Return whether runs are kept, left or undone. Those that the user has not are left out.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {"user_id": user_id, "run_ids": sorted(set(run_ids))}
        query = Query(_SQL["statuses"], given, _statuses)
        return await self._access.ask(user_id, query)

    async def set_aside(self, user_id: str, run_id: str, *, limit: int = 100) -> Sequence[SetAside]:
        """Return what a run wrote to a user's memory that does not stand any more.

        A database without history knows none of it.

        Raises:
            InvalidInput: the limit is out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {"user_id": user_id, "run_id": run_id, "most": named(None, limit)["most"]}
        query = Query(_SQL["aside"], given, _aside, SchemaPart.HISTORY)
        found = await self._access.ask(user_id, query)
        return (found or [])[:limit]

    async def undo(self, user_id: str, run_id: str, *, dry_run: bool = False) -> Settled:
        """Undo what a run wrote to memory, as if it had never been, and return what changed.

        What was written later by others stays, and is listed. A run that is under way stores
        nothing more. Undoing it again changes nothing.

        Args:
            user_id: the user whose run it is.
            run_id: the run.
            dry_run: change nothing, and return what would change.

        Raises:
            RunNotFound: the user has no run with this id.
            AccessDenied: the principal is neither this user nor the service.
        """
        return await self._settle("undo_runs", user_id, run_id, dry_run)

    async def redo(self, user_id: str, run_id: str, *, dry_run: bool = False) -> Settled:
        """Keep a run again that was undone or left, and return what changed.

        Args:
            user_id: the user whose run it is.
            run_id: the run.
            dry_run: change nothing, and return what would change.

        Raises:
            RunNotFound: the user has no run with this id.
            AccessDenied: the principal is neither this user nor the service.
        """
        return await self._settle("redo_runs", user_id, run_id, dry_run)

    async def _settle(self, statement: str, user_id: str, run_id: str, dry_run: bool) -> Settled:
        principal = await self._access.only(user_id)
        query = Query(_SQL[statement], {"run_ids": [run_id], "user_id": user_id}, _settled)
        await self.get(user_id, run_id)

        async def work(transaction: Transaction) -> Settled:
            [changes] = await transaction.run([query])
            settled = await _with_texts(transaction, changes)
            if dry_run:
                raise _DryRun(settled)
            return settled

        with self._access.reporter.denials(principal):
            try:
                return await self._access.database.transaction(principal, work)
            except _DryRun as told:
                return told.settled


class _DryRun(Exception):
    def __init__(self, settled: Settled) -> None:
        super().__init__()
        self.settled = settled


def _runs(rows: Rows) -> list[Run]:
    return [Run.model_validate(row._asdict() | {"is_head": bool(row.is_head)}) for row in rows]


def _statuses(rows: Rows) -> dict[str, Status]:
    return {row.run_id: row.status for row in rows}


def _settled(rows: Sequence[Any]) -> list[Change]:
    return [
        Change(namespace=from_text(row.namespace), key=row.key, outcome=row.outcome) for row in rows
    ]


async def _with_texts(transaction: Transaction, changes: list[Change]) -> Settled:
    """Return changes with the texts before and after them, as the transaction sees these."""
    given = {
        "namespaces": [to_text(change.namespace) for change in changes],
        "keys": [change.key for change in changes],
    }
    after, before = await transaction.run(
        [
            Query(_SQL["now_there"], given, _contents),
            Query(_SQL["there_before"], given, _contents, SchemaPart.HISTORY),
        ]
    )

    def told(change: Change, ended: str | None, there: str | None) -> Change:
        was = {"removed": ended, "restored": ended, "brought_back": None, "lost": None}
        texts = {"before": was.get(change.outcome, there), "after": there}
        return change.model_copy(update=texts)

    ended = before or [None] * len(changes)
    return Settled(changes=[*map(told, changes, ended, after)])


def _contents(rows: Rows) -> list[str | None]:
    return [row.content for row in rows]


def _aside(rows: Rows) -> list[SetAside]:
    return [
        SetAside.model_validate(row._asdict() | {"namespace": from_text(row.namespace)})
        for row in rows
    ]
