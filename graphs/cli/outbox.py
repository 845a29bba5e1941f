"""`graph-memory outbox`: what leaves for services outside, what did not get there, and how it compares."""

from collections.abc import Sequence
from typing import Annotated, cast

import typer

from graphs.cli.ending import (
    Exit,
    as_service,
    fail,
    run,
)
from graphs.cli.memory_views import show
from graphs.cli.output import (
    AsJson,
    DryRun,
    print_json,
    print_table,
)
from graphs.memory.outbox.deliveries import AdapterHealth, Delivery
from graphs.memory.outbox.intents import DeliveryStatus
from graphs.memory.outbox.shadow import ShadowSummary

STATUSES = ("pending", "delivered", "skipped", "failed")

app = typer.Typer(
    no_args_is_help=True, help="What leaves for services outside: hosted Mem0, QStash, Redis."
)


@app.command("list")
def list_(
    status: Annotated[str, typer.Option(help=f"One of {', '.join(STATUSES)}.")] = "failed",
    adapter: Annotated[str | None, typer.Option(help="Only those for this adapter.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List deliveries, the latest first; those that failed unless told otherwise."""
    if status not in STATUSES:
        fail(f"There is no status {status!r}: it is one of {', '.join(STATUSES)}.", Exit.USAGE)

    async def work() -> list[Delivery]:
        async with as_service() as store:
            return await store.deliveries.list(
                status=cast("DeliveryStatus", status), adapter=adapter, limit=limit
            )

    found = run(work())
    if as_json:
        print_json(found)
    elif found:
        rows = [
            (
                d.id,
                d.adapter,
                d.intent.get("kind"),
                d.attempts,
                f"{d.created_at:%Y-%m-%d %H:%M}",
                d.error,
            )
            for d in found
        ]
        print_table(("id", "adapter", "what", "attempts", "since", "error"), rows)
    else:
        show(f"No delivery is {status}.")


@app.command()
def replay(
    delivery: Annotated[
        str | None, typer.Argument(help="Id of one that failed or was skipped.")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="All of this adapter.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Have a delivery that failed or was skipped, or all of an adapter, tried again by the next worker that is free."""
    if (delivery is None) == (adapter is None):
        fail("Say which: the id of a delivery, or --adapter.", Exit.USAGE)

    async def work() -> int:
        async with as_service() as store:
            if adapter is not None:
                return await store.deliveries.replay_all(adapter, dry_run=dry_run)
            await store.deliveries.replay(str(delivery), dry_run=dry_run)
            return 1

    queued = run(work())
    if as_json:
        print_json({"dry_run": dry_run, "queued": queued})
    else:
        show(f"{queued:,} {'would be queued' if dry_run else 'queued'} again.")


@app.command()
def tell(
    adapter: Annotated[str, typer.Argument(help="mem0, qstash or redis.")], as_json: AsJson = False
) -> None:
    """Tell an adapter of all memories that there are; for when it was switched on late."""

    async def work() -> None:
        async with as_service() as store:
            await store.deliveries.tell_all(adapter)

    run(work())
    if as_json:
        print_json({"adapter": adapter, "queued": True})
    else:
        show(f"{adapter} will be told of everything.")


@app.command()
def health(as_json: AsJson = False) -> None:
    """Tell how each adapter keeps up, and how what it finds compares with what is found here."""

    async def work() -> tuple[Sequence[AdapterHealth], list[ShadowSummary]]:
        async with as_service() as store:
            return await store.deliveries.health(), await store.shadow.summary()

    adapters, compared = run(work())
    if as_json:
        print_json({"adapters": adapters, "shadow": compared})
        return
    if not adapters and not compared:
        show("No adapter is switched on, and nothing runs in the shadow.")
    if adapters:
        rows = [
            (a.adapter, a.mode, _state(a), a.pending, a.failed, _milliseconds(a.median_seconds))
            for a in adapters
        ]
        print_table(("adapter", "mode", "service", "pending", "failed", "median ms"), rows)
    if compared:
        day = [
            (c.candidate, c.comparisons, c.different, c.failures, _rounded(c.overlap))
            for c in compared
        ]
        print_table(("in the shadow", "recalls of a day", "different", "failed", "overlap"), day)


def _state(adapter: AdapterHealth) -> str:
    return {True: "answers", False: adapter.problem or "does not answer", None: "switched off"}[
        adapter.reachable
    ]


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(1000 * seconds)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 2)
