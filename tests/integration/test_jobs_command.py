"""`graph-memory jobs`, called as by an operator."""

import pytest

from graphs.cli import asking
from tests.support.operator import Operator


@pytest.fixture
def jobs(operate: Operator) -> dict[str, int]:
    """Insert a job of each status, two days old, and an error; return the ids by status."""
    made = operate.sql(
        """INSERT INTO procrastinate.procrastinate_jobs
          (queue_name, task_name, priority, status, args, attempts)
        SELECT 'default', CASE s WHEN 'failed' THEN 'extract_facts' ELSE 'sweep_ttl' END, 0,
          s::procrastinate.procrastinate_job_status,
          '{"user_id": "u1", "session_id": "[red]\\u001b[2J"}', 1
        FROM unnest('{todo,doing,succeeded,failed,cancelled}'::text[]) AS s
        RETURNING id, status::text AS status""",
    )
    ids = {row["status"]: row["id"] for row in made}
    operate.sql(
        """INSERT INTO procrastinate.procrastinate_events (job_id, type, at)
        SELECT id, 'deferred', now() - interval '2 days' FROM procrastinate.procrastinate_jobs""",
    )
    operate.sql("UPDATE procrastinate.procrastinate_events SET at = now() - interval '2 days'")
    operate.sql(
        "INSERT INTO memory.job_failures (job_id, error) VALUES (%s, 'no [red]model\x1b[2J')",
        ids["failed"],
    )
    return ids


def left(operate: Operator) -> set[str]:
    return {
        row["s"]
        for row in operate.sql("SELECT status::text AS s FROM procrastinate.procrastinate_jobs")
    }


def test_jobs_are_listed_with_their_counts_and_shown_one_by_one(
    operate: Operator, jobs: dict[str, int]
) -> None:
    told = operate.json("jobs", "list", "--status", "failed")
    assert told["counts"]["sweep_ttl"] == {"todo": 1, "doing": 1, "succeeded": 1, "cancelled": 1}
    assert [(job["id"], job["error"]) for job in told["jobs"]] == [
        (jobs["failed"], "no [red]model\x1b[2J")
    ]
    assert operate.json("jobs", "show", str(jobs["failed"]))["args"]["user_id"] == "u1"
    for shown in (operate.done("jobs", "list"), operate.done("jobs", "show", str(jobs["failed"]))):
        assert "[red]" in shown
        assert "\x1b" not in shown
    assert operate("jobs", "show", "424242").exit_code == 1
    assert operate("jobs", "list", "--status", "dead").exit_code == 2


def test_a_job_that_failed_is_tried_again(operate: Operator, jobs: dict[str, int]) -> None:
    for dry_run in ([], ["--dry-run"]):  # all jobs or none
        assert (
            operate(
                "jobs", "retry", str(jobs["failed"]), str(jobs["succeeded"]), *dry_run
            ).exit_code
            == 1
        )
    assert operate.json("jobs", "show", str(jobs["failed"]))["status"] == "failed"
    for arguments in ([], ["--task", "x"], ["1", "--all"]):
        assert operate("jobs", "retry", *arguments).exit_code == 2
    assert operate.json("jobs", "retry", "--all", "--task", "sweep_ttl") == {
        "dry_run": False,
        "queued": [],
    }
    told = {"dry_run": True, "queued": [jobs["failed"]]}
    assert operate.json("jobs", "retry", "--all", "--dry-run") == told
    assert operate.json("jobs", "retry", "--all") == told | {"dry_run": False}
    assert operate.json("jobs", "show", str(jobs["failed"]))["status"] == "todo"


def test_old_jobs_are_purged_and_failed_ones_only_when_that_is_meant(
    operate: Operator, jobs: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert operate.json("jobs", "purge", "--hours", "72")["purged"] == {}
    assert operate.json("jobs", "purge", "--failed", "--dry-run")["purged"] == {
        "cancelled": 1, "failed": 1, "succeeded": 1,
    }  # fmt: skip
    assert left(operate) == {"todo", "doing", "succeeded", "failed", "cancelled"}
    assert operate.json("jobs", "purge")["purged"] == {"cancelled": 1, "succeeded": 1}
    assert left(operate) == {"todo", "doing", "failed"}

    assert operate("jobs", "purge", "--failed").exit_code == 2
    monkeypatch.setattr(asking, "on_terminal", lambda: True)
    assert operate("jobs", "purge", "--failed", answer="n\n").exit_code == 1
    assert left(operate) == {"todo", "doing", "failed"}
    assert operate("jobs", "purge", "--failed", answer="y\n").exit_code == 0
    assert left(operate) == {"todo", "doing"}
    assert operate.sql("SELECT job_id FROM memory.job_failures") == []
