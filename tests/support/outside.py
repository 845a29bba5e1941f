"""Servers with the parts of hosted Mem0 and Upstash that their clients use; they fail on demand."""

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

TOKEN = "a-token-of-the-stub"


class Fault(NamedTuple):
    """A failure of the next request whose line matches."""

    line: str
    """A regular expression for "METHOD path"."""
    status: int = 500
    headers: tuple[tuple[str, str], ...] = ()
    lost: bool = False
    """Whether the request is carried out, but not answered."""
    seconds: float = 0
    """Seconds until the answer."""


class OutsideStub:
    """A server on a free port of 127.0.0.1. `heard` holds all requests: lines, headers, bodies."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.lines: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[Any]:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: Any, body: Any
    ) -> tuple[int, Any]:
        raise NotImplementedError


class Mem0Stub(OutsideStub):
    """Hosted Mem0: adds are done in the background, after `polls` queries, or never (`fails`)."""

    def __init__(self) -> None:
        super().__init__()
        self.memories: dict[str, dict[str, Any]] = {}
        self.users: set[str] = set()
        self.polls = 0
        self.fails = 0
        self._events: dict[str, dict[str, Any]] = {}

    def texts(self) -> list[str]:
        return sorted(memory["memory"] for memory in self.memories.values())

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: Any, body: Any
    ) -> tuple[int, Any]:
        if headers["Authorization"] != f"Token {TOKEN}":
            return 401, {"detail": "Invalid API key"}
        match (method, [part for part in path.split("/") if part]):
            case "GET", ["v1", "ping"]:
                return 200, {
                    "status": "ok",
                    "org_id": "o",
                    "project_id": "p",
                    "user_email": "ops@example.com",
                }
            case "POST", ["v3", "memories", "add"]:
                return 200, self._add(body)
            case "GET", ["v1", "event", event_id]:
                return self._event(event_id)
            case "POST", ["v3", "memories"]:
                return 200, {
                    "count": 0,
                    "next": None,
                    "previous": None,
                    "results": self._matching(body["filters"]),
                }
            case "POST", ["v3", "memories", "search"]:
                found = [
                    m for m in self.memories.values() if m["user_id"] == body["filters"]["user_id"]
                ]
                return 200, {"results": found[: body["top_k"]]}
            case "PUT", ["v1", "memories", memory_id] if memory_id in self.memories:
                self.memories[memory_id] |= {"memory": body["text"], "metadata": body["metadata"]}
                return 200, self.memories[memory_id]
            case "DELETE", ["v1", "memories", memory_id] if memory_id in self.memories:
                return 200, self.memories.pop(memory_id)
            case "DELETE", ["v1", "memories"]:
                kept = {
                    i: m
                    for i, m in self.memories.items()
                    if query.get("user_id") not in (None, m["user_id"])
                }
                self.memories = kept
                return 200, {"message": "Memories deleted successfully!"}
            case "DELETE", ["v2", "entities", "user", name] if name in self.users:
                self.users.discard(name)
                return 200, {"message": "Entity deleted successfully!"}
        return 404, {"detail": "Not found"}

    def _add(self, body: Any) -> dict[str, Any]:
        self.users.add(body["user_id"])
        event_id = str(uuid4())
        self._events[event_id] = {
            "polls": self.polls,
            "body": body,
            "status": "PENDING",
            "results": [],
        }
        if not self.polls:
            self._finish(event_id)
        return {
            "message": "queued for background execution",
            "status": "PENDING",
            "event_id": event_id,
        }

    def _event(self, event_id: str) -> tuple[int, Any]:
        if event_id not in self._events:
            return 404, {"detail": "Not found"}
        event = self._events[event_id]
        event["polls"] -= 1
        if event["polls"] <= 0 and event["status"] == "PENDING":
            self._finish(event_id)
        return 200, {
            "id": event_id,
            "event_type": "ADD",
            **{name: event[name] for name in ("status", "results")},
        }

    def _finish(self, event_id: str) -> None:
        event = self._events[event_id]
        if self.fails:
            self.fails -= 1
            event["status"] = "FAILED"
            return
        body, memory_id = event["body"], str(uuid4())
        assert body["infer"] is False
        self.memories[memory_id] = {
            "id": memory_id,
            "memory": body["messages"][0]["content"],
            "user_id": body["user_id"],
            "metadata": body["metadata"],
            "created_at": f"{time.time():020.6f}",
        }
        event |= {"status": "SUCCEEDED", "results": [{"memory": "no id in here", "event": "ADD"}]}

    def _matching(self, filters: Any) -> list[dict[str, Any]]:
        user, metadata = (
            next(f[name] for f in filters["AND"] if name in f) for name in ("user_id", "metadata")
        )
        return [
            memory
            for memory in self.memories.values()
            if memory["user_id"] == user and metadata.items() <= memory["metadata"].items()
        ]


class UpstashStub(OutsideStub):
    """QStash, which publishes each message once, and a Redis of hashes."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, Any] = {}
        self.hashes: dict[str, dict[str, str]] = {}
        self.expiring: dict[str, int] = {}

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: Any, body: Any
    ) -> tuple[int, Any]:
        if headers["Authorization"] != f"Bearer {TOKEN}":
            return 401, {"error": "Unauthorized"}
        if path.startswith("/v2/publish/"):
            known = headers["Upstash-Deduplication-Id"] in self.messages
            self.messages.setdefault(headers["Upstash-Deduplication-Id"], body)
            return (202 if known else 201), {
                "messageId": "msg_1",
                **({"deduplicated": True} if known else {}),
            }
        if path == "/v2/topics":
            return 200, []
        if path == "/multi-exec":
            return 200, [{"result": self._redis(*command)} for command in body]
        return 200, {"result": self._redis(*body)}

    def _redis(self, command: str, *arguments: Any) -> Any:
        match command, arguments:
            case "PING", _:
                return base64.b64encode(b"PONG").decode()
            case "HSET", (key, *pairs):
                self.hashes.setdefault(key, {}).update(zip(pairs[::2], pairs[1::2], strict=True))
                return len(pairs) // 2
            case "HDEL", (key, *fields):
                return len([self.hashes.get(key, {}).pop(field, None) for field in fields])
            case "EXPIRE", (key, seconds):
                self.expiring[key] = seconds
                return 1
            case "DEL", keys:
                return len([self.hashes.pop(key, None) for key in keys])
        raise AssertionError(f"the stub does not support {command}")


def _handler(stub: OutsideStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"] or 0))
            line = f"{self.command} {unquote(self.path)}"
            with stub.lock:
                stub.lines.append(line)
                stub.heard += [line, str(self.headers), content.decode()]
                fault = next((f for f in stub.faults if re.search(f.line, line)), None)
                if fault:
                    stub.faults.remove(fault)
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                if fault is None or fault.lost or fault.seconds:
                    body = json.loads(content) if content else None
                    status, answer = stub.answer(self.command, url.path, query, self.headers, body)
                else:
                    status, answer = (
                        fault.status,
                        {"detail": "failing as asked", "error": "failing as asked"},
                    )
            if fault and fault.seconds:
                time.sleep(fault.seconds)
            if fault and fault.lost:
                self.close_connection = True
                return
            with suppress(ConnectionError):  # the client may have gone
                self._send(
                    status, dict(fault.headers) if fault else {}, json.dumps(answer).encode()
                )

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  the parent's names

        def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the parent's name
            pass

    return Handler
