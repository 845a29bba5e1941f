"""HTTP errors: the one place that decides which response each error becomes.

The memory's routes and MCP answer with `application/problem+json` (RFC 9457).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from graphs.api.examples import described
from graphs.api.principals import NotSignedIn
from graphs.memory.errors import (
    AccessDenied,
    ConfigurationError,
    ContractError,
    EmbeddingFailed,
    GraphMemoryError,
    InvalidFilter,
    InvalidInput,
    InvalidValue,
    JobNotFound,
    MemoryNotFound,
    OutcomeUnknown,
    RunNotFound,
    SchemaPartMissing,
    SessionNotFound,
    SetupRequired,
    StorageFailed,
    StoreUnavailable,
    VersionConflict,
)
from graphs.memory.values.ids import UnknownId

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[Exception], int] = {
    InvalidInput: 422,
    AccessDenied: 403,
    MemoryNotFound: 404,
    SessionNotFound: 404,
    RunNotFound: 404,
    JobNotFound: 404,
    OutcomeUnknown: 503,
    VersionConflict: 412,
    SchemaPartMissing: 501,
    SetupRequired: 503,
    StoreUnavailable: 503,
    EmbeddingFailed: 503,
    StorageFailed: 503,
    ConfigurationError: 503,
}
"""HTTP status of each error. Any other `GraphMemoryError` is a fault of the server: 500."""

ANSWERED = (
    GraphMemoryError,
    HTTPException,
    NotSignedIn,
    RequestValidationError,
    UnknownId,
)
"""Errors to catch around a handler and to pass to `response_to`."""

RETRY_SECONDS = 5
"""Seconds in `Retry-After` of a 503."""

RETRY_SECONDS_REFUSED = 60
"""The same, where an operator has to end the cause."""


class Problem(BaseModel):
    """A problem with a request, and what to do about it (RFC 9457)."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:graph-native-memory:invalid-request",
                    "title": "Unprocessable Entity",
                    "status": 422,
                    "detail": "content: must not be blank",
                    "fields": {"content": "must not be blank"},
                }
            ]
        },
    )

    type: str = Field(description="The kind of problem. Stable, so that programs can rely on it.")
    title: str
    status: int
    detail: str = Field(description="One or two sentences that may be shown to a user.")
    fields: dict[str, str] | None = Field(
        default=None, description="What is wrong with each field of the request."
    )


class ProblemError(HTTPException):
    """A problem that a route finds in a request, and that becomes its response."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.problem = Problem(
            type=f"urn:graph-native-memory:{kind}",
            title=HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            fields=dict(fields) if fields else None,
        )
        super().__init__(status, detail, dict(headers) if headers else None)

    def answer(self) -> JSONResponse:
        """Return the problem+json response."""
        content = self.problem.model_dump(exclude_none=True)
        return JSONResponse(content, self.problem.status, self.headers, media_type=MEDIA_TYPE)


def response_to(error: Exception) -> JSONResponse:
    """Return the problem+json response to one of the `ANSWERED` errors.

    Raises:
        Exception: the error itself, if the server is at fault.
    """
    if problem := problem_of(error):
        return problem.answer()
    raise error


def answer_plainly(app: FastAPI) -> None:
    """Make an app answer our errors with `{"detail": …}` where its routes do not answer them.

    The LangGraph API's own routes use our store too, and its clients read `detail`.
    """
    for kind in STATUS:
        app.add_exception_handler(kind, _plain)


async def _plain(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, _status(error) or 500)


def problem_of(error: Exception) -> ProblemError | None:
    """Return the problem that an error stands for, or None if the server is at fault."""
    match error:
        case ProblemError():
            return error
        case NotSignedIn():
            return ProblemError(
                401, "not-signed-in", str(error), headers={"WWW-Authenticate": "Bearer"}
            )
        case UnknownId() | MemoryNotFound():
            return ProblemError(
                404, "memory-not-found", "There is no such memory, or you may not see it."
            )
        case RequestValidationError():
            return invalid(fields_of(error.errors()))
        case InvalidInput():
            return invalid(_fields(error), str(error))
        case OutcomeUnknown():
            return ProblemError(503, "outcome-unknown", str(error))
        case VersionConflict():
            return ProblemError(
                412,
                "version-conflict",
                "The memory was changed since you read it. Read it again, then repeat the change.",
            )
        case HTTPException():
            return _of_http(error)
        case SchemaPartMissing():
            return ProblemError(501, "not-set-up", str(error))
        case GraphMemoryError():
            return _of_status(error)
    return None


def fields_of(errors: Any) -> dict[str, str]:
    """Return pydantic's messages by field. They never contain what was sent."""
    named = {}
    for error in errors:
        where = [str(part) for part in error["loc"]] or ["body"]
        inside = where[1:] if where[0] in ("body", "query", "path", "header") else where
        named[".".join(inside) or where[0]] = str(error["msg"]).removeprefix("Value error, ")
    return named


