"""Commands on all data of one user, and on expiry: export, erase, sweep, decay.

They act as the service; all but `sweep` on behalf of `--user-id`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from langgraph_sdk import get_client
from langgraph_sdk.errors import APIStatusError

from graphs.cli.asking import UserId, Yes, confirm, whose
from graphs.cli.ending import as_service, run
from graphs.cli.memory_views import show
from graphs.cli.output import AsJson, DryRun, print_json, print_table, progress
from graphs.cli.whole_file import whole_file
from graphs.deployment.clients.langgraph_server import remove_what_is_owned
from graphs.deployment.settings import load_settings
from graphs.memory.contract import DecayReport, ErasureCertificate
from graphs.memory.errors import AccessDenied, error_sentence
from graphs.memory.values.ids import to_id
from graphs.memory_manager import MemoryManager
from graphs.operations.errors import SourceUnavailable
from graphs.operations.operations import Operations
from graphs.operations.oversight import Fading

_PORTION = 500
"""Lines that an export writes at once."""

Days = Annotated[float, typer.Option("--days", help="Days since the memories were last touched.")]


def export_user(
    output: Annotated[
        Path, typer.Option("--output", dir_okay=False, help="The file to write, as JSON lines.")
    ],
    user_id: UserId = None,
    as_json_: AsJson = False,
) -> None:
    """Write all data about a user to a file, completely or not at all. The audit log records it."""

    async def work() -> tuple[str, dict[str, Any]]:
        user = await whose(user_id)
        async with as_service() as store, whole_file(output) as write:
            last = "{}"
            with progress("rows") as advance:
                done = 0
                async for portion in _portions(store, user):
                    await write(portion)
                    last, done = portion[-1], done + len(portion)
                    advance(done, None)
            return user, json.loads(last)

    user, end = run(work())
    if as_json_:
        print_json({"user_id": user, "output": str(output), **end})
    else:
        print_table(("table", "rows"), [*end["rows"].items()])
        show(f"{output} has all data about {user}. SHA-256 of its lines: {end['sha256']}")


async def _portions(store: MemoryManager, user_id: str) -> AsyncIterator[list[str]]:
    lines: list[str] = []
    async for line in store.export_user(user_id):
        lines.append(line)
        if len(lines) == _PORTION:
            yield lines
            lines = []
    if lines:
        yield lines


def erase_user(
    user_id: UserId = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Also remove the user's threads of this LangGraph server."
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json_: AsJson = False,
) -> None:
    """Delete all data about a user and print the certificate, which is kept.

    A LangGraph server keeps the last state of its threads and the input of runs itself: name it
    with --server. It is asked with SUPABASE_SERVICE_ROLE_KEY.

    --dry-run erases in a transaction that is rolled back, and prints the number of deleted rows.
    """

    async def count() -> dict[str, int]:
        async with as_service() as store:
            return await Operations(store).oversight.would_erase(user)

    async def work() -> ErasureCertificate:
        removed = await _remove_of_server(server, user) if server else {}
        async with as_service() as store:
            return await store.erase_user(user, removed)

    user = run(whose(user_id))
    if dry_run:
        rows = run(count())
        if as_json_:
            print_json({"dry_run": True, "user_id": user, "erased": rows})
        else:
            print_table(("table", "rows to erase"), [*rows.items()])
        return
    confirm(f"Erase all data about {user}? It cannot be undone.", yes)
    certificate = run(work())
    if as_json_:
        print_json(certificate)
    else:
        print_table(
            ("table", "rows erased"), [*certificate.erased.items()], title="Certificate of erasure"
        )
        told = certificate.model_dump(mode="json", exclude={"erased"})
        show(*(f"{name:<9}  {value}" for name, value in told.items()))
        if not server:
            show(
                "A LangGraph server may still keep the state of their threads: run this again "
                "with --server URL."
            )


async def _remove_of_server(url: str, user: str) -> dict[str, int]:
    settings = await asyncio.to_thread(load_settings)
    key = settings.supabase_service_role_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else None
    client = await asyncio.to_thread(get_client, url=url, api_key=None, headers=headers)
    async with client:
        try:
            return await remove_what_is_owned(client, user)
        except httpx.TransportError as error:
            raise SourceUnavailable(
                f"{url} does not answer ({error_sentence(error)}). Nothing was erased."
            ) from error
        except APIStatusError as error:
            raise AccessDenied(
                f"The server at {url} refused ({error_sentence(error)}): set the "
                "SUPABASE_SERVICE_ROLE_KEY of its project. The memory was not erased."
            ) from error


def sweep(dry_run: DryRun = False, as_json_: AsJson = False) -> None:
    """Delete the expired memories of all users. Background jobs do so every few minutes, too.

    Expired memories are never read, deleted or not.
    """

    async def work() -> int:
        async with as_service() as store:
            return await (
                Operations(store).oversight.would_sweep() if dry_run else store.sweep_ttl()
            )

    swept = run(work())
    if as_json_:
        print_json({"dry_run": dry_run, "swept": swept})
    else:
        show(f"{swept:,} expired memories {'would be' if dry_run else 'were'} deleted.")


def decay(
    days: Days,
    user_id: UserId = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json_: AsJson = False,
) -> None:
    """Trim a user's memories that were not touched for some days; important ones fade instead.

    A faded memory loses half its importance. Trimmed memories go with their history. Recalls count
    as touching. Pinned memories and the applications' own items are left alone.
    """

    async def look() -> list[Fading]:
        async with as_service() as store:
            return await Operations(store).oversight.would_decay(user, days)

    async def work() -> DecayReport:
        async with as_service() as store:
            return await store.decay_memory(user, days)

    user = run(whose(user_id))
    if dry_run:
        _show_fading(user, run(look()), as_json_)
        return
    confirm(f"Trim the memories of {user} that were not touched for {days:g} days?", yes)
    report = run(work())
    if as_json_:
        print_json({"dry_run": False, "user_id": user, **report.model_dump()})
    else:
        show(f"{report.trimmed:,} memories were trimmed, {report.faded:,} important ones faded.")


def _show_fading(user: str, found: list[Fading], as_json_: bool) -> None:
    trimmed = sum(each.trimmed for each in found)
    if as_json_:
        memories = [{"id": to_id(each.namespace, each.key), **each.model_dump()} for each in found]
        counts = {"faded": len(found) - trimmed, "trimmed": trimmed}
        print_json({"dry_run": True, "user_id": user, **counts, "memories": memories})
        return
    rows = [
        ("trimmed" if each.trimmed else "faded", each.importance, each.content) for each in found
    ]
    print_table(("", "importance", "memory"), rows)
    show(
        f"{trimmed:,} memories would be trimmed, "
        f"{len(found) - trimmed:,} important ones would fade."
    )
