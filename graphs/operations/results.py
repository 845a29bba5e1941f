"""The results of checks."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CheckStatus = Literal["ok", "warn", "wrong"]


class CheckResult(BaseModel):
    """The result of one check."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: CheckStatus
    detail: str = Field(description="The finding. It names schema objects, never users.")
    advice: str | None = Field(default=None, description="The remedy; None if the check is ok.")


def worst(checks: Iterable[CheckResult]) -> CheckStatus:
    """Return the worst status of the checks."""
    counted = Counter(check.status for check in checks)
    return "wrong" if counted["wrong"] else "warn" if counted["warn"] else "ok"
