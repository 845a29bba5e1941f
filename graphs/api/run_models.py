"""Bodies of the responses about runs."""

from typing import Self

from pydantic import BaseModel, Field

from graphs.api import examples
from graphs.api.models import MemoryView, ReceiptView, shown
from graphs.memory.timeline.runs import Change, Run, SetAside, Settled
from graphs.memory.values.ids import to_id


class RunView(BaseModel):
    """The memories that a run wrote, and its recalls."""

    model_config = shown(examples.RUN)

    run_id: str
    run: Run | None = Field(
        description="Its place in its conversation; null for one that did not touch memory."
    )
    written: list[MemoryView] = Field(
        description="What it wrote and is still current, and facts extracted from it."
    )
    set_aside: list[SetAside] = Field(description="What it wrote that does not stand any more.")
    recalled: list[ReceiptView] = Field(description="Its recalls, the latest first.")


class ChangeView(Change):
    """How an undo or a redo changed one address."""

    model_config = shown(examples.CHANGE)

    id: str = Field(description="The id of the memory at this address, in URLs; opaque.")


class SettledView(BaseModel):
    """How an undo or a redo changed memory, or would change it."""

    model_config = shown(examples.SETTLED)

    changes: list[ChangeView]

    @classmethod
    def of(cls, settled: Settled) -> Self:
        """Return changes with the ids of their memories."""
        return cls(
            changes=[
                ChangeView(id=to_id(change.namespace, change.key), **dict(change))
                for change in settled.changes
            ]
        )
