"""Scheduled backups of a worker: their kinds, their retention, and the erasures beside them."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from graphs.composition import unprepared_store
from graphs.memory.errors import InvalidBackup
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.backup.places import LocalFolder
from graphs.operations.backup.schedule import Plan, Schedule, latest
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


def age(folder: Path, days: float) -> None:
    """Make all existing backups some days older."""
    for name in names(folder):
        _, made, kind = name.split("-")
        moment = datetime.strptime(made, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - timedelta(
            days=days
        )
        (folder / name).rename(folder / f"memory-{moment:%Y%m%dT%H%M%SZ}-{kind}")


async def run(url: str, folder: Path, keep_days: int = 30) -> None:
    async with MemoryManager.from_conn_string(url) as store:
        await Schedule(
            Operations(store).backups, Plan(LocalFolder(folder), 2, keep_days, None)
        ).back_up()


async def test_a_week_begins_with_a_full_backup_and_goes_on_with_what_changed(
    copy: str, database: str, tmp_path: Path
) -> None:
    for days in (3, 3.9, 0.2, 1):
        await run(copy, tmp_path)
        with psycopg.connect(copy) as conn:
            conn.execute("UPDATE memory.users SET display_name = %s", [str(days)])
        age(tmp_path, days)
    assert kinds(tmp_path) == ["full", "changes", "changes", "full"]
    await run(copy, tmp_path)
    async with MemoryManager.from_conn_string(database) as store:
        await Operations(store).backups.restore(
            *await asyncio.to_thread(latest, LocalFolder(tmp_path))
        )
    assert all_rows(database) == all_rows(copy)


async def test_a_last_backup_that_is_damaged_or_of_another_database_is_followed_by_a_full_one(
    origin: str, copy: str, tmp_path: Path
) -> None:
    await run(copy, tmp_path)
    age(tmp_path, 1)
    await run(origin, tmp_path)
    age(tmp_path, 1)
    last = tmp_path / names(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:-1])
    await run(origin, tmp_path)
    assert kinds(tmp_path) == ["full", "full", "full"]
    age(tmp_path, 1)
    await run(origin, tmp_path)
    for name in names(tmp_path):
        if "full" in name:
            (tmp_path / name).unlink()
    await run(origin, tmp_path)
    assert kinds(tmp_path) == ["changes", "full"]


async def test_what_is_old_goes_by_whole_chains_and_never_before_the_latest_was_read(
    origin: str, tmp_path: Path
) -> None:
    for days in (1, 7, 1):
        await run(origin, tmp_path, keep_days=9)
        age(tmp_path, days)
    await run(origin, tmp_path, keep_days=9)
    age(tmp_path, 1)
    assert kinds(tmp_path) == ["full", "changes", "full", "changes"]
    first, _, second, _ = names(tmp_path)
    whole = (tmp_path / second).read_bytes()
    (tmp_path / second).write_bytes(whole[:-9])
    with pytest.raises(InvalidBackup, match=second):
        await run(origin, tmp_path, keep_days=9)
    assert first in names(tmp_path)
    (tmp_path / second).write_bytes(whole)
    age(tmp_path, 0.1)
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
        schedule = Schedule(Operations(store).backups, Plan(LocalFolder(tmp_path), 2, 30, None))
        await schedule.keep_erasures()
        [before] = names(tmp_path)
        await schedule.back_up()
        await erase(copy, ANNE.id)
        for _ in range(2):
            await schedule.keep_erasures()
    [written] = [name for name in names(tmp_path) if "erasures" in name]
    assert written != before
    told = await asyncio.to_thread(operate.json, "restore", f"{tmp_path}/")
    assert told["erased_since"] == 1
    assert ANNE.marker not in str(all_rows(operate.database))
    assert COMPANY.marker in str(all_rows(operate.database))
    for wrong in ("nowhere/", str(tmp_path / "none" / "file")):
        refused = await asyncio.to_thread(operate, "restore", wrong)
        assert (refused.exit_code, "cannot be read" in refused.stderr) == (1, True)


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
