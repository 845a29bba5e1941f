"""Every route of the server, as data: requests for another user's data.

`{thread}`, `{run}`, … are the victim's; `{own_thread}`, … are the attacker's.
"""

from dataclasses import dataclass
from typing import Any

from tests.attacks.people import WORD


@dataclass(frozen=True)
class Route:
    """One request.

    Args:
        method: HTTP method.
        path: The path, with placeholders.
        body: The JSON body, with placeholders.
        tells: Whether answers may differ without a leak. A new object with a given id reveals that
            the id is taken, which the server cannot hide; other answers depend on the attacker's
            runs at that time.
        headers: Headers beside the token.
    """

    method: str
    path: str
    body: Any = None
    tells: bool = False
    headers: dict[str, str] | None = None

    @property
    def changes(self) -> bool:
        """Return whether the request could change anything."""
        looks = (
            "search",
            "count",
            "history",
            "namespaces",
            "versions",
            "state/checkpoint",
            "mcp",
            "stream/events",
        )
        return self.method != "GET" and not self.path.endswith(looks)

    @property
    def verb(self) -> str:
        return f"{self.method} {self.path}" + (f" {self.body}" if self.body else "")


_RUN = {"assistant_id": "sales", "input": {"note": "planted"}}
_POINTS = {"thread_id": "{thread}", "checkpoint_ns": "", "checkpoint_id": "{checkpoint}"}
_PRETENDS = {
    "langgraph_auth_user": {"identity": "{owner}", "is_authenticated": True},
    "langgraph_auth_user_id": "{owner}",
    "langgraph_auth_permissions": ["*"],
    "user_id": "{owner}",
    "identity": "{owner}",
    "role": "service_role",
}
_PROBE = {
    "calls": [
        {"method": "aget", "args": [["users", "{owner}", "facts"], "secret"], "kwargs": {}},
        {"method": "asearch", "args": [[]], "kwargs": {"query": WORD, "limit": 100}},
        {"method": "recall_memory", "args": ["{owner}", WORD], "kwargs": {}},
        {
            "method": "aput",
            "args": [["users", "{owner}", "facts"], "secret", {"content": "planted"}],
            "kwargs": {},
        },
        {"method": "adelete", "args": [["users", "{owner}", "facts"], "secret"], "kwargs": {}},
    ]
}


