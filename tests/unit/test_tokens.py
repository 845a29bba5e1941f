"""Supabase's access tokens: valid ones are accepted, and every known attack is refused."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from graphs.api.tokens import InvalidToken, TokenVerifier
from graphs.deployment.settings import Settings
from graphs.memory.principal import SYSTEM
from tests.support.keys import USER, KeyServer, claims, hmac_token

SECRET = "an old project's secret, long enough for HS256"


@pytest.fixture
def keys() -> Iterator[KeyServer]:
    server = KeyServer()
    yield server
    server.close()


def verifier(keys: KeyServer, **settings: Any) -> TokenVerifier:
    return TokenVerifier(Settings(_env_file=None, supabase_url=keys.url, **settings))


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_a_token_signed_by_the_project_opens(keys: KeyServer, algorithm: str) -> None:
    private = keys.publish("k1", algorithm)
    token = jwt.encode(claims(keys), private, algorithm=algorithm, headers={"kid": "k1"})
    assert await verifier(keys).identity(token) == USER


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "anon"},
        {"aud": None},
        {"iss": "https://elsewhere.supabase.co/auth/v1"},
        {"iss": None},
        {"exp": datetime.now(UTC) - timedelta(minutes=2)},
        {"exp": None},
        {"role": "anon"},
        {"role": "service_role"},
        {"role": None},
        {"sub": ""},
        {"sub": "*"},
        {"sub": "alice"},
        {"sub": None},
        {"sub": SYSTEM},
    ],
)
async def test_a_wrong_claim_is_refused(keys: KeyServer, changed: dict[str, Any]) -> None:
    private = keys.publish("k1")
    token = jwt.encode(claims(keys, **changed), private, algorithm="ES256", headers={"kid": "k1"})
    with pytest.raises(InvalidToken):
        await verifier(keys).identity(token)


async def test_a_clock_that_is_a_little_off_is_forgiven(keys: KeyServer) -> None:
    private = keys.publish("k1")
    late = claims(keys, exp=datetime.now(UTC) - timedelta(seconds=10))
    token = jwt.encode(late, private, algorithm="ES256", headers={"kid": "k1"})
    assert await verifier(keys).identity(token) == USER


async def test_forged_signatures_are_refused(keys: KeyServer) -> None:
    private = keys.publish("k1")
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stranger = ec.generate_private_key(ec.SECP256R1())
    body = claims(keys)
    good = jwt.encode(body, private, algorithm="ES256", headers={"kid": "k1"})
    forged = [
        jwt.encode(body, stranger, algorithm="ES256", headers={"kid": "k1"}),
        jwt.encode(body, stranger, algorithm="ES256", headers={"kid": "unknown"}),
        jwt.encode(body, stranger, algorithm="ES256"),
        jwt.encode(body, "", algorithm="none", headers={"kid": "k1"}),
        jwt.encode(body, SECRET, algorithm="HS256", headers={"kid": "k1"}),
        good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
        hmac_token(body, public),
        jwt.encode(
            body, rsa.generate_private_key(65537, 2048), algorithm="RS256", headers={"kid": "k1"}
        ),
        "",
        "no.token",
        "a.b.c",
    ]
    check = verifier(keys)
    for token in forged:
        with pytest.raises(InvalidToken):
            await check.identity(token)
    assert await check.identity(good) == USER


async def test_an_old_projects_secret_works_only_where_it_is_configured(keys: KeyServer) -> None:
    token = jwt.encode(claims(keys), SECRET, algorithm="HS256")
    assert await verifier(keys, supabase_jwt_secret=SECRET).identity(token) == USER
    with pytest.raises(InvalidToken):
        await verifier(keys).identity(token)
    with pytest.raises(InvalidToken):
        await verifier(keys, supabase_jwt_secret="another secret that is long enough").identity(
            token
        )


async def test_the_service_key_is_the_system(keys: KeyServer) -> None:
    check = verifier(keys, supabase_service_role_key="sb_secret_x")
    assert await check.identity("sb_secret_x") == SYSTEM
    with pytest.raises(InvalidToken):
        await check.identity("sb_secret_y")


async def test_keys_are_fetched_once_for_all_who_wait(keys: KeyServer) -> None:
    private = keys.publish("k1")
    token = jwt.encode(claims(keys), private, algorithm="ES256", headers={"kid": "k1"})
    check = verifier(keys)
    assert await asyncio.gather(*(check.identity(token) for _ in range(20))) == [USER] * 20
    assert keys.asked == 1


async def test_a_burst_of_unknown_keys_does_not_reach_the_key_server(keys: KeyServer) -> None:
    keys.publish("k1")
    stranger = ec.generate_private_key(ec.SECP256R1())
    check = verifier(keys)
    for n in range(20):
        token = jwt.encode(
            claims(keys), stranger, algorithm="ES256", headers={"kid": f"unknown{n}"}
        )
        with pytest.raises(InvalidToken):
            await check.identity(token)
    assert keys.asked == 1


async def test_known_keys_stay_good_while_the_key_server_is_away(
    keys: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = keys.publish("k1")
    token = jwt.encode(claims(keys), private, algorithm="ES256", headers={"kid": "k1"})
    check = verifier(keys)
    assert await check.identity(token) == USER
    keys.status = 500
    monkeypatch.setattr("graphs.api.tokens._KEYS_FRESH_SECONDS", 0)
    monkeypatch.setattr("graphs.api.tokens._REFETCH_SECONDS", 0)
    assert await check.identity(token) == USER
    assert keys.asked == 2


async def test_an_unreachable_key_server_is_a_clear_refusal(keys: KeyServer) -> None:
    private = keys.publish("k1")
    token = jwt.encode(claims(keys), private, algorithm="ES256", headers={"kid": "k1"})
    keys.status = 503
    with pytest.raises(InvalidToken, match="cannot be fetched"):
        await verifier(keys).identity(token)
