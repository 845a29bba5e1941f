"""Errors as RFC 9457's `application/problem+json`, and which answer each error is."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

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
    JobNotFound: 404,
    VersionConflict: 412,
    SchemaPartMissing: 501,
    SetupRequired: 503,
    StoreUnavailable: 503,
    EmbeddingFailed: 503,
    StorageFailed: 503,
    ConfigurationError: 503,
}
"""What each of our errors is in HTTP; any other is a fault of ours."""

RETRY_SECONDS = 5
"""After which it is worth trying again where something is away."""


class Problem(BaseModel):
    """What went wrong, and what to do about it (RFC 9457)."""

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

    type: str = Field(description="Which kind of problem; stable, for programs to tell by.")
    title: str
    status: int
    detail: str = Field(description="In one or two sentences, which may be shown to a person.")
    fields: dict[str, str] | None = Field(
        default=None, description="What is wrong with which field of the request."
    )


class ProblemError(HTTPException):
    """A problem that a route has with a request; becomes its answer."""

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
        """Return the response that says so."""
        content = self.problem.model_dump(exclude_none=True)
        return JSONResponse(content, self.problem.status, self.headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> ProblemError | None:
    """Return the problem that an error is, None for a fault of ours."""
    match error:
        case ProblemError():
            return error
        case NotSignedIn():
            return ProblemError(
                401, "not-signed-in", str(error), headers={"WWW-Authenticate": "Bearer"}
            )
        case UnknownId() | MemoryNotFound():
            return ProblemError(
                404, "memory-not-found", "There is no such memory, or it is not yours to see."
            )
        case RequestValidationError():
            return _invalid(fields_of(error.errors()))
        case InvalidInput():
            return _invalid(_fields(error), str(error))
        case VersionConflict():
            return ProblemError(
                412,
                "version-conflict",
                "It was changed since you read it: read it again, and decide anew.",
            )
        case HTTPException():
            return _of_http(error)
        case SchemaPartMissing():
            return ProblemError(501, "not-set-up", str(error))
        case GraphMemoryError():
            return _of_status(error)
    return None


def fields_of(errors: Any) -> dict[str, str]:
    """Return what pydantic says is wrong, by field; never what was sent."""
    named = {}
    for error in errors:
        where = [str(part) for part in error["loc"]] or ["body"]
        inside = where[1:] if where[0] in ("body", "query", "path", "header") else where
        named[".".join(inside) or where[0]] = str(error["msg"]).removeprefix("Value error, ")
    return named


def _invalid(fields: Mapping[str, str], detail: str | None = None) -> ProblemError:
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
    """A text without what no answer can carry: an error may quote the lone surrogate that it is about."""
    return text.encode("utf-8", "replace").decode()


def _of_http(error: HTTPException) -> ProblemError:
    if (
        error.status_code == 400
    ):  # FastAPI's, for a body that Python's JSON does not read: too deep, digits without end
        return ProblemError(
            422,
            "invalid-request",
            "The body is not JSON that can be read.",
            {"body": "cannot be read"},
        )
    kind = HTTPStatus(error.status_code).name.lower().replace("_", "-")
    return ProblemError(error.status_code, kind, str(error.detail), headers=error.headers)


def _of_status(error: GraphMemoryError) -> ProblemError | None:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), None)
    match status:
        case None:
            return None
        case 503:
            away = "The memory cannot do this at the moment; try again a little later."
            return ProblemError(
                503, "unavailable", away, headers={"Retry-After": str(RETRY_SECONDS)}
            )
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
    401: _documented("Nobody is signed in.", WWW_Authenticate="How to sign in."),
    403: _documented("It is another's, or not for people to do."),
    404: _documented("There is no such thing, or it is not yours to see."),
    412: _documented("It was changed since it was read: `If-Match` names another version."),
    413: _documented("The body is longer than `MEMORY_HTTP_BODY_BYTES` allows (1 MiB unless set)."),
    415: _documented("The body is not `application/json`."),
    422: _documented("The request breaks the contract; `fields` names where."),
    428: _documented("`If-Match` is missing: say which version is meant to change."),
    429: _documented(
        "Too many requests of one person: `MEMORY_HTTP_RATE` a second go on for ever (20 unless set), and "
        "`MEMORY_HTTP_BURST` at once (200 unless set).",
        Retry_After="Seconds after which the next one is taken.",
    ),
    501: _documented(
        "The database was made without the graph, or without history; `detail` says what adds it."
    ),
    503: _documented(
        "The memory cannot be used at the moment.", Retry_After="Seconds after which to try again."
    ),
}
"""How each problem is documented, by status."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of these problems, for a route or a router."""
    return {status: PROBLEMS[status] for status in statuses}