def invalid(fields: Mapping[str, str], detail: str | None = None) -> ProblemError:
    """Return the problem of a request whose fields are not valid, each with what is wrong."""
    said = detail or "; ".join(f"{field}: {problem}" for field, problem in fields.items())
    return ProblemError(
        422,
        "invalid-request",
        _printable(said),
        {_printable(f): _printable(p) for f, p in fields.items()},
    )


def _fields(error: InvalidInput) -> dict[str, str]:
    match error:
        case ContractError():
            return dict(error.fields)
        case InvalidValue():
            return {error.path: error.problem}
        case InvalidFilter():
            return {error.operator: error.problem}
    return {}


def _printable(text: str) -> str:
    """Replace lone surrogates, which no response can encode; an error may quote them."""
    return text.encode("utf-8", "replace").decode()


def _of_http(error: HTTPException) -> ProblemError:
    # FastAPI raises 400 if Python's JSON parser rejects a body, for example as nested too deeply.
    if error.status_code == 400:
        return ProblemError(
            422,
            "invalid-request",
            "The body cannot be read as JSON.",
            {"body": "cannot be read"},
        )
    kind = HTTPStatus(error.status_code).name.lower().replace("_", "-")
    return ProblemError(error.status_code, kind, str(error.detail), headers=error.headers)


def _status(error: Exception) -> int | None:
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), None)


def _of_status(error: GraphMemoryError) -> ProblemError | None:
    match status := _status(error):
        case None:
            return None
        case 503:
            away = "The memory is temporarily unavailable. Try again in a few seconds."
            seconds = RETRY_SECONDS
            if isinstance(error, StoreUnavailable) and error.advice:
                away, seconds = str(error), RETRY_SECONDS_REFUSED
            return ProblemError(503, "unavailable", away, headers={"Retry-After": str(seconds)})
        case 403:
            return ProblemError(403, "access-denied", str(error))
        case 404:
            return ProblemError(404, "not-found", str(error))
    return ProblemError(status, "refused", str(error))


def _documented(description: str, **headers: str) -> dict[str, Any]:
    return described(
        description, MEDIA_TYPE, {"schema": {"$ref": "#/components/schemas/Problem"}}, headers
    )


PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: _documented("The request has no valid credentials.", WWW_Authenticate="How to sign in."),
    403: _documented("It belongs to another user, or only the service may do it."),
    404: _documented("It does not exist, or you may not see it."),
    412: _documented("`If-Match` names another version: it was changed since it was read."),
    413: _documented("The body is longer than `MEMORY_HTTP_BODY_BYTES` allows (1 MiB unless set)."),
    415: _documented("The body is not `application/json`."),
    422: _documented("The request is not valid; `fields` says where."),
    428: _documented("`If-Match` is missing: say which version you want to change."),
    429: _documented(
        "Too many requests from one user. `MEMORY_HTTP_RATE` is how many a second are allowed "
        "(20 unless set), `MEMORY_HTTP_BURST` how many at once (200 unless set).",
        Retry_After="Seconds after which the next request is accepted.",
    ),
    501: _documented(
        "The database was created without the graph or without history; `detail` says how to "
        "add it."
    ),
    503: _documented(
        "The memory is temporarily unavailable.", Retry_After="Seconds after which to try again."
    ),
}
"""OpenAPI documentation of each problem, by status."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI documentation of these statuses, for a route or a router."""
    return {status: PROBLEMS[status] for status in statuses}
