"""Requests made of the OpenAPI document, right ones and wrong ones: no fault of ours, and no answer that it leaves out."""

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
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from graphs.memory_manager import MemoryManager
from graphs.pools import open_pool
from tests.support.http import app_of
from tests.support.server import free_port

EXAMPLES = 5
CONFIG: dict[str, Any] = {
    "seed": 20261121,
    "generation": {"max-examples": EXAMPLES, "deterministic": True, "no-shrink": True, "database": "none"},
    "checks": {
        "positive_data_acceptance": {"enabled": False},  # what fits the document may still name nothing that is there
        "missing_required_header": {"enabled": False},  # we answer 428, as RFC 6585 has it
    },
    "phases": {"stateful": {"enabled": False}},
}


def more(self: Any) -> bool:
    """What hypothesis took from its `many`, and hypothesis-jsonschema still calls; the schemathesis that does without
    wants a newer jsonschema-rs than langgraph-api allows."""
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
    """Serve an app on the loop of its memory, and give its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", access_log=False))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await task


async def test_no_request_meets_a_fault_or_an_answer_that_is_not_documented(
    memory: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utils.many, "more", more, raising=False)
    app = app_of(memory)

    def run(url: str) -> tuple[Counter[int], list[str]]:
        headers = {"Authorization": f"Bearer {uuid4()}"}
        config = SchemathesisConfig.from_dict(CONFIG | {"headers": headers, "base-url": url})
        return outcome(from_schema(schemathesis.openapi.from_dict(app.openapi(), config=config)).execute())

    async with served(app) as url:
        answers, found = await asyncio.to_thread(run, url)
    print(answers)
    assert not found, "\n\n".join(found)
    assert answers[200] > 100
    assert answers[422] > 100


def outcome(stream: Any) -> tuple[Counter[int], list[str]]:
    """How many answers there were of each status, and what was wrong with them."""
    answers: Counter[int] = Counter()
    found: dict[str, str] = {}
    import sys, time
    for event in stream:
        print(time.time(), type(event).__name__, getattr(event,'label',None), getattr(getattr(event,'phase',None),'name',None), file=sys.__stderr__, flush=True)
        if isinstance(event, events.ScenarioFinished):
            answers.update(one.response.status_code for one in event.recorder.interactions.values() if one.response)
            for checks in event.recorder.checks.values():
                for check in checks:
                    if check.failure_info is not None:
                        failure = check.failure_info.failure
                        key = f"{event.recorder.label} {check.name} {failure}"[:400]
                        if key not in found: print("FAIL", key, check.failure_info.code_sample[:500], file=sys.__stderr__, flush=True)
                        found.setdefault(key, f"{key} {check.failure_info.code_sample}")
        if isinstance(event, events.NonFatalError | events.FatalError):
            print(repr(getattr(event,"value",None) or getattr(event,"exception",None))[:600], file=sys.__stderr__, flush=True)
            found.setdefault(str(event), str(event))
    print(answers, file=sys.__stderr__, flush=True)
    return answers, list(found.values())
