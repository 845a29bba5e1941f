"""`graph-memory benchmark`: it measures, reports missed targets, and leaves no data behind."""

import asyncio
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psycopg
import pytest
from langgraph.store.base import IndexConfig

from graphs.memory.errors import StoreUnavailable
from graphs.memory_manager import MemoryManager
from graphs.operations import benchmarking
from graphs.operations.benchmarking import TARGETS, Measurement, somebody_made_up
from tests.support.operator import Operator

AT_ONCE = 4
UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarking, "CALLS", 2 * AT_ONCE)
    monkeypatch.setattr(benchmarking, "CONVERSATIONS", AT_ONCE)


def test_it_measures_each_work_against_its_target_and_leaves_nobody(
    operate: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "langgraph.json").write_text(
        json.dumps({"graphs": {"one": "graphs.agents.assistant:graph"}})
    )
    monkeypatch.setattr(benchmarking, "TARGETS", dict.fromkeys(TARGETS, 60_000.0))
    told = operate.json("benchmark", "--memories", "105", "--agent", "one", "--output", "chart.svg")
    assert {each["work"] for each in told["works"]} == TARGETS.keys()
    assert {each["at_once"] for each in told["works"]} == {1, AT_ONCE}
    for each in told["works"]:
        assert 0 < each["p50"] <= each["p95"] <= each["p99"]
    assert (told["met"], told["memories"]) == (True, 105)
    root = ElementTree.parse(tmp_path / "chart.svg").getroot()  # noqa: S314  our own file
    drawn = "".join(root.itertext())
    assert all(work in drawn for work in TARGETS)
    assert nobody_is_left(operate.database)

    monkeypatch.setattr(
        benchmarking, "TARGETS", dict.fromkeys(TARGETS, 60_000.0) | {"get by id": 0.0001}
    )
    missed = operate("benchmark", "--memories", "105", "--output", "chart.html")
    assert missed.exit_code == 1
    assert "yes" in missed.stdout
    [line] = [line for line in missed.stdout.splitlines() if "NO" in line]
    assert "get by id" in line
    assert (tmp_path / "chart.html").read_text().startswith("<!doctype html>")


def nobody_is_left(database: str) -> bool:
    with psycopg.connect(database) as conn:
        tables = conn.execute("SELECT name, columns FROM memory.personal_tables()").fetchall()
        left = [
            name
            for name, columns in tables
            for column in columns
            if column != "actor"
            and conn.execute(f"SELECT FROM {name} WHERE {column} IS NOT NULL").rowcount
        ]
        threads = conn.execute("SELECT FROM langgraph.checkpoints").rowcount
        return (
            not left and threads == 0 and conn.execute("SELECT FROM memory.erasures").rowcount > 0
        )


async def test_nobody_is_left_where_it_is_interrupted(database: str, index: IndexConfig) -> None:
    for moment in ("fill", "measure"):
        begun = asyncio.Event()

        async def work(moment: str = moment, begun: asyncio.Event = begun) -> None:
            opened = MemoryManager.from_conn_string(database, index=index)
            async with opened as store, somebody_made_up(store) as trial:
                await trial.fill(1000, lambda *_: begun.set() if moment == "fill" else None)
                async for _ in trial.measure(lambda *_: begun.set()):
                    pass

        working = asyncio.create_task(work())
        await begun.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert nobody_is_left(database)


async def test_who_could_not_be_erased_is_named(
    store: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(user_id: str) -> None:
        raise StoreUnavailable("The database is not available.")

    monkeypatch.setattr(store, "erase_user", gone)
    with pytest.raises(StoreUnavailable, match=f"erase-user --user-id {UUID4}"):
        async with somebody_made_up(store):
            pass


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        (["--memories", "10"], "105"),
        (["--output", "chart.png"], ".svg"),
        (["--agent", "none"], "choose one of one, lost, dictionary"),
        (["--agent", "dictionary"], "is not a compiled graph"),
        (["--agent", "lost"], "cannot be imported"),
    ],
)
def test_what_cannot_be_measured_is_wrong_usage(
    arguments: list[str],
    because: str,
    operate: Operator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    graphs: dict[str, Any] = {
        "one": "graphs.agents.assistant:graph",
        "lost": "no_such_module:graph",
    }
    graphs["dictionary"] = {"path": "graphs.cli.svg:COLOURS"}
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": graphs}))
    ended = operate("benchmark", *arguments)
    assert (ended.exit_code, because in ended.output) == (2, True), ended.output


def test_a_target_is_met_by_ninety_five_calls_of_a_hundred() -> None:
    measured = {"work": "get by id", "at_once": 1, "calls": 100, "p50": 1, "p99": 99, "target": 10}
    assert [Measurement(**measured, p95=p95).met for p95 in (9.9, 10, 10.1)] == [True, True, False]
