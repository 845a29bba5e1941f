"""How the memory's routes take a request, whichever app they are in: limits, sign-in, and errors as problems."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException

from graphs.api.limits import MeasuredRequest, limits_of
from graphs.api.principals import NotSignedIn, identify
from graphs.api.problems import ProblemError, problem_of
from graphs.memory.errors import GraphMemoryError
from graphs.memory.values.ids import UnknownId

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_ANSWERED = (
    GraphMemoryError,
    HTTPException,
    NotSignedIn,
    ProblemError,
    RequestValidationError,
    UnknownId,
)


class _Any(StringConvertor):
    """A parameter of a path that may be any text: with slashes, and with line ends, which `path` does not take."""

    regex = r"[\s\S]+"


register_url_convertor("any", _Any())


class OpenRoute(APIRoute):
    """A route that strangers may use. What it refuses is a problem, and the app around it need not know how."""

    def get_route_handler(self) -> Handler:
        """Return what answers a request."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                await self.admit(request)
                self._check_media_type(request)
                return await handle(MeasuredRequest(request.scope, request.receive))
            except _ANSWERED as error:
                if problem := problem_of(error):
                    return problem.answer()
                raise

        return answer

    async def admit(self, request: Request) -> None:
        """Look at a request before its body is read."""

    def _check_media_type(self, request: Request) -> None:
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if (
            self.body_field
            and given
            and not (given == "application/json" or given.endswith("+json"))
        ):
            raise ProblemError(
                415,
                "unsupported-media-type",
                f"Send JSON, as application/json; not {given[:100]!r}.",
            )


class MemoryRoute(OpenRoute):
    """A route for those who are signed in, each of whom may ask only so often."""

    async def admit(self, request: Request) -> None:
        """Refuse strangers, and who asks too often.

        Raises:
            NotSignedIn: nobody knows who it is.
            ProblemError: 429.
        """
        principal = await identify(request)
        limits_of(request).count(principal.user_id or request.query_params.get("user_id", ""))
