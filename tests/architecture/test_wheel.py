"""The package as users have it: the wheel in an environment of its own, without extras."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.architecture.test_readme import example

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

LEFT_OUT = (
    "fastapi idnumbers jwt langchain mcp mem0 openai phonenumbers rich supabase typer zipcodes"
)


def run(*command: str | Path, code: int = 0, **environment: str) -> str:
    """Run a command away from this checkout, whose package it would find."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        command,
        cwd="/",
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the commands folder of an environment with the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    uv = shutil.which("uv", path=os.pathsep.join([os.environ["PATH"], str(BIN)]))
    run(sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), folder)
    python = folder / "bin" / "python"
    pip = [uv, "pip"] if uv else [str(python), "-m", "pip"]
    target = ["--python", str(python)] if uv else []
    run(*pip, "install", *target, "--quiet", "--constraint", ROOT / "requirements.lock", wheel)
    return python.parent


def test_the_wheel_has_types_and_schema(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    assert {"graphs/py.typed", "graphs/_schema/supabase_schema.sql"} <= names
    sql = {path.relative_to(ROOT).as_posix() for path in (ROOT / "graphs").rglob("*.sql")}
    assert sql <= names
    assert not [name for name in names if name.startswith("tests")]


def test_the_readmes_store_example_runs_without_extras(
    environment: Path, empty_database: str
) -> None:
    script = example("README.md", "A welding robot with six axes")
    printed = run(environment / "python", "-c", script, DATABASE_URL=empty_database)
    assert [line.split()[0] for line in printed.splitlines()] == ["r1"]


def test_a_store_brings_no_web_framework(environment: Path) -> None:
    script = (
        "import importlib.util, json, graphs; print(json.dumps([graphs.__file__, "
        f"[name for name in {LEFT_OUT.split()!r} if importlib.util.find_spec(name)]]))"
    )
    file, found = json.loads(run(environment / "python", "-c", script))
    assert found == []
    assert not Path(file).is_relative_to(ROOT)


@pytest.mark.parametrize("name", ["open_store", "open_checkpointer", "agent_with_memory"])
def test_what_needs_an_extra_names_it(environment: Path, name: str) -> None:
    told = run(environment / "python", "-c", f"from graphs import {name}", code=1)
    assert 'pip install "graph-native-memory[server]"' in told


@pytest.mark.parametrize(
    "name", ["MemoryRetriever", "memory_tools", "with_memory", "load_context", "write_memory"]
)
def test_what_needs_none_works(environment: Path, name: str) -> None:
    assert run(environment / "python", "-c", f"from graphs import {name}") == ""


def test_the_command_without_its_extra_says_what_to_install(environment: Path) -> None:
    told = run(environment / "graph-memory", "--help", code=1)
    assert re.fullmatch(r'\w+ is not installed: pip install "graph-native-memory\[\w+\]"\.\n', told)


def test_the_locks_pin_each_package_once_and_name_no_place() -> None:
    served = (ROOT / "requirements.lock").read_text().splitlines()
    tested = (ROOT / "requirements-dev.lock").read_text().splitlines()
    pin = re.compile(r"([A-Za-z0-9._-]+)==[A-Za-z0-9.]+")
    names = [found[1].lower() for line in served + tested if (found := pin.fullmatch(line))]
    assert len(names) == len(set(names)) == len(served) + len(tested)
    assert {"pytest", "mypy", "ruff", "playwright"}.isdisjoint(
        line.split("==")[0] for line in served
    )


def test_the_platforms_image_installs_the_extras_that_it_serves() -> None:
    """`dependencies` of langgraph.json cannot name extras, so lines of its own install them."""
    lines = json.loads((ROOT / "langgraph.json").read_text())["dockerfile_lines"]
    asked = set(re.findall(r"--extra (\w+)", "\n".join(lines)))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert asked == {"agents", "cli"}
    assert all("graph-native-memory[server]" in extras[name] for name in asked)
