"""Any order of changes and failures of the service: in the end, its copies equal the memories."""

import asyncio
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphs.deployment.pools import open_pool
from graphs.memory.errors import DeliveryFailed
from graphs.memory.jobs.tasks import Timing
from graphs.memory.outbox.adapter import Copies, Outgoing, Pseudonyms
from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager
from tests.support.adapters import KEY, Notebook, outbound_to


class Moody(Notebook):
    """A service that fails before or after its work, as its moods say."""

    def __init__(self, moods: list[str]) -> None:
        super().__init__()
        self.moods = moods

    async def deliver(self, outgoing: Outgoing) -> Copies:
        mood = self.moods.pop() if self.moods else "well"
        if mood == "refuses":
            raise DeliveryFailed("no")
        copies = await super().deliver(outgoing)
        if mood == "forgets to answer":
            raise DeliveryFailed("what?")
        if mood == "is hopeless":
            raise DeliveryFailed("never", hopeless=True)
        return copies


STEPS = st.tuples(
    st.sampled_from(["put", "put", "delete", "deliver", "erase"]),
    st.sampled_from([0, 1]),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["tea", "cake", "mail to ann@example.com"]),
)
MOODS = st.lists(
    st.sampled_from(["well", "refuses", "forgets to answer", "is hopeless"]), max_size=12
)


async def live(database: str, steps: list[tuple[str, int, str, str]], moods: list[str]) -> None:
    # New users for each example, since the service keeps the copies of earlier ones.
    people = [str(uuid4()), str(uuid4())]
    service = Moody(moods)
    async with (
        open_pool(database) as pool,
        MemoryManager(
            pool,
            principal=Principal.service(),
            timing=Timing(backoff=0, attempts=3),
            outbound=outbound_to(service),
        ) as store,
    ):
        for what, whose, key, text in steps:
            person = people[whose]
            scope = ("users", person, "facts")
            match what:
                case "put":
                    await store.aput(scope, key, {"content": text, "type": "fact"})
                case "delete":
                    await store.adelete(scope, key)
                case "deliver":
                    await store.jobs.run_pending()
                case "erase":
                    await store.erase_user(person)
        service.moods = []
        await store.jobs.run_pending()
        await store.deliveries.replay_all(service.name)
        await store.jobs.run_pending()
        expected: dict[str, Any] = {}
        for person in people:
            for item in await store.asearch(("users", person)):
                reference = Pseudonyms(KEY).of("memory", f"users.{person}.facts.", item.key).text
                text = item.value["content"].replace("ann@example.com", "<email_1>")
                expected.setdefault(Pseudonyms(KEY).of_user(person).text, {})[reference] = text
        assert {user: copies for user, copies in service.copies.items() if copies} == expected
        for person in people:
            await store.erase_user(person)
        await store.jobs.run_pending()
        assert service.texts == set()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(STEPS, max_size=12), moods=MOODS)
def test_in_the_end_the_copies_are_the_memories(
    database: str, steps: list[tuple[str, int, str, str]], moods: list[str]
) -> None:
    asyncio.run(live(database, steps, moods))
