"""The example agents on a running server, with the demo data loaded by a command."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk.client import LangGraphClient
from typer.testing import CliRunner

from graphs.agents.robotics import demo
from graphs.cli.main import app
from graphs.deployment.settings import load_settings
from tests.support.chat import says, talk
from tests.support.server import Server, sign_in

ANN = str(uuid4())


@pytest.fixture(scope="module")
def stocked(server: Server, server_database: str) -> Iterator[Server]:
    """Yield the server while its database has the demo data."""
    every = {"dealers": 36, "robots": 36, "descriptions": 36, "applications": 26, "leads": 26}
    assert demo_command(server_database)["written"] == {**every, "scores": 26}
    yield server
    assert demo_command(server_database, "--remove")["removed"].keys() == every.keys()


def demo_command(database: str, *options: str) -> dict[str, Any]:
    """Run `graph-memory demo` and return its report."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DATABASE_URL", database)
        load_settings.cache_clear()
        done = CliRunner().invoke(app, ["demo", "--json", "--user", ANN, *options])
    load_settings.cache_clear()
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture
def ann(stocked: Server) -> LangGraphClient:
    return stocked.client(sign_in(ANN))


@pytest.mark.parametrize(
    ("agent", "answered"),
    [
        ("dealer_matching", "Motor City Robot Works, Detroit, MI 48201: 0 miles"),
        ("knowledge", "AW-2000 by Ferrovane Arc"),
        ("financing", "is approved. Its score is 80.0 of 100"),
        ("sales", "Noted as a new lead"),
        ("supervisor", "PX-80"),
    ],
)
async def test_the_first_question_to_each_agent_gets_a_real_answer(
    ann: LangGraphClient, agent: str, answered: str
) -> None:
    assert answered in await talk(ann, demo.QUESTIONS[agent], agent=agent)


async def test_a_stranger_has_the_catalogue_and_nothing_of_anybodys(stocked: Server) -> None:
    stranger = stocked.client(sign_in())
    assert "AW-2000" in await talk(stranger, demo.QUESTIONS["knowledge"], agent="knowledge")
    assert "no applications" in await talk(stranger, "Show me my applications", agent="financing")
    assert "No purchase interests" in await talk(
        stranger, "Which plans of mine do you know?", agent="sales"
    )


async def test_the_supervisor_hands_on_where_everybody_can_see_it(ann: LangGraphClient) -> None:
    thread_id = (await ann.threads.create())["thread_id"]
    steps: list[tuple[str, str]] = []
    async for part in ann.runs.stream(
        thread_id,
        "supervisor",
        input=says("Which painting dealers are near 30318?"),
        stream_mode="updates",
        stream_subgraphs=True,
    ):
        event, _, subgraph = part.event.partition("|")
        if event == "updates":
            steps += [(subgraph.partition(":")[0], node) for node in part.data]
    inside = [
        ("dealer_matching", node)
        for node in ("load_context", "agent", "tools", "agent", "write_memory")
    ]
    assert steps == [("", "route"), *inside, ("", "dealer_matching")]

    assert "Painting dealers within 250 miles of Chicago" in await talk(
        ann, "and near 60607?", thread_id, agent="supervisor"
    )
    state = await ann.threads.get_state(thread_id)
    assert state["values"]["route"]["by"] == "context"  # type: ignore[call-overload]
    decision = await ann.store.get_item(["users", ANN, "agent:supervisor", "routing"], thread_id)
    assert decision["value"]["agent"] == "dealer_matching"
    turns = (await ann.store.search_items(["users", ANN, "turns", thread_id], limit=10))["items"]
    assert [turn["value"]["agent"] for turn in turns] == ["dealer_matching"] * 4

    graph = await ann.assistants.get_graph("supervisor", xray=True)
    drawn = {node["id"] for node in graph["nodes"]}
    assert {"route", "financing:agent", "knowledge:tools", "sales:write_memory"} <= drawn


async def test_a_run_that_names_a_model_that_is_not_allowed_is_told_so(
    ann: LangGraphClient,
) -> None:
    with pytest.raises(Exception, match="CHAT_MODELS_ALLOWED"):
        await ann.runs.wait(None, "assistant", input=says("Hi."), context={"model": "openai:o3"})
