"""The log of reads, written in the background."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from graphs.memory.audit.counting import CountingLog
from graphs.memory.database import statements
from graphs.memory.database.database import Database, PrincipalQueries
from graphs.memory.database.query import Query
from graphs.memory.principal import Principal, Provenance
from graphs.memory.values.namespaces import Namespace, to_text

_SQL = statements.load("reads", __package__)


class _Read(NamedTuple):
    """The key of a record: reads of one scope, by one principal, from one place."""

    principal: Principal
    provenance: Provenance
    scope: Namespace


class ReadLog(CountingLog[_Read]):
    """The log of reads: who read which scope, in which run.

    Reads of a scope by one principal within a second become one record.

    Args:
        database: the database of the audit log.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database, "records of reads")

    def note(
        self, principal: Principal, provenance: Provenance, scope: Namespace, kind: str, found: int
    ) -> None:
        """Record a read soon.

        Args:
            principal: the principal that read.
            provenance: the run and node that read.
            scope: the namespace, or a namespace prefix.
            kind: `gets`, `searches` or `lists`.
            found: the number of items that it returned.
        """
        counts = self._counts(_Read(principal, provenance, scope))
        counts[kind] += 1
        counts["found"] += found

    def _parts(
        self, noted: Mapping[_Read, Counter[str]], seconds: float
    ) -> Sequence[PrincipalQueries]:
        reads = json.dumps([_record(*read) | {"seconds": seconds} for read in noted.items()])
        query: Query[None] = Query(_SQL["log_reads"], {"reads": reads})
        return [PrincipalQueries(Principal.service(), [query])]


def _record(read: _Read, counts: Counter[str]) -> dict[str, Any]:
    """Return the JSON of a record."""
    who = read.principal.user_id or read.principal.role
    return {**dict(read.provenance), "actor": who, "namespace": to_text(read.scope), "data": counts}
