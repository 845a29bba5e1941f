"""A server that speaks enough of OpenAI's API for chat (streamed or not) and embeddings."""

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
    """Runs on a free port of 127.0.0.1 and keeps the requests it got. Embeddings are hashes of their texts.

    Args:
        message: what it always says in a chat that is not streamed, as OpenAI's API has it, such as a refusal.
        seconds: how long it takes for it.
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

    def _handler(stub) -> type[BaseHTTPRequestHandler]:  # noqa: N805  `self` is the handler's, below
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
                    with suppress(BrokenPipeError):  # nobody waits for it any more
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
                        f"data: {json.dumps(chunk | {'object': 'chat.completion.chunk'})}\n\n".encode()
                    )
                self.wfile.write(b"data: [DONE]\n\n")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the parent's name
                pass

        return Handler


def _answer(body: dict[str, Any]) -> str:
    """What the model says; asked to extract memories, it repeats what the user said, as a list of them."""
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
