"""Who sends a request, and acting as them: dependencies for the memory's routes, and for any other that uses it.

The app that includes the routes says how to tell: `app.state.principal_of`. Nobody is let in where it does not.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import Request

from graphs.memory.principal import Principal, acting_as

PrincipalOf = Callable[[Request], Awaitable[Principal]]
"""Tells who sends a request, or raises `NotSignedIn`. It is asked once for each request."""


class NotSignedIn(Exception):
    """A request does not say who sends it, or not in a way that is believed. Its words are shown to the sender."""


async def identify(request: Request) -> Principal:
    """Return who sends a request.

    Raises:
        NotSignedIn: nobody knows.
    """
    known: Principal | None = getattr(request.state, "principal", None)
    if known is None:
        ask: PrincipalOf | None = getattr(request.app.state, "principal_of", None)
        if ask is None:
            raise NotSignedIn("Nobody can sign in: this app has no `app.state.principal_of`.")
        known = request.state.principal = await ask(request)
    return known


async def acting(request: Request) -> AsyncIterator[Principal]:
    """Act as whoever sends the request, until its answer is out, a streamed one included.

    Raises:
        NotSignedIn: nobody knows who that is.
    """
    with acting_as(await identify(request)) as principal:
        yield principal


async def is_signed_in(request: Request) -> bool:
    """Return whether a request says who sends it, for routes that serve strangers as well."""
    try:
        await identify(request)
    except NotSignedIn:
        return False
    return True
