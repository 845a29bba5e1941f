"""Examples of requests and responses, for the OpenAPI document."""

from typing import Any

from graphs.memory.values.ids import to_id

USER = "3f0c8f5e-52a7-4c1c-9a53-0f6e0f5d7a10"
NAMESPACE, KEY = ("users", USER, "facts"), "9b1f6f2c4a7d4e58b0c3d2e1f0a99887"
ID = to_id(NAMESPACE, KEY)
GOAL_ID = to_id(("users", USER, "goals"), "5d2c1b0a99887766554433221100ffee")
SESSION = "7c1a44e0-9c39-4a51-8f57-2a3c44f1f0aa"
RUN_ID = "1f0a6b1c-3f7a-6f0e-b7b0-0242ac120002"
THEN, NOW = "2026-01-12T09:30:00Z", "2026-01-13T17:05:12.345678Z"
CURSOR = "WyIyMDI2LTAxLTEyVDA5OjMwOjAwKzAwOjAwIiw0Ml0"

REF: dict[str, Any] = {"id": ID, "namespace": list(NAMESPACE), "key": KEY}
ME = {"user_id": USER, "service": False}
NEW_MEMORY = {
    "session_id": SESSION,
    "agent": "assistant",
    "type": "fact",
    "content": "The budget for the welding robot is 80,000 euros.",
    "tags": ["budget"],
    "importance": 0.8,
    "metadata": {"source": "crm"},
}
WRITTEN = {"memories": [REF], "replayed": False}
_SAID = {
    "content": NEW_MEMORY["content"],
    "type": "fact",
    "tags": ["budget"],
    "session_id": SESSION,
}
_TIMES = {"created_at": THEN, "updated_at": NOW}
MEMORY = {
    **REF,
    **_SAID,
    **_TIMES,
    "agent": "assistant",
    "importance": 0.8,
    "pinned": False,
    "metadata": {"source": "crm"},
    "expires_at": None,
}
_PARTS = {"similarity": 0.52, "keywords": 0.31, "recency": 0.09, "importance": 0.08}
RECALLED = {**REF, **_SAID, **_TIMES, "score": 0.83, "explanation": _PARTS}
SESSION_VIEW = {
    "id": SESSION,
    "agent": "assistant",
    "title": None,
    "thread_id": SESSION,
    "turns": 2,
    "created_at": THEN,
    "last_activity_at": NOW,
}
_TURN = {
    "role": "user",
    "content": "My budget is 80,000 euros.",
    "session_id": SESSION,
    "exchange": "m-1",
    "created_at": THEN,
}
_TURN_NAMESPACE, _TURN_KEY = ("users", USER, "turns", SESSION), "m-1:user"
TURN = {
    **_TURN,
    "id": to_id(_TURN_NAMESPACE, _TURN_KEY),
    "namespace": list(_TURN_NAMESPACE),
    "key": _TURN_KEY,
    "agent": "assistant",
    "thread_id": SESSION,
    "run_id": RUN_ID,
    "checkpoint_id": RUN_ID,
}
CONTEXT = {
    "user_id": USER,
    "session": SESSION_VIEW,
    "turns": [_TURN],
    "memories": [RECALLED],
    "profile": {"name": "Ada"},
}
_WHERE = {"session_id": SESSION, "thread_id": SESSION, "run_id": RUN_ID, "checkpoint_id": RUN_ID}
ORIGIN = {"agent": "assistant", **_WHERE, "task_id": RUN_ID, "turns": [TURN]}
RECALLED_ENTRY = {
    **REF,
    "score": 0.83,
    "parts": _PARTS,
    "content": NEW_MEMORY["content"],
    "type": "fact",
}
RECEIPT = {
    "at": NOW,
    "actor": USER,
    "query": "what may the robot cost?",
    "chosen": [RECALLED_ENTRY],
    "nearly": [],
    **_WHERE,
}
RUN_ON_ITS_LINE = {
    "run_id": RUN_ID,
    "session_id": SESSION,
    "agent": "assistant",
    "thread_id": SESSION,
    "parent_run": "1f0a6b0f-5b1e-6c55-8f8c-0242ac120002",
    "resumes": None,
    "began_at": THEN,
    "as_of": None,
    "wrote_at": NOW,
    "status": "kept",
    "is_head": True,
    "memories": 3,
}
_ASIDE = {
    "namespace": list(NAMESPACE),
    "key": KEY,
    "type": "fact",
    "content": "The budget is 120,000 euros.",
    "written_at": THEN,
    "ended_at": NOW,
    "why": "set_aside",
}
CHANGE = {
    **REF,
    "outcome": "restored",
    "before": "The budget is 120,000 euros.",
    "after": NEW_MEMORY["content"],
}
SETTLED = {"changes": [CHANGE]}
RUN = {
    "run_id": RUN_ID,
    "run": RUN_ON_ITS_LINE,
    "written": [MEMORY],
    "set_aside": [_ASIDE],
    "recalled": [RECEIPT],
}
_EDGE = {"source": ID, "target": GOAL_ID, "type": "supports", "strength": 0.9}
NEW_RELATIONSHIP = {**_EDGE, "metadata": {"by": "planner"}}
RELATIONSHIP = {**NEW_RELATIONSHIP, "created_at": THEN}
NODE = {
    "id": ID,
    "type": "fact",
    "content": NEW_MEMORY["content"],
    "importance": 0.8,
    "pinned": False,
    "depth": 0,
}
EDGE = _EDGE
NEIGHBOURHOOD = {
    "nodes": [
        NODE,
        {
            **NODE,
            "id": GOAL_ID,
            "type": "goal",
            "content": "Buy a welding robot this year.",
            "depth": 1,
        },
    ],
    "edges": [_EDGE],
}
NEW_BRAIN_MEMORY = {
    "content": "Ada Lovelace",
    "category": "personal",
    "tags": ["profile"],
    "metadata": {},
}
BRAIN_MEMORY = {
    "id": to_id(("users", USER, "brain"), "user_full_name"),
    "slug": "user_full_name",
    **NEW_BRAIN_MEMORY,
    "memory_id": 4711,
    **_TIMES,
}
BRAIN_REPORT = {
    "success": True,
    "saved_count": 1,
    "failed_count": 0,
    "errors": [],
    "outcomes": [{"slug": "user_full_name", "outcome": "created", "error": None, "reason": None}],
}
ERASURE = {"confirm": USER}
CERTIFICATE = {
    "id": "8a5e0d8e-64d0-4f43-9d0e-3a5f1a2b3c4d",
    "subject": "a" * 64,
    "erased": {"memory.memories": 12, "memory.turns": 4},
    "digest": "b" * 64,
    "erased_at": NOW,
}
RECORD = {
    "id": 812,
    "at": NOW,
    "actor": USER,
    "action": "memory.insert",
    "namespace": list(NAMESPACE),
    "key": KEY,
    "data": None,
    "thread_id": SESSION,
    "run_id": RUN_ID,
}
VERSION = {
    "content": "The budget is 60,000 euros.",
    "value": {"content": "The budget is 60,000 euros.", "type": "fact", "tags": ["budget"]},
    "operation": "update",
    "valid_from": THEN,
    "valid_to": NOW,
    "run_id": RUN_ID,
    "ended_by": None,
}
JOB = {
    "id": 31,
    "task": "extract_facts",
    "status": "succeeded",
    "args": {"user_id": USER, "session_id": SESSION},
    "attempts": 0,
    "scheduled_at": None,
    "changed_at": NOW,
    "error": None,
}
HEALTH = {"status": "ok", "parts": {"database": {"status": "ok"}, "jobs": {"status": "ok"}}}
MEMBERSHIPS = {
    "items": [
        {"organisation_id": "acme", "name": "Acme Robotics", "role": "member", "accepted_at": THEN},
        {"organisation_id": "globex", "name": "Globex", "role": "member", "accepted_at": None},
    ]
}
REVISION = {"content": "The budget is 90,000 euros.", "pinned": True}
EXPORT = (
    '{"format": "graph-native-memory/user", "version": 1, "user_id": "…", "exported_at": "…"}\n'
    '{"table": "memories", "row": {"key": "…", "value": {"content": "…"}}}\n'
    '{"rows": {"memories": 1}, "sha256": "…"}\n'
)


def page(item: Any) -> dict[str, Any]:
    """Return an example of a page."""
    return {"items": [item], "next": CURSOR}


def answer(example: Any, description: str, **headers: str) -> dict[str, Any]:
    """Return the documentation of a response, with an example and a description of each header."""
    return described(description, "application/json", {"example": example}, headers)


def described(
    description: str, media_type: str, content: dict[str, Any], headers: dict[str, str]
) -> dict[str, Any]:
    """Return the documentation of a response. Header names are given with underscores."""
    told: dict[str, Any] = {"description": description, "content": {media_type: content}}
    if headers:
        text = {"schema": {"type": "string"}}
        told["headers"] = {
            name.replace("_", "-"): {"description": says, **text} for name, says in headers.items()
        }
    return told
