"""The examples of the README and of docs/*.md, run as they stand there.

tests/integration/test_guides.py follows docs/operations.md and docs/guides/.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from dotenv import dotenv_values
from langgraph.store.base import IndexConfig, TTLConfig
from langgraph.store.memory import InMemoryStore

from graphs.deployment.settings import Settings, load_settings
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.support import markdown
from tests.support.server import Server

Running = Callable[..., str]

ROOT = Path(__file__).parents[2]
PAGES = {
    page.relative_to(ROOT).as_posix(): markdown.blocks(page.read_text())
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
README, AGENTS, CONFORMANCE = "README.md", "docs/agents.md", "docs/conformance.md"

SCRIPTS = [
    pytest.param(block.text, following.text, id=f"{page}:{block.line}")
    for page, found in PAGES.items()
    for block, following in zip_longest(found, found[1:], fillvalue=markdown.Block("", "", 0))
    if block.language == "python" and 'os.environ["DATABASE_URL"]' in block.text
]
"""Examples that need only a database, each with the output that follows it."""

OTHERS = {
    README: ["client.store.search_items", "with_memory"],
    AGENTS: ['"supervisor"'],
    CONFORMANCE: ["conformance"],
    "docs/http-api.md": ["include_memory"],  # run by tests/integration/test_http_routes.py
    "docs/observability.md": ["telemetry.adapter_call"],  # two lines for those who write adapters
}
"""All other examples in Python, by words of theirs."""


def blocks(page: str, language: str) -> list[str]:
    return [block.text for block in PAGES[page] if block.language == language]


def example(page: str, of: str) -> str:
    """Return the one Python example of a page that contains these words."""
    [found] = [block for block in blocks(page, "python") if of in block]
    return found


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Running:
    """Return a function that runs an example in this process and returns its output."""

    def run(script: str, database: str) -> str:
        monkeypatch.setenv("DATABASE_URL", database)
        load_settings.cache_clear()
        exec(script, {"__name__": "__main__"})
        load_settings.cache_clear()
        return capsys.readouterr().out

    return run


def run(command: list[str], **environment: str) -> str:
    ran = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_every_example_in_python_is_known_to_a_test() -> None:
    here = [str(script.values[0]) for script in SCRIPTS]
    here += [example(page, words) for page, listed in OTHERS.items() for words in listed]
    assert sorted(here) == sorted(text for page in PAGES for text in blocks(page, "python"))


@pytest.mark.parametrize(("script", "promised"), SCRIPTS)
def test_an_example_prints_what_its_page_says(
    running: Running, empty_database: str, script: str, promised: str
) -> None:
    assert running(script, empty_database) == promised


async def test_the_tours_print_what_their_pages_say(project: Path) -> None:
    tour, promised = example(README, "client.store.search_items"), blocks(README, "text")[0]
    agents, handed_on = example(AGENTS, '"supervisor"'), blocks(AGENTS, "text")[0]
    demo = next(
        block.split()[1] for block in blocks(AGENTS, "bash") if "graph-memory demo" in block
    )
    curl = "\n".join(block for block in blocks(README, "bash") if "curl" in block)
    server = await asyncio.to_thread(Server(project).start)
    try:
        printed = await asyncio.to_thread(
            run, [sys.executable, "-c", tour.replace("http://127.0.0.1:2024", server.url)]
        )
        found = await asyncio.to_thread(
            run, ["bash", "-c", curl.replace("http://127.0.0.1:2024", server.url)]
        )
        await asyncio.to_thread(
            run, [sys.executable, "-m", "graphs.cli.main", demo], DATA_DIR=str(project / ".data")
        )
        routed = await asyncio.to_thread(
            run, [sys.executable, "-c", agents.replace("http://127.0.0.1:2024", server.url)]
        )
    finally:
        server.stop()
    assert printed == promised
    assert (
        found.count("My budget is 80k for a welding robot.")
        == len(re.findall("^curl", curl, re.MULTILINE))
        == 2
    )
    assert routed == handed_on


async def test_the_example_agent_runs_with_memory(store: MemoryManager) -> None:
    module: dict[str, Any] = {}
    exec(example(README, "with_memory"), module)
    graph = module["graph"].copy({"store": store})
    user_id = str(uuid4())
    with acting_as(Principal.user(user_id)):
        await graph.ainvoke({"messages": [{"role": "user", "content": "My dog is called Rex."}]})
        await store.jobs.run_pending()
        result = await graph.ainvoke({"messages": [{"role": "user", "content": "Who is my dog?"}]})
    assert result["messages"][-1].content == "I remember 1 things that matter here."


async def test_the_contract_can_be_asked_of_any_store() -> None:
    @asynccontextmanager
    async def open_store(
        *, index: IndexConfig | None, ttl: TTLConfig | None
    ) -> AsyncIterator[InMemoryStore]:
        yield InMemoryStore(index=index)

    module: dict[str, Any] = {"open_store": open_store}
    exec(example(CONFORMANCE, "conformance"), module)
    (marked,) = module["test_contract"].pytestmark
    name, checks = marked.args
    await module["test_contract"](**{name: checks[0]})
    assert {"recall", "extensions"} & {check.capability for check in checks} == {"recall"}


@pytest.mark.parametrize("target", ["dev", "test"])
def test_the_two_commands_exist(target: str) -> None:
    assert f"make {target}" in blocks(README, "bash")[0]
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_a_page_shows_exists(page: str) -> None:
    shown = [dotenv_values(stream=StringIO(block)) for block in blocks(page, "dotenv")]
    assert {name.lower() for names in shown for name in names} <= Settings.model_fields.keys()
