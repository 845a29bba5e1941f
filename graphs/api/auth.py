"""Who may come in, and what is theirs: authentication and authorization of the LangGraph server.

With Supabase configured, people sign in with its access tokens. Without it, `langgraph dev` serves one local user;
any other server refuses to start. What a person creates carries their id, and only they see it. Memory is guarded
once more, by Postgres itself: the store acts as whoever the request belongs to.
"""

import logging
import os
from typing import Any

from langgraph_sdk import Auth
from starlette.requests import Request

from graphs.api.principals import NotSignedIn
from graphs.api.tokens import InvalidToken, TokenVerifier
from graphs.checkpointer import delete_runs_only_in
from graphs.deployment.settings import load_settings
from graphs.memory.errors import ConfigurationError
from graphs.memory.principal import SYSTEM, Principal, act_for_this_task

log = logging.getLogger(__name__)

auth = Auth()

_settings = load_settings()
_verifier = TokenVerifier(_settings) if _settings.supabase_auth else None

if _verifier is None:
    if os.environ.get("LANGSMITH_LANGGRAPH_API_VARIANT") != "local_dev":
        raise ConfigurationError(
            "SUPABASE_URL is not set, so nobody could sign in: only `langgraph dev` runs without authentication."
        )
    log.warning(
        "No SUPABASE_URL: everyone who reaches this server is the one local user %s",
        _settings.local_user_id,
    )


@auth.authenticate
async def authenticate(headers: dict[bytes, bytes]) -> Auth.types.MinimalUserDict:
    """Return who sends a request: by bearer token, or by a token in `X-Api-Key` for clients that send nothing else."""
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


async def principal_of(request: Request) -> Principal:
    """Return who sends a request, for routes where the server itself asks nobody's name.

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
    """Allow nothing that no handler below allows."""
    return ctx.user.identity == SYSTEM


@auth.on.threads
async def own_threads(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Any:
    """A thread and its runs belong to whoever created them."""
    return _stamped(ctx, value)


@auth.on.threads.delete
async def own_threads_deleted(ctx: Auth.types.AuthContext, value: Auth.types.ThreadsDelete) -> Any:
    """A run is deleted in the thread that is named, and checked, and nowhere else."""
    if value.get("run_id"):
        delete_runs_only_in(str(value["thread_id"]))
    return _stamped(ctx, dict(value))


@auth.on.crons
async def own_crons(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Any:
    """A scheduled run belongs to whoever scheduled it."""
    return _stamped(ctx, value)


@auth.on.assistants
async def own_assistants(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Any:
    """A person's assistants are theirs; those that the server makes of each graph can be used by all."""
    if ctx.user.identity != SYSTEM and ctx.action in ("read", "search"):
        return {"$or": [{"owner": ctx.user.identity}, {"created_by": "system"}]}
    if isinstance(value.get("metadata"), dict):
        value["metadata"].pop("created_by", None)
    return _stamped(ctx, value)


def _stamped(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Any:
    """Mark what is created or changed as its owner's, and filter by that mark."""
    if ctx.user.identity == SYSTEM:
        return True
    owner = {"owner": ctx.user.identity}
    if ctx.action in ("create", "update", "create_run"):
        if value.get("metadata") is None:
            value["metadata"] = {}
        value["metadata"].update(owner)  # in place: the server goes on with its own reference
    return owner


@auth.on.store
async def as_the_user(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> bool:  # noqa: ARG001
    """Let the store act as the request's user: row-level security decides what it may touch."""
    act_for_this_task(Principal.of_identity(ctx.user.identity))
    return True
