"""The README's examples, run as they stand there."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig, TTLConfig
from langgraph.store.memory import InMemoryStore

from graphs.deployment.settings import load_settings
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.support import markdown
from tests.support.server import Server

Running = Callable[..., str]

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return [block.text for block in markdown.blocks(README) if block.language == language]


def example(of: str) -> str:
    """The one Python example that has these words."""
    [found] = [block for block in blocks("python") if of in block]
    return found


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Running:
    """Runs an example as a script, in this process, and gives what it prints."""

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


async def test_the_tour_prints_what_the_readme_says(project: Path) -> None:
    tour, promised = example("client.store.search_items"), blocks("text")[0]
    agents, handed_on = example('"supervisor"'), blocks("text")[1]
    demo = next(block.split()[1] for block in blocks("bash") if "graph-memory demo" in block)
    curl = "\n".join(block for block in blocks("bash") if "curl" in block)
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


def test_the_store_example_finds_the_welding_robot(running: Running, empty_database: str) -> None:
    printed = running(example("A welding robot with six axes"), empty_database)
    assert [line.split()[0] for line in printed.splitlines()] == ["r1"]


def test_the_example_of_beliefs_recalls_what_is_believed_now(
    running: Running, empty_database: str
) -> None:
    believed, *paths = running(example("MemoryRetriever"), empty_database).splitlines()
    assert f"It prints `{believed}`" in README
    assert {path[2:] for path in paths} == {"A used robot is affordable", "A new robot is too dear"}


def test_the_example_of_a_persons_rights_prints_what_the_readme_says(
    running: Running, empty_database: str
) -> None:
    printed = running(example("erase_user"), empty_database)
    assert f"It prints `{printed.strip()}`" in README


async def test_the_example_agent_runs_with_memory(store: MemoryManager) -> None:
    module: dict[str, Any] = {}
    exec(example("with_memory"), module)
    graph = module["graph"].copy({"store": store})
    user_id = str(uuid4())
    with acting_as(Principal.user(user_id)):
        await graph.ainvoke({"messages": [{"role": "user", "content": "My dog is called Rex."}]})
        await store.jobs.run_pending()
        result = await graph.ainvoke({"messages": [{"role": "user", "content": "Who is my dog?"}]})
    assert result["messages"][-1].content == "I remember 1 things that matter here."


def test_the_example_of_the_brain_prints_what_the_readme_says(
    running: Running, empty_database: str
) -> None:
    printed = running(example("memory_tools"), empty_database)
    assert printed == blocks("text")[2]


async def test_the_contract_can_be_asked_of_any_store() -> None:
    @asynccontextmanager
    async def open_store(
        *, index: IndexConfig | None, ttl: TTLConfig | None
    ) -> AsyncIterator[InMemoryStore]:
        yield InMemoryStore(index=index)

    module: dict[str, Any] = {"open_store": open_store}
    exec(example("conformance"), module)
    (marked,) = module["test_contract"].pytestmark
    name, checks = marked.args
    await module["test_contract"](**{name: checks[0]})
    assert {"recall", "extensions"} & {check.capability for check in checks} == {"recall"}


@pytest.mark.parametrize("target", ["dev", "test"])
def test_the_two_commands_exist(target: str) -> None:
    assert f"make {target}" in blocks("bash")[0]
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
