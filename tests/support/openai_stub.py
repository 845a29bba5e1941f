"""A server with the parts of OpenAI's API that are used: chat (also streamed) and embeddings."""

import hashlib
import json
import re
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

ANSWER = "A real model would say: noted."


class OpenAIStub:
    """A server on a free port of 127.0.0.1 that records requests. Embeddings are hashes of texts.

    Args:
        message: The answer to every chat that is not streamed, in OpenAI's form, e.g. a refusal.
        seconds: The time that this answer takes.
    """

    def __init__(self, message: dict[str, Any] | None = None, seconds: float = 0) -> None:
        self.message = message
        self.seconds = seconds
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def asked(self, path: str) -> list[dict[str, Any]]:
        return [body for where, body in self.requests if where.endswith(path)]

    def __enter__(self) -> "OpenAIStub":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    # The inner class uses `self`.
    def _handler(stub) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.requests.append((self.path, body))
                if self.path.endswith("/embeddings"):
                    self._send(_embeddings(body))
                elif body.get("stream"):
                    self._stream(body)
                else:
                    time.sleep(stub.seconds)
                    message = {"role": "assistant", **(stub.message or {"content": _answer(body)})}
                    with suppress(BrokenPipeError):  # the client may have gone
                        self._send(_completion(body, {"message": message}))

            def _send(self, answer: dict[str, Any]) -> None:
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _stream(self, body: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for word in ANSWER.split(" "):
                    chunk = _completion(
                        body, {"delta": {"role": "assistant", "content": word + " "}}
                    )
                    self.wfile.write(
                        b"data: "
                        + json.dumps(chunk | {"object": "chat.completion.chunk"}).encode()
                        + b"\n\n"
                    )
                self.wfile.write(b"data: [DONE]\n\n")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the parent's name
                pass

        return Handler


def _answer(body: dict[str, Any]) -> str:
    """Return the model's answer; an extraction prompt gets the user's sentences as a list."""
    prompt = str(body["messages"][-1]["content"])
    if "## New Messages" not in prompt:
        return ANSWER
    new = prompt.split("## New Messages")[1].split("## Observation Date")[0]
    said = re.findall(r"^user: (.+)$", new, re.MULTILINE)
    return json.dumps({"memory": [{"id": str(n), "text": text} for n, text in enumerate(said)]})


def _completion(body: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    finished = "stop" if "message" in choice else None
    return {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": finished, **choice}],
    }


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vectors = [_vector(str(text), body.get("dimensions", 1536)) for text in texts]
    data = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors)]
    return {
        "object": "list",
        "model": body["model"],
        "data": data,
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }


def _vector(text: str, dimensions: int) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[n % 32] / 255 + 0.001 for n in range(dimensions)]
