"""A server with the parts of Supabase Storage that are used; it asks for the service key."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

SERVICE_KEY = "service-role-key-of-the-stub"


class StorageStub:
    """A server on a free port of 127.0.0.1. `failures` holds the statuses of its next answers."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.failures: list[int] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def storage_stub() -> Iterator[StorageStub]:
    stub = StorageStub()
    thread = threading.Thread(target=stub.server.serve_forever, daemon=True)
    thread.start()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()


def _handler(stub: StorageStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if path := self._allowed():
                if path in stub.objects and self.headers["x-upsert"] != "true":
                    return self._answer(
                        400,
                        {"statusCode": "409", "error": "Duplicate", "message": "already exists"},
                    )
                stub.objects[path] = self._uploaded()
                self._answer(200, {"Key": path, "Id": "1"})
            return None

        def do_GET(self) -> None:
            if path := self._allowed():
                if path not in stub.objects:
                    return self._answer(
                        400,
                        {"statusCode": "404", "error": "not_found", "message": "Object not found"},
                    )
                self._send(200, "application/octet-stream", stub.objects[path])
            return None

        def do_DELETE(self) -> None:
            if bucket := self._allowed():
                for path in json.loads(self._body())["prefixes"]:
                    stub.objects.pop(f"{bucket}/{path}", None)
                self._answer(200, [])

        def _allowed(self) -> str | None:
            """Return the requested bucket and path; None if an error has been sent."""
            stub.requests.append(f"{self.command} {self.path}")
            if stub.failures:
                self._body()
                status = stub.failures.pop(0)
                self._answer(
                    status,
                    {"statusCode": str(status), "error": "failure", "message": "failing as asked"},
                )
            elif (
                self.headers["Authorization"] != f"Bearer {SERVICE_KEY}"
                or self.headers["apikey"] != SERVICE_KEY
            ):
                self._answer(
                    400, {"statusCode": "403", "error": "Unauthorized", "message": "invalid key"}
                )
            elif found := re.fullmatch(r"/storage/v1/object/(memory(?:/.+)?)", unquote(self.path)):
                return found[1]
            else:
                self._answer(
                    400,
                    {
                        "statusCode": "404",
                        "error": "Bucket not found",
                        "message": "Bucket not found",
                    },
                )
            return None

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"] or 0))

        def _uploaded(self) -> bytes:
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts: Any = BytesParser().parsebytes(head + self._body()).get_payload()
            content: bytes = next(
                part.get_payload(decode=True) for part in parts if part.get_filename()
            )
            return content

        def _answer(self, status: int, content: Any) -> None:
            self._send(status, "application/json", json.dumps(content).encode())

        def _send(self, status: int, type_: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", type_)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the parent's name
            pass

    return Handler
