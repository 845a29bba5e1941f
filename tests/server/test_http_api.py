"""The HTTP API on the running server: the same sign-in as LangGraph's, over memories from runs."""

import asyncio
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from langgraph_sdk.errors import APIStatusError

from tests.support.chat import facts, says
from tests.support.server import Server, sign_in

DOCS = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text()


async def test_what_a_run_wrote_is_seen_put_right_taken_along_and_erased(server: Server) -> None:
    user_id = str(uuid4())
    token = sign_in(user_id)
    client = server.client(token)
    thread_id = (await client.threads.create())["thread_id"]
    run: Any = await client.runs.create(
        thread_id, "assistant", input=says("My budget is 80k for a welding robot.")
    )
    await client.runs.join(thread_id, run["run_id"])
    assert await facts(client)

    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=f"{server.url}/memory", headers=headers, timeout=30
    ) as http:
        did = (await http.get(f"/runs/{run['run_id']}")).json()
        [fact] = [memory for memory in did["written"] if memory["type"] == "fact"]
        assert [session["id"] for session in (await http.get("/sessions")).json()["items"]] == [
            thread_id
        ]
        origin = (await http.get(f"/memories/{fact['id']}/origin")).json()
        assert (origin["thread_id"], origin["run_id"]) == (thread_id, run["run_id"])
        assert origin["turns"][0]["content"] == "My budget is 80k for a welding robot."
        jobs = (await http.get("/jobs")).json()["items"]
        assert (jobs[0]["task"], jobs[0]["status"]) == ("extract_facts", "succeeded")

        read = await http.get(f"/memories/{fact['id']}")
        change, version = {"content": "The budget is 90k."}, {"If-Match": read.headers["ETag"]}
        assert (
            await http.patch(f"/memories/{fact['id']}", json=change, headers=version)
        ).status_code == 200
        assert (
            await http.patch(f"/memories/{fact['id']}", json=change, headers=version)
        ).status_code == 412
        history = (await http.get(f"/memories/{fact['id']}/history")).json()["items"]
        assert [old["content"] for old in history] == [fact["content"]]

        async with http.stream("GET", "/export") as answer:
            *lines, last = [line async for line in answer.aiter_lines()]
        assert (
            json.loads(last)["sha256"]
            == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
        )
        assert "90k" in "".join(lines)

        other = server.client(sign_in())
        for of_whom in (client, other):
            await of_whom.crons.create("assistant", schedule="0 0 1 1 *", input=says("Hello."))
        erased = (await http.post("/erasure", json={"confirm": user_id})).json()["erased"]
        assert (erased["server threads"], erased["server schedules"]) == (1, 1)
        assert await client.threads.search(limit=100) == []
        assert (len(await client.crons.search()), len(await other.crons.search())) == (0, 1)
        assert (await http.get("/memories")).json()["items"] == []


async def test_the_servers_own_routes_stay_as_they_are(server: Server) -> None:
    headers = {"Authorization": f"Bearer {sign_in()}", "Origin": "http://localhost:3000"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
        document = (await http.get("/openapi.json")).json()
        assert {"/threads", "/memory/memories", "/memory/recall"} <= document["paths"].keys()
        theirs = await http.put(
            "/store/items", json={"namespace": ["users", str(uuid4())], "key": "k", "value": {}}
        )
        assert (theirs.status_code, theirs.json().keys()) == (403, {"detail"})
        too_much = {"namespace_prefix": [], "filter": {"n": {"$in": list(range(300))}}}
        refused = await http.post("/store/items/search", json=too_much)
        assert (refused.status_code, "filter n" in refused.json()["detail"]) == (422, True)
        ours = await http.get("/memory/memories/nonsense")
        assert (ours.status_code, ours.headers["Content-Type"]) == (404, "application/problem+json")
        assert (
            ours.headers["Access-Control-Allow-Origin"]
            == theirs.headers["Access-Control-Allow-Origin"]
            == "http://localhost:3000"
        )
        foreign = await http.get("/memory/memories", headers={"Origin": "https://page.example"})
        assert "Access-Control-Allow-Origin" not in foreign.headers
        refused = await http.get("/memory/memories", headers={"Authorization": "Bearer forged"})
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_the_examples_of_the_documentation_run(server: Server, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"```bash\n(.*?)```", DOCS, re.DOTALL))
    script = script.replace("http://127.0.0.1:2024", server.url)
    ran = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-O", "expand_aliases", "-eu", "-o", "pipefail", "-c", script],
        env=os.environ | {"TOKEN": sign_in()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = ran.stdout
    for expected in (
        "The budget for the welding robot is 80,000 euros.",
        '"The budget is 90,000 euros."',
        "memory.memories",
    ):
        assert expected in said


async def test_who_floods_the_servers_store_is_told_to_wait_and_nobody_else(server: Server) -> None:
    user_id = str(uuid4())
    client, another = server.client(sign_in(user_id)), server.client(sign_in())
    refused: list[APIStatusError] = []
    for _ in range(20):
        asked = (client.store.get_item(["users", user_id], "k") for _ in range(100))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused += [answer for answer in answers if isinstance(answer, APIStatusError)]
        if any(answer.status_code == httpx.codes.TOO_MANY_REQUESTS for answer in refused):
            break
    else:
        raise AssertionError("nothing was refused")
    assert (await another.store.search_items([]))["items"] == []
