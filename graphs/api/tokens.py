"""Supabase's access tokens: verification, and the user that a token belongs to.

The project signs tokens with ES256 or RS256 and publishes the keys. Old projects sign with
HS256 and a secret, which has to be configured. Audience, issuer, expiry (with 30 s of leeway)
and role are all checked.
"""

import asyncio
import hmac
import time
import uuid
from typing import Any

import httpx
import jwt

from graphs.deployment.settings import Settings
from graphs.memory.principal import SYSTEM

LEEWAY_SECONDS = 30
_KEYS_FRESH_SECONDS = 600
# Tokens with unknown key ids must not make this server flood the key server.
_REFETCH_SECONDS = 30
_ASYMMETRIC = ("ES256", "RS256")


class InvalidToken(Exception):
    """The token is not accepted. The message is safe to show: it contains nothing of the token."""


class SigningKeys:
    """The project's public keys, with a cache that survives an outage of the key server.

    Concurrent callers wait for one fetch. Old keys are used while new ones cannot be fetched.

    Args:
        url: where the key set is published.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._keys: dict[str, jwt.PyJWK] = {}
        self._tried_at = float("-inf")
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def get(self, key_id: str) -> jwt.PyJWK:
        """Return a key.

        Raises:
            InvalidToken: the project has no such key, or its keys cannot be fetched.
        """
        if not self._is_fresh(key_id):
            async with self._fetching:
                if (
                    not self._is_fresh(key_id)
                    and time.monotonic() - self._tried_at >= _REFETCH_SECONDS
                ):
                    await self._fetch()
        if key := self._keys.get(key_id):
            return key
        if not self._keys:
            raise InvalidToken(
                "The sign-in keys of SUPABASE_URL cannot be fetched now. Try again shortly."
            )
        raise InvalidToken("The token was signed with a key that this project does not have.")

    def _is_fresh(self, key_id: str) -> bool:
        return key_id in self._keys and time.monotonic() - self._fetched_at < _KEYS_FRESH_SECONDS

    async def _fetch(self) -> None:
        self._tried_at = time.monotonic()
        try:
            # In a thread: the client reads certificates from disk.
            client = await asyncio.to_thread(httpx.AsyncClient, timeout=5)
            async with client:
                response = (await client.get(self.url)).raise_for_status()
            found = jwt.PyJWKSet.from_dict(response.json()).keys
        except (httpx.HTTPError, ValueError, jwt.PyJWTError):
            return  # the cached keys stay valid; without any, get() raises
        self._keys = {key.key_id: key for key in found if key.key_id}
        self._fetched_at = time.monotonic()


class TokenVerifier:
    """Verification of access tokens against a Supabase project.

    Args:
        settings: the Supabase project, and its secrets if it has any.
    """

    def __init__(self, settings: Settings) -> None:
        self._issuer = (
            f"{settings.supabase_url.rstrip('/')}/auth/v1" if settings.supabase_url else None
        )
        self._keys = SigningKeys(f"{self._issuer}/.well-known/jwks.json") if self._issuer else None
        self._secret = (
            settings.supabase_jwt_secret.get_secret_value()
            if settings.supabase_jwt_secret
            else None
        )
        service_key = settings.supabase_service_role_key
        self._service_key = service_key.get_secret_value() if service_key else None

    async def identity(self, token: str) -> str:
        """Return the user's id, or `system` for the project's service key.

        Raises:
            InvalidToken: the token is not valid here, or is not that of a user who may sign in.
        """
        if self._service_key and hmac.compare_digest(token.encode(), self._service_key.encode()):
            return SYSTEM
        claims = await self._claims(token)
        if claims.get("role") != "authenticated":
            raise InvalidToken("The token is not that of a signed-in user.")
        try:
            return str(uuid.UUID(claims["sub"]))
        except (ValueError, AttributeError, TypeError):
            raise InvalidToken("The token's subject is not a user's id.") from None

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            key, algorithms = await self._key(header)
            return jwt.decode(
                token,
                key,
                algorithms=algorithms,
                audience="authenticated",
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "sub", "aud", *(["iss"] if self._issuer else [])]},
            )
        except jwt.PyJWTError as error:
            raise InvalidToken(f"The token is not valid: {error}") from None

    async def _key(self, header: dict[str, Any]) -> tuple[Any, list[str]]:
        """Return the key for a token's header, and the algorithms that it may be used with."""
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm == "HS256" and self._secret:
            return self._secret, ["HS256"]
        if algorithm in _ASYMMETRIC and self._keys and isinstance(key_id, str):
            found = await self._keys.get(key_id)
            # Otherwise an attacker could choose the algorithm that a key is used with.
            if found.algorithm_name == algorithm:
                return found.key, [algorithm]
        raise InvalidToken("The token is not signed in a way that this project accepts.")
