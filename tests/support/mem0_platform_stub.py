"""An account of the Mem0 Platform: pages of memories, their histories, and a search by words."""

from typing import Any

from tests.support.outside import TOKEN, OutsideStub

ANN, BOB = "a0000000-0000-4000-8000-00000000000a", "b0000000-0000-4000-8000-00000000000b"
OWNERS = ("user_id", "agent_id", "app_id", "run_id")


class Mem0Account(OutsideStub):
    """An account: `memories` in the form of the service, and `histories` by memory id."""

    def __init__(self, count: int = 0) -> None:
        super().__init__()
        self.memories = [memory(n) for n in range(count)]
        self.project = "p1"
        self.histories: dict[str, list[dict[str, Any]]] = {}

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: Any, body: Any
    ) -> tuple[int, Any]:
        if headers["Authorization"] != f"Token {TOKEN}":
            return 401, {"detail": "Invalid API key"}
        match (method, [part for part in path.split("/") if part]):
            case "GET", ["v1", "ping"]:
                return 200, {
                    "status": "ok",
                    "org_id": "o1",
                    "project_id": self.project,
                    "user_email": "a@example.com",
                }
            case "POST", ["v3", "memories"]:
                return self._page(body["filters"], int(query["page"]), int(query["page_size"]))
            case "POST", ["v3", "memories", "search"]:
                words = set(body["query"].lower().split())
                found = [m for m in self.memories if _fits(m, body["filters"])]
                found.sort(key=lambda m: -len(words & set(m["memory"].lower().split())))
                return 200, {"results": found[: body["top_k"]]}
            case "GET", ["v1", "memories", memory_id, "history"]:
                return 200, self.histories.get(memory_id, [])
        return 404, {"detail": "Not found"}

    def _page(self, filters: Any, page: int, size: int) -> tuple[int, Any]:
        if size > 200:
            return 400, {"detail": "page_size is at most 200"}
        found = [m for m in self.memories if _fits(m, filters)]
        shown = found[(page - 1) * size : page * size]
        if page > 1 and not shown:
            return 404, {"detail": "Invalid page."}
        following = f"{self.url}/v3/memories/?page={page + 1}" if page * size < len(found) else None
        return 200, {"count": len(found), "next": following, "previous": None, "results": shown}


def memory(n: int, **more: Any) -> dict[str, Any]:
    """Return a memory of Ann or Bob in the form of the service."""
    told = {
        "id": f"00000000-0000-4000-8000-{n:012}",
        "memory": f"Fact number {n} is about tea.",
        "user_id": (ANN, BOB)[n % 2],
        "metadata": {"n": n},
        "categories": ["drinks"],
        "created_at": "2024-07-20T01:30:36.275141-07:00",
        "updated_at": "2024-07-21T02:00:00.5-07:00",
        "expiration_date": None,
    }
    return told | more


def _fits(told: dict[str, Any], filters: Any) -> bool:
    """Return whether a memory fits the filters; a filter on owners leaves out other owners."""
    if "OR" in filters:
        return any(_matches(told, condition) for condition in filters["OR"])
    named = {name for condition in filters["AND"] for name in condition}
    others = [told.get(name) for name in OWNERS if name not in named]
    return all(_matches(told, condition) for condition in filters["AND"]) and not any(others)


def _matches(told: dict[str, Any], condition: dict[str, str]) -> bool:
    return all(told.get(name) and wanted in ("*", told[name]) for name, wanted in condition.items())
