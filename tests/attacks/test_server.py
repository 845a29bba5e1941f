"""The whole server: one user's objects, attacked by other users, by nobody, and by nodes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from graphs.api.app import app
from graphs.memory.values.ids import to_id
from tests.attacks.people import ALICE, BOB, PEOPLE, USERS, Actor, Victim
from tests.attacks.routes import GROUPS, LAST, OPEN, Route
from tests.attacks.served import Deployment, Possessions, inventory, settle
from tests.attacks.tally import Attempt, Tally

ATTACKERS = (*PEOPLE[:3], None)
"""Alice, Bob, a member of an organisation, and nobody."""


@pytest.fixture
async def victims(deployment: Deployment) -> AsyncIterator[dict[str, Possessions]]:
    """Yield the objects of Alice and Bob; check afterwards that they are unchanged."""
    has, before = {}, {}
    for victim in USERS:
        async with deployment.client(victim) as client:
            has[victim.id] = await settle(client, victim.id, victim.marker)
            before[victim.id] = await inventory(client, has[victim.id])
            assert all(victim.marker in text for text in before[victim.id].values()), (
                "the owner must see the marker"
            )
    yield has
    for victim in USERS:
        async with deployment.client(victim) as client:
            assert await inventory(client, has[victim.id]) == before[victim.id]


def filled(route: Route, names: dict[str, str]) -> tuple[str, Any]:
    """Return a route with all placeholders replaced."""
    path, body = route.path, json.dumps(route.body)
    for name, value in names.items():
        path, body = path.replace("{" + name + "}", value), body.replace("{" + name + "}", value)
    return path, json.loads(body)


async def send(client: httpx.AsyncClient, route: Route, names: dict[str, str]) -> tuple[int, str]:
    """Return status and body of an answer without the ids sent; of a stream, its beginning."""
    path, body = filled(route, names)
    text, status = "", 0
    try:
        async with (
            asyncio.timeout(1.5 if "stream" in path else 20),
            client.stream(route.method, path, json=body, headers=route.headers) as answer,
        ):
            status = answer.status_code
            async for piece in answer.aiter_text():
                text += piece
    except (TimeoutError, httpx.HTTPError) as error:
        text += f" {type(error).__name__}"
    for value in sorted(names.values(), key=len, reverse=True):
        text = text.replace(value, "…")
    return status, text


async def test_no_route_shows_or_changes_what_is_anothers(
    deployment: Deployment, victims: dict[str, Possessions], tally: Tally
) -> None:
    """Run all attacks at once: runs are slow, and the server must keep users apart."""
    for routes in (GROUPS, (LAST,)):
        await asyncio.gather(
            *(
                attack(deployment, attacker, victim, victims[victim.id], group, tally)
                for group in routes
                for attacker in ATTACKERS
                for victim in USERS
                if attacker is None or attacker.user_id != victim.id
            )
        )
    tally.verdict()


async def attack(
    deployment: Deployment,
    attacker: Actor | None,
    victim: Victim,
    has: Possessions,
    routes: Sequence[Route],
    tally: Tally,
) -> None:
    """Try some routes on a victim's objects, and on those of a twin who does not exist."""
    name = attacker.name if attacker else "an anonymous caller"
    twin = victim.twin()
    async with deployment.client(attacker) as client, deployment.client(victim) as owner:
        own = [await possessions_of(client, attacker, twin) for _ in range(2)]
        before = await inventory(owner, has)
        for route in routes:
            attempt = Attempt(name, victim.name, "the server", route.verb)
            (there, seen), (nowhere, unseen) = await asyncio.gather(
                send(client, route, names_for(has, own[0])),
                send(client, route, names_for(has.twin(twin), own[1])),
            )
            tally.judge(attempt, seen, victim.marker)
            if attacker is None and there not in (401, 403):
                tally.leaked(attempt, f"{there} without signing in: {seen}")
            if not route.tells and (there, seen * (there >= 400)) != (
                nowhere,
                unseen * (nowhere >= 400),
            ):
                tally.leaked(
                    attempt, f"{there} {seen} where it exists, {nowhere} {unseen} where it does not"
                )
            if route.changes and attacker and (after := await inventory(owner, has)) != before:
                changed = [kind for kind in after if after[kind] != before[kind]]
                tally.leaked(attempt, f"{there}, and changed {changed}: {after[changed[0]]}")
                before = after


