"""Output of commands: tables for people, JSON for machines, progress of long work.

Results go to standard output, everything else to standard error, so that `--json` can be piped.
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
    typer.Option("--json", help="Print JSON, and nothing else, to standard output."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the effects, and change nothing.")]

Advance = Callable[[int, int | None], None]
"""Reports the number of finished things, and their total, or None if it is not known."""


def inert(text: str) -> Text:
    """Return a text that a terminal shows without obeying it.

    Stored texts may hold escape sequences or rich's markup. The text becomes one line. Characters
    that control a terminal, or that change the direction of writing, become replacement characters.
    """
    return Text(
        "".join(" " if char.isspace() else "\ufffd" if _steers(char) else char for char in text)
    )


def _steers(char: str) -> bool:
    # The zero-width joiners belong to emoji and to several scripts.
    joins_emoji = char in "\u200c\u200d"
    return unicodedata.category(char) in {"Cc", "Cf", "Cs"} and not joins_emoji


def note(message: str) -> None:
    """Print a message to standard error."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(inert(message))


def print_json(result: BaseModel | Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a result as one line of JSON."""
    typer.echo(json.dumps(to_jsonable_python(result), ensure_ascii=False))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None
) -> None:
    """Print rows as a table. Numbers are aligned to the right; None is an empty cell."""
    Console().print(table(columns, rows, title=title))


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None
) -> Table:
    """Return a table as `print_table` prints it, for views with several tables."""
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
    """Show how much of some work is done, its speed and its remaining time.

    Without a terminal nothing is shown.

    Args:
        what: the things that are counted, such as `memories`.
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
