"""Sign-in attempts without a token that the project signed for a user."""

import asyncio
from urllib.parse import quote

import httpx

from tests.attacks.people import ALICE, BOB
from tests.attacks.served import SERVICE_KEY, Deployment
from tests.attacks.tally import Attempt, Tally
from tests.attacks.tokens import HEADERS_ALONE, WAYS, forged, unknown_keys

MEMORY = f"/store/items?namespace=users.{BOB.id}.facts&key=secret"
REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


def raw(headers: dict[str, str]) -> dict[bytes, bytes]:
    """Return headers that the client itself would refuse to send."""
    return {name.encode(): value.encode() for name, value in headers.items()}


async def try_in(
    client: httpx.AsyncClient, tally: Tally, door: str, verb: str, headers: dict[str, str]
) -> None:
    """Request Bob's memory and all threads; any answer but a refusal is a leak."""
    for method, path, body in (
        ("GET", MEMORY, None),
        ("POST", "/threads/search", {}),
        ("POST", "/store/items/search", {"namespace_prefix": []}),
    ):
        attempt = Attempt("a forger", BOB.name, door, f"{verb}: {method} {path}")
        try:
            answer = await client.request(method, path, json=body, headers=raw(headers))
        except httpx.HTTPError as error:  # the server closed the connection
            tally.judge(attempt, error, BOB.marker)
            continue
        tally.judge(attempt, answer.text, BOB.marker)
        if answer.status_code not in (
            *REFUSED,
            httpx.codes.BAD_REQUEST,
            httpx.codes.REQUEST_HEADER_FIELDS_TOO_LARGE,
        ):
            tally.leaked(attempt, f"{answer.status_code} {answer.text}")


async def test_no_forged_token_opens(deployment: Deployment, tally: Tally) -> None:
    tokens = {name: token for name, token in forged(deployment, BOB).items() if token.isascii()}
    async with deployment.client(None) as client:
        for way, headers in WAYS.items():
            await asyncio.gather(
                *(
                    try_in(client, tally, f"sign-in with {way}", name, headers(token))
                    for name, token in tokens.items()
                )
            )
    tally.verdict()


async def test_no_header_opens_by_itself(deployment: Deployment, tally: Tally) -> None:
    async with deployment.client(None) as client:
        for headers in HEADERS_ALONE:
            named = {name: value.replace("{id}", BOB.id) for name, value in headers.items()}
            await try_in(client, tally, "sign-in with headers alone", str(headers), named)
    tally.verdict()


async def test_a_token_in_the_address_opens_nothing(deployment: Deployment, tally: Tally) -> None:
    good = deployment.token(BOB.id)
    async with deployment.client(None) as client:
        for name in ("token", "access_token", "apikey", "api_key", "jwt", "authorization"):
            answer = await client.get(f"{MEMORY}&{name}={quote(good)}")
            attempt = Attempt("whoever reads the logs", BOB.name, "sign-in with the address", name)
            tally.judge(attempt, answer.text, BOB.marker)
            if answer.status_code not in REFUSED:
                tally.leaked(attempt, answer.text)
    tally.verdict()


async def test_a_bearer_token_is_not_overruled_by_another_header(
    deployment: Deployment, tally: Tally
) -> None:
    """Sign in as Alice, and add headers that name Bob."""
    async with deployment.client(None) as client:
        for other in forged(deployment, BOB).values():
            headers = {
                "Authorization": f"Bearer {deployment.token(ALICE.id)}",
                "X-Api-Key": other,
                "x-user-id": BOB.id,
            }
            answer = await client.get(MEMORY, headers=raw(headers))
            tally.judge(
                Attempt("Alice", BOB.name, "sign-in with two tokens", other[:40]),
                answer.text,
                BOB.marker,
            )
    tally.verdict()


async def test_a_burst_of_unknown_keys_does_not_reach_the_key_server(
    deployment: Deployment, tally: Tally
) -> None:
    async with deployment.client(None) as client:
        assert (
            BOB.marker
            in (
                await client.get(MEMORY, headers=WAYS["Authorization"](deployment.token(BOB.id)))
            ).text
        )
        before = deployment.keys.asked
        tokens = unknown_keys(deployment, BOB, 100)
        await asyncio.gather(
            *(
                try_in(
                    client,
                    tally,
                    "sign-in with unknown keys",
                    "burst",
                    WAYS["Authorization"](token),
                )
                for token in tokens
            )
        )
        assert deployment.keys.asked - before <= 1, (
            "unknown keys are fetched once in 30 s at most, not once for each token"
        )
        assert (
            BOB.marker
            in (
                await client.get(MEMORY, headers=WAYS["Authorization"](deployment.token(BOB.id)))
            ).text
        )
    tally.verdict()


async def test_the_ways_in_that_must_be_open_are(deployment: Deployment) -> None:
    """Check that valid tokens are accepted, so that the refusals mean something."""
    async with deployment.client(None) as client:
        for way in ("Authorization", "X-Api-Key"):
            for token in (deployment.token(BOB.id), SERVICE_KEY):
                assert BOB.marker in (await client.get(MEMORY, headers=WAYS[way](token))).text
