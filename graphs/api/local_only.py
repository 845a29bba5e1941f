"""The border of a server without sign-in: it answers this machine alone, and no foreign web page.

Everybody who reaches such a server is its one user. A web page on any site can send requests to
`localhost` through a browser on this machine, and one whose name resolves to 127.0.0.1 can also
read the answers. So `Host` and `Origin` are checked, on every route of the whole server.
"""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from graphs.api.problems import ProblemError, response_to

LOOPBACK = r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
ORIGINS = rf"https?://{LOOPBACK}|https://([a-z0-9-]+\.)?smith\.langchain\.com"
"""Origins of web pages that may talk to the server: on this machine, and LangGraph Studio.

`http.cors` in `langgraph.json` has the same pattern. A deployment with sign-in adds the origins of
its web apps to `allow_origins` there.
"""

_IN_PROCESS = "/noauth"
"""The root path of requests that the server's own code sends; none from outside can have it."""


class LocalOnly:
    """Middleware that refuses requests from elsewhere where nobody signs in.

    `app.state.local_only` switches it; an app without it is local.

    Args:
        app: the app behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 403."""
        # Browsers let any page open a WebSocket anywhere: CORS does not apply to them.
        asks = scope["type"] in ("http", "websocket")
        if asks and (problem := _problem_with(scope)):
            error = ProblemError(
                403,
                "local-only",
                f"{problem}. Nobody signs in to this server, so it answers this machine alone: use "
                "http://localhost, or set SUPABASE_URL so that users sign in.",
            )
            await response_to(error)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _problem_with(scope: Scope) -> str | None:
    """Return why a request is not answered; None if it is."""
    if not getattr(scope["app"].state, "local_only", True) or scope["root_path"].startswith(
        _IN_PROCESS
    ):
        return None
    headers = Headers(scope=scope)
    host, origin = headers.get("host", ""), headers.get("origin")
    if not re.fullmatch(LOOPBACK, host, re.IGNORECASE):
        return f"The request came for the host {host[:100]!r}"
    if origin is not None and not re.fullmatch(ORIGINS, origin, re.IGNORECASE):
        return f"The request came from a web page of {origin[:100]!r}"
    return None
