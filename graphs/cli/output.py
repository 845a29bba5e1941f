"""What commands print: tables for people, JSON for machines, and how far long work has come.

What was asked for goes to standard output, all else to standard error, so that `--json` can be piped.
"""

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON for machines, and nothing else, on standard output."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
]

Advance = Callable[[int, int | None], None]
"""Tells how much is done, and of how much; None where that is not known."""


def inert(text: str) -> Text:
    """Return a text that a terminal only shows: what people stored may hold escape sequences, or rich's markup.

    It becomes one line. What steers a terminal, or turns the direction of writing, shows as a replacement character.
    """
    return Text(
        "".join(" " if char.isspace() else "\ufffd" if _steers(char) else char for char in text)
    )


def _steers(char: str) -> bool:
    joins_emoji = char in "\u200c\u200d"
    return unicodedata.category(char) in {"Cc", "Cf", "Cs"} and not joins_emoji


def note(message: str) -> None:
    """Tell something beside the result."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(inert(message))


def print_json(result: BaseModel | Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a result as one line of JSON."""
    typer.echo(json.dumps(to_jsonable_python(result), ensure_ascii=False))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None
) -> None:
    """Print rows as a table; numbers stand to the right, and what is None stays empty."""
    Console().print(table(columns, rows, title=title))


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None
) -> Table:
    """Return such a table, for a view that has several."""
    shown = Table(*columns, title=title)
    for n, column in enumerate(shown.columns):
        if rows and all(isinstance(row[n], (int, float)) for row in rows):
            column.justify = "right"
        column.no_wrap = columns[n] == "id"  # it is copied to the next command
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    return shown


def _cell(value: Any) -> Text:
    if value is None or isinstance(value, Text):
        return value or Text()
    return inert(
        f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    )


@contextmanager
def progress(what: str) -> Iterator[Advance]:
    """Show how far some work has come, how fast it is and how long it will take; nothing where nobody looks.

    Args:
        what: is counted, such as `memories`.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task(what, total=None, rate="")

        def advance(done: int, of: int | None) -> None:
            speed = shown.tasks[0].speed
            shown.update(task, completed=done, total=of, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance
