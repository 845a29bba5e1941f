"""A running server with Supabase's sign-in, and the objects of each victim on it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt

from tests.attacks.people import Actor, Victim
from tests.conftest import make_project
from tests.support.keys import KeyServer, claims
from tests.support.server import Server

SERVICE_KEY = "sb_secret_only_the_tests_know_it"
AGENTS = ("financing", "sales")


@dataclass(frozen=True)
class Possessions:
    """Ids of an owner's objects on the server; ids of nothing for a twin."""

    owner: str
    thread: str
    checkpoint: str
    run: str
    cron: str
    assistant: str

    def twin(self, victim: Victim) -> "Possessions":
        return Possessions(victim.id, *(str(uuid4()) for _ in range(5)))


class Deployment:
    """One `langgraph dev` on a database, its key server, and clients for any user."""

    def __init__(self, folder: Path, database: str) -> None:
        self.keys = KeyServer()
        self.private = self.keys.publish("k1")
        environment = {
            "DATABASE_URL": database,
            "SUPABASE_URL": self.keys.url,
            "SUPABASE_SERVICE_ROLE_KEY": SERVICE_KEY,
            "MEM0_WEBHOOK_SECRET": "nobody who attacks knows it",
        }
        self.server = Server(_with_agents(make_project(folder)), environment)

    def __enter__(self) -> "Deployment":
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self.keys.close()

    def token(self, user_id: str, **changed: Any) -> str:
        """Return an access token as Supabase Auth signs it."""
        body = claims(self.keys, sub=user_id, **changed)
        return jwt.encode(body, self.private, algorithm="ES256", headers={"kid": "k1"})

    def client(self, who: Actor | Victim | None) -> httpx.AsyncClient:
        """Return a client for a signed-in user, or for nobody."""
        user_id = who.id if isinstance(who, Victim) else who.user_id if who else None
        headers = {"Authorization": f"Bearer {self.token(user_id)}"} if user_id else {}
        # An internal error of the server closes the connection, so none is used twice.
        once = httpx.Limits(max_keepalive_connections=0)
        return httpx.AsyncClient(base_url=self.server.url, headers=headers, timeout=20, limits=once)


def _with_agents(folder: Path) -> Path:
    config = json.loads((folder / "langgraph.json").read_text())
    config["graphs"] |= dict.fromkeys(AGENTS, "probe_agent:graph")
    (folder / "langgraph.json").write_text(json.dumps(config))
    probe = Path(__file__).parent.parent / "support" / "probe_agent.py"
    (folder / "probe_agent.py").write_text(probe.read_text())
    return folder


async def settle(client: httpx.AsyncClient, owner: str, marker: str) -> Possessions:
    """Create one object of each kind for an owner, with their marker in it."""

    async def make(path: str, **body: Any) -> Any:
        return (await client.post(path, json=body)).raise_for_status().json()

    about = {"about": marker}
    assistant = await make(
        "/assistants", graph_id="sales", name=marker, metadata=about, description=marker
    )
    thread = (await make("/threads", metadata=about))["thread_id"]
    await make(
        f"/threads/{thread}/runs/wait",
        assistant_id=assistant["assistant_id"],
        input={"note": marker},
        metadata=about,
    )
    [run] = (await client.get(f"/threads/{thread}/runs")).json()
    state = (await client.get(f"/threads/{thread}/state")).json()
    cron = await make(
        f"/threads/{thread}/runs/crons",
        assistant_id=assistant["assistant_id"],
        schedule="0 0 1 1 *",
        input={"note": marker},
        metadata=about,
    )
    checkpoint = state["checkpoint"]["checkpoint_id"]
    return Possessions(
        owner, thread, checkpoint, run["run_id"], cron["cron_id"], assistant["assistant_id"]
    )


async def inventory(client: httpx.AsyncClient, has: Possessions) -> dict[str, str]:
    """Return an owner's objects, as the owner sees them."""
    reads = {
        "thread": f"/threads/{has.thread}",
        "state": f"/threads/{has.thread}/state",
        "history": f"/threads/{has.thread}/history",
        "runs": f"/threads/{has.thread}/runs",
        "assistant": f"/assistants/{has.assistant}",
        "cron": f"/runs/crons/{has.cron}",
        "memory": f"/store/items?namespace=users.{has.owner}.facts&key=secret",
    }
    return {name: (await client.get(path)).text for name, path in reads.items()}
