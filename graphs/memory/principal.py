"""The acting principal, and the role and claims by which Postgres enforces its rights.

Every transaction of the store first sets a database role and the claims that row-level security
reads, for itself alone. The principal is determined at each call: an explicit one (`acting_as`),
else the authenticated user of the LangGraph run, else the store's default.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import var_child_runnable_config

from graphs.memory.errors import AccessDenied, PrincipalRequired

if TYPE_CHECKING:
    from langgraph.runtime import Runtime

Provenance = tuple[tuple[str, str], ...]
"""Run, node and session of a call, as pairs: hashable, so that calls can be grouped by it."""

SYSTEM = "system"
"""Identity under which the service itself signs in."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The actor of a call: a user, bound by row-level security, or the service, which is not."""

    role: str
    """The database role: `authenticated`, `service_role`, or `none` for the connection's own."""
    user_id: str | None = None
    """The person's id, a UUID as Supabase Auth gives it. None for the service."""
    agent: str | None = None
    """The agent that acts for the user, if any. Scopes of other agents are closed to it."""

    @classmethod
    def user(cls, user_id: str) -> "Principal":
        """Return a signed-in person.

        Raises:
            AccessDenied: `user_id` is not a UUID; row-level security compares UUIDs.
        """
        try:
            return cls("authenticated", str(uuid.UUID(user_id)))
        except (ValueError, AttributeError, TypeError):
            raise AccessDenied(
                f"A user's id must be a UUID, as Supabase Auth gives it; got {user_id!r}."
            ) from None

    @classmethod
    def service(cls) -> "Principal":
        """Return the service itself: background jobs, operators, migrations."""
        return cls("service_role")

    @classmethod
    def owner(cls) -> "Principal":
        """Return the connection's own role, for setup, which needs the owner of the tables."""
        return cls("none")

    @classmethod
    def of_identity(cls, identity: str) -> "Principal":
        """Return the principal for the identity that the server's authentication established."""
        return cls.service() if identity == SYSTEM else cls.user(identity)

    @classmethod
    def of_subject(cls, user_id: str) -> "Principal":
        """Return the principal of a user's jobs: the user, or the service if the id is no UUID."""
        try:
            return cls.user(user_id)
        except AccessDenied:
            return cls.service()

    def through(self, agent: str | None) -> "Principal":
        """Return the same user acting through an agent, which opens the agent's own scope.

        Such a scope is `("users", user_id, agent_label(agent), …)`. The service stays as it is.
        """
        return replace(self, agent=agent) if self.user_id else self

    @property
    def claims(self) -> str:
        """The JWT claims of this principal, as JSON, in the shape that Supabase's policies read."""
        return _claims(self)


@lru_cache(10_000)
def _claims(principal: Principal) -> str:
    claims = {"role": principal.role, "sub": principal.user_id, "agent": principal.agent}
    return json.dumps({name: value for name, value in claims.items() if value})


_acting: ContextVar[Principal | None] = ContextVar("acting_principal", default=None)


@contextmanager
def acting_as(principal: Principal) -> Iterator[Principal]:
    """Act as `principal` inside the block, whatever the run or the default is."""
    token = _acting.set(principal)
    try:
        yield principal
    finally:
        _acting.reset(token)


def act_for_this_task(principal: Principal) -> None:
    """Act as `principal` for the rest of the current task, such as that of a request."""
    _acting.set(principal)


def current_principal(default: Principal | None) -> Principal:
    """Return who is acting now.

    Raises:
        PrincipalRequired: nobody is, and there is no default.
    """
    if explicit := _acting.get():
        return explicit
    if principal := _of_run() or default:
        return principal
    raise PrincipalRequired


def acting_user() -> str | None:
    """Return the id of the person who is acting now, if it is a person."""
    principal = _acting.get() or _of_run()
    return principal.user_id if principal else None


def acting_agent() -> str | None:
    """Return the agent through which a person acts now, if one does."""
    principal = _acting.get() or _of_run()
    return principal.agent if principal else None


def _of_run() -> Principal | None:
    """Return the authenticated user of the current run, through its agent; the server sets both."""
    runtime = _runtime()
    server = runtime.server_info if runtime else None
    if server and server.user:
        return Principal.of_identity(server.user.identity).through(server.graph_id)
    return None


def current_provenance() -> dict[str, str]:
    """Return thread, run, checkpoint and task of the running node; empty outside a run.

    In a subgraph, the checkpoint is that of the thread, in which the run can be found.
    """
    runtime = _runtime()
    info = runtime.execution_info if runtime else None
    found = {
        name: getattr(info, name, None)
        for name in ("thread_id", "run_id", "checkpoint_id", "task_id")
    }
    config = var_child_runnable_config.get() or {}
    if info and not found["run_id"]:  # in subgraphs and second attempts
        found["run_id"] = config.get("metadata", {}).get("run_id")
    if whole := config.get("configurable", {}).get("checkpoint_map", {}).get(""):
        found["checkpoint_id"] = whole
    return {name: str(value) for name, value in found.items() if value}


def _runtime() -> "Runtime[Any] | None":
    """Return the runtime of the calling node, if there is one."""
    if (
        not var_child_runnable_config.get()
    ):  # outside a graph, where most calls are; to be told by an error costs more
        return None
    # Late: it takes half as long to import as all else, and only a graph, which has it, comes here.
    from langgraph.runtime import get_runtime

    try:
        return get_runtime()
    except (RuntimeError, KeyError):
        return None
