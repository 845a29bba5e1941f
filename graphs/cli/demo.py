"""`graph-memory demo`: data for trying the example agents."""

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
    remove: Annotated[bool, typer.Option("--remove", help="Remove the data again.")] = False,
    as_json: AsJson = False,
    user: Annotated[
        UUID | None, typer.Option(help="The user to load data for; the local user by default.")
    ] = None,
) -> None:
    """Load dealers, robots, applications and leads for the example agents.

    May be repeated, and may run while a server runs.
    """
    run(_demo(_example(), remove, as_json, str(user) if user else None))


def _example() -> ModuleType:
    """Import the example's data. Teams that have removed the example agents have none."""
    try:
        return importlib.import_module(_EXAMPLE)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("graphs.agents"):
            raise
        fail(f"There is no data to load: the example agents were removed ({_EXAMPLE} is missing).")


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
