"""The check that only the service operates a deployment."""

from collections.abc import Awaitable, Callable
from typing import Any

from graphs.memory.access import Access
from graphs.memory.database.query import Query

Ask = Callable[[Query[Any]], Awaitable[Any]]
"""Runs a query as the owner of the tables, for the service."""


def only_service(access: Access) -> None:
    """Check that the service is acting.

    Raises:
        AccessDenied: a user is acting.
    """
    access.only_service("operate the deployment: run this as the service, not as a user")
