"""Erasure: deletion of everything about a user, or of one memory, for good."""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import cast

from graphs.memory.access import Access
from graphs.memory.contract import ErasureCertificate
from graphs.memory.database import statements
from graphs.memory.database.database import to_the_end
from graphs.memory.database.query import Query, Rows
from graphs.memory.principal import Principal, current_provenance
from graphs.memory.values.namespaces import Address, check_address, to_text

_SQL = statements.load("erasure", __package__)


def erase(user_id: str, elsewhere: Mapping[str, int]) -> Query[ErasureCertificate]:
    """Return the query that deletes everything about a user, in one transaction.

    Args:
        user_id: the user.
        elsewhere: what was erased elsewhere before, as numbers by name, for the certificate.
    """

    def read(rows: Rows) -> ErasureCertificate:
        return ErasureCertificate.model_validate(rows[0]._asdict())

    given = {"user_id": user_id, "elsewhere": json.dumps(dict(elsewhere))}
    return Query(_SQL["erase"], given, read, lasting=True)


class MemoryEraser:
    """Erases single memories for good.

    Args:
        access: runs the queries.
        finish: waits until the receipts of recalls are written, since they name memories.
    """

    def __init__(self, access: Access, finish: Callable[[], Awaitable[None]]) -> None:
        self._access = access
        self._finish = finish

    async def erase(
        self, principal: Principal, memory: Address, expected: datetime | None = None
    ) -> ErasureCertificate | None:
        """Erase a memory, or what is left of a forgotten one; None if the principal sees none.

        Args:
            principal: who acts.
            memory: namespace and key.
            expected: the `updated_at` of the version to erase; None to erase any version.

        Raises:
            VersionConflict: it is not at the version that was expected.
            AccessDenied: the principal may read it, but not delete it.
        """
        check_address(*memory)
        await self._finish()
        given = {"namespace": to_text(memory[0]), "key": memory[1], "expected": expected}
        query = Query(_SQL["erase_memory"], given, _certificate)
        with self._access.reporter.denials(principal):
            [certificate] = await to_the_end(
                self._access.database.run(principal, [query], current_provenance())
            )
        return cast("ErasureCertificate | None", certificate)


def _certificate(rows: Rows) -> ErasureCertificate | None:
    return ErasureCertificate.model_validate(rows[0]._asdict()) if rows else None