async def possessions_of(client: httpx.AsyncClient, who: Actor | None, twin: Victim) -> Possessions:
    if who is None or who.user_id is None:
        return Possessions("nobody", *["x"] * 5).twin(twin)
    return await settle(client, who.user_id, "mine")


def names_for(has: Possessions, own: Possessions) -> dict[str, str]:
    """Return the values of the placeholders in a route."""
    theirs, ours = (
        {**vars(whose), "memory": to_id(("users", whose.owner, "facts"), "secret")}
        for whose in (has, own)
    )
    return theirs | {f"own_{name}": value for name, value in ours.items()} | {"me": own.owner}


async def test_what_is_open_to_everybody_shows_nothing_of_anybody(
    deployment: Deployment, victims: dict[str, Possessions], tally: Tally
) -> None:
    async with deployment.client(None) as client:
        for path in OPEN:
            _, text = await send(client, Route("GET", path), {})
            for victim in USERS:
                attempt = Attempt("an anonymous caller", victim.name, "the server", f"GET {path}")
                tally.judge(attempt, text, victim.marker)
                if {victim.id, *vars(victims[victim.id]).values()} & set(text.split('"')):
                    tally.leaked(attempt, text)
    tally.verdict()


async def test_no_route_of_ours_serves_strangers(deployment: Deployment, tally: Tally) -> None:
    """Check each mounted route: the server does not authenticate them, so each must do it."""
    described = app.openapi()["paths"].items()
    ours = [
        (path, method.upper())
        for path, methods in described
        if path not in OPEN
        for method in methods
    ]
    assert ours
    async with deployment.client(None) as client:
        for path, method in ours:
            attempt = tally.count(
                Attempt("an anonymous caller", "everyone", "our own routes", f"{method} {path}")
            )
            answer = await client.request(method, re.sub(r"{[^}]*}", BOB.id, path), json={})
            refused = (404,) if "{secret}" in path else (401, 403)
            if answer.status_code not in refused:
                tally.leaked(attempt, f"{answer.status_code} {answer.text}")
        assert (await client.get("/memory/health")).is_success, "the server's health is public"
    assert not tally.leaks, tally.leaks


async def test_the_oracle_finds_what_the_owner_is_shown(
    deployment: Deployment, victims: dict[str, Possessions]
) -> None:
    """Check that the same requests, sent by the owner, return the marker."""
    planted = Tally()
    async with deployment.client(BOB) as client:
        names = names_for(victims[BOB.id], victims[BOB.id])
        for route in (route for group in GROUPS for route in group):
            if route.method == "GET" and "stream" not in route.path:
                _, text = await send(client, route, names)
                planted.judge(Attempt("Bob", "Bob", "the server", route.verb), text, BOB.marker)
    assert len(planted.leaks) > 10
    assert not any(ALICE.marker in leak for leak in planted.leaks)


async def test_an_agent_keeps_to_its_own_scope(deployment: Deployment) -> None:
    """Check that the sales agent cannot read the financing agent's memory of the same user."""
    scope = ["users", BOB.id, "agent:financing"]
    async with deployment.client(BOB) as client:
        secret = {"namespace": scope, "key": "score", "value": {"content": BOB.marker}}
        (await client.put("/store/items", json=secret)).raise_for_status()
        calls = [
            {"method": "aget", "args": [scope, "score"], "kwargs": {}},
            {"method": "asearch", "args": [scope], "kwargs": {}},
        ]
        try:
            result = await client.post(
                "/runs/wait", json={"assistant_id": "sales", "input": {"calls": calls}}
            )
        finally:
            await client.request(
                "DELETE", "/store/items", json={"namespace": scope, "key": "score"}
            )
    assert BOB.marker not in result.text
