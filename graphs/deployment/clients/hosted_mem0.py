"""mem0's client of the hosted service, made safe. Imported late, by `connected`, since mem0 is imported with it."""

from typing import Any

import httpx
from mem0 import AsyncMemoryClient
from mem0.client.utils import api_error_handler
from mem0.exceptions import MemoryError as Mem0Error

__all__ = ["HostedClient", "Mem0Error"]


class HostedClient(AsyncMemoryClient):  # type: ignore[misc]  # mem0 has no types
    """The official client, which asks nothing when it is made, and cannot empty the whole account.

    Args:
        http: carries its requests, with the service's address and the key; it stays its owner's to close.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        # Not the parent's: it would wait for an answer of the service, for ever if none comes.
        self.async_client = http
        self.user_email = None

    @api_error_handler  # type: ignore[untyped-decorator]
    async def event(self, event_id: str) -> dict[str, Any]:
        """Return how far the service is with something that it does in the background."""
        response = await self.async_client.get(f"/v1/event/{event_id}/")
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    @api_error_handler  # type: ignore[untyped-decorator]
    async def ping(self) -> dict[str, Any]:
        """Return whose the key is, if the service answers and knows it: `org_id`, `project_id`."""
        response = await self.async_client.get("/v1/ping/")
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    async def delete_all(self, options: None = None, **of: str) -> Any:
        """Delete the memories of one user; of nobody in particular, the parent would delete everybody's."""
        return await super().delete_all(user_id=_named(of.get("user_id")))

    async def delete_users(self, user_id: str | None = None, **_: object) -> Any:
        """Delete one user; of nobody in particular, the parent would delete all."""
        return await super().delete_users(user_id=_named(user_id))

    async def reset(self) -> None:
        """Refuse; the parent would delete the account's users and memories."""
        raise NotImplementedError(
            "Nothing empties the account: an erasure deletes what is a person's."
        )


def _named(user_id: str | None) -> str:
    if not user_id or user_id == "*":
        raise ValueError("Say whose: without a user, the service would delete what is everybody's.")
    return user_id
