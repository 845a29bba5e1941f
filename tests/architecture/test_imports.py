"""Imports of the project have no effect on the machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

WATCHED = """
import importlib, json, os, pkgutil, sys
from pathlib import Path

seen = []


def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        seen.append([event, str(arguments[1:])])
    elif event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        seen.append([event, str(arguments[0])])
    elif event in ("os.mkdir", "os.rename"):
        seen.append([event, str(arguments[0])])


sys.addaudithook(watch)
import graphs

late = {"graphs.mem0.engine", "graphs.deployment.clients.hosted_mem0"}  # they import mem0
for module in pkgutil.walk_packages(graphs.__path__, "graphs."):
    if module.name not in late:
        importlib.import_module(module.name)
from graphs.mem0.extractor import _engine

_engine(Path("data").absolute())
importlib.import_module("graphs.deployment.clients.hosted_mem0")
print(json.dumps(seen))
"""


def test_importing_everything_connects_to_nothing_and_writes_only_below_the_data_folder(
    tmp_path: Path,
) -> None:
    home, data, scratch = tmp_path / "home", tmp_path / "data", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(scratch),  # Python tests whether it can write there, and leaves no file
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "SUPABASE_URL": "https://nowhere.invalid",  # without sign-in the API refuses to be imported
    }
    ran = subprocess.run(
        [sys.executable, "-c", WATCHED],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.splitlines()[-1])
    allowed = (str(data), str(scratch), os.devnull)
    assert [event for event in seen if not event[1].startswith(allowed)] == []
    assert ["os.mkdir", f"{data}/mem0"] in seen, (
        "the recording works: mem0 creates its folder at import"
    )
    assert [*home.rglob("*"), *scratch.rglob("*")] == []
    assert {path.name for path in tmp_path.iterdir()} == {"home", "data", "scratch"}


def test_what_mem0_is_told_before_it_is_imported(tmp_path: Path) -> None:
    """Switch mem0's telemetry off, and leave the levels of all other loggers alone."""
    script = (
        "import logging, os; from pathlib import Path\n"
        "logging.getLogger('urllib3').setLevel(logging.INFO)\n"
        "from graphs.mem0.extractor import _engine; _engine(Path('data').absolute())\n"
        "from mem0.memory import telemetry\n"
        "from graphs.deployment.models import OfflineEmbeddings; OfflineEmbeddings()\n"
        "kept = logging.getLogger('urllib3').level == logging.INFO\n"
        "print(telemetry.MEM0_TELEMETRY, kept, logging.root.handlers)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEM0")}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout.split() == ["False", "True", "[]"], ran.stdout + ran.stderr
