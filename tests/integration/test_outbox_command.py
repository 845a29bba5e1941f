"""`graph-memory outbox`, called as by an operator."""

import asyncio
from uuid import uuid4

from langgraph.store.base import IndexConfig

from graphs.memory_manager import MemoryManager
from tests.integration.test_deliveries import fact
from tests.support.adapters import Notebook, outbound_to
from tests.support.operator import Operator


async def skip_a_delivery(database: str, index: IndexConfig) -> None:
    """Leave a delivery for an adapter that was switched off afterwards."""
    async with MemoryManager.from_conn_string(
        database, index=index, outbound=outbound_to(Notebook())
    ) as store:
        await store.write_memory(user := str(uuid4()), "s1", fact(user, "Likes tea."))
    async with MemoryManager.from_conn_string(database, index=index) as store:
        await store.jobs.run_pending()


def test_an_operator_looks_at_dead_letters_and_replays_them(
    operate: Operator, index: IndexConfig
) -> None:
    asyncio.run(skip_a_delivery(operate.database, index))
    assert operate.json("outbox", "list") == []
    assert "No delivery is failed." in operate.done("outbox", "list")
    [skipped] = operate.json("outbox", "list", "--status", "skipped")
    assert (skipped["adapter"], skipped["intent"]["kind"]) == ("notebook", "memory_written")
    assert skipped["id"] in operate.done("outbox", "list", "--status", "skipped")

    for which in ([skipped["id"]], ["--adapter", "notebook"]):
        assert operate.json("outbox", "replay", *which, "--dry-run") == {
            "dry_run": True,
            "queued": 1,
        }
    assert operate.json("outbox", "replay", skipped["id"]) == {"dry_run": False, "queued": 1}
    [health] = operate.json("outbox", "health")["adapters"]
    assert (health["adapter"], health["mode"], health["pending"], health["failed"]) == (
        "notebook",
        "off",
        1,
        0,
    )
    assert "turned off" in operate.done("outbox", "health")
    assert [d["status"] for d in operate.json("outbox", "list", "--status", "pending")] == [
        "pending"
    ]


def test_what_cannot_be_meant_is_refused_in_one_sentence(operate: Operator) -> None:
    for arguments, code, told in (
        (["replay"], 2, "the id of a delivery, or --adapter"),
        (["replay", str(uuid4()), "--adapter", "mem0"], 2, "the id of a delivery, or --adapter"),
        (["list", "--status", "dead"], 2, "pending, delivered, skipped, failed"),
        (["tell", "mem0"], 1, "switched on"),
        (["replay", str(uuid4())], 1, "There is no delivery"),
        (["replay", "42"], 1, "There is no delivery"),
        (["replay", str(uuid4()), "--dry-run"], 1, "There is no delivery"),
    ):
        refused = operate("outbox", *arguments)
        assert (refused.exit_code, refused.stdout) == (code, ""), refused.output
        assert refused.stderr.startswith("graph-memory: ")
        assert told in refused.stderr
