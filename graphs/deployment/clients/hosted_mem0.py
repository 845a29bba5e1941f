"""mem0's client of the hosted service, without its dangerous methods.

`connected` imports this module late, because it imports mem0.
"""

from typing import Any

import httpx
from mem0 import AsyncMemoryClient
from mem0.client.utils import api_error_handler
from mem0.exceptions import MemoryError as Mem0Error

__all__ = ["HostedClient", "Mem0Error"]


class HostedClient(AsyncMemoryClient):  # type: ignore[misc]  # mem0 has no types
    """The official client without its blocking constructor, and unable to empty the account.

    Args:
        http: an HTTP client with the service's address and the key; the caller closes it.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        # The parent's constructor is not called: it pings the service without a timeout.
        self.async_client = http
        self.user_email = None

    @api_error_handler  # type: ignore[untyped-decorator]
    async def event(self, event_id: str) -> dict[str, Any]:
        """Return the status of a background operation of the service."""
        response = await self.async_client.get(f"/v1/event/{event_id}/")
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    @api_error_handler  # type: ignore[untyped-decorator]
    async def ping(self) -> dict[str, Any]:
        """Return the account of the key, as `org_id` and `project_id`."""
        response = await self.async_client.get("/v1/ping/")
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    async def delete_all(self, options: None = None, **of: str) -> Any:
        """Delete the memories of one user. Without a user, the parent would delete everybody's."""
        return await super().delete_all(user_id=_named(of.get("user_id")))

    async def delete_users(self, user_id: str | None = None, **_: object) -> Any:
        """Delete one user. Without a user, the parent would delete all."""
        return await super().delete_users(user_id=_named(user_id))

    async def reset(self) -> None:
        """Refuse: the parent would delete all users and memories of the account."""
        raise NotImplementedError(
            "The account is never emptied: erase one user instead, with `graph-memory erase-user`."
        )


def _named(user_id: str | None) -> str:
    if not user_id or user_id == "*":
        raise ValueError(
            "Give a user id: without one, the service would delete all users' memories."
        )
    return user_id
