"""Erasure: deletion of everything that is stored about a user."""

from graphs.memory.contract import ErasureCertificate
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows

_SQL = statements.load("erasure", __package__)


def erase(user_id: str) -> Query[ErasureCertificate]:
    """Return the query that deletes everything about a user, in one transaction."""

    def read(rows: Rows) -> ErasureCertificate:
        return ErasureCertificate.model_validate(rows[0]._asdict())

    return Query(_SQL["erase"], {"user_id": user_id}, read, lasting=True)
