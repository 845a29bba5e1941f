"""What a running server tells of itself: its metrics and health, and spans where a collector is named."""

import asyncio
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.conftest import as_url, create_database, make_project
from tests.support.chat import talk
from tests.support.server import JWT_SECRET, Server, sign_in

SECRET = "xylophone"


async def text_of(url: str, path: str, until: str = "") -> str:
    """What a path answers, once it contains a text; what is measured behind a run may need a moment."""
    async with httpx.AsyncClient(base_url=url) as http:
        for _ in range(100):
            if until in (text := (await http.get(path)).text):
                return text
            await asyncio.sleep(0.1)
    raise AssertionError(text)


async def test_the_servers_metrics_show_the_memorys_beside_its_own(server: Server) -> None:
    await talk(server.client(sign_in()), f"I own a {SECRET}.")
    text = await text_of(server.url, "/metrics", until='memory_operation="extract_facts"')
    # Where some failed, all have a label for that, too.
    for operation in ("load_context", "write_memory"):
        assert re.search(
            rf'^memory_operation_duration_seconds_count{{.*memory_operation="{operation}"', text, re.MULTILINE
        )
    assert re.search(r'^memory_job_duration_seconds_count{.*memory_job_name="extract_facts"', text, re.MULTILINE)
    assert re.search(r'^memory_health_status{memory_health_part="database".*} 0\.0$', text, re.MULTILINE)
    assert 'db_client_connection_count{db_client_connection_pool_name="memory",' in text
    assert "lg_api_http_requests_total" in text
    assert SECRET not in text
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families)), "no metric comes twice"


async def test_health_tells_everybody_whether_and_the_signed_in_which_part(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.get("/memory/health")).json() == {"status": "ok"}
        forged = {"Authorization": "Bearer forged"}
        assert (await http.get("/memory/health", headers=forged)).json() == {"status": "ok"}
        signed_in = {"Authorization": f"Bearer {sign_in()}"}
        told = (await http.get("/memory/health", headers=signed_in)).json()
    assert told["status"] == "ok"
    assert told["parts"]["database"] == {"status": "ok"}
    assert {"schema", "embeddings", "jobs", "index", "audit", "storage"} < set(told["parts"])


class Collector:
    """Takes what exporters send over HTTP, and keeps it as it comes: protobuf, with texts as they are."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(collector) -> type[BaseHTTPRequestHandler]:  # noqa: N805  `self` is the handler's, below
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

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


async def test_spans_go_to_the_collector_that_is_named_and_hold_nothing_that_was_said(
    collector: Collector, postgres: str, template: str, tmp_path: Path
) -> None:
    environment = {  # with a database of its own: the jobs are nobody else's
        "DATABASE_URL": as_url(postgres, create_database(postgres, template)),
        "SUPABASE_JWT_SECRET": JWT_SECRET,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    server = Server(make_project(tmp_path / "traced"), environment).start()
    try:
        await talk(server.client(sign_in()), f"I own a {SECRET}.")
        await text_of(server.url, "/metrics", until='memory_operation="extract_facts"')
    finally:
        server.stop()  # the last spans and metrics are sent at the end

    spans, metrics = collector.received["/v1/traces"], collector.received["/v1/metrics"]
    for name in (b"memory.load_context", b"memory.write_memory", b"job extract_facts", b"embeddings wordllama"):
        assert name in spans
    assert b"memory.operation.duration" in metrics
    for sent in (spans, metrics, server.log.read_bytes()):
        assert SECRET.encode() not in sent
    assert "Traceback" not in server.log.read_text()
    assert "BlockingError" not in server.log.read_text()
