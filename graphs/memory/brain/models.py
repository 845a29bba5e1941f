"""The models of the brain: memories that a slug names, and reports on saving and loading them."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import (
    Field,
)

from graphs.memory.values.models import FrozenModel


class BrainMemory(FrozenModel):
    """A memory that a slug names, as it is given to `store.brain`."""

    slug: str = Field(description="Its name, such as user_full_name: [a-z][a-z0-9_]{0,127}.")
    content: str
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


class StoredBrainMemory(BrainMemory):
    """A memory of the brain, as it is kept."""

    memory_id: int = Field(
        description="Of the item that holds it; the same as long as the memory is not deleted."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return the memory that a row stands for; an item of any other shape, put by hand, shows as its JSON."""
        value, content = row.value, row.value.get("content")
        tags, metadata = value.get("tags"), value.get("metadata")
        return cls(
            slug=row.slug,
            content=content if isinstance(content, str) else str(value),
            tags=[tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
            metadata=metadata if isinstance(metadata, dict) else {},
            memory_id=row.memory_id,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class BrainOutcome(FrozenModel):
    """What became of one memory that was to be saved."""

    slug: str
    outcome: Literal["created", "updated", "unchanged", "failed"]
    error: str | None = Field(
        default=None, description="What failed, by its name in `errors`, such as InvalidValue."
    )
    reason: str | None = Field(default=None, description="Why it failed, in words.")


class BrainReport(FrozenModel):
    """What became of memories that were to be saved."""

    success: bool = Field(description="Whether all of them are saved.")
    saved_count: int = Field(
        description="How many are in the brain as given, those that were so before included."
    )
    failed_count: int
    errors: list[str] = Field(
        description="Why each of the others is not: its slug, a colon and the reason."
    )
    outcomes: list[BrainOutcome] = Field(description="One for each slug, in the order given.")

    @classmethod
    def of(cls, outcomes: list[BrainOutcome]) -> Self:
        """Return the report that outcomes add up to."""
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
    """An entry of a profile, or a whole profile, that a load could not make memories of. It holds no content."""

    owner: str = Field(description="The user or the company.")
    slug: str | None = Field(description="Which entry; none where it was the whole profile.")
    error: str = Field(description="Why: in words, or the name of the error in `errors`.")


class BrainLoad(FrozenModel):
    """A load of profiles into the brain, and how far it is."""

    id: UUID
    kind: Literal["user", "company", "users", "companies"]
    status: Literal["waiting", "running", "done", "failed", "cancelled"] = Field(
        description="waiting also before another attempt; failed when there is none left: `jobs.retry(job_id)`."
    )
    job_id: int
    total: int | None = Field(
        description="How many profiles there were when it began, or are loaded when it is done."
    )
    done: int = Field(description="How many profiles it has dealt with.")
    saved: int = Field(description="How many memories are written since it began.")
    unchanged: int = Field(
        description="How many were in the brain as the profiles say before it began."
    )
    failed: int = Field(
        description="How many entries are no memories; one for a profile that could not be read."
    )
    errors: list[BrainLoadError] = Field(description="Of the first 20 of these.")
    queued_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    rate: float | None = Field(
        default=None, description="Profiles per second since it began, waiting included."
    )
