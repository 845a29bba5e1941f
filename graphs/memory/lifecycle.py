"""What becomes of memories with time."""

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from graphs.memory import sql
from graphs.memory.contract import DecayReport
from graphs.memory.errors import InvalidInput

_SQL = sql.load("lifecycle")

IMPORTANT = 0.7
"""From this importance on a memory fades before it is trimmed."""


def check_threshold(days: float) -> None:
    """Refuse a threshold that would delete everything.

    Raises:
        InvalidInput: it is not a positive number of days.
    """
    if not 0 < days < 36525:
        raise InvalidInput(f"threshold_days must be a positive number of days (at most a century); got {days!r}.")


async def decay(conn: AsyncConnection[DictRow], user_id: str, threshold_days: float) -> DecayReport:
    """Trim a user's memories that nobody touched for `threshold_days`, and fade the important ones.

    Only memories written under the contract are concerned: what an application stored for itself is left alone.
    """
    rule = {"user_id": user_id, "days": threshold_days, "important": IMPORTANT}
    row = await (await conn.execute(_SQL["decay"], rule)).fetchone()
    return DecayReport.model_validate(row)
