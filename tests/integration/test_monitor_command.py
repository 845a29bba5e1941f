"""`graph-memory monitor`, called as by an operator, once and until Ctrl-C."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psycopg

from tests.conftest import as_url
from tests.support.operator import Operator
from tests.support.pooler import Pooler
from tests.support.sql import rows

SEND, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
"""Escape sequences that enter and leave a terminal's second screen."""


def test_a_look_counts_what_waits_what_failed_and_what_is_slow(operate: Operator) -> None:
    async def live() -> None:
        await rows(
            operate.database,
            """INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, status)
            VALUES ('default', 'sweep_ttl', 'todo'), ('default', 'sweep_ttl', 'failed'),
              ('default', 'deliver', 'failed'), ('default', 'deliver', 'succeeded')""",
        )
        await rows(
            operate.database,
            """INSERT INTO memory.deliveries (adapter, mode, intent, status)
            VALUES ('[red]mem0\x1b[2J', 'on', '{}', 'failed'), ('qstash', 'on', '{}', 'pending'),
              ('qstash', 'on', '{}', 'delivered')""",
        )
        await rows(
            operate.database,
            """INSERT INTO memory.shadow_comparisons
              (candidate, user_id, at_most, ours, theirs, our_seconds)
            SELECT 'r', 'u', 5, '[]', '[]', n / 1000.0 FROM generate_series(1, 101) AS n""",
        )

    asyncio.run(live())
    operate.done("recall", "tea")
    with psycopg.connect(operate.database, application_name="[bold]sleeper") as sleeper:
        slow = threading.Thread(target=sleep, args=[sleeper])
        slow.start()
        try:
            time.sleep(0.2)
            look = operate.json("monitor", "--once", "--slow", "0.1")
            shown = operate.done("monitor", "--once", "--slow", "0.1")
        finally:
            sleeper.cancel()
            slow.join()
    assert {(job["task"], job["status"]): job["jobs"] for job in look["jobs"]} == {
        ("sweep_ttl", "todo"): 1, ("sweep_ttl", "failed"): 1, ("deliver", "failed"): 1,
    }  # fmt: skip
    assert {(each["adapter"], each["status"]) for each in look["deliveries"]} == {
        ("[red]mem0\x1b[2J", "failed"), ("qstash", "pending"),
    }  # fmt: skip
    assert ("SELECT 'x[red]y', pg_sleep(60)", "[bold]sleeper") in {
        (slow["statement"], client["application"])
        for slow in look["slow"]
        for client in look["clients"]
    }
    assert (
        look["connections"]
        == sum(client["connections"] for client in look["clients"])
        <= look["max_connections"]
    )
    assert (look["recalls"], look["workers"]) == (1, 0)
    assert (round(look["recall_median"], 4), round(look["recall_p95"], 4)) == (0.051, 0.096)
    for text in ("[red]mem0", "[bold]sleeper", "x[red]y", "51.0 ms, 95 % at most 96.0 ms"):
        assert text in shown
    assert "\x1b" not in shown


def sleep(sleeper: psycopg.Connection) -> None:
    with suppress(psycopg.errors.QueryCanceled):
        sleeper.execute("SELECT 'x[red]y', pg_sleep(60)")


def test_watching_needs_a_terminal(operate: Operator) -> None:
    refused = operate("monitor")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--once" in refused.stderr


def test_ctrl_c_ends_watching_with_its_code_and_the_screen_as_it_was(operate: Operator) -> None:
    terminal, end = pty.openpty()
    run = [sys.executable, "-m", "graphs.cli.main", "monitor", "--interval", "0.1"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(run, env=environment, stdin=end, stdout=end, stderr=end) as watching:
        os.close(end)
        seen = read_until(terminal, b"vectors not indexed")
        assert SEND in seen
        watching.send_signal(signal.SIGINT)
        seen = read_until(terminal, b"Interrupted")
        assert watching.wait(timeout=20) == 130
    os.close(terminal)
    assert LEAVE in seen
    assert b"\x1b[?25h" in seen, "the cursor is shown again"
    assert SEND not in seen.partition(LEAVE)[2]


def read_until(terminal: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # the terminal has been closed
            raise AssertionError(f"The output ended with {seen!r}") from None
    return seen


def test_operators_commands_work_behind_a_transaction_pooler(
    operate: Operator, postgres: str
) -> None:
    with Pooler(postgres) as pooler:
        name = (
            as_url(postgres, operate.sql("SELECT current_database() AS name")[0]["name"])
            .split("/")[-1]
            .split("?")[0]
        )
        operate.set(DATABASE_URL=f"postgresql://postgres@127.0.0.1:{pooler.port}/{name}")
        memory = operate.json("remember", "Likes tea.")
        assert [found["id"] for found in operate.json("recall", "tea")] == [memory["id"]]
        assert operate.json("erase-user", "--dry-run")["erased"]["memory.memories"] == 1
        assert operate.json("jobs", "purge")["purged"] == {}
        assert operate.json("audit", "report")["findings"] == []
        assert operate.json("monitor", "--once")["connections"] >= 1