def _a2a(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": "1", "method": method, "params": params}


def _mcp(tool: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def _message(**more: Any) -> dict[str, Any]:
    return {
        "role": "user",
        "kind": "message",
        "messageId": "m",
        "parts": [{"kind": "text", "text": "planted"}],
        **more,
    }


THREADS = (
    Route("GET", "/threads/{thread}"),
    Route("PATCH", "/threads/{thread}", {"metadata": {"a": "planted"}}),
    Route("PATCH", "/threads/{thread}", {"metadata": {"owner": "{me}"}}),
    Route("POST", "/threads/{thread}/copy"),
    Route("GET", "/threads/{thread}/state"),
    Route("POST", "/threads/{thread}/state", {"values": {"note": "planted"}}),
    Route(
        "POST",
        "/threads/{own_thread}/state",
        {"values": {"note": "planted"}, "checkpoint": _POINTS},
    ),
    Route(
        "POST",
        "/threads/{own_thread}/state",
        {"values": {"note": "planted"}, "checkpoint_id": "{checkpoint}"},
    ),
    Route("GET", "/threads/{thread}/state/{checkpoint}"),
    Route("GET", "/threads/{own_thread}/state/{checkpoint}"),
    Route("POST", "/threads/{thread}/state/checkpoint", {"checkpoint": _POINTS}),
    Route("POST", "/threads/{own_thread}/state/checkpoint", {"checkpoint": _POINTS}),
    Route("GET", "/threads/{thread}/history"),
    Route("POST", "/threads/{thread}/history", {"limit": 10}),
    Route("POST", "/threads/{own_thread}/history", {"limit": 10, "checkpoint": _POINTS}),
    Route(
        "POST", "/threads/{own_thread}/history", {"limit": 10, "before": {"configurable": _POINTS}}
    ),
    Route("GET", "/threads/{thread}/storage"),
    Route("GET", "/threads/{thread}/stream"),
    Route("POST", "/threads/{thread}/stream/events", {"channels": ["values", "lifecycle"]}),
    Route("POST", "/threads/{thread}/commands", {"id": 1, "method": "run.start", "params": _RUN}),
    Route("POST", "/threads", {"thread_id": "{thread}", "if_exists": "do_nothing"}, tells=True),
    Route("POST", "/threads", {"thread_id": "{thread}", "if_exists": "raise"}, tells=True),
    Route(
        "POST",
        "/threads",
        {"thread_id": "{thread}", "if_exists": "do_nothing", "metadata": {"owner": "{me}"}},
        tells=True,
    ),
    Route("POST", "/threads", {"metadata": {"owner": "{owner}"}}, tells=True),
    Route("POST", "/threads/search", {"limit": 1000}),
    Route("POST", "/threads/search", {"metadata": {"owner": "{owner}"}}),
    Route("POST", "/threads/search", {"metadata": {"$or": [{"owner": "{owner}"}]}}),
    Route("POST", "/threads/search", {"metadata": {"owner": {"$ne": "x"}}}),
    Route("POST", "/threads/search", {"ids": ["{thread}"]}),
    Route(
        "POST",
        "/threads/search",
        {"metadata": {"graph_id": "sales"}, "select": ["thread_id", "values", "metadata"]},
    ),
    Route("POST", "/threads/search", {"limit": 1000, "extract": {"note": "values.note"}}),
    Route("POST", "/threads/search", {"sort_by": "thread_id'; DROP TABLE x; --"}),
    Route("POST", "/threads/count", {"metadata": {"owner": "{owner}"}}),
    Route("POST", "/threads/count", {"values": {"note": "x"}}),
    Route("POST", "/threads/prune", {"thread_ids": ["{thread}"]}),
    Route("POST", "/threads/prune", {"thread_ids": ["{thread}"], "strategy": "keep_latest"}),
)
RUNS = (
    Route("GET", "/threads/{thread}/runs"),
    Route("GET", "/threads/{thread}/runs/{run}"),
    Route("GET", "/threads/{own_thread}/runs/{run}"),
    Route("GET", "/threads/{thread}/runs/{own_run}"),
    Route("GET", "/threads/{thread}/runs/{run}/join"),
    Route("GET", "/threads/{own_thread}/runs/{run}/join"),
    Route("GET", "/threads/{thread}/runs/{run}/stream"),
    Route("GET", "/threads/{own_thread}/runs/{run}/stream"),
    Route("POST", "/threads/{thread}/runs/{run}/cancel"),
    Route("POST", "/threads/{own_thread}/runs/{run}/cancel?action=rollback"),
    Route("POST", "/runs/cancel", {"thread_id": "{thread}", "run_ids": ["{run}"]}),
    Route("POST", "/runs/cancel?action=rollback", {"status": "all"}, tells=True),
    Route("POST", "/threads/{thread}/runs", _RUN),
    Route("POST", "/threads/{thread}/runs/wait", _RUN),
    Route("POST", "/threads/{thread}/runs/stream", _RUN),
    Route("POST", "/threads/{thread}/runs/wait", _RUN | {"if_not_exists": "create"}, tells=True),
    Route(
        "POST",
        "/threads/{thread}/runs/wait",
        _RUN | {"multitask_strategy": "rollback", "metadata": {"owner": "{owner}"}},
    ),
    Route("POST", "/threads/{own_thread}/runs/wait", _RUN | {"assistant_id": "{assistant}"}),
    Route("POST", "/threads/{own_thread}/runs/wait", _RUN | {"checkpoint": _POINTS}),
    Route("POST", "/threads/{own_thread}/runs/wait", _RUN | {"checkpoint_id": "{checkpoint}"}),
    Route("POST", "/threads/{own_thread}/runs/wait", _RUN | {"config": {"configurable": _POINTS}}),
    Route("POST", "/threads/{own_thread}/runs/wait", {"assistant_id": "sales", "input": _PROBE}),
    Route(
        "POST",
        "/threads/{own_thread}/runs/wait",
        {"assistant_id": "sales", "input": _PROBE, "config": {"configurable": _PRETENDS}},
    ),
    Route(
        "POST",
        "/threads/{own_thread}/runs/wait",
        {
            "assistant_id": "sales",
            "input": _PROBE,
            "config": {"configurable": {"user_id": "{owner}"}},
        },
    ),
    Route(
        "POST",
        "/threads/{own_thread}/runs/wait",
        {"assistant_id": "sales", "input": _PROBE, "context": _PRETENDS},
    ),
    Route(
        "POST",
        "/threads/{own_thread}/runs/wait",
        {"assistant_id": "sales", "input": _PROBE, "metadata": _PRETENDS},
    ),
    Route("POST", "/threads/{own_thread}/runs/wait", _RUN | {"webhook": "/threads/{thread}/state"}),
    Route("POST", "/threads/{own_thread}/runs/wait", _RUN | {"webhook": "/threads/{thread}/runs"}),
    Route("POST", "/runs/wait", _RUN | {"config": {"configurable": _POINTS}}),
    Route("POST", "/runs/wait", _RUN | {"checkpoint": _POINTS}),
    Route(
        "POST", "/runs/wait", {"assistant_id": "sales", "input": _PROBE, "on_completion": "keep"}
    ),
    Route("POST", "/runs/wait", {"assistant_id": "{assistant}", "input": {}}),
    Route("POST", "/runs/batch", [_RUN | {"assistant_id": "{assistant}"}]),
    Route("POST", "/a2a/{assistant}", _a2a("message/send", message=_message())),
    Route("POST", "/a2a/sales", _a2a("message/send", message=_message(contextId="{thread}"))),
    Route("POST", "/a2a/sales", _a2a("tasks/get", id="{run}", contextId="{thread}")),
    Route("POST", "/a2a/sales", _a2a("tasks/list", contextId="{thread}")),
    Route("POST", "/a2a/sales", _a2a("tasks/cancel", id="{run}", contextId="{thread}")),
    Route("GET", "/a2a/{assistant}/.well-known/agent-card.json"),
    Route("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}),
)
ASSISTANTS = (
    Route("GET", "/assistants/{assistant}"),
    Route("GET", "/assistants/{assistant}/graph"),
    Route("GET", "/assistants/{assistant}/schemas"),
    Route("GET", "/assistants/{assistant}/subgraphs"),
    Route("POST", "/assistants/{assistant}/versions", {}),
    Route("POST", "/assistants/{assistant}/latest", {"version": 1}),
    Route("PATCH", "/assistants/{assistant}", {"name": "planted"}),
    Route("PATCH", "/assistants/{assistant}", {"metadata": {"owner": "{me}"}}),
    Route(
        "POST",
        "/assistants",
        {"assistant_id": "{assistant}", "graph_id": "sales", "if_exists": "do_nothing"},
        tells=True,
    ),
    Route(
        "POST",
        "/assistants",
        {
            "graph_id": "sales",
            "name": "x",
            "metadata": {"owner": "{owner}", "created_by": "system"},
        },
        tells=True,
    ),
    Route("POST", "/assistants/search", {"limit": 1000}),
    Route("POST", "/assistants/search", {"metadata": {"owner": "{owner}"}}),
    Route("POST", "/assistants/search", {"metadata": {"created_by": "user"}}),
    Route("POST", "/assistants/search", {"name": WORD}),
    Route("POST", "/assistants/count", {"metadata": {"owner": "{owner}"}}),
    Route("DELETE", "/assistants/{assistant}"),
    Route("DELETE", "/assistants/{assistant}?delete_threads=true"),
)
CRONS = (
    Route("GET", "/runs/crons/{cron}"),
    Route("PATCH", "/runs/crons/{cron}", {"schedule": "* * * * *"}),
    Route("POST", "/runs/crons/search", {"limit": 1000}),
    Route("POST", "/runs/crons/search", {"thread_id": "{thread}"}),
    Route("POST", "/runs/crons/search", {"assistant_id": "{assistant}"}),
    Route("POST", "/runs/crons/count", {"thread_id": "{thread}"}),
    Route("POST", "/threads/{thread}/runs/crons", _RUN | {"schedule": "0 0 1 1 *"}),
    Route("POST", "/runs/crons", _RUN | {"assistant_id": "{assistant}", "schedule": "0 0 1 1 *"}),
    Route(
        "POST",
        "/threads/{own_thread}/runs/crons",
        _RUN | {"schedule": "0 0 1 1 *", "webhook": "/threads/{thread}/state"},
    ),
    Route("DELETE", "/runs/crons/{cron}"),
)
LAST = (
    Route("DELETE", "/threads/{thread}/runs/{run}"),
    Route("DELETE", "/threads/{own_thread}/runs/{run}"),
    Route("DELETE", "/threads/{thread}"),
)
STORE = (
    Route("GET", "/store/items?namespace=users.{owner}.facts&key=secret"),
    Route("GET", "/store/items?namespace=users.%25.facts&key=secret"),
    Route("GET", "/store/items?namespace=users.{owner}.facts.&key=secret"),
    Route("GET", "/store/items?namespace=users%2E{owner}%2Efacts&key=secret"),
    Route(
        "PUT",
        "/store/items",
        {
            "namespace": ["users", "{owner}", "facts"],
            "key": "secret",
            "value": {"content": "planted"},
        },
    ),
    Route(
        "PUT",
        "/store/items",
        {"namespace": ["users", "{owner}", "facts"], "key": "new", "value": {"content": "planted"}},
    ),
    Route("DELETE", "/store/items", {"namespace": ["users", "{owner}", "facts"], "key": "secret"}),
    *(
        Route("POST", "/store/items/search", {"namespace_prefix": prefix, "limit": 1000, **more})
        for prefix in (
            [],
            ["users"],
            ["users", "{owner}"],
            ["users", "{owner}", "facts"],
            ["users", "%"],
            ["users", "*"],
        )
        for more in (
            {},
            {"query": WORD},
            {"filter": {"content": {"$ne": None}}},
            {"filter": {"' OR 1=1 --": {"$ne": 1}}},
        )
    ),
    *(
        Route("POST", "/store/namespaces", {"limit": 1000, **more})
        for more in (
            {},
            {"prefix": ["users", "{owner}"]},
            {"prefix": ["users", "*"]},
            {"suffix": ["facts"]},
            {"max_depth": 2},
        )
    ),
)
MCP = (
    Route("POST", "/memory/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    Route("POST", "/memory/mcp", _mcp("search_memory", query=WORD, limit=20)),
    Route("POST", "/memory/mcp", _mcp("search_memory", query=WORD, user_id="{owner}")),
    Route("POST", "/memory/mcp", _mcp("explain_memory", id="{memory}")),
    Route("POST", "/memory/mcp", _mcp("explain_memory", id="{memory}", query=WORD)),
    Route("POST", "/memory/mcp", _mcp("forget_memory", id="{memory}")),
    Route("POST", "/memory/mcp", _mcp("forget_memory", id="{memory}", for_good=True)),
)
_EDGE = {"source": "{memory}", "target": "{own_memory}", "type": "planted"}
_NEW = {"session_id": "{thread}", "agent": "sales", "type": "fact", "content": "planted"}
_OF_ONE = ("", "/history", "/origin", "/relationships", "/graph")
_OF_ALL = (
    "context?session_id={thread}&query=" + WORD, "memories?limit=200",
    "recall?limit=200&query=" + WORD, "recalls",
    "runs?thread_id={thread}", "runs/{run}",
    "sessions", "sessions/{thread}", "sessions/{thread}/turns",
    "brain", "brain/secret", "companies", "audit", "jobs",
    "export",
)  # fmt: skip
MEMORY = (
    *(Route("GET", f"/memory/memories/{{memory}}{part}") for part in _OF_ONE),
    *(Route("GET", f"/memory/memories/{{memory}}{part}?user_id={{owner}}") for part in _OF_ONE),
    *(
        Route("GET", f"/memory/{part}{'&' if '?' in part else '?'}user_id={{owner}}")
        for part in _OF_ALL
    ),
    *(
        Route("GET", f"/memory/{part}")
        for part in (
            "runs?thread_id={thread}",
            "runs?session_id={thread}",
            "runs/{run}",
            "sessions/{thread}",
            "sessions/{thread}/turns",
        )
    ),
    *(
        route
        for query in ("", "?user_id={owner}")
        for route in (
            Route(
                "PATCH",
                "/memory/memories/{memory}" + query,
                {"content": "planted"},
                headers={"If-Match": "*"},
            ),
            Route("DELETE", "/memory/memories/{memory}" + query),
            Route("DELETE", "/memory/memories/{memory}" + (query or "?") + "&for_good=true"),
            Route("PUT", "/memory/relationships" + query, _EDGE),
            Route("POST", "/memory/memories" + query, _NEW | {"identity": "{owner}"}),
            Route("POST", "/memory/erasure" + query, {"confirm": "{owner}"}),
            Route("POST", "/memory/runs/{run}/undo" + query),
            Route("POST", "/memory/runs/{run}/redo" + query),
            Route("PUT", "/memory/companies/{owner}/membership" + query),
            Route("DELETE", "/memory/companies/{owner}/membership" + query),
        )
    ),
    Route("DELETE", "/memory/relationships?source={memory}&target={own_memory}&type=planted"),
    Route("POST", "/memory/memories?user_id={owner}", _NEW),
    Route("PUT", "/memory/brain/secret?user_id={owner}", {"content": "planted"}),
    Route("POST", "/memory/brain?user_id={owner}", {"secret": {"content": "planted"}}),
    Route("DELETE", "/memory/brain/secret?user_id={owner}"),
    Route("DELETE", "/memory/brain/secret?user_id={owner}&for_good=true"),
)
GROUPS = (THREADS, RUNS[::2], RUNS[1::2], (*ASSISTANTS, *CRONS, *STORE), (*MEMORY, *MCP))
"""Routes that can be attacked at the same time; `LAST` is attacked after all of them."""
OPEN = (
    "/ok",
    "/info",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/memory/health",
    "/memory/inspector",
    "/ui",
    "/profile",
    "/.well-known/agent-card.json",
)
