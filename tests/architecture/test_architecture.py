"""The rules of the architecture."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from graphs.deployment.settings import Settings

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "graphs").rglob("*.py"))


def test_only_the_pools_connect_to_a_database() -> None:
    connecting = re.compile(
        r"\b(AsyncConnection|Connection|psycopg)\.connect\(|\bcreate_(async_)?client\("
    )
    assert [path.name for path in SOURCES if connecting.search(path.read_text())] == ["pools.py"]


def test_sql_lives_in_sql_files() -> None:
    statement = re.compile(
        r'"""\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b|"(SELECT|INSERT INTO|UPDATE|DELETE FROM)\s'
    )
    assert [path.name for path in SOURCES if statement.search(path.read_text())] == []


def test_files_stay_short() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in SOURCES
    }
    allowed = {"graphs/memory_manager.py": 600}
    assert {name: n for name, n in lengths.items() if n > allowed.get(name, 400)} == {}


def test_every_folder_of_tests_is_run() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"][
        "ini_options"
    ]["testpaths"]
    assert set(configured) == {
        path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/*/test_*.py")
    }


def test_env_example_is_the_settings() -> None:
    """Check that .env.example has each setting with a comment above it, and nothing else."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = [
        (n, match.group(1))
        for n, line in enumerate(lines)
        if (match := re.match(r"#? ?([A-Z][A-Z0-9_]+)=", line))
    ]
    assert [name for _, name in named] == [field.upper() for field in Settings.model_fields]
    uncommented = [
        name
        for n, name in named
        if not lines[n - 1].startswith("# ") or "=" in lines[n - 1].split(" ")[1]
    ]
    assert uncommented == []


def test_env_example_can_be_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    monkeypatch.chdir(tmp_path)
    assert Settings() == Settings(_env_file=None)


def test_defaults_that_env_example_shows_are_the_real_ones() -> None:
    text = (ROOT / ".env.example").read_text()
    shown = dict(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=(.+)$", text, re.MULTILINE))
    real = {
        name.upper(): field.default
        for name, field in Settings.model_fields.items()
        if field.default is not None
    }
    assert {name: value for name, value in shown.items() if name in real} == {
        name: str(v).lower() if isinstance(v, bool) else str(v) for name, v in real.items()
    }


def test_langgraph_json_names_things_that_exist() -> None:
    import importlib

    config = json.loads((ROOT / "langgraph.json").read_text())
    dotted = [config["store"]["path"], config["checkpointer"]["path"]]
    colons = [*config["graphs"].values(), config["http"]["app"]]
    for path in [d.rpartition(".")[::2] for d in dotted] + [c.split(":") for c in colons]:
        assert hasattr(importlib.import_module(path[0]), path[1]), path
    assert config["auth"] == {"path": "graphs.api.auth:auth", "disable_studio_auth": True}


def test_the_store_goes_on_being_found_where_it_was() -> None:
    """Load a langgraph.json that names `graphs.memory_manager.open_store`, as before."""
    from graphs import composition, memory_manager

    assert memory_manager.open_store is composition.open_store
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = memory_manager.nothing_of_the_kind


def test_langgraph_validate_and_dockerfile_accept_the_configuration(tmp_path: Path) -> None:
    langgraph = [sys.executable, "-m", "langgraph_cli"]
    validated = subprocess.run(
        [*langgraph, "validate"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert validated.returncode == 0, validated.stdout + validated.stderr
    made = subprocess.run(
        [*langgraph, "dockerfile", str(tmp_path / "Dockerfile")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    dockerfile = (tmp_path / "Dockerfile").read_text()
    for path in (
        "graphs.composition.open_store",
        "graphs.checkpointer.open_checkpointer",
        "graphs.api.auth:auth",
        "--extra agents --extra cli",
    ):
        assert path in dockerfile


def test_importing_the_project_needs_no_network_and_writes_no_file(tmp_path: Path) -> None:
    """Import all that an embedding application imports, in an empty home without a network."""
    script = """
import pathlib, socket
def refuse(*_, **__): raise OSError("no network at import")
socket.socket.connect = refuse
import graphs.memory_manager, graphs.checkpointer, graphs.agents.assistant, graphs.cli.main
print(sorted(p.name for p in pathlib.Path.cwd().rglob("*")))
"""
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr
