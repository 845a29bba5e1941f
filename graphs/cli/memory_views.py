"""Views of memories on a terminal. Stored texts are shown, never interpreted."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from graphs.cli.output import inert
from graphs.memory.contract import RecalledMemory
from graphs.memory.knowledge.memories import Memory, Version
from graphs.memory.values.ids import to_id

_BAR = 32
"""Width of a bar for a score of 1, in characters."""

_INDENT = "      "


class RecallMention(BaseModel):
    """A recall that chose a memory, or nearly chose it."""

    at: datetime
    actor: str
    query: str
    chosen: bool
    rank: int
    score: float | None
    parts: dict[str, float]


def as_json(memory: RecalledMemory | Memory) -> dict[str, Any]:
    """Return a memory with its id, for JSON output."""
    return {"id": to_id(memory.namespace, memory.key), **memory.model_dump(mode="json")}


def show(*lines: Text | str) -> None:
    """Print lines without breaking long ones, so that an id can be copied."""
    console = Console(soft_wrap=True, highlight=False)
    for line in lines:
        console.print(inert(line) if isinstance(line, str) else line)


def show_recalled(memory: RecalledMemory) -> None:
    """Print a recalled memory, and the parts of its score if they are known."""
    score = "    -" if memory.score is None else f"{memory.score:5.2f}"
    show(Text(score, "bold") + " " + inert(memory.content), _about(memory))
    show_parts(memory.explanation or {})


def show_memory(memory: Memory) -> None:
    """Print a memory."""
    show(Text(_INDENT).append_text(inert(memory.content)), _about(memory))


def _about(memory: RecalledMemory | Memory) -> Text:
    told = [
        memory.type or "item",
        f"{memory.updated_at:%Y-%m-%d %H:%M}",
        *(f"#{tag}" for tag in memory.tags),
    ]
    told += ["pinned"] if memory.pinned else []
    return Text(_INDENT) + Text(
        f"{inert(' · '.join(told))}  id {to_id(memory.namespace, memory.key)}", "dim"
    )


def show_parts(parts: Mapping[str, float]) -> None:
    """Draw the parts of a score as bars."""
    width = max(map(len, parts), default=0)
    for name, part in sorted(parts.items(), key=lambda named: -named[1]):
        bar = "█" * round(_BAR * min(max(part, 0.0), 1.0))
        show(Text(f"{_INDENT}{name:<{width}} ") + Text(f"{bar:<{_BAR}}", "cyan") + f" {part:6.3f}")


def show_history(now: Memory | None, versions: Sequence[Version]) -> None:
    """Draw the versions of a memory as a timeline, the current one first."""
    if now:
        show(Text("● ", "green") + Text(f"since {now.updated_at:%Y-%m-%d %H:%M:%S}", "bold"))
        show(Text("│ ") + inert(now.content))
    for version in versions:
        ended = "deleted" if version.operation == "delete" else "replaced"
        by = f" by run {version.ended_by}" if version.ended_by else ""
        span = f"{version.valid_from:%Y-%m-%d %H:%M:%S} to {version.valid_to:%Y-%m-%d %H:%M:%S}"
        show(
            Text("○ ") + Text(f"{span}, {ended}", "bold") + inert(by),
            Text("│ ") + inert(version.content),
        )


def show_recall(recall: RecallMention) -> None:
    """Print when and why a recall chose a memory."""
    how = (
        f"chosen as {recall.rank}."
        if recall.chosen
        else f"nearly chosen, {recall.rank}. after the chosen ones"
    )
    show(f"{recall.at:%Y-%m-%d %H:%M:%S}  {how}  for {recall.query!r}  by {recall.actor}")
    show_parts(recall.parts)
