"""Access: who acts, whether they may, and their queries carried out as them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from graphs.memory.audit.events import Reporter
from graphs.memory.audit.reads import ReadLog
from graphs.memory.database.database import Database, PrincipalQueries, to_the_end
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query
from graphs.memory.errors import AccessDenied
from graphs.memory.moment import current_moment
from graphs.memory.principal import Principal, current_principal, current_provenance
from graphs.memory.values.namespaces import Namespace

T = TypeVar("T")


class Access:
    """The one way from a call to the database: everything that a store consists of asks through it.

    It decides what row-level security cannot know: a call that names another person is an error
    instead of an empty result, and some work is for the service alone. The policies of the database
    decide the rest.

    Args:
        database: runs the queries.
        default: the principal where neither `acting_as` nor a run names one; None makes that an
            error.
    """

    def __init__(self, database: Database, default: Principal | None = None) -> None:
        self.database = database
        self.reporter = Reporter(database)
        self.reads = ReadLog(database)
        self.home_loop = asyncio.get_running_loop()
        self._default = default

    # Who acts, and may they -------------------------------------------------------------------

    def principal(self) -> Principal:
        """Return the principal that acts now.

        Raises:
            PrincipalRequired: nobody acts, and there is no default.
        """
        return current_principal(self._default)

    def only_service(self, work: str = "see what is about everybody") -> Principal:
        """Return the principal that acts now, which must be the service.

        Args:
            work: ends the sentence "Only the service may …" of the refusal.

        Raises:
            AccessDenied: a person acts.
        """
        principal = self.principal()
        if principal.user_id:
            raise AccessDenied(f"Only the service may {work}.")
        return principal

    async def only(self, user_id: str) -> Principal:
        """Return the principal that acts now, which must be this user or the service.

        Raises:
            AccessDenied: another person acts; the audit log records the attempt.
        """
        principal = self.principal()
        if principal.user_id not in (None, user_id):
            denied = AccessDenied(
                f"User {principal.user_id} may not use the memory of user {user_id}.", user_id
            )
            self.reporter.denied(principal, denied)
            raise denied
        return principal

    # Queries ----------------------------------------------------------------------------------

    async def run(
        self,
        principal: Principal,
        queries: Sequence[Query[Any]],
        provenance: dict[str, Any] | None = None,
        moment: datetime | None = None,
    ) -> list[Any]:
        """Return the answers to queries, in one transaction that a cancelled caller does not end.

        Raises:
            AccessDenied: a policy refuses a query; the audit log records the attempt.
        """
        part = PrincipalQueries(principal, queries, provenance, moment)
        with self.reporter.denials(principal):
            return (await to_the_end(self.database.run_parts([part])))[0]

    async def finish(self) -> None:
        """Wait until reads and refusals are recorded, or their loss is logged."""
        await self.reads.finish()
        await self.reporter.finish()

    @on_home_loop
    async def ask(
        self,
        user_id: str | None,
        query: Query[T],
        shows: Namespace | None = None,
        *,
        first: Query[None] | None = None,
        past: bool = False,
    ) -> T:
        """Return the answer to a query about a user, or (None) about everybody, as whoever acts.

        Args:
            user_id: the user; None for everybody, which only the service may ask.
            query: the query.
            shows: the scope whose items the answer holds, to be recorded as a read of it.
            first: runs before the query, in the same transaction.
            past: whether it reads the moment that `as_of` names.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        principal = self.only_service() if user_id is None else await self.only(user_id)
        provenance = current_provenance()
        queries: list[Query[Any]] = [first, query] if first else [query]
        moment = current_moment() if past else None
        *_, answer = await self.run(principal, queries, provenance, moment)
        if shows:
            source = tuple(provenance.items())
            self.reads.note(principal, source, shows, "searches", len(answer))
        return cast("T", answer)

    @on_home_loop
    async def ask_as_owner(
        self, user_id: str | None, query: Query[T], work: str = "see what is about everybody"
    ) -> T:
        """Return the answer to a query on tables without policies, after the same check as `ask`.

        Args:
            user_id: the user; None for everybody, which only the service may ask.
            query: restricts itself to this user: as the tables' owner it sees every row.
            work: ends the sentence "Only the service may …" of the refusal.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        if user_id is None:
            self.only_service(work)
        else:
            await self.only(user_id)
        [answer] = await self.run(Principal.owner(), [query])
        return cast("T", answer)
