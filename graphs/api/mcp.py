"""A person's memory as tools of the Model Context Protocol, at `/memory/mcp`, for any MCP client.

Streamable HTTP without sessions: each POST is answered with JSON and nothing is kept between two, so that any number of
server processes share the work. Who sends a request is found out before any code of MCP's runs, and the tools act as
that person.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.mcpserver import MCPServer
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from graphs.api.limits import Limits, limits_of
from graphs.api.mcp_tools import add_tools
from graphs.api.principals import NotSignedIn, identify
from graphs.api.problems import ProblemError, problem_of
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager

PATH = "/memory/mcp"

_INSTRUCTIONS = (
    "The long-term memory of the user you talk to, which all of their assistants share. Search it before you answer or "
    "ask about the user, and save what is lasting and true of them."
)
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@asynccontextmanager
async def serving(
    memory: MemoryManager, limits: Limits, *, signs_in: bool
) -> AsyncIterator[StreamableHTTPSessionManager]:
    """Serve a memory through MCP inside the block; `route` hands requests to what is yielded.

    Args:
        memory: of the deployment.
        limits: how long a request may be; how many, the app's own limits say.
        signs_in: whether people sign in. A web page that a browser was tricked into sending here has no token then;
            without sign-in it would read the local user's memory, so only this machine's own names and pages are
            answered.
    """
    server = MCPServer(
        "memory", instructions=_INSTRUCTIONS, log_level="WARNING", subscriptions=False
    )
    add_tools(server, memory)
    local = TransportSecuritySettings(
        allowed_hosts=[*_LOOPBACK, *(f"{name}:*" for name in _LOOPBACK)],
        allowed_origins=[f"http://{name}{port}" for name in _LOOPBACK for port in ("", ":*")],
    )
    server.streamable_http_app(  # whose sessions are used, and not its routes; a host would switch its own checks on
        stateless_http=True,
        json_response=True,
        max_request_body_size=limits.body_bytes,
        transport_security=None if signs_in else local,
        host="",
    )
    async with server.session_manager.run():
        yield server.session_manager


class _Endpoint:
    """Finds out who sends a request, and has MCP answer it as them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            principal = await _admitted(request)
        except (NotSignedIn, ProblemError) as error:
            problem = problem_of(error)
            if problem is None:
                raise
            await problem.answer()(scope, receive, send)
        else:
            with acting_as(principal):
                await request.app.state.mcp.handle_request(scope, receive, send)


async def _admitted(request: Request) -> Principal:
    """The person who sends a request, one of those that they may send."""
    principal = await identify(request)
    if principal.user_id is None:
        raise ProblemError(
            403, "access-denied", "The service has no memory of its own: sign in as a person."
        )
    limits_of(request).count(principal.user_id)
    return principal


route = Route(PATH, _Endpoint(), methods=["POST"], include_in_schema=False)
"""Where requests arrive. Nothing is streamed to clients that only listen: GET is refused, as MCP has it."""
