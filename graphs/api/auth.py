"""Authentication and authorization of the LangGraph server.

With Supabase configured, users sign in with its access tokens. Without it, `langgraph dev`
serves one local user, and any other server refuses to start. Everything that a user creates
carries their id, and only they see it. Postgres guards the memory a second time: the store
acts as the user of the request, under row-level security.
"""

import logging
import os
from datetime import datetime
from typing import Any

from langgraph_sdk import Auth
from starlette.requests import Request

from graphs.api.limits import Buckets
from graphs.api.principals import NotSignedIn
from graphs.api.tokens import InvalidToken, TokenVerifier
from graphs.checkpointer import delete_runs_only_in
from graphs.deployment.settings import load_settings
from graphs.memory.errors import ConfigurationError, InvalidFilter, InvalidValue
from graphs.memory.moment import read_for_this_task_as_of
from graphs.memory.principal import SYSTEM, Principal, act_for_this_task
from graphs.memory.search.filters import check_filter

log = logging.getLogger(__name__)

auth = Auth()

_settings = load_settings()
_requests = Buckets(_settings.memory_http_rate, _settings.memory_http_burst)
_verifier = TokenVerifier(_settings) if _settings.supabase_auth else None

if _verifier is None:
    if os.environ.get("LANGSMITH_LANGGRAPH_API_VARIANT") != "local_dev":
        raise ConfigurationError(
            "SUPABASE_URL is not set, so nobody could sign in. Set it, or use `langgraph dev`, "
            "the only server that runs without authentication."
        )
    log.warning(
        "SUPABASE_URL is not set: everybody who reaches this server is the one local user %s",
        _settings.local_user_id,
    )


@auth.authenticate
async def authenticate(headers: dict[bytes, bytes]) -> Auth.types.MinimalUserDict:
    """Return the user of a request, from its bearer token or from `X-Api-Key`.

    Some chat clients can send only `X-Api-Key`. The header `Memory-As-Of` lets the calls of the
    store read memory as it stood at a time.
    """
    if moment := headers.get(b"memory-as-of"):
        _look_back(moment.decode("latin-1"))
    if _verifier is None:
        return {"identity": _settings.local_user_id}
    token = _token(headers)
    if not token:
        raise Auth.exceptions.HTTPException(
            401, "Sign in: send `Authorization: Bearer <Supabase access token>`."
        )
    try:
        return {"identity": await _verifier.identity(token)}
    except InvalidToken as error:
        raise Auth.exceptions.HTTPException(401, str(error)) from None


def _look_back(moment: str) -> None:
    """Let the calls of a request read as of a time."""
    try:
        read_for_this_task_as_of(datetime.fromisoformat(moment))
    except (ValueError, InvalidValue):
        raise Auth.exceptions.HTTPException(
            422, "Memory-As-Of must be a past time with a time zone, such as 2026-03-01T09:00:00Z."
        ) from None


async def principal_of(request: Request) -> Principal:
    """Return the principal of a request to routes that the server itself does not authenticate.

    Raises:
        NotSignedIn: the request has no token, or one that is not valid here.
    """
    try:
        user = await authenticate(dict(request.headers.raw))
    except Auth.exceptions.HTTPException as refusal:
        raise NotSignedIn(refusal.detail) from None
    return Principal.of_identity(user["identity"])


def _token(headers: dict[bytes, bytes]) -> str | None:
    scheme, _, credentials = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.casefold() == "bearer" and credentials.strip():
        return credentials.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip() or None


@auth.on
async def deny_by_default(ctx: Auth.types.AuthContext, value: Any) -> bool:  # noqa: ARG001
    """Refuse every action that no handler below allows."""
    return ctx.user.identity == SYSTEM


@auth.on.threads
async def own_threads(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Any:
    """Restrict a thread and its runs to the user who created them."""
    return _stamped(ctx, value)


@auth.on.threads.delete
async def own_threads_deleted(ctx: Auth.types.AuthContext, value: Auth.types.ThreadsDelete) -> Any:
    """Delete a run only in the thread that the request names, which is the one that is checked."""
    if value.get("run_id"):
        delete_runs_only_in(str(value["thread_id"]))
    return _stamped(ctx, dict(value))


@auth.on.crons
async def own_crons(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Any:
    """Restrict a scheduled run to the user who scheduled it."""
    return _stamped(ctx, value)


@auth.on.assistants
async def own_assistants(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Any:
    """Restrict assistants to their owner. All users share those that the server makes of graphs."""
    if ctx.user.identity != SYSTEM and ctx.action in ("read", "search"):
        return {"$or": [{"owner": ctx.user.identity}, {"created_by": "system"}]}
    if isinstance(value.get("metadata"), dict):
        value["metadata"].pop("created_by", None)
    return _stamped(ctx, value)


def _stamped(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Any:
    """Mark what is created or changed with its owner, and return the filter by that mark."""
    if ctx.user.identity == SYSTEM:
        return True
    owner = {"owner": ctx.user.identity}
    if ctx.action in ("create", "update", "create_run"):
        if value.get("metadata") is None:
            value["metadata"] = {}
        value["metadata"].update(owner)  # in place: the server keeps its own reference
    return owner


@auth.on.store
async def as_the_user(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> bool:
    """Make the store act as the request's user. Row-level security decides what it may touch.

    One user's requests are limited, at the same rate as those to `/memory`.
    """
    if ctx.user.identity != SYSTEM and (wait := _requests.take(ctx.user.identity)):
        raise Auth.exceptions.HTTPException(
            status_code=429,
            detail=f"Too many requests: try again in {int(wait) + 1} s.",
            headers={"Retry-After": str(int(wait) + 1)},
        )
    act_for_this_task(Principal.of_identity(ctx.user.identity))
    try:
        check_filter(value.get("filter") or {})
    except InvalidFilter as error:  # which the server would answer with 400, and log as its own
        raise Auth.exceptions.HTTPException(status_code=422, detail=str(error)) from error
    return True
