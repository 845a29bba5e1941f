"""The benchmarks run from start to end, at a size too small for useful numbers."""

import asyncio
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch
from xml.etree import ElementTree

import pytest

from benchmarks import moving
from tests.conftest import quick_folder

ROOT = Path(__file__).parents[2]
TINY = ("--rounds", "1", "--calls", "2", "--budget", "1", "--shared-buffers", "")


Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a benchmark in this process and returns its output."""
    monkeypatch.setattr(tempfile, "tempdir", quick_folder())

    def run(script: str, *options: str) -> str:
        with patch.dict(os.environ):
            importlib.import_module(f"benchmarks.{script}").main(options)
        return capsys.readouterr().out

    return run


def run_alone(script: str, *options: str) -> str:
    """Run a benchmark as its docstring says, and return its output."""
    command = [sys.executable, "-m", f"benchmarks.{script}", *options]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def columns(printed: str) -> Iterator[list[str]]:
    """Yield the cells of every row of every table."""
    for line in printed.splitlines():
        if line.startswith("| ") and "---" not in line:
            yield [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_the_store_is_measured_against_its_peers(run: Run, tmp_path: Path) -> None:
    printed = run("store", "--items", "300", *TINY, "--json", str(tmp_path / "store.json"))
    report = json.loads((tmp_path / "store.json").read_text())
    measured = {(row["work"], row["at_once"], row["system"]): row for row in report["rows"]}
    assert len(list(columns(printed))) == len(measured) + 1
    assert ("put", 32, "floor (libpq)") in measured
    assert ("list namespaces, max_depth 1", 1, "MemoryManager, service") in measured
    searches = [
        row
        for row in measured.values()
        if row["recall"] is not None and "AsyncPostgres" not in row["system"]
    ]
    assert {row["recall"] for row in searches if row["system"] != "mem0"} == {1.0}
    assert all(row["per_second"] > 0 for row in measured.values())


def test_telling_a_service_that_fails_loses_and_doubles_nothing() -> None:
    printed = run_alone(
        "intents", "--intents", "120", "--users", "4", "--backoff", "0", "--poll", "0.05"
    )
    assert len(list(columns(printed))) == 4
    assert "failure rate 0.0000%" in printed
    assert "lost 0, duplicated 0, not redacted 0" in printed


@pytest.fixture
def conversation(tmp_path: Path) -> Path:
    """Return a folder with a conversation of a few turns."""
    told = {
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            {"speaker": "Ada", "dia_id": "D1:1", "text": "I bought a red bicycle."},
            {
                "speaker": "Bo",
                "dia_id": "D1:2",
                "text": "Nice!",
                "blip_caption": "a photo of a cake",
            },
        ],
        "session_2_date_time": "9:00 am on 9 May, 2023",
        "session_2": [{"speaker": "Ada", "dia_id": "D2:1", "text": "My sister plays the violin."}],
        "qa": [
            {"question": "What did Ada buy, a bicycle?", "evidence": ["D1:1"], "category": 4},
            {"question": "Who plays the violin?", "evidence": ["D2:1"], "category": 2},
            {"question": "Who plays the drums?", "evidence": ["D2:1"], "category": 5},
            {"question": "Why?", "evidence": [], "category": 1},
            {"question": "Where?", "evidence": ["D7:1"], "category": 1},
        ],
    }
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "1.json").write_text(json.dumps(told))
    return folder


def test_recall_is_measured_on_conversations(run: Run, conversation: Path, tmp_path: Path) -> None:
    chart = tmp_path / "recall.svg"
    printed = run(
        "recall", "--data", str(conversation), "--per-conversation", "--chart", str(chart)
    )
    assert "1 conversations, 3 turns, 2 questions." in printed
    for left_out in (
        "1 without an answer",
        "1 without evidence",
        "1 with evidence that is not in the conversation",
    ):
        assert left_out in printed
    found = {cells[0]: cells[1:4] for cells in columns(printed) if len(cells) == 8}
    assert (
        found["AsyncPostgresStore"] == found["MemoryManager, hybrid"] == ["100.0", "100.0", "100.0"]
    )
    assert ElementTree.parse(chart).getroot().tag.endswith("svg")  # noqa: S314  our own file


def test_growth_is_measured(run: Run, tmp_path: Path) -> None:
    chart = tmp_path / "scale.svg"
    printed = run("scale", "--sizes", "1000", "--chart", str(chart), *TINY)
    works = {(cells[0], cells[1]) for cells in columns(printed)}
    assert {
        ("hybrid search, 700 in scope", "MemoryManager"),
        ("index, s", "AsyncPostgresStore"),
    } <= works
    assert ElementTree.parse(chart).getroot().tag.endswith("svg")  # noqa: S314  our own file


def test_what_row_level_security_costs_is_measured(run: Run) -> None:
    lines = list(
        columns(run("rls", "--items", "300", "--rounds", "1", "--calls", "2", "--budget", "1"))
    )
    assert lines[0][-1] == "ratio"
    assert {line[0] for line in lines[1:]} >= {"get", "put", "search, one user"}
    assert all(float(line[-1]) > 0 for line in lines[1:])


def test_walks_through_the_graph_of_memories_are_measured(run: Run) -> None:
    lines = list(columns(run("graph", "--memories", "300", "--edges", "1500", "--rounds", "2")))
    assert {(line[0], line[1]) for line in lines[1:]} == {
        (s, h) for s in ("any memory", "the hub") for h in "123"
    }
    assert {line[3] for line in lines[1:] if line[0] == "the hub"} == {"10", "50", "200"}, (
        "the limit is the number of paths"
    )


def test_indexes_are_held_against_exact_search(run: Run, tmp_path: Path) -> None:
    chart = tmp_path / "sizing.svg"
    printed = run(
        "sizing", "--sizes", "300", "--indexes", "hnsw", "ivfflat/2", "--chart", str(chart), *TINY
    )
    lines = list(columns(printed))[1:]
    assert [line[1] for line in lines] == [
        "exact",
        "HNSW with m 10 and ef_construction 112",
        "IVFFlat with 2 lists",
    ]
    assert (lines[0][6], lines[1][6]) == ("1.000", "1.000")
    assert ElementTree.parse(chart).getroot().tag.endswith("svg")  # noqa: S314  our own file


def test_a_move_is_measured(postgres: str) -> None:
    lines = asyncio.run(moving.measure(postgres, items=30, users=3, changes=5))
    assert [line[0] for line in lines] == ["copy", "follow", "switch", "of that, writes refused"]


def test_gets_are_measured_beside_somebody_elses_searches(run: Run) -> None:
    printed = run("neighbours", "--items", "10", "--seconds", "0.2")
    measured = {row[0]: row for row in columns(printed)}
    assert int(measured["gets beside searches"][1]) > 0
