"""Scheduled backups of a worker: their kinds, their retention, and the erasures beside them."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from graphs.composition import unprepared_store
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.backup import schedule
from graphs.operations.backup.places import LocalFolder
from graphs.operations.backup.schedule import Plan, Schedule, latest
from graphs.operations.errors import InvalidBackup
from graphs.operations.operations import Operations
from tests.attacks.people import ORGANISATIONS, USERS
from tests.support.backups import erase
from tests.support.operator import Operator
from tests.support.rows import all_rows

ANNE, COMPANY = USERS[0], ORGANISATIONS[0]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def kinds(folder: Path) -> list[str]:
    return [
        name.split("-")[2].removesuffix(".backup")
        for name in names(folder)
        if "erasures" not in name
    ]


class Clock:
    """The time of the schedule, which a test moves forward."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def wait(self, days: float) -> None:
        self._ahead += timedelta(days=days)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(schedule, "_now", clock.now)
    return clock


async def run(url: str, folder: Path, keep_days: int = 30) -> None:
    async with MemoryManager.from_conn_string(url) as store:
        await Schedule(
            Operations(store).backups, Plan(LocalFolder(folder), 2, keep_days, None)
        ).back_up()


async def test_a_week_begins_with_a_full_backup_and_goes_on_with_what_changed(
    copy: str, database: str, tmp_path: Path, clock: Clock
) -> None:
    for days in (3, 3.9, 0.2, 1):
        await run(copy, tmp_path)
        with psycopg.connect(copy) as conn:
            conn.execute("UPDATE memory.users SET display_name = %s", [str(days)])
        clock.wait(days)
    assert kinds(tmp_path) == ["full", "changes", "changes", "full"]
    await run(copy, tmp_path)
    async with MemoryManager.from_conn_string(database) as store:
        await Operations(store).backups.restore(
            *await asyncio.to_thread(latest, LocalFolder(tmp_path))
        )
    assert all_rows(database) == all_rows(copy)


async def test_a_last_backup_that_is_damaged_or_of_another_database_is_followed_by_a_full_one(
    origin: str, copy: str, tmp_path: Path, clock: Clock
) -> None:
    await run(copy, tmp_path)
    clock.wait(1)
    await run(origin, tmp_path)
    clock.wait(1)
    last = tmp_path / names(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:-1])
    await run(origin, tmp_path)
    assert kinds(tmp_path) == ["full", "full", "full"]
    clock.wait(1)
    await run(origin, tmp_path)
    for name in names(tmp_path):
        if "full" in name:
            (tmp_path / name).unlink()
    await run(origin, tmp_path)
    assert kinds(tmp_path) == ["changes", "full"]


async def test_what_is_old_goes_by_whole_chains_and_never_before_the_latest_was_read(
    origin: str, tmp_path: Path, clock: Clock
) -> None:
    for days in (1, 7, 1):
        await run(origin, tmp_path, keep_days=9)
        clock.wait(days)
    await run(origin, tmp_path, keep_days=9)
    clock.wait(1)
    assert kinds(tmp_path) == ["full", "changes", "full", "changes"]
    first, _, second, _ = names(tmp_path)
    whole = (tmp_path / second).read_bytes()
    (tmp_path / second).write_bytes(whole[:-9])
    with pytest.raises(InvalidBackup, match=second):
        await run(origin, tmp_path, keep_days=9)
    assert first in names(tmp_path)
    (tmp_path / second).write_bytes(whole)
    clock.wait(0.1)
    (tmp_path / "memory-of-mine.backup").touch()
    (tmp_path / ".memory-20200101T000000Z-full.backup.x.partial").touch()
    await run(origin, tmp_path, keep_days=9)
    (tmp_path / "memory-of-mine.backup").unlink()
    assert kinds(tmp_path) == ["full", "changes", "changes", "changes"]
    assert [name for name in names(tmp_path) if name.startswith(".")] == []


