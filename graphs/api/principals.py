"""Sign-in for the memory's routes: dependencies that identify a request's sender and act as them.

The app that includes the routes sets `app.state.principal_of`. Without it, nobody is let in.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import Request

from graphs.memory.principal import Principal, acting_as

PrincipalOf = Callable[[Request], Awaitable[Principal]]
"""A function that identifies a request's sender, or raises `NotSignedIn`. Called once a request."""


class NotSignedIn(Exception):
    """A request has no credentials, or invalid ones. The message is shown to the sender."""


async def identify(request: Request) -> Principal:
    """Return the principal who sends a request.

    Raises:
        NotSignedIn: the sender is not known.
    """
    known: Principal | None = getattr(request.state, "principal", None)
    if known is None:
        ask: PrincipalOf | None = getattr(request.app.state, "principal_of", None)
        if ask is None:
            raise NotSignedIn("Nobody can sign in: this app does not set `app.state.principal_of`.")
        known = request.state.principal = await ask(request)
    return known


async def acting(request: Request) -> AsyncIterator[Principal]:
    """Act as the sender of a request until its response is sent, a streamed one included.

    Raises:
        NotSignedIn: the sender is not known.
    """
    with acting_as(await identify(request)) as principal:
        yield principal


async def is_signed_in(request: Request) -> bool:
    """Return whether a request has valid credentials, for routes that need none."""
    try:
        await identify(request)
    except NotSignedIn:
        return False
    return True
