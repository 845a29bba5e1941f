"""Migrations from the pgvector tables of mem0's library, filled by mem0 itself."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import as_url
from tests.support.mem0_library import mem0_library
from tests.support.operator import Operator
from tests.support.sql import rows

ANN = "a0000000-0000-4000-8000-00000000000a"
FACTS = [
    "Likes green tea in the morning.",
    "Drives a van to work.",
    "Plays the cello on Sundays.",
    "Has two sons.",
]

UNLIKELY = [0] * 255 + [1]
"""A vector that no model returns: it shows that the old vector was kept."""


async def fill(url: str, folder: Path) -> dict[str, Any]:
    """Fill mem0 with memories and changes; return a changed memory as mem0 shows it."""
    async with mem0_library(url, folder) as memory:
        about = {
            "user_id": ANN,
            "agent_id": "barista",
            "run_id": "r1",
            "metadata": {"room": "kitchen"},
            "infer": False,
        }
        added = await memory.add([{"role": "user", "content": fact} for fact in FACTS], **about)
        await memory.update(changed := added["results"][0]["id"], "Likes black tea in the morning.")
        told: dict[str, Any] = await memory.get(changed)
        return told


@pytest.fixture
def library(
    operate: Operator, postgres: str, empty_database: str, tmp_path: Path
) -> dict[str, Any]:
    url = as_url(postgres, str(conninfo_to_dict(empty_database)["dbname"]))
    told = asyncio.run(fill(url, tmp_path))
    operate.set(MIGRATE_FROM_URL=url)
    return told


def test_what_mem0_remembers_comes_with_ids_times_history_and_vectors(
    operate: Operator, library: dict[str, Any], empty_database: str, tmp_path: Path
) -> None:
    marked = "UPDATE mem0 SET vector = %s::vector WHERE id = %s"
    asyncio.run(rows(empty_database, marked, json.dumps(UNLIKELY), library["id"]))
    history = ("--history-db", str(tmp_path / "history.db"))
    assert operate.json("migrate", "mem0-oss", *history, "--dry-run")["new"] == 4
    done = operate.json("migrate", "mem0-oss", *history, "--keep-vectors")
    assert (done["migration"]["brought"], done["verified"]["matches"]) == (4, True)
    assert done["parity"]["overlap"] == 1.0
    [item] = operate.sql(
        "SELECT namespace, value, created_at, updated_at, run_id "
        "FROM memory.memories WHERE key = %s",
        library["id"],
    )
    assert item["namespace"] == f"users.{ANN}.facts."
    assert item["value"]["content"] == "Likes black tea in the morning."
    assert (item["value"]["agent"], item["value"]["metadata"]["room"], item["run_id"]) == (
        "barista",
        "kitchen",
        "r1",
    )
    assert [item[at].isoformat() for at in ("created_at", "updated_at")] == [
        library["created_at"],
        library["updated_at"],
    ]
    [version] = operate.sql("SELECT value, valid_from, valid_to FROM memory.memory_history")
    assert version["value"]["content"] == FACTS[0]
    assert (version["valid_from"], version["valid_to"]) == (item["created_at"], item["updated_at"])
    [kept] = operate.sql(
        "SELECT embedding::text FROM memory.memory_embeddings WHERE key = %s", library["id"]
    )
    assert json.loads(kept["embedding"]) == UNLIKELY
    again = operate.json("migrate", "mem0-oss")
    assert (again["migration"]["brought"], again["migration"]["present"], again["parity"]) == (
        0,
        4,
        None,
    )


def test_what_cannot_be_read_is_told_before_anything_is_written(
    operate: Operator, library: dict[str, Any], tmp_path: Path
) -> None:
    assert "--collection" in operate("migrate", "mem0-oss", "--collection", "elsewhere").stderr
    operate.set(VECTOR_EMBEDDING_DIMENSIONS="128")
    assert operate("migrate", "mem0-oss", "--keep-vectors").exit_code == 1
    operate.set(VECTOR_EMBEDDING_DIMENSIONS="256")
    (tmp_path / "other.db").write_text("no database, and long enough to be seen as none at all")
    result = operate("migrate", "mem0-oss", "--history-db", str(tmp_path / "other.db"))
    assert (result.exit_code, "is not mem0's history" in result.stderr) == (1, True)
    operate.set(MIGRATE_FROM_URL="postgresql://nobody:swordfish@127.0.0.1:1/x")
    result = operate("migrate", "mem0-oss")
    assert (
        result.exit_code,
        "MIGRATE_FROM_URL" in result.stderr,
        "swordfish" in result.output,
    ) == (3, True, False)
    assert operate.sql("SELECT 1 FROM memory.memories") == []
