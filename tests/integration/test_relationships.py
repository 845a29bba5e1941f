"""The graph of a user's memory: edges, paths, and access to them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from graphs.deployment.pools import open_pool
from graphs.memory.errors import (
    AccessDenied,
    InvalidInput,
    MemoryNotFound,
    PrincipalRequired,
)
from graphs.memory.knowledge.relationships import Path
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.support.sql import rows

ANN, BOB = "a0000000-0000-4000-8000-00000000000a", "b0000000-0000-4000-8000-00000000000b"

Address = tuple[tuple[str, ...], str]


def at(key: str, user: str = ANN) -> Address:
    return ("users", user, "notes"), key


async def notes(store: MemoryManager, keys: str, user: str = ANN, **options: Any) -> None:
    for key in keys:
        await store.aput(
            *at(key, user), {"content": f"note {key}", "type": "fact"}, index=False, **options
        )


async def edges(store: MemoryManager, drawn: str, user: str = ANN) -> None:
    """Create edges that are written as `ab` or, with a strength, `ab:0.5`."""
    for edge in drawn.split():
        ends, _, strength = edge.partition(":")
        await store.relationships.relate(
            user, at(ends[0], user), at(ends[1], user), "next", float(strength or 1)
        )


def ways(paths: Sequence[Path]) -> list[str]:
    return ["".join(memory.key for memory in path.memories) for path in paths]


async def test_an_edge_comes_back_as_it_was_drawn_until_it_is_removed(store: MemoryManager) -> None:
    await notes(store, "ab")
    metadata = {"because": ["it", {"is": None}]}
    drawn = await store.relationships.relate(ANN, at("a"), at("b"), "supports", 0.7, metadata)
    assert (drawn.source, drawn.target, drawn.type, drawn.strength) == (
        at("a"),
        at("b"),
        "supports",
        0.7,
    )
    assert drawn.metadata == metadata
    assert (
        await store.relationships.of(ANN, at("a"))
        == await store.relationships.of(ANN, at("b"))
        == [drawn]
    )

    again = await store.relationships.relate(ANN, at("a"), at("b"), "supports", 0.2)
    assert [
        (edge.strength, edge.metadata) for edge in await store.relationships.of(ANN, at("a"))
    ] == [(0.2, {})]
    assert again.created_at == drawn.created_at

    assert await store.relationships.unrelate(ANN, at("a"), at("b"), "opposes") is False
    assert await store.relationships.unrelate(ANN, at("a"), at("b"), "supports") is True
    assert await store.relationships.unrelate(ANN, at("a"), at("b"), "supports") is False
    assert await store.relationships.of(ANN, at("a")) == []


async def test_edges_are_found_by_type_and_direction_the_strongest_first(
    store: MemoryManager,
) -> None:
    await notes(store, "abcd")
    for target, type_, strength in (
        ("b", "supports", 0.3),
        ("c", "opposes", 0.9),
        ("d", "supports", 0.6),
    ):
        await store.relationships.relate(ANN, at("a"), at(target), type_, strength)
    await store.relationships.relate(ANN, at("d"), at("a"), "supports", 1.0)

    async def found(**given: Any) -> list[str]:
        return [
            f"{e.source[1]}{e.target[1]}"
            for e in await store.relationships.of(ANN, at("a"), **given)
        ]

    assert await found() == ["da", "ac", "ad", "ab"]
    assert await found(direction="out") == ["ac", "ad", "ab"]
    assert await found(direction="in") == ["da"]
    assert await found(types=["supports"]) == ["da", "ad", "ab"]
    assert await found(types=[]) == []
    assert await found(limit=2) == ["da", "ac"]


@pytest.mark.parametrize(
    ("ends", "missing"),
    [("ax", "x"), ("xa", "x"), ("ae", "e")],
    ids=["no target", "no source", "an expired target"],
)
async def test_both_ends_must_be_there(
    store: MemoryManager, database: str, ends: str, missing: str
) -> None:
    await notes(store, "ae")
    await rows(
        database, "UPDATE memory.memories SET expires_at = now() - interval '1 s' WHERE key = 'e'"
    )
    with pytest.raises(MemoryNotFound) as refused:
        await store.relationships.relate(ANN, at(ends[0]), at(ends[1]), "next")
    assert (refused.value.namespace, refused.value.key) == at(missing)
    with pytest.raises(MemoryNotFound):
        await store.relationships.traverse(ANN, at(missing))
    assert await rows(database, "SELECT id FROM memory.memory_relationships") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": 1.1},
        {"strength": float("nan")},
        {"type": ""},
        {"type": "x" * 101},
        {"metadata": {"a": object()}},
    ],
    ids=["strength", "nan", "no type", "long type", "metadata"],
)
async def test_what_is_no_edge_is_refused(store: MemoryManager, wrong: dict[str, Any]) -> None:
    await notes(store, "ab")
    with pytest.raises(InvalidInput):
        await store.relationships.relate(ANN, at("a"), at("b"), **{"type": "next", **wrong})
    with pytest.raises(InvalidInput):
        await store.relationships.relate(ANN, at("a"), at("a"), "next")
    assert await store.relationships.of(ANN, at("a")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"hops": 0},
        {"hops": 4},
        {"direction": "up"},
        {"min_strength": 2},
        {"limit": 0},
        {"types": "next"},
    ],
    ids=str,
)
async def test_a_traversal_that_cannot_be_answered_is_refused(
    store: MemoryManager, wrong: dict[str, Any]
) -> None:
    await notes(store, "a")
    with pytest.raises(InvalidInput):
        await store.relationships.traverse(ANN, at("a"), **wrong)


async def test_paths_have_contents_edges_depth_and_the_product_of_strengths(
    store: MemoryManager,
) -> None:
    await notes(store, "abc")
    await edges(store, "ab:0.5 cb:0.5")
    direct, onward = await store.relationships.traverse(ANN, at("a"))
    assert (direct.depth, direct.strength, direct.end.content) == (1, 0.5, "note b")
    assert (onward.depth, onward.strength, onward.end.content) == (2, 0.25, "note c")
    assert [memory.content for memory in onward.memories] == ["note a", "note b", "note c"]
    assert [(step.type, step.strength, step.forward) for step in onward.steps] == [
        ("next", 0.5, True),
        ("next", 0.5, False),
    ]
    assert (onward.end.namespace, onward.end.key) == at("c")


async def test_a_traversal_goes_as_far_and_which_way_it_is_told(store: MemoryManager) -> None:
    await notes(store, "abcde")
    await edges(store, "ab bc cd de")
    await store.relationships.relate(ANN, at("a"), at("e"), "other", 0.1)

    async def found(start: str = "a", **given: Any) -> list[str]:
        return ways(await store.relationships.traverse(ANN, at(start), **given))

    assert await found(direction="out", hops=1) == ["ab", "ae"]
    assert await found(direction="out", hops=3) == ["ab", "abc", "abcd", "ae"]
    assert await found(direction="out", hops=3, types=["next"]) == ["ab", "abc", "abcd"]
    assert await found(direction="out", hops=3, min_strength=0.2) == ["ab", "abc", "abcd"]
    assert await found("c", direction="in") == ["cb", "cba"]
    assert await found("c", types=["next"], hops=1) == ["cb", "cd"]
    assert await found("b", direction="in", types=["other"]) == []


async def test_a_cycle_is_walked_once(store: MemoryManager) -> None:
    await notes(store, "abc")
    await edges(store, "ab bc ca ba")
    assert ways(await store.relationships.traverse(ANN, at("a"), hops=3, direction="out")) == [
        "ab",
        "abc",
    ]
    assert sorted(ways(await store.relationships.traverse(ANN, at("a"), hops=3))) == [
        *("ab", "ab", "abc", "abc", "ac", "acb")
    ], "two edges are two paths, and no path has a memory twice"


async def test_of_a_hub_the_strongest_edges_are_followed_however_many_there_are(
    store: MemoryManager, database: str
) -> None:
    await notes(store, "ah")
    await rows(
        database,
        f"""INSERT INTO memory.memories (namespace, key, value)
          SELECT 'users.{ANN}.notes.', 'n' || n, '{{"content": "x"}}'
          FROM generate_series(1, 3000) AS n;
        INSERT INTO memory.memory_relationships (user_id, source_id, target_id, type, strength)
          SELECT '{ANN}', h.id, m.id, 'next', substr(m.key, 2)::int / 6000.0
          FROM memory.memories AS m, memory.memories AS h WHERE m.key ~ '^n\\d' AND h.key = 'h'""",
    )
    await edges(store, "ah:1")
    paths = await store.relationships.traverse(ANN, at("a"), hops=2, limit=4)
    assert [(path.end.key, path.strength) for path in paths] == [
        *(("h", 1.0), ("n3000", 0.5), ("n2999", 2999 / 6000), ("n2998", 2998 / 6000))
    ]
    gone = "UPDATE memory.memories SET expires_at = now() WHERE key IN ('n3000', 'n2999')"
    await rows(database, gone)
    paths = await store.relationships.traverse(ANN, at("a"), hops=2, limit=2)
    assert [path.end.key for path in paths] == ["h", "n2998"], (
        "expired memories do not count towards the limit"
    )


async def test_an_edge_goes_with_either_of_its_ends(store: MemoryManager, database: str) -> None:
    await notes(store, "abc")
    await edges(store, "ab bc")
    await store.adelete(*at("b"))
    assert ways(await store.relationships.traverse(ANN, at("a"))) == []
    assert await rows(database, "SELECT id FROM memory.memory_relationships") == []


async def test_no_path_leads_through_what_is_not_ones_own(
    store: MemoryManager, database: str
) -> None:
    """Follow no planted edge between users, not even as the service."""
    await notes(store, "ab")
    await notes(store, "xy", BOB)
    planted = """INSERT INTO memory.memory_relationships (user_id, source_id, target_id, type)
        SELECT %s, s.id, t.id, 'next' FROM memory.memories AS s, memory.memories AS t
        WHERE s.key = %s AND t.key = %s"""
    for source, target in (("a", "x"), ("x", "b"), ("x", "y")):
        await rows(database, planted, ANN, source, target)
    for principal in (Principal.user(ANN), Principal.service()):
        with acting_as(principal):
            assert await store.relationships.traverse(ANN, at("a"), hops=3) == []
            assert await store.relationships.of(ANN, at("a")) == []
            for missing in (at("x", BOB), at("nothing", BOB)):
                with pytest.raises(MemoryNotFound):
                    await store.relationships.traverse(ANN, missing)
                with pytest.raises(MemoryNotFound):
                    await store.relationships.relate(ANN, at("a"), missing, "next")


async def test_a_graph_is_its_owners_alone(store: MemoryManager, database: str) -> None:
    await notes(store, "ab")
    await edges(store, "ab")
    with acting_as(Principal.user(BOB)):
        for attempt in (
            store.relationships.relate(ANN, at("b"), at("a"), "next"),
            store.relationships.unrelate(ANN, at("a"), at("b"), "next"),
            store.relationships.of(ANN, at("a")),
            store.relationships.traverse(ANN, at("a")),
        ):
            with pytest.raises(AccessDenied):
                await attempt
    assert len(await rows(database, "SELECT id FROM memory.memory_relationships")) == 1
    async with open_pool(database) as pool, MemoryManager(pool) as nobodys:
        with pytest.raises(PrincipalRequired):
            await nobodys.relationships.traverse(ANN, at("a"))


async def test_people_who_lead_to_what_agents_know_do_not_meet_there(store: MemoryManager) -> None:
    shared: Address = ("agents", "knowledge"), "robots"
    await store.aput(*shared, {"content": "Robots weld.", "type": "fact"}, index=False)
    for user in (ANN, BOB):
        await notes(store, "a", user)
        with acting_as(Principal.user(user)):
            await store.relationships.relate(user, at("a", user), shared, "about")
    with acting_as(Principal.user(ANN)):
        [path] = await store.relationships.traverse(ANN, at("a"), hops=3)
        assert path.end.content == "Robots weld."
        [edge] = await store.relationships.of(ANN, shared)
        assert edge.source == at("a")
        assert [
            path.end.namespace[1]
            for path in await store.relationships.traverse(ANN, shared, hops=3)
        ] == [ANN]


async def test_an_agent_is_led_nowhere_near_what_another_keeps_to_itself(
    store: MemoryManager,
) -> None:
    secret: Address = ("users", ANN, "agent:sales", "leads"), "k"
    await store.aput(*secret, {"content": "secret", "type": "fact"}, index=False)
    await notes(store, "ab")
    await store.relationships.relate(ANN, at("a"), secret, "next")
    await store.relationships.relate(ANN, secret, at("b"), "next")
    with acting_as(Principal.user(ANN).through("financing")):
        assert await store.relationships.traverse(ANN, at("a"), hops=3) == []
        assert await store.relationships.of(ANN, at("a")) == []
    with acting_as(Principal.user(ANN).through("sales")):
        assert len(await store.relationships.traverse(ANN, at("a"), hops=3)) == 2


async def test_every_change_of_an_edge_is_in_the_audit_log(
    store: MemoryManager, database: str
) -> None:
    await notes(store, "ab")
    with acting_as(Principal.user(ANN)):
        await store.relationships.relate(ANN, at("a"), at("b"), "next", 0.5)
        await store.relationships.relate(ANN, at("a"), at("b"), "next", 0.25)
        await store.relationships.unrelate(ANN, at("a"), at("b"), "next")
    told = await rows(
        database,
        "SELECT * FROM memory.audit_logs WHERE action LIKE 'memory.relationship%' ORDER BY id",
    )
    assert [
        (row["action"], row["actor"], row["user_id"], row["data"]["strength"]) for row in told
    ] == [
        ("memory.relationship.insert", ANN, ANN, 0.5),
        ("memory.relationship.update", ANN, ANN, 0.25),
        ("memory.relationship.delete", ANN, ANN, 0.25),
    ]


async def test_what_a_traversal_shows_is_recorded(store: MemoryManager, database: str) -> None:
    await notes(store, "ab")
    await edges(store, "ab")
    with acting_as(Principal.user(ANN)):
        await store.relationships.traverse(ANN, at("a"))
    await store.recall_receipts(ANN)  # waits until the reads are recorded
    reads = await rows(
        database, "SELECT * FROM memory.audit_logs WHERE action = 'memory.read' AND actor = %s", ANN
    )
    assert [read["namespace"] for read in reads] == [f"users.{ANN}."]


async def test_an_edge_that_is_drawn_many_times_at_once_is_one(store: MemoryManager) -> None:
    await notes(store, "ab")
    strengths = [n / 10 for n in range(10)]
    await asyncio.gather(
        *(store.relationships.relate(ANN, at("a"), at("b"), "next", s) for s in strengths)
    )
    [edge] = await store.relationships.of(ANN, at("a"))
    assert edge.strength in strengths
