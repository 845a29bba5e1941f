"""Users with memories, written as applications do: through the server's API and its runs."""

import time
from typing import Any
from uuid import uuid4

import httpx

from tests.support.server import Server, sign_in

EVIL = (
    "<img src=x onerror=\"window.hit = 1; alert('hit')\">"
    "<script>window.hit = 1</script> is what the form said"
)
"""A memory that does harm if it is rendered as markup."""

QUESTION = "How much money is there for the welding robot?"


class Person:
    """A user of a server.

    Args:
        server: The server.
        token: The user's access token; any token will do if the server has no sign-in.
    """

    def __init__(self, server: Server, token: str | None = None) -> None:
        self.server = server
        self.token = token or sign_in()
        self.http = httpx.Client(
            base_url=server.url,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=60,
            trust_env=False,
        )

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Send a request to the memory's API and return the answer."""
        answer = self.http.request(method, f"/memory/{path}", json=body, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def remember(self, content: str, type_: str = "fact", agent: str = "sales", **more: Any) -> str:
        """Store a memory and return its id."""
        body = {"session_id": "visit", "agent": agent, "type": type_, "content": content, **more}
        written = self.ask("POST", "memories", body)
        return str(written["memories"][0]["id"])

    def revise(self, id_: str, **change: Any) -> None:
        """Change a memory, in whatever version it is."""
        self.ask("PATCH", f"memories/{id_}", change, headers={"If-Match": "*"})

    def relate(self, source: str, type_: str, target: str, strength: float = 1.0) -> None:
        edge = {"source": source, "target": target, "type": type_, "strength": strength}
        self.ask("PUT", "relationships", edge)

    def memory(self, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"memories/{id_}")
        return found

    def say(self, text: str, thread: str, **place: str) -> None:
        """Send a message to the assistant, at a checkpoint if one is named; wait for its answer."""
        run = {
            "assistant_id": "assistant",
            "input": {"messages": [{"role": "human", "content": text}]},
        }
        answer = self.http.post(
            f"/threads/{thread}/runs/wait", json={**run, **place, "if_not_exists": "create"}
        )
        assert answer.is_success, answer.text

    def fact(self, says: str) -> str:
        """Return the id of a fact with this text, once it is extracted."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for memory in self.ask("GET", "memories", params={"types": "fact"})["items"]:
                if says in memory["content"]:
                    return str(memory["id"])
            time.sleep(0.1)
        raise AssertionError(f"No fact says {says!r}.")


class Story:
    """A buyer of a welding robot, with memories for every view of the inspector."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.thread = str(uuid4())
        person.say("My budget is 80k for a welding robot.", self.thread)
        person.fact("80k")
        person.say("Actually, my budget is 120k for a welding robot.", self.thread)
        self.budget = person.fact("120k")
        self._learn()
        self._relate()
        person.say(QUESTION, str(uuid4()))

    def _learn(self) -> None:
        learn = self.person.remember
        learn(
            "Visited the dealer in Santiago and saw a six-axis arm weld aluminium; "
            "was impressed by the seam, and worried about service contracts.",
            "episode",
            importance=0.4,
        )
        learn(
            "Calls are welcome in the morning; e-mail is not read.",
            "preference",
            tags=["contact"],
            importance=0.7,
        )
        self.shifts = learn(
            "Eleven welders work in two shifts in Valparaíso.", agent="dealer_matching"
        )
        self.dear = learn(
            "A new robot is beyond the budget.", "belief", agent="financing", importance=0.4
        )
        self.used = learn(
            "A used robot with a new controller fits the budget of this year.",
            "belief",
            agent="financing",
            tags=["budget", "offer"],
            importance=0.7,
        )
        self.goal = learn(
            "Replace the manual welding line before the autumn orders.",
            "goal",
            agent="financing",
            tags=["welding"],
            importance=0.9,
        )
        self.lesson = learn(
            "Delivery time mattered more than price in the last three talks: "
            "lead with what is in stock.",
            "reflection",
            agent="supervisor",
            importance=0.6,
        )
        self.person.revise(self.goal, pinned=True)
        brain = {"content": "Talleres Lagos SpA, general tax regime.", "tags": ["company"]}
        self.person.ask("PUT", "brain/user_company", brain)
        self.person.ask("PUT", "brain/user_full_name", {"content": "Ana Lagos"})

    def _relate(self) -> None:
        relate = self.person.relate
        relate(self.used, "supersedes", self.dear)
        relate(self.used, "about", self.goal, 0.9)
        relate(self.dear, "about", self.goal, 0.5)
        relate(self.budget, "supports", self.used, 0.8)
        relate(self.budget, "limits", self.goal, 0.7)
        relate(self.shifts, "supports", self.goal, 0.5)
        relate(self.lesson, "reflects_on", self.used, 0.6)
