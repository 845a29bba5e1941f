"""Seals: chained digests over the audit log and the history."""

import logging
import re
from typing import cast

from graphs.memory.contract import AuditProblem
from graphs.memory.database import statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.query import Query
from graphs.memory.errors import (
    InvalidInput,
)
from graphs.memory.principal import Principal

log = logging.getLogger(__name__)
_SQL = statements.load("seals", __package__)


SEALED = ("audit_logs", "memory_history")
"""Tables whose records are sealed."""


PORTION = 10_000
"""Most records that one seal covers."""


def seal(source: str) -> Query[int]:
    """Return the query that seals a portion of the unsealed records. Its answer is their number."""
    given = {"source": source, "most": PORTION}
    part = SchemaPart.HISTORY if source == "memory_history" else None
    return Query(_SQL["seal"], given, lambda rows: int(rows[0].sealed), part)


async def seal_all(database: Database) -> str | None:
    """Seal all unsealed records, and return the digest of the last seal; None if there is none."""
    for source in SEALED:
        sealed = PORTION
        while sealed == PORTION:
            [sealed] = await to_the_end(database.run(Principal.service(), [seal(source)]))
    [digest] = await to_the_end(database.run(Principal.service(), [head()]))
    log.info("The audit log is sealed; its last seal is %s", digest)
    return cast("str | None", digest)


def head() -> Query[str | None]:
    """Return the query of the digest of the last seal."""
    return Query(_SQL["head"], {}, lambda rows: str(rows[0].digest) if rows else None)


def verify(noted: str | None) -> Query[list[AuditProblem]]:
    """Return the query of records and seals that do not match.

    Args:
        noted: the digest of a seal that was stored elsewhere; None for none.

    Raises:
        InvalidInput: it is not a digest.
    """
    if noted is not None and not re.fullmatch("[0-9a-f]{64}", noted):
        raise InvalidInput(
            f"head must be the digest of a seal, 64 hexadecimal digits; got {noted!r}."
        )
    return Query(
        _SQL["verify"],
        {"head": noted},
        lambda rows: [AuditProblem.model_validate(row._asdict()) for row in rows],
        lasting=True,
    )
