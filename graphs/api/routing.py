"""Route classes: limits, sign-in and errors, in whichever app the memory's routes are."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.convertors import StringConvertor, register_url_convertor

from graphs.api.limits import MeasuredRequest, limits_of
from graphs.api.principals import identify
from graphs.api.problems import ANSWERED, ProblemError, invalid, response_to

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _Any(StringConvertor):
    """A path parameter of any text, including slashes and the line ends that `path` rejects."""

    regex = r"[\s\S]+"


register_url_convertor("any", _Any())


class OpenRoute(APIRoute):
    """A route that needs no sign-in. It answers errors itself, without handlers of the app."""

    def get_route_handler(self) -> Handler:
        """Return the handler of a request."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                await self.admit(request)
                self._check_query(request)
                self._check_media_type(request)
                return await handle(MeasuredRequest(request.scope, request.receive))
            except ANSWERED as error:
                return response_to(error)

        return answer

    async def admit(self, request: Request) -> None:
        """Check a request before its body is read."""

    def _check_query(self, request: Request) -> None:
        """Refuse query parameters that the route does not have: a misspelt filter filters nothing.

        Raises:
            ProblemError: 422.
        """
        if unknown := sorted(request.query_params.keys() - _parameters(self.dependant)):
            raise invalid(dict.fromkeys(unknown, "is no parameter of this route"))

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
                f"Send JSON with Content-Type application/json, not {given[:100]!r}.",
            )


def _parameters(dependant: Dependant) -> set[str]:
    """Return the query parameters of a route, and of all that it depends on."""
    return {field.alias for field in dependant.query_params}.union(
        *map(_parameters, dependant.dependencies)
    )


class MemoryRoute(OpenRoute):
    """A route for signed-in users, which limits how often each of them may ask."""

    async def admit(self, request: Request) -> None:
        """Refuse requests without a sign-in, and users who exceed their rate.

        Raises:
            NotSignedIn: the request does not say who sends it.
            ProblemError: 429.
        """
        principal = await identify(request)
        limits_of(request).count(principal.user_id or request.query_params.get("user_id", ""))
