"""`graph-memory demo`: data to try the example agents with."""

import asyncio
import importlib
from types import ModuleType
from typing import Annotated
from uuid import UUID

import typer

from graphs.cli.ending import as_service, fail, run
from graphs.cli.output import AsJson, print_json, print_table
from graphs.deployment.settings import load_settings

_EXAMPLE = "graphs.agents.robotics.demo"


def demo(
    remove: Annotated[bool, typer.Option("--remove", help="Take the data out again.")] = False,
    as_json: AsJson = False,
    user: Annotated[
        UUID | None, typer.Option(help="Who gets data of their own; the local user unless given.")
    ] = None,
) -> None:
    """Load dealers, robots, applications and leads for the example agents. May be repeated, and while a server runs."""
    run(_demo(_example(), remove, as_json, str(user) if user else None))


def _example() -> ModuleType:
    """The example's data; a team with agents of its own has none."""
    try:
        return importlib.import_module(_EXAMPLE)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("graphs.agents"):
            raise
        fail(
            f"There is no data to load: {_EXAMPLE} is not here, since the example agents were removed."
        )


async def _demo(example: ModuleType, remove: bool, as_json: bool, user_id: str | None) -> None:
    user_id = user_id or (await asyncio.to_thread(load_settings)).local_user_id
    async with as_service() as store:
        counts: dict[str, int] = await (example.remove if remove else example.load)(store, user_id)
    if as_json:
        print_json({"removed" if remove else "written": counts, "user_id": user_id})
    else:
        _show(counts, "Removed" if remove else "Written", {} if remove else example.QUESTIONS)


def _show(counts: dict[str, int], heading: str, questions: dict[str, str]) -> None:
    print_table(("", heading), [*counts.items()])
    if questions:
        typer.echo("Now ask, in Studio or over the SDK (`make dev` serves them):")
    for agent, question in questions.items():
        typer.echo(f"  {agent}  {question}")
