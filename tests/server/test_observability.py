"""Metrics and health of a running server."""

import asyncio
import re

import httpx

from tests.support.chat import talk
from tests.support.server import Server, sign_in

SECRET = "xylophone"


async def text_of(url: str, path: str, until: str = "") -> str:
    """Wait until a path's answer contains a text, and return it; metrics may lag behind a run."""
    async with httpx.AsyncClient(base_url=url) as http:
        for _ in range(100):
            if until in (text := (await http.get(path)).text):
                return text
            await asyncio.sleep(0.1)
    raise AssertionError(text)


async def test_the_servers_metrics_show_the_memorys_beside_its_own(server: Server) -> None:
    await talk(server.client(sign_in()), f"I own a {SECRET}.")
    text = await text_of(server.url, "/metrics", until='memory_operation="extract_facts"')
    # A series with failures has one more label.
    for operation in ("load_context", "write_memory"):
        assert re.search(
            rf'^memory_operation_duration_seconds_count{{.*memory_operation="{operation}"',
            text,
            re.MULTILINE,
        )
    assert re.search(
        r'^memory_job_duration_seconds_count{.*memory_job_name="extract_facts"', text, re.MULTILINE
    )
    assert re.search(
        r'^memory_health_status{memory_health_part="database".*} 0\.0$', text, re.MULTILINE
    )
    assert 'db_client_connection_count{db_client_connection_pool_name="memory",' in text
    assert "lg_api_http_requests_total" in text
    assert SECRET not in text
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families)), "no metric is exported twice"


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
