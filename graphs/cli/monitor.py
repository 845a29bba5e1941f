"""`graph-memory monitor`: a live view of a deployment."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from graphs.cli.ending import (
    Exit,
    as_service,
    fail,
    run,
)
from graphs.cli.output import (
    AsJson,
    inert,
    print_json,
    table,
)
from graphs.memory.errors import StoreUnavailable
from graphs.memory_manager import MemoryManager
from graphs.operations.monitoring import Look
from graphs.operations.operations import Operations


def monitor(
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2,
    once: Annotated[bool, typer.Option("--once", help="Look once.")] = False,
    slow: Annotated[
        float, typer.Option(min=0, help="Seconds after which a statement is slow.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Watch connections, slow statements, jobs, dead letters, unindexed vectors and recalls.

    It only reads, until Ctrl-C, and needs a terminal unless --once is given. With --json each look
    is one line.
    """
    if not (once or as_json or sys.stdout.isatty()):
        fail("This needs a terminal: give --once or --json.", Exit.USAGE)

    async def work() -> None:
        async with as_service(prepare=False) as store:
            if as_json:
                await _print_looks(store, slow, interval, once)
            elif once:
                Console().print(view(await Operations(store).oversight.look(slow_seconds=slow)))
            else:
                await _watch(store, slow, interval)

    run(work())


async def _print_looks(store: MemoryManager, slow: float, interval: float, once: bool) -> None:
    print_json(await Operations(store).oversight.look(slow_seconds=slow))
    while not once:
        sys.stdout.flush()
        await asyncio.sleep(interval)
        print_json(await Operations(store).oversight.look(slow_seconds=slow))


async def _watch(store: MemoryManager, slow: float, interval: float) -> None:
    """Refresh the view on an alternate screen; show the error while the database is unreachable."""
    with Live(screen=True, auto_refresh=False) as live:
        while True:
            try:
                shown = view(await Operations(store).oversight.look(slow_seconds=slow))
            except StoreUnavailable as error:
                shown = Group(inert(str(error)), Text("Trying again. Ctrl-C ends this."))
            live.update(shown, refresh=True)
            await asyncio.sleep(interval)


def view(found: Look) -> RenderableType:
    """Return the view of one look."""
    return Group(
        Text(
            f"{found.at:%Y-%m-%d %H:%M:%S %Z}  answered in {found.answered_seconds * 1000:,.1f} ms",
            "bold",
        ),
        table(("", ""), [*_vital(found)]),
        *_titled("Connections", found.clients),
        *_titled("Slow statements", found.slow),
        *_titled("Jobs", found.jobs),
        *_titled("Deliveries", found.deliveries),
    )


def _vital(found: Look) -> Iterator[tuple[str, str]]:
    yield "connections", f"{found.connections:,} of {found.max_connections:,}"
    yield "job workers", f"{found.workers:,}"
    yield (
        "waiting jobs",
        f"{_jobs(found, 'todo'):,}"
        + (f", due since {found.oldest_due:,.0f} s" if found.oldest_due else ""),
    )
    yield "failed jobs", f"{_jobs(found, 'failed'):,}"
    yield (
        "dead letters",
        f"{sum(each.deliveries for each in found.deliveries if each.status == 'failed'):,}",
    )
    yield "vectors not indexed", f"{found.pending_vectors:,}"
    yield (
        "records not sealed",
        "none" if found.unsealed_seconds is None else f"for {found.unsealed_seconds:,.0f} s",
    )
    yield "pages from cache", "unknown" if found.cache_hits is None else f"{found.cache_hits:.1%}"
    yield "recalls per minute", f"{found.recalls:,}"
    if found.recall_median is not None and found.recall_p95 is not None:
        yield (
            "a recall takes",
            f"{found.recall_median * 1000:,.1f} ms, 95 % at most {found.recall_p95 * 1000:,.1f} ms",
        )


def _jobs(found: Look, status: str) -> int:
    return sum(each.jobs for each in found.jobs if each.status == status)


def _titled(title: str, rows: Sequence[Any]) -> Iterator[RenderableType]:
    """Yield a table of models with the names of their fields; nothing without rows."""
    if rows:
        names = [*type(rows[0]).model_fields]
        yield table(
            [name.replace("_", " ") for name in names],
            [_cells(row, names) for row in rows],
            title=title,
        )


def _cells(row: Any, names: Sequence[str]) -> list[Any]:
    values = [getattr(row, name) for name in names]
    return [round(value, 1) if isinstance(value, float) else value for value in values]
