"""The models of the brain: memories named by slugs, and reports of saving and loading them."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import (
    Field,
)

from graphs.memory.values.models import FrozenModel


class BrainMemory(FrozenModel):
    """A memory named by a slug, as a caller gives it to `store.brain`."""

    slug: str = Field(
        description="The name of the memory, such as user_full_name: [a-z][a-z0-9_]{0,127}."
    )
    content: str
    category: str | None = Field(default=None, description="The kind of memory, in your own words.")
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


class StoredBrainMemory(BrainMemory):
    """A memory of the brain, as it is stored."""

    memory_id: int = Field(
        description="Id of the item that holds it; it stays the same until the memory is deleted."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return the memory of a row.

        An item without a text `content`, which a caller put by hand, is shown as its JSON.
        """
        value, content = row.value, row.value.get("content")
        tags, metadata = value.get("tags"), value.get("metadata")
        category = value.get("category")
        return cls(
            slug=row.slug,
            content=content if isinstance(content, str) else str(value),
            category=category if isinstance(category, str) else None,
            tags=[tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
            metadata=metadata if isinstance(metadata, dict) else {},
            memory_id=row.memory_id,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class BrainOutcome(FrozenModel):
    """The outcome of saving one memory."""

    slug: str
    outcome: Literal["created", "updated", "unchanged", "failed"]
    error: str | None = Field(
        default=None, description="Name of the error class, such as InvalidValue."
    )
    reason: str | None = Field(default=None, description="Why it failed, as a sentence.")


class BrainReport(FrozenModel):
    """The outcomes of saving several memories."""

    success: bool = Field(description="True if no memory failed.")
    saved_count: int = Field(
        description="Memories that are in the brain as given, including unchanged ones."
    )
    failed_count: int
    errors: list[str] = Field(
        description="One line for each failed memory: its slug, a colon and the reason."
    )
    outcomes: list[BrainOutcome] = Field(
        description="One outcome for each slug, in the order given."
    )

    @classmethod
    def of(cls, outcomes: list[BrainOutcome]) -> Self:
        """Return the report of these outcomes."""
        errors = [f"{o.slug}: {o.reason}" for o in outcomes if o.outcome == "failed"]
        saved = len(outcomes) - len(errors)
        return cls(
            success=not errors,
            saved_count=saved,
            failed_count=len(errors),
            errors=errors,
            outcomes=outcomes,
        )


class BrainLoadError(FrozenModel):
    """An entry of a profile, or a whole profile, that a load could not save as memories.

    It holds no content of the profile.
    """

    owner: str = Field(description="Id of the user or the company.")
    slug: str | None = Field(description="Slug of the entry; none if the whole profile failed.")
    error: str = Field(description="The reason as a sentence, or the name of the error class.")


class BrainLoad(FrozenModel):
    """A load of profiles into the brain, and its progress."""

    id: UUID
    kind: Literal["user", "company", "users", "companies"]
    status: Literal["waiting", "running", "done", "failed", "cancelled"] = Field(
        description="waiting: before the first attempt or a retry; failed: no attempt is left, "
        "start another with `jobs.retry(job_id)`."
    )
    job_id: int
    total: int | None = Field(
        description="Number of profiles: counted at the start, and exact once the load is done."
    )
    done: int = Field(description="Profiles processed so far.")
    saved: int = Field(description="Memories written since the load began.")
    unchanged: int = Field(
        description="Memories that already agreed with the profiles before the load began."
    )
    failed: int = Field(
        description="Entries that could not be saved; an unreadable profile counts as one."
    )
    errors: list[BrainLoadError] = Field(description="The first 20 failures.")
    queued_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    rate: float | None = Field(
        default=None, description="Profiles per second since it began, including waiting time."
    )
