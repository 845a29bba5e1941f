"""`graph-memory demo`: data to try the example agents with."""

import asyncio
import importlib
import json
from types import ModuleType
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from graphs.cli.ending import fail, run
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import deployment_store
from graphs.settings import load_settings

_EXAMPLE = "graphs.agents.robotics.demo"


def demo(
    remove: Annotated[bool, typer.Option("--remove", help="Take the data out again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
    user: Annotated[UUID | None, typer.Option(help="Who gets data of their own; the local user unless given.")] = None,
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
        fail(f"There is no data to load: {_EXAMPLE} is not here, since the example agents were removed.")


async def _demo(example: ModuleType, remove: bool, as_json: bool, user_id: str | None) -> None:
    user_id = user_id or (await asyncio.to_thread(load_settings)).local_user_id
    async with deployment_store() as store:
        with acting_as(Principal.service()):
            counts: dict[str, int] = await (example.remove if remove else example.load)(store, user_id)
    if as_json:
        typer.echo(json.dumps({"removed" if remove else "written": counts, "user_id": user_id}))
    else:
        _show(counts, "Removed" if remove else "Written", {} if remove else example.QUESTIONS)


def _show(counts: dict[str, int], heading: str, questions: dict[str, str]) -> None:
    console = Console()
    table = Table("", heading)
    table.columns[1].justify = "right"
    for kind, count in counts.items():
        table.add_row(kind, str(count))
    console.print(table)
    if questions:
        console.print("Now ask, in Studio or over the SDK (`make dev` serves them):")
    for agent, question in questions.items():
        console.print(f"  [bold]{agent}[/bold]  {question}", soft_wrap=True, highlight=False)
