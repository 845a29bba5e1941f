"""A user's memory as tools of the Model Context Protocol, at `/memory/mcp`, for any MCP client.

Streamable HTTP without sessions: each POST is answered with JSON, and nothing is kept between
two requests, so that any number of server processes share the work. The sender is identified
before any code of the MCP SDK runs, and the tools act as that user.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.mcpserver import MCPServer
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from graphs.api.limits import Limits, limits_of
from graphs.api.mcp_tools import add_tools
from graphs.api.principals import identify
from graphs.api.problems import ANSWERED, ProblemError, response_to
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager

PATH = "/memory/mcp"

_INSTRUCTIONS = (
    "The long-term memory of the user you talk to, shared by all of their assistants. Search it "
    "before you answer or ask about the user, and save lasting facts about them."
)


@asynccontextmanager
async def serving(
    memory: MemoryManager, limits: Limits
) -> AsyncIterator[StreamableHTTPSessionManager]:
    """Serve a memory through MCP inside the block. `route` passes requests to the yielded manager.

    Args:
        memory: the deployment's memory.
        limits: the longest request. How many requests are allowed is up to the app's limits.
    """
    server = MCPServer(
        "memory", instructions=_INSTRUCTIONS, log_level="WARNING", subscriptions=False
    )
    add_tools(server, memory)
    # Called for its session manager; its routes are not used. Any other `host` would switch on
    # checks of its own: `LocalOnly` checks all routes of the app.
    server.streamable_http_app(
        stateless_http=True,
        json_response=True,
        max_request_body_size=limits.body_bytes,
        host="",
    )
    async with server.session_manager.run():
        yield server.session_manager


class _Endpoint:
    """An ASGI app that identifies the sender and lets MCP answer as them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            principal = await _admitted(request)
        except ANSWERED as error:
            await response_to(error)(scope, receive, send)
        else:
            with acting_as(principal):
                await request.app.state.mcp.handle_request(scope, receive, send)


async def _admitted(request: Request) -> Principal:
    """Return the user who sends a request, and count it against their limit."""
    principal = await identify(request)
    if principal.user_id is None:
        raise ProblemError(
            403, "access-denied", "The service has no memory of its own: sign in as a user."
        )
    limits_of(request).count(principal.user_id)
    return principal


route = Route(PATH, _Endpoint(), methods=["POST"], include_in_schema=False)
"""The route of all requests. GET is refused, as MCP allows: there is no stream to listen to."""