async def test_who_was_erased_is_written_beside_the_backups_and_a_restore_of_the_folder_knows(
    copy: str, tmp_path: Path, operate: Operator
) -> None:
    async with MemoryManager.from_conn_string(copy) as store:
        plan = Schedule(Operations(store).backups, Plan(LocalFolder(tmp_path), 2, 30, None))
        await plan.keep_erasures()
        [before] = names(tmp_path)
        await plan.back_up()
        await erase(copy, ANNE.id)
        for _ in range(2):
            await plan.keep_erasures()
    [written] = [name for name in names(tmp_path) if "erasures" in name]
    assert written != before
    told = await asyncio.to_thread(operate.json, "restore", f"{tmp_path}/")
    assert told["erased_since"] == 1
    assert ANNE.marker not in str(all_rows(operate.database))
    assert COMPANY.marker in str(all_rows(operate.database))
    for wrong in ("nowhere/", str(tmp_path / "none" / "file")):
        refused = await asyncio.to_thread(operate, "restore", wrong)
        assert (refused.exit_code, "cannot be read" in refused.stderr) == (1, True)


async def test_an_earlier_backup_in_the_place_of_a_later_one_is_noticed(
    copy: str, tmp_path: Path, clock: Clock, operate: Operator
) -> None:
    await run(copy, tmp_path)
    clock.wait(8)
    await run(copy, tmp_path)
    first, second = names(tmp_path)
    (tmp_path / second).write_bytes((tmp_path / first).read_bytes())
    for command in (("restore", f"{tmp_path}/"), ("backup", "verify", str(tmp_path / second))):
        refused = await asyncio.to_thread(operate, *command)
        assert refused.exit_code == 1
        assert f"{first} of" in refused.stderr
        assert f"lies there as {second}" in refused.stderr
    clock.wait(1)
    await run(copy, tmp_path)
    assert kinds(tmp_path) == ["full", "full", "full"], "the worker follows no replaced backup"
    (tmp_path / first).rename(tmp_path / "by-hand.backup")
    told = await asyncio.to_thread(operate, "backup", "verify", str(tmp_path / "by-hand.backup"))
    assert told.exit_code == 0, "an operator may rename a backup"


async def test_records_of_erasures_that_were_replaced_by_earlier_ones_are_refused_and_renewed(
    copy: str, tmp_path: Path
) -> None:
    async with MemoryManager.from_conn_string(copy) as store:
        backups = Operations(store).backups
        plan = Schedule(backups, Plan(LocalFolder(tmp_path), 2, 30, None))
        await plan.keep_erasures()
        [name] = names(tmp_path)
        earlier = (tmp_path / name).read_bytes()
        await erase(copy, ANNE.id)
        await plan.keep_erasures()
        [name] = names(tmp_path)
        (tmp_path / name).write_bytes(earlier)
        with pytest.raises(InvalidBackup, match=f"lies there as {name}"):
            await backups.verify(tmp_path / name)
        await plan.keep_erasures()
        await backups.verify(tmp_path / name)


async def test_the_worker_of_a_deployment_does_so_and_a_failure_is_one_of_a_job(
    operate: Operator, tmp_path: Path
) -> None:
    async def work() -> list[str]:
        async with unprepared_store() as store:
            with acting_as(Principal.service()):
                for task in ("back_up", "keep_erasures"):
                    await store.jobs.queue(task)
                await store.jobs.run_pending()
                return [
                    f"{job.task}: {job.error}" for job in await store.jobs.list(status="failed")
                ]

    folder = tmp_path / "backups"
    operate.set(MEMORY_BACKUP_TO=str(folder))
    told = f"{folder} cannot be read: No such file or directory."
    assert {*await work()} == {f"back_up: {told}", f"keep_erasures: {told}"}
    folder.mkdir()
    operate.set(MEMORY_BACKUP_PASSPHRASE="a passphrase of the worker")
    assert len(await work()) == 2
    [name] = names(folder)
    await asyncio.to_thread(operate.json, "backup", "verify", str(folder / name))
