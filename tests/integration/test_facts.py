"""From talk to facts: read by a job, linked to the turns they come from."""

from uuid import uuid4

import pytest

from graphs.memory_manager import MemoryManager
from tests.integration.test_memory import turn


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


async def test_what_a_user_states_becomes_facts_that_name_their_turns(store: MemoryManager, user_id: str) -> None:
    await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k. What is yours?", "None.", "m1"))
    await store.write_memory(user_id, "s1", turn(user_id, "My dog is called Rex.", "Nice.", "m2"))
    assert await store.recall_memory(user_id, "budget") == []

    await store.jobs.run_pending()
    found = {item.value["content"]: item.value for item in await store.asearch(("users", user_id, "facts"))}
    assert {text: value["sources"] for text, value in found.items()} == {
        "My budget is 80k.": [{"session_id": "s1", "exchange": "m1"}],
        "My dog is called Rex.": [{"session_id": "s1", "exchange": "m2"}],
    }
