"""Valid and invalid requests generated from the OpenAPI document get only documented answers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis.internal.conjecture import utils
from langgraph.store.base import IndexConfig
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from graphs.api import examples
from graphs.deployment.pools import open_pool
from graphs.memory_manager import MemoryManager
from tests.support.http import app_of, client
from tests.support.server import free_port

EXAMPLES = 8
CONFIG: dict[str, Any] = {
    "seed": 20261121,
    "generation": {
        "max-examples": EXAMPLES,
        "deterministic": True,
        "no-shrink": True,
        "database": "none",
        "with-security-parameters": False,  # it would require both kinds of sign-in at once
        # For all phases but fuzzing: every kind of invalid request would take a minute.
        "mode": "positive",
    },
    "checks": {
        # A valid request may still name an object that does not exist.
        "positive_data_acceptance": {"enabled": False},
        "missing_required_header": {"enabled": False},  # we answer 428, as in RFC 6585
    },
    "phases": {
        "fuzzing": {"generation": {"mode": "all"}},
        "stateful": {"enabled": False},
    },
}


def more(self: Any) -> bool:
    """Return whether there is another element, for hypothesis-jsonschema.

    It calls a method of `many` that hypothesis has removed. The schemathesis without
    hypothesis-jsonschema needs a newer jsonschema-rs than langgraph-api allows.
    """
    if not hasattr(self, "_steps"):
        self._steps = iter(self.__enter__())
    if next(self._steps, self) is self:
        self.__exit__(None)
        return False
    return True


@pytest.fixture
async def memory(database: str, index: IndexConfig) -> AsyncIterator[MemoryManager]:
    async with open_pool(database) as pool, MemoryManager(pool, index=index) as memory:
        yield memory


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve an app on the event loop of its memory, and yield its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", access_log=False))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await task


async def test_no_request_meets_a_fault_or_an_answer_that_is_not_documented(
    memory: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_all_checks()
    monkeypatch.setattr(utils.many, "more", more, raising=False)
    app = app_of(memory)

    async with client(app, user_id := str(uuid4())) as http:
        answer = await http.post("/memory/memories", json=examples.NEW_MEMORY)
    memory_id = answer.json()["memories"][0]["id"]

    def run(url: str) -> tuple[Counter[int], list[str]]:
        mine = {
            "headers": {"Authorization": f"Bearer {user_id}"},
            "parameters": {"query.user_id": user_id, "path.id": memory_id},
        }
        config = SchemathesisConfig.from_dict(CONFIG | mine | {"base-url": url})
        return outcome(
            from_schema(schemathesis.openapi.from_dict(app.openapi(), config=config)).execute()
        )

    async with served(app) as url:
        answers, found = await asyncio.to_thread(run, url)
    assert not found, "\n\n".join(found)
    assert answers[200] > 100
    assert answers[422] > 100


def outcome(stream: Any) -> tuple[Counter[int], list[str]]:
    """Return the number of answers by status, and the errors."""
    answers: Counter[int] = Counter()
    found: dict[str, str] = {}
    for event in stream:
        if isinstance(event, events.ScenarioFinished):
            answers.update(
                one.response.status_code
                for one in event.recorder.interactions.values()
                if one.response
            )
            for check in (check for checks in event.recorder.checks.values() for check in checks):
                if wrong := check.failure_info:
                    what = f"{event.recorder.label}, {check.name}: {wrong.failure}"
                    found.setdefault(what[:200], f"{what}\n{wrong.code_sample}")
        elif isinstance(event, events.NonFatalError | events.FatalError):
            found[str(event.id)] = str(vars(event))
    return answers, list(found.values())
