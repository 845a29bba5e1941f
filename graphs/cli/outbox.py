"""`graph-memory outbox`: what leaves for services outside, what did not get there, and how it compares."""

from typing import Annotated, cast

import typer

from graphs.cli.ending import as_service, fail, run
from graphs.memory.outbox.deliveries import Status

app = typer.Typer(no_args_is_help=True, help="What leaves for services outside: hosted Mem0, QStash, Redis.")


@app.command("list")
def list_(
    status: Annotated[str, typer.Option(help="pending, delivered, skipped or failed.")] = "failed",
    adapter: Annotated[str | None, typer.Option(help="Only those for this adapter.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """List deliveries, the latest first; those that failed unless told otherwise."""
    if status not in ("pending", "delivered", "skipped", "failed"):
        fail(f"There is no status {status!r}: it is pending, delivered, skipped or failed.")
    run(_list(cast("Status", status), adapter, limit))


async def _list(status: Status, adapter: str | None, limit: int) -> None:
    async with as_service() as store:
        for each in await store.deliveries.list(status=status, adapter=adapter, limit=limit):
            told = f"{each.id}  {each.adapter}  {each.intent.get('kind')}  {each.attempts} attempts"
            typer.echo(f"{each.created_at:%Y-%m-%d %H:%M:%S}  {told}" + (f"  {each.error}" if each.error else ""))


@app.command()
def replay(
    delivery: Annotated[str | None, typer.Argument(help="Id of one that failed or was skipped.")] = None,
    adapter: Annotated[str | None, typer.Option(help="All of this adapter.")] = None,
) -> None:
    """Have a delivery that failed or was skipped, or all of an adapter, tried again by the next worker that is free."""
    if (delivery is None) == (adapter is None):
        fail("Say which: the id of a delivery, or --adapter.")
    run(_replay(delivery, adapter))


async def _replay(delivery: str | None, adapter: str | None) -> None:
    async with as_service() as store:
        if delivery is not None:
            await store.deliveries.replay(delivery)
        count = await store.deliveries.replay_all(adapter) if adapter is not None else 1
        typer.echo(f"{count} queued again.")


@app.command()
def tell(adapter: Annotated[str, typer.Argument(help="mem0, qstash or redis.")]) -> None:
    """Tell an adapter of all memories that there are; for when it was switched on late."""
    run(_tell(adapter))


async def _tell(adapter: str) -> None:
    async with as_service() as store:
        await store.deliveries.tell_all(adapter)
        typer.echo(f"{adapter} will be told of everything.")


@app.command()
def health() -> None:
    """Tell how each adapter keeps up, and how what it finds compares with what is found here."""
    run(_health())


async def _health() -> None:
    async with as_service() as store:
        for each in await store.deliveries.health():
            state = {True: "answers", False: each.problem or "does not answer", None: "is switched off"}[each.reachable]
            typer.echo(f"{each.adapter} ({each.mode}): {state}; {each.pending} pending, {each.failed} failed")
        for compared in await store.shadow.summary():
            told = (
                f"{compared.comparisons} recalls of a day, {compared.different} different, {compared.failures} failed"
            )
            overlap = "none" if compared.overlap is None else f"{compared.overlap:.2f}"
            typer.echo(f"{compared.candidate} in the shadow: {told}, overlap {overlap}")
