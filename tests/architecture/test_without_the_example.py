"""A project that replaces the example's agents can delete them; everything else works."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg

ROOT = Path(__file__).parents[2]
SCRIPT = """
import asyncio, importlib, os, pkgutil
import graphs
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.cli.main import app
from typer.testing import CliRunner

for module in pkgutil.walk_packages(graphs.__path__, "graphs."):
    if module.name not in ("graphs.mem0.engine", "graphs.deployment.clients.hosted_mem0"):
        importlib.import_module(module.name)


async def main():
    async with MemoryManager.from_conn_string(os.environ["DATABASE"]) as store:
        await store.setup()
        with acting_as(Principal.user("a0000000-0000-4000-8000-000000000001")) as ann:
            await store.aput(("users", ann.user_id, "notes"), "k", {"text": "Likes tea"})
            lines = [line async for line in store.export_user(ann.user_id)]
            certificate = await store.erase_user(ann.user_id)
    print(graphs.__path__[0], len(lines), certificate.erased["memory.memories"])


asyncio.run(main())
told = CliRunner().invoke(app, ["demo"])
print(told.exit_code, "the example agents were removed" in told.output)
"""


def test_memory_works_without_the_example_agents_and_their_tables(
    tmp_path: Path, empty_database: str
) -> None:
    left_out = shutil.ignore_patterns("agents", "__pycache__")
    for folder in ("graphs", "schema"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=left_out)
    assert not [*tmp_path.rglob("agents")]
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "DATABASE": empty_database,
        "SUPABASE_URL": "https://nowhere.invalid",  # without sign-in the API refuses to be imported
    }
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [str(tmp_path / "graphs"), "5", "1", "1", "True"], ran.stdout
    with psycopg.connect(empty_database) as conn:
        assert (
            conn.execute(
                "SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            ).fetchall()
            == []
        )
