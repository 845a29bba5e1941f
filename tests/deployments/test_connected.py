"""One deployment with everything on: hosted models, adapters of external services, a collector."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.conftest import as_url, create_database, drop_database, make_project
from tests.support.chat import facts, says, talk
from tests.support.openai_stub import ANSWER, OpenAIStub
from tests.support.outside import TOKEN, Mem0Stub, UpstashStub
from tests.support.server import JWT_SECRET, Server, sign_in

SECRET = "xylophone"


class Collector:
    """An OTLP receiver over HTTP that keeps the raw bodies: protobuf has texts in plain."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    # The inner class uses `self`.
    def _handler(collector) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.received[self.path] = collector.received.get(self.path, b"") + body
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the parent's
                pass

        return Handler

    def __enter__(self) -> "Collector":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class Connected:
    """A server with stubs of all the external services that it uses."""

    def __init__(self, folder: Path, database: str, stack: ExitStack) -> None:
        self.openai = stack.enter_context(OpenAIStub())
        self.mem0 = stack.enter_context(Mem0Stub().running())
        self.upstash = stack.enter_context(UpstashStub().running())
        self.collector = stack.enter_context(Collector())
        self.server = Server(
            make_project(folder), {"DATABASE_URL": database, **self._settings()}
        ).start()
        stack.callback(self.server.stop)

    def _settings(self) -> dict[str, str]:
        return {
            "SUPABASE_JWT_SECRET": JWT_SECRET,
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": self.openai.url,
            "MEMORY_HASH_KEY": "a key of the tests, and no other",
            "MEM0_BACKEND": "platform",
            "MEM0_API_KEY": TOKEN,
            "MEM0_HOST": self.mem0.url,
            "MEM0_MODE": "shadow",
            "UPSTASH_QSTASH_MODE": "on",
            "UPSTASH_QSTASH_TOKEN": TOKEN,
            "UPSTASH_QSTASH_URL": self.upstash.url,
            "UPSTASH_QSTASH_DESTINATION": "https://example.com/told",
            "UPSTASH_REDIS_MODE": "on",
            "UPSTASH_REDIS_REST_URL": self.upstash.url,
            "UPSTASH_REDIS_REST_TOKEN": TOKEN,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }


@pytest.fixture(scope="module")
def connected(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connected]:
    """Yield the deployment on its own database: workers of other servers would take its jobs."""
    name = create_database(postgres, "template0")
    with ExitStack() as stack:
        running = Connected(
            tmp_path_factory.mktemp("connected") / "project", as_url(postgres, name), stack
        )
        yield running
    drop_database(postgres, name)
    assert not any(SECRET.encode() in sent for sent in running.collector.received.values()), (
        "no export contains the secret, not even the last one"
    )


@pytest.fixture
async def client(connected: Connected) -> AsyncIterator[LangGraphClient]:
    """Yield a client of a new user; check that the server logged no errors for it."""
    yield connected.server.client(sign_in())
    log = connected.server.log.read_text()
    assert "BlockingError" not in log
    assert "Traceback" not in log


async def test_a_key_switches_to_the_hosted_models(
    connected: Connected, client: LangGraphClient
) -> None:
    """Answer and embed with the hosted models, through the same graph."""
    assert (await talk(client, "My budget is 80k.")).strip() == ANSWER
    assert await facts(client) == ["My budget is 80k."]
    thread_id = (await client.threads.create())["thread_id"]
    tokens = [
        part.data[0]["content"]
        async for part in client.runs.stream(
            thread_id, "assistant", input=says("My budget is 80k."), stream_mode="messages-tuple"
        )
        if part.event.startswith("messages")
    ]

    assert "".join(tokens).strip() == ANSWER
    assert len(tokens) >= len(ANSWER.split())
    embedded = connected.openai.asked("/embeddings")
    assert {(body["model"], body["dimensions"]) for body in embedded} == {
        ("text-embedding-3-large", 1536)
    }
    chats = connected.openai.asked("/chat/completions")
    prompts = [message["content"] for body in chats for message in body["messages"]]
    assert any(
        "earlier conversations" in prompt and "My budget is 80k." in prompt for prompt in prompts
    )
    assert "sk-test" not in connected.server.log.read_text()


async def test_what_is_said_in_a_thread_arrives_at_mem0_and_upstash_redacted(
    connected: Connected, client: LangGraphClient
) -> None:
    mem0, upstash = connected.mem0, connected.upstash
    await talk(client, "My address is ann@example.com.")
    for _ in range(300):
        told = [text for text in mem0.texts() if "address" in text]
        if told and len(upstash.messages) >= 2 and upstash.hashes:
            break
        await asyncio.sleep(0.1)
    await talk(client, "What is my address?")
    assert told == ["My address is <email_1>."]
    assert {message["kind"] for message in upstash.messages.values()} >= {
        "turn_committed",
        "memory_written",
    }
    assert "ann@example.com" not in "".join(mem0.heard + upstash.heard)


async def test_spans_go_to_the_collector_that_is_named_and_hold_nothing_that_was_said(
    connected: Connected, client: LangGraphClient
) -> None:
    await talk(client, f"I own a {SECRET}.")
    assert await facts(client) == [f"I own a {SECRET}."]
    received = connected.collector.received
    for name in (
        b"memory.load_context",
        b"memory.write_memory",
        b"job extract_facts",
        b"embeddings text-embedding",
    ):
        await arrival(received, "/v1/traces", name)
    await arrival(received, "/v1/metrics", b"memory.operation.duration")
    for sent in (*received.values(), connected.server.log.read_bytes()):
        assert SECRET.encode() not in sent


async def arrival(received: dict[str, bytes], path: str, name: bytes) -> None:
    """Wait until something with that name has been sent."""
    for _ in range(100):
        if name in received.get(path, b""):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{name!r} was not sent to {path}")
