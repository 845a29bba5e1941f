"""`graph-memory outbox`: deliveries to other services, failed ones, and shadow comparisons."""

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
    no_args_is_help=True, help="Deliveries to other services: hosted Mem0, QStash, Redis."
)


@app.command("list")
def list_(
    status: Annotated[str, typer.Option(help=f"One of {', '.join(STATUSES)}.")] = "failed",
    adapter: Annotated[str | None, typer.Option(help="Only deliveries of this adapter.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most deliveries to list.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List deliveries, the latest first; failed ones by default."""
    if status not in STATUSES:
        fail(f"There is no status {status!r}: choose one of {', '.join(STATUSES)}.", Exit.USAGE)

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
        str | None, typer.Argument(help="Id of a failed or skipped delivery.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="All failed and skipped deliveries of this adapter.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Queue a failed or skipped delivery, or all of an adapter, for the next free worker."""
    if (delivery is None) == (adapter is None):
        fail("Give the id of a delivery, or --adapter.", Exit.USAGE)

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
    """Deliver all existing memories to an adapter that was turned on late."""

    async def work() -> None:
        async with as_service() as store:
            await store.deliveries.tell_all(adapter)

    run(work())
    if as_json:
        print_json({"adapter": adapter, "queued": True})
    else:
        show(f"All memories will be delivered to {adapter}.")


@app.command()
def health(as_json: AsJson = False) -> None:
    """Show the state of each adapter, and how its results compare with ours."""

    async def work() -> tuple[Sequence[AdapterHealth], list[ShadowSummary]]:
        async with as_service() as store:
            return await store.deliveries.health(), await store.shadow.summary()

    adapters, compared = run(work())
    if as_json:
        print_json({"adapters": adapters, "shadow": compared})
        return
    if not adapters and not compared:
        show("No adapter is turned on, and nothing runs in the shadow.")
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
        print_table(("in the shadow", "recalls per day", "different", "failed", "overlap"), day)


def _state(adapter: AdapterHealth) -> str:
    return {True: "answers", False: adapter.problem or "does not answer", None: "turned off"}[
        adapter.reachable
    ]


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(1000 * seconds)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 2)
