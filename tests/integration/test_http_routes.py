"""The HTTP API in an app that is not ours: the effect of each route, and its access rules."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from langgraph.store.base import IndexConfig
from psycopg.conninfo import conninfo_to_dict

from graphs.api.limits import Limits
from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.pools import open_pool
from graphs.deployment.settings import load_settings
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from tests.conftest import as_url
from tests.support.branching import Thread
from tests.support.http import app_of, client
from tests.support.sql import fill_disk, make_read_only, rows

DOCS = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text()
PROBLEM = "application/problem+json"


@pytest.fixture
async def memory(database: str, index: IndexConfig) -> AsyncIterator[MemoryManager]:
    """Yield a memory that acts for nobody by default, like that of a deployment."""
    hybrid: Any = {**index, "ranking": "hybrid"}
    async with open_pool(database) as pool, MemoryManager(pool, index=hybrid) as memory:
        yield memory


@pytest.fixture
def app(memory: MemoryManager) -> FastAPI:
    return app_of(memory)


@pytest.fixture
async def ann(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client(app) as http:
        yield http


def fact(content: str, **more: Any) -> dict[str, Any]:
    return {"session_id": "s1", "agent": "crm", "type": "fact", "content": content, **more}


async def wrote(http: httpx.AsyncClient, content: str, **more: Any) -> str:
    """Write a memory and return its id."""
    answer = await http.post("/memory/memories", json=fact(content, **more))
    assert answer.status_code == 201, answer.text
    [written] = answer.json()["memories"]
    return str(written["id"])


async def good(http: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def user_id_of(http: httpx.AsyncClient) -> str:
    return str((await good(http, "/memory/me"))["user_id"])


async def test_what_is_written_is_recalled_with_the_reasons(ann: httpx.AsyncClient) -> None:
    await wrote(ann, "The budget for the welding robot is 80k.", tags=["budget"], importance=0.9)
    await wrote(ann, "Likes tea.")
    [best, *_] = (
        await good(ann, "/memory/recall", query="what may the robot cost?", explain=True)
    )["items"]
    assert best["content"] == "The budget for the welding robot is 80k."
    assert best["explanation"].keys() >= {"similarity", "recency", "importance"}
    tagged = await good(ann, "/memory/recall", query="tea", tags="budget")
    many = await ann.get("/memory/recall", params={"query": "tea", "tags": ["tag"] * 300})
    assert (many.status_code, "filter tags" in many.json()["detail"]) == (422, True)
    assert [item["id"] for item in tagged["items"]] == [best["id"]]
    found = await good(ann, "/memory/context", session_id="s1", query="robot")
    assert best["id"] in {item["id"] for item in found["memories"]}


async def test_a_receipt_says_what_was_recalled_and_what_it_says_by_now(
    ann: httpx.AsyncClient,
) -> None:
    kept, gone = await wrote(ann, "Wants a robot."), await wrote(ann, "Wants no robot.")
    await good(ann, "/memory/recall", query="robot")
    assert (await ann.delete(f"/memory/memories/{gone}")).status_code == 204
    [receipt] = (await good(ann, "/memory/recalls"))["items"]
    assert {entry["id"]: entry["content"] for entry in receipt["chosen"]} == {
        kept: "Wants a robot.",
        gone: None,
    }
    assert await good(ann, "/memory/runs/unknown") == {
        "run_id": "unknown",
        "run": None,
        "written": [],
        "set_aside": [],
        "recalled": [],
    }


async def test_pages_follow_each_other_to_the_end(ann: httpx.AsyncClient) -> None:
    written = [await wrote(ann, f"Fact number {n}.") for n in range(5)]
    seen, cursor = [], None
    for _ in range(3):
        page = await good(
            ann, "/memory/memories", limit=2, **({"cursor": cursor} if cursor else {})
        )
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert cursor is None
    assert seen == written[::-1]


async def test_a_cursor_that_is_none_is_refused_by_its_name(ann: httpx.AsyncClient) -> None:
    for path in (
        "memories",
        "sessions",
        "sessions/s1/turns",
        "audit",
        "runs",
        "brain",
        "companies/acme/brain",
    ):
        answer = await ann.get(f"/memory/{path}", params={"cursor": "made up"})
        assert (answer.status_code, [*answer.json()["fields"]]) == (422, ["cursor"]), path


async def test_a_memory_is_put_right_only_as_the_version_that_was_read(
    ann: httpx.AsyncClient,
) -> None:
    path = f"/memory/memories/{await wrote(ann, 'The budget is 60k.')}"
    read = await ann.get(path)
    change = {"content": "The budget is 90k.", "pinned": True}
    assert (await ann.patch(path, json=change)).status_code == 428
    revised = await ann.patch(path, json=change, headers={"If-Match": read.headers["ETag"]})
    assert revised.status_code == 200, revised.text
    assert revised.json().items() >= change.items()
    for odd in (
        {"pinned": 0},
        {"pinned": "yes"},
        {"importance": "0.5"},
        {"tags": "a"},
        {"content": " "},
        {"key": "x"},
    ):
        wrong = await ann.patch(path, json=odd, headers={"If-Match": "*"})
        assert (wrong.status_code, [*wrong.json()["fields"]]) == (422, [*odd])
    for outdated in (
        read.headers["ETag"],
        '"1"',
        "nonsense",
        '"' + "9" * 40 + '"',
        f"W/{revised.headers['ETag']}",
    ):
        lost = await ann.patch(path, json={"content": "mine"}, headers={"If-Match": outdated})
        assert (lost.status_code, lost.headers["Content-Type"]) == (412, PROBLEM)
        assert (await ann.delete(path, headers={"If-Match": outdated})).status_code == 412
    assert (await ann.get(path)).headers["ETag"] == revised.headers["ETag"]
    assert (await ann.patch(path, json={"tags": ["b"]}, headers={"If-Match": "*"})).json()[
        "tags"
    ] == ["b"]
    assert [old["content"] for old in (await good(ann, f"{path}/history"))["items"]] == [
        "The budget is 90k.",
        "The budget is 60k.",
    ]


async def test_a_session_is_reached_whatever_it_is_called(ann: httpx.AsyncClient) -> None:
    for name in ("whatsapp/+49 30", "a/turns/b", "50%2F", "?", "#", "a.b", "two\nlines", "日本"):
        turn = {"id": "e1", "user": "Hello?", "assistant": "Hello."}
        await ann.post(
            "/memory/memories", json=fact("", type="turn", session_id=name) | {"content": turn}
        )
        path = f"/memory/sessions/{quote(name, safe='')}"
        assert (await good(ann, path))["id"] == name
        assert [said["content"] for said in (await good(ann, f"{path}/turns"))["items"]] == [
            "Hello.",
            "Hello?",
        ]


async def test_what_was_forgotten_has_a_history_and_nothing_else(ann: httpx.AsyncClient) -> None:
    path = f"/memory/memories/{await wrote(ann, 'Likes tea.')}"
    assert (await ann.delete(path)).status_code == 204
    assert [old["operation"] for old in (await good(ann, f"{path}/history"))["items"]] == ["delete"]
    for gone in (path, f"{path}/origin", f"{path}/graph"):
        assert (await ann.get(gone)).status_code == 404
    assert (await ann.delete(path)).status_code == 404
    assert (await ann.delete(path, params={"for_good": True})).status_code == 204
    assert (await good(ann, f"{path}/history"))["items"] == []
    assert (await ann.delete(path, params={"for_good": True})).status_code == 404


async def test_a_key_of_idempotency_makes_a_write_once(
    ann: httpx.AsyncClient, database: str
) -> None:
    headers = {"Idempotency-Key": "order 66"}
    sent = [
        ann.post("/memory/memories", json=fact("Likes tea."), headers=headers) for _ in range(8)
    ]
    answers = await asyncio.gather(*sent)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["memories"][0]["id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == [
        "",
        *["true"] * 7,
    ]
    assert len(await rows(database, "SELECT 1 FROM memory.memory_logs")) == 1
    assert len(await rows(database, "SELECT 1 FROM memory.memory_history")) == 0, (
        "it is written only once"
    )


async def test_a_key_of_idempotency_is_for_one_thing_and_one_person(
    ann: httpx.AsyncClient, app: FastAPI
) -> None:
    headers = {"Idempotency-Key": "order 66"}
    assert (
        await ann.post("/memory/memories", json=fact("Likes tea."), headers=headers)
    ).status_code == 201
    for other in (
        fact("Likes coffee."),
        fact("Likes tea.", tags=["taste"]),
        fact("Likes tea.", importance=0.9),
    ):
        refused = await ann.post("/memory/memories", json=other, headers=headers)
        assert (refused.status_code, refused.json()["fields"].keys()) == (422, {"idempotency_key"})
    assert [item["content"] for item in (await good(ann, "/memory/memories"))["items"]] == [
        "Likes tea."
    ]
    async with client(app) as bob:
        theirs = await bob.post("/memory/memories", json=fact("Likes coffee."), headers=headers)
        assert (theirs.status_code, theirs.json()["replayed"]) == (201, False)


async def test_relationships_are_drawn_walked_and_removed(ann: httpx.AsyncClient) -> None:
    robot, budget, goal = [
        await wrote(ann, text) for text in ("Wants a robot.", "Has 80k.", "Weld by May.")
    ]
    for edge in ((budget, robot, "pays_for", 0.9), (robot, goal, "serves", 0.8)):
        body = dict(zip(("source", "target", "type", "strength"), edge, strict=True))
        assert (await ann.put("/memory/relationships", json=body)).json().items() >= body.items()
    around = await good(ann, f"/memory/memories/{budget}/graph", hops=2)
    assert {node["id"]: node["depth"] for node in around["nodes"]} == {budget: 0, robot: 1, goal: 2}
    assert {(edge["source"], edge["target"]) for edge in around["edges"]} == {
        (budget, robot),
        (robot, goal),
    }
    backwards = await good(ann, f"/memory/memories/{goal}/graph", hops=1)
    assert [(edge["source"], edge["target"]) for edge in backwards["edges"]] == [(robot, goal)]
    gone = {"source": robot, "target": goal, "type": "serves"}
    assert (await ann.delete("/memory/relationships", params=gone)).status_code == 204
    assert (await ann.delete("/memory/relationships", params=gone)).status_code == 404
    alone = await good(ann, f"/memory/memories/{goal}/graph")
    assert [(node["id"], node["depth"]) for node in alone["nodes"]] == [(goal, 0)]
    assert alone["edges"] == []
    assert len((await good(ann, f"/memory/memories/{robot}/relationships"))["items"]) == 1


async def test_turns_are_read_by_session_and_facts_lead_back_to_them(
    ann: httpx.AsyncClient, memory: MemoryManager
) -> None:
    exchange = {"id": "m1", "user": "My budget is 80k.", "assistant": "Noted."}
    said = await ann.post("/memory/memories", json=fact("") | {"type": "turn", "content": exchange})
    assert said.status_code == 201, said.text
    assert [session["id"] for session in (await good(ann, "/memory/sessions"))["items"]] == ["s1"]
    turns = (await good(ann, "/memory/sessions/s1/turns"))["items"]
    assert [turn["role"] for turn in turns] == ["assistant", "user"]
    assert {turn["id"] for turn in turns} == {written["id"] for written in said.json()["memories"]}
    assert (await good(ann, "/memory/sessions/s1"))["turns"] == 2
    assert (await ann.get("/memory/sessions/s2")).status_code == 404
    user_id = await user_id_of(ann)
    with acting_as(Principal.user(user_id)):
        value = {
            "content": "Has 80k.",
            "type": "fact",
            "sources": [{"session_id": "s1", "exchange": "m1"}],
        }
        await memory.aput(("users", user_id, "facts"), "budget", value)
    [known] = [
        item for item in (await good(ann, "/memory/memories"))["items"] if item["key"] == "budget"
    ]
    origin = await good(ann, f"/memory/memories/{known['id']}/origin")
    assert [turn["content"] for turn in origin["turns"]] == ["My budget is 80k.", "Noted."]


async def test_the_brain_is_saved_by_slug_read_in_pages_and_forgotten(
    ann: httpx.AsyncClient,
) -> None:
    many = {f"slug_{n}": {"content": f"Number {n}"} for n in range(3)}
    report = (await ann.post("/memory/brain", json=many)).json()
    assert (report["success"], report["saved_count"]) == (True, 3)
    again = await ann.put("/memory/brain/slug_0", json={"content": "Changed", "tags": ["t"]})
    assert again.json()["content"] == "Changed"
    first = await good(ann, "/memory/brain", limit=2)
    rest = await good(ann, "/memory/brain", limit=2, cursor=first["next"])
    assert [item["slug"] for item in first["items"] + rest["items"]] == sorted(many)
    assert (await good(ann, f"/memory/memories/{again.json()['id']}"))["content"] == "Changed"
    assert (await ann.delete("/memory/brain/slug_0")).status_code == 204
    assert (await ann.get("/memory/brain/slug_0")).status_code == 404
    assert (await ann.delete("/memory/brain/slug_0")).status_code == 404
    again = await ann.delete("/memory/brain/slug_0", params={"for_good": True})
    assert again.status_code == 204
    again = await ann.delete("/memory/brain/slug_0", params={"for_good": True})
    assert again.status_code == 404


async def test_of_many_those_that_cannot_be_saved_fail_alone(ann: httpx.AsyncClient) -> None:
    many = {
        "good": {"content": "Fine"},
        "No Slug": {"content": "x"},
        "nul": {"content": "a\0b"},
        "blank": {"content": " "},
    }
    report = (await ann.post("/memory/brain", json=many)).json()
    assert (report["success"], report["saved_count"], report["failed_count"]) == (False, 1, 3)
    assert [memory["slug"] for memory in (await good(ann, "/memory/brain"))["items"]] == ["good"]
    for body in (
        {"content": " "},
        {"content": ""},
        {"content": "a\0b"},
        {"content": "x", "slug": "y"},
        {},
    ):
        assert (await ann.put("/memory/brain/good", json=body)).status_code == 422
    assert (await ann.post("/memory/brain", json={})).status_code == 422


async def test_a_model_that_is_away_is_no_fault_of_the_request(
    ann: httpx.AsyncClient, memory: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> list[list[float]]:
        raise ValueError("no model here")

    monkeypatch.setattr(OfflineEmbeddings, "aembed_documents", fail)
    for sent in (
        ann.post("/memory/memories", json=fact("Likes tea.")),
        ann.put("/memory/brain/taste", json={"content": "Likes tea."}),
    ):
        away = await sent
        assert (away.status_code, away.headers["Content-Type"]) == (503, PROBLEM)
        assert int(away.headers["Retry-After"]) > 0
        assert "tea" not in away.text


@pytest.mark.parametrize(("end", "what"), [(make_read_only, "space"), (fill_disk, "Enlarge")])
async def test_a_database_that_takes_no_writes_is_unavailable_and_it_is_told_what_to_do(
    ann: httpx.AsyncClient, database: str, end: Callable[[str], Awaitable[None]], what: str
) -> None:
    await end(database)
    for sent in (
        ann.post("/memory/memories", json=fact("Likes tea.")),
        ann.put("/memory/brain/taste", json={"content": "Likes tea."}),
    ):
        refused = await sent
        assert (refused.status_code, refused.headers["Content-Type"]) == (503, PROBLEM)
        assert int(refused.headers["Retry-After"]) > 0
        assert what in refused.json()["detail"]
    assert (await good(ann, "/memory/recall", query="tea"))["items"] == []
    [told] = [
        part["advice"]
        for name, part in (await good(ann, "/memory/health"))["parts"].items()
        if name == "database"
    ]
    assert what in told


async def test_members_share_the_brain_of_their_company_and_nobody_else_sees_it(
    app: FastAPI, database: str
) -> None:
    member, stranger = str(uuid4()), str(uuid4())
    await rows(
        database,
        f"""INSERT INTO memory.organisations (id, name) VALUES ('acme', 'Acme');
        INSERT INTO memory.organisation_members VALUES ('acme', '{member}', 'member')""",
    )
    async with client(app, member) as http:
        saved = await http.put("/memory/companies/acme/brain/tax_regime", json={"content": "14 A"})
        assert saved.status_code == 200, saved.text
        assert (await http.delete("/memory/companies/acme/brain/tax_regime")).status_code == 403
        assert [m["slug"] for m in (await good(http, "/memory/companies/acme/brain"))["items"]] == [
            "tax_regime"
        ]
    async with client(app, stranger) as http:
        assert (await http.get("/memory/companies/acme/brain/tax_regime")).status_code == 404
        assert (await good(http, "/memory/companies/acme/brain"))["items"] == []
        assert (
            await http.put("/memory/companies/acme/brain/x", json={"content": "y"})
        ).status_code == 403


async def test_a_person_accepts_an_invitation_leaves_again_and_cannot_for_another(
    app: FastAPI, ann: httpx.AsyncClient, database: str
) -> None:
    user_id = await user_id_of(ann)
    await rows(
        database,
        f"""INSERT INTO memory.organisations (id, name) VALUES ('acme', 'Acme');
        INSERT INTO memory.organisation_members VALUES ('acme', '{user_id}', 'member');
        UPDATE memory.organisation_members SET accepted_at = NULL""",
    )
    [invited] = (await good(ann, "/memory/companies"))["items"]
    assert (invited["organisation_id"], invited["name"], invited["accepted_at"]) == (
        "acme",
        "Acme",
        None,
    )
    brain, place = "/memory/companies/acme/brain/x", "/memory/companies/acme/membership"
    assert (await ann.put(brain, json={"content": "y"})).status_code == 403
    async with client(app) as bob:
        assert (await bob.put(place)).status_code == 404
        assert (await bob.delete(place)).status_code == 404
        assert (await bob.put(place, params={"user_id": user_id})).status_code == 403
    [accepted] = (await ann.put(place)).json()["items"]
    assert accepted["accepted_at"]
    assert (await ann.put(brain, json={"content": "y"})).status_code == 200
    assert (await ann.delete(place)).status_code == 204
    assert (await good(ann, "/memory/companies"))["items"] == []
    assert (await ann.get(brain)).status_code == 404


async def test_an_export_is_streamed_as_its_person_and_ends_with_its_digest(
    ann: httpx.AsyncClient, app: FastAPI
) -> None:
    await wrote(ann, "Likes tea.")
    async with client(app) as bob:
        await wrote(bob, "Likes coffee.")
    async with ann.stream("GET", "/memory/export") as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        *lines, last = [line async for line in answer.aiter_lines()]
    assert json.loads(lines[0])["user_id"] == await user_id_of(ann)
    assert (
        json.loads(last)["sha256"]
        == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    )
    assert "Likes tea." in "".join(lines)
    assert "coffee" not in "".join(lines)


async def test_erasure_wants_the_persons_own_id_and_leaves_nothing(ann: httpx.AsyncClient) -> None:
    await wrote(ann, "Likes tea.")
    for wrong in ("yes", str(uuid4())):
        refused = await ann.post("/memory/erasure", json={"confirm": wrong})
        assert (refused.status_code, [*refused.json()["fields"]]) == (422, ["confirm"])
    assert len((await good(ann, "/memory/memories"))["items"]) == 1
    certificate = (
        await ann.post("/memory/erasure", json={"confirm": await user_id_of(ann)})
    ).json()
    assert certificate["erased"]["memory.memories"] == 1
    assert (await good(ann, "/memory/memories"))["items"] == []
    assert [record["action"] for record in (await good(ann, "/memory/audit"))["items"]] == []


async def test_a_person_sees_their_jobs_and_records(
    ann: httpx.AsyncClient, app: FastAPI, memory: MemoryManager
) -> None:
    user_id = await user_id_of(ann)
    await wrote(ann, "Likes tea.")
    with acting_as(Principal.service()):
        job_id = await memory.jobs.queue("extract_facts", user_id=user_id, session_id="s1")
    assert [job["id"] for job in (await good(ann, "/memory/jobs"))["items"]] == [job_id]
    assert (await good(ann, f"/memory/jobs/{job_id}"))["task"] == "extract_facts"
    assert "memory.insert" in {
        record["action"] for record in (await good(ann, "/memory/audit"))["items"]
    }
    async with client(app) as bob:
        assert (await bob.get(f"/memory/jobs/{job_id}")).status_code == 404


async def test_the_service_says_whose_memory_and_people_may_not(
    app: FastAPI, ann: httpx.AsyncClient
) -> None:
    user_id = await user_id_of(ann)
    await wrote(ann, "Likes tea.")
    async with client(app, "the service") as service:
        assert await good(service, "/memory/me") == {"user_id": None, "service": True}
        named = await good(service, "/memory/memories", user_id=user_id)
        assert [item["content"] for item in named["items"]] == ["Likes tea."]
        nobody = await service.get("/memory/memories")
        assert (nobody.status_code, [*nobody.json()["fields"]]) == (422, ["user_id"])
    assert (await ann.get("/memory/memories", params={"user_id": str(uuid4())})).status_code == 403
    assert (await ann.get("/memory/memories", params={"user_id": user_id})).status_code == 200


async def test_the_documented_app_of_ones_own_serves_who_it_believes(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [example] = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", as_url(database, str(conninfo_to_dict(database)["dbname"])))
    load_settings.cache_clear()
    module: dict[str, Any] = {}
    exec(example, module)
    try:
        async with module["app"].router.lifespan_context(module["app"]):
            async with client(module["app"], "", **{"X-User": (user_id := str(uuid4()))}) as http:
                await wrote(http, "Likes tea.")
                assert await user_id_of(http) == user_id
            async with client(module["app"], "") as http:
                assert (await http.get("/memory/me")).status_code == 401
    finally:
        load_settings.cache_clear()


async def test_an_app_that_does_not_say_who_signs_in_lets_nobody_in(app: FastAPI) -> None:
    del app.state.principal_of
    async with client(app) as http:
        refused = await http.get("/memory/memories")
        assert (refused.status_code, refused.headers["Content-Type"]) == (401, PROBLEM)
        assert (await http.get("/memory/health")).status_code == 200


async def test_a_body_that_is_too_long_is_not_read_to_its_end(memory: MemoryManager) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b'{"content": "'
        while taken < 1000:
            taken += 1
            yield b"x" * 1024

    async with client(app_of(memory, Limits(body_bytes=4096, rate=0))) as http:
        refused = await http.post(
            "/memory/memories", content=endless(), headers={"Content-Type": "application/json"}
        )
    assert (refused.status_code, refused.headers["Content-Type"]) == (413, PROBLEM)
    assert taken < 10


async def test_who_asks_too_often_waits_and_nobody_else(memory: MemoryManager) -> None:
    app = app_of(memory, Limits(rate=0.01, burst=3))
    async with client(app) as ann, client(app) as bob, client(app, "") as nobody:
        assert [(await ann.get("/memory/me")).status_code for _ in range(5)] == [
            200,
            200,
            200,
            429,
            429,
        ]
        refused = await ann.get("/memory/me")
        assert 0 < int(refused.headers["Retry-After"]) <= 100
        assert refused.headers["Content-Type"] == PROBLEM
        assert (await bob.get("/memory/me")).status_code == 200
        assert (await nobody.get("/memory/me")).status_code == 401
        assert (await ann.get("/memory/health")).status_code == 200


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"<x/>", "application/xml", 415),
        (b"{", "application/json", 422),
        (b"", "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b'{"metadata": {"a":' * 200 + b"1" + b"}}" * 200, "application/json", 422),
        (b'{"importance": ' + b"9" * 10_000 + b"}", "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
    ],
)
async def test_what_is_no_request_is_refused_with_its_reason(
    ann: httpx.AsyncClient, body: bytes, media_type: str, status: int
) -> None:
    refused = await ann.post("/memory/memories", content=body, headers={"Content-Type": media_type})
    assert (refused.status_code, refused.headers["Content-Type"]) == (status, PROBLEM), refused.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("content", "a\0b"),
        ("content", {"id": "m1", "user": ""}),
        ("content", 7),
        ("content", "\ud800"),
        ("content", "  "),
        ("tags", ["\0"]),
        ("session_id", "\udfff"),
        ("agent", ""),
        ("importance", 1e300),
        ("metadata", {"a": ["\0"]}),
        ("metadata", {"\ud800": 1}),
        ("timestamp", "2026-01-01T00:00:00"),
        ("identity", "somebody"),
        ("type", "turn"),
    ],
)
async def test_what_cannot_be_remembered_is_refused_by_field(
    ann: httpx.AsyncClient, field: str, value: Any
) -> None:
    body = json.dumps(fact("Likes tea.") | {field: value})
    refused = await ann.post(
        "/memory/memories", content=body, headers={"Content-Type": "application/json"}
    )
    assert refused.status_code == 422, refused.text
    named = refused.json()["fields"]
    assert {name.partition(".")[0].partition("[")[0] for name in named} <= {field, "content"}, named
    assert not any("function" in name for name in named), named
    assert (await good(ann, "/memory/memories"))["items"] == []


@pytest.mark.parametrize(
    ("route", "unknown"),
    [
        ("/memory/memories?limitt=5", ["limitt"]),
        ("/memory/sessions?limit=5&Limit=6", ["Limit"]),
        ("/memory/jobs?user=x&state=y", ["state", "user"]),
    ],
)
async def test_a_query_parameter_that_does_not_exist_is_refused_by_its_name(
    ann: httpx.AsyncClient, route: str, unknown: list[str]
) -> None:
    answer = await ann.get(route)
    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == unknown


async def test_the_runs_of_a_conversation_are_undone_and_redone_after_a_look(
    ann: httpx.AsyncClient, memory: MemoryManager, database: str
) -> None:
    async with open_pool(database) as pool:
        talk = Thread(memory, PostgresCheckpointer(pool), user_id := await user_id_of(ann))
        first = await talk.say("My dog is called Rex.")
        second = await talk.say("My budget is 80k.")
    runs = (await good(ann, "/memory/runs", thread_id=talk.thread_id))["items"]
    assert [(run["run_id"], run["parent_run"], run["is_head"]) for run in runs] == [
        (second, first, True),
        (first, None, False),
    ]
    assert await good(ann, "/memory/runs", session_id="another") == {"items": [], "next": None}
    assert (await ann.get("/memory/runs", params={"thread": "x"})).status_code == 422

    undo = f"/memory/runs/{second}/undo"
    told = (await ann.post(undo, params={"dry_run": True})).json()
    assert {
        (change["outcome"], change["before"], change["after"]) for change in told["changes"]
    } >= {("removed", "My budget is 80k.", None)}
    assert (await good(ann, f"/memory/runs/{second}"))["run"]["status"] == "kept"
    assert (await ann.post(undo)).json() == told
    seen = await good(ann, f"/memory/runs/{second}")
    assert (seen["run"]["status"], seen["written"]) == ("undone", [])
    assert {(left["content"], left["why"]) for left in seen["set_aside"]} >= {
        ("My budget is 80k.", "set_aside")
    }
    redone = (await ann.post(f"/memory/runs/{second}/redo")).json()
    assert {(change["outcome"], change["after"]) for change in redone["changes"]} >= {
        ("brought_back", "My budget is 80k.")
    }
    assert (await good(ann, f"/memory/runs/{second}"))["set_aside"] == []

    unknown = await ann.post("/memory/runs/unknown/undo")
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, PROBLEM)
    async with client(app_of(memory)) as bob:
        assert (await bob.post(undo)).status_code == 404
        assert (await bob.post(undo, params={"user_id": user_id})).status_code == 403
        assert (await good(bob, "/memory/runs"))["items"] == []
        assert (await good(bob, f"/memory/runs/{second}"))["set_aside"] == []


async def test_reads_as_of_a_moment_show_what_was_known_then(ann: httpx.AsyncClient) -> None:
    """4.1, 4.3: recall and list as of a time, with what was replaced and deleted since."""
    id_ = await wrote(ann, "Has a dog.")
    first = (await ann.get(f"/memory/memories/{id_}")).json()["updated_at"]
    etag = (await ann.get(f"/memory/memories/{id_}")).headers["ETag"]
    await ann.patch(
        f"/memory/memories/{id_}", json={"content": "Has a cat."}, headers={"If-Match": etag}
    )
    then = {"as_of": first}
    for path in ("recall", "memories"):
        answer = await ann.get(f"/memory/{path}", params=then)
        assert [found["content"] for found in answer.json()["items"]] == ["Has a dog."]
        assert answer.headers["Memory-As-Of"] == first.replace("Z", "+00:00")
        now = await ann.get(f"/memory/{path}")
        assert [found["content"] for found in now.json()["items"]] == ["Has a cat."]
        assert "Memory-As-Of" not in now.headers
    one = await ann.get(f"/memory/memories/{id_}", params=then)
    assert one.json()["content"] == "Has a dog."
    context = await ann.get("/memory/context", params={"session_id": "s1", **then})
    assert context.json()["as_of"].replace("+00:00", "Z") == first
    for wrong in ("2026-01-01T00:00:00", "2999-01-01T00:00:00Z"):
        refused = await ann.get("/memory/recall", params={"as_of": wrong})
        assert refused.status_code == 422
        assert "as_of" in refused.json()["fields"]
