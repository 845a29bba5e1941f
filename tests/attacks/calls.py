"""Calls of the store, as data: made directly, in a node, and in a node of a running server."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any
from uuid import UUID

from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, Op, PutOp, SearchOp

from tests.attacks.people import WORD, Victim

Namespace = tuple[str, ...]


@dataclass(frozen=True)
class StoreCall:
    """A method of the store and its arguments; `args[0]` is a namespace if the method takes one."""

    verb: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    writes: bool = False


def disguises(victim: Victim) -> dict[str, Namespace]:
    """Return namespaces that would match the victim's if they were read as patterns or paths."""
    kind, id_ = victim.scope
    return {
        "the root": (),
        "the kind": (kind,),
        "%": ("%",),
        "*": ("*",),
        "kind.%": (kind, "%"),
        "kind.*": (kind, "*"),
        "an id that ends in %": (kind, f"{id_[:4]}%"),
        "an id that ends in _": (kind, f"{id_[:-1]}_"),
        "all underscores": (kind, "_" * len(id_)),
        "half an id": (kind, id_[:-1]),
        "a slash": (f"{kind}/{id_}",),
        "a slash after the id": (kind, f"{id_}/"),
        "dots in a label": (f"{kind}.{id_}",),
        "dots to the end": (f"{kind}.{id_}.facts.",),
        "a dot in the id": (kind, f"{id_}.facts"),
        "an escaped dot": (f"{kind}%2E{id_}",),
        "a doubly escaped dot": (f"{kind}%252E{id_}",),
        "an empty label": (kind, ""),
        "an empty first label": ("", kind, id_),
        "the way up": (kind, "x", "..", id_),
        "capitals": (kind, id_.upper()),
        "a kind in capitals": (kind.upper(), id_),
        "full-width letters": ("".join(chr(ord(c) + 0xFEE0) for c in kind), id_),
        "an invisible space": (kind, f"{id_}\u200b"),
        "a space": (kind, f" {id_}"),
        "a NUL": (kind, f"{id_}\x00"),
        "a lone surrogate": (kind, f"{id_}\ud800"),
        "a line break": (kind, f"{id_}\n"),
        "no dashes": (kind, id_.replace("-", "")),
        "braces": (kind, f"{{{id_}}}"),
        "a URN": (kind, f"urn:uuid:{id_}"),
        "a quote": (kind, f"{id_}' OR '1'='1"),
        "a comment": (kind, f"{id_}'; DELETE FROM memory.memories; --"),
        "an id too long": (kind, "x" * 1900),
        "a label too long": (kind, id_, "x" * 5000),
        "above all": ("\U0010ffff",),
    }


FILTERS: tuple[dict[str, Any], ...] = (
    {"content": {"$ne": None}},
    {"content": {"$contains": WORD}},
    {"content": {"$gte": ""}},
    {"$or": [{"content": {"$ne": "x"}}, {"n": 1}]},
    {"$not": {"content": "x"}},
    {"content": {"$nin": []}},
    {"content": {"$exists": True}},
    {"content": {"$regex": ".*"}},
    {"user_id": {"$ne": "x"}},
    {"' OR 1=1 --": {"$ne": 1}},
    {"content' IS NOT NULL) OR (value->>'content": {"$ne": 1}},
    {"n": {"$gt": "0 OR 1=1"}},
    {"content": "' UNION SELECT value::text FROM memory.memories --"},
    {"": {"$ne": "x"}},
)
QUERIES = (
    WORD, f"{WORD}:*", "password", "%", "*", "' OR 1=1 --", "'; RESET ROLE; SELECT 1; --",
    "a' | 'b", "!x",
    "x & !y | (z", "$1", "%s %(low)s", "password <-> is", "\\'", "the password is",
)  # fmt: skip


def reads(victim: Victim) -> Iterator[StoreCall]:
    """Yield every way to read a scope, under its own name and similar ones."""
    for name, namespace in {
        "the scope": victim.scope,
        "the namespace": victim.namespace,
        **disguises(victim),
    }.items():
        yield StoreCall(f"get ({name})", "aget", (namespace, "secret"))
        yield StoreCall(f"search ({name})", "asearch", (namespace,), {"limit": 100})
        yield StoreCall(f"find ({name})", "asearch", (namespace,), {"query": WORD, "limit": 100})
        yield StoreCall(
            f"list ({name})", "alist_namespaces", (), {"prefix": namespace, "limit": 1000}
        )
    for given in FILTERS:
        yield StoreCall(
            f"filter {given}", "asearch", (victim.scope,), {"filter": given, "limit": 100}
        )
    for query in QUERIES:
        yield StoreCall(
            f"query {query}", "asearch", (victim.scope,), {"query": query, "limit": 100}
        )
    yield StoreCall(
        "list by its id", "alist_namespaces", (), {"suffix": (victim.id, "*"), "limit": 1000}
    )


def surveys() -> Iterator[StoreCall]:
    """Yield calls without a scope, which would find the data of all users."""
    for prefix in ((), *((kind,) for kind in ("users", "orgs", "agents", "system"))):
        for given in FILTERS:
            yield StoreCall(
                f"filter {given} in {prefix}",
                "asearch",
                (prefix,),
                {"filter": given, "limit": 1000},
            )
        for query in QUERIES:
            yield StoreCall(
                f"query {query} in {prefix}", "asearch", (prefix,), {"query": query, "limit": 1000}
            )
        yield StoreCall(
            f"page through {prefix}", "asearch", (prefix,), {"limit": 1000, "offset": 1}
        )
    yield StoreCall("list by suffix", "alist_namespaces", (), {"suffix": ("facts",), "limit": 1000})
    yield StoreCall("list kinds", "alist_namespaces", (), {"max_depth": 2, "limit": 1000})


def writes(victim: Victim) -> Iterator[StoreCall]:
    """Yield every way to change a victim's data."""
    new = {"content": "planted", "type": "fact"}
    kind, id_ = victim.scope
    yield StoreCall("overwrite", "aput", (victim.namespace, "secret", new), {"index": False}, True)
    yield StoreCall("overwrite with vectors", "aput", (victim.namespace, "secret", new), {}, True)
    yield StoreCall("plant", "aput", (victim.namespace, "planted", new), {"index": False}, True)
    yield StoreCall(
        "plant beside", "aput", ((*victim.scope, "mine"), "planted", new), {"index": False}, True
    )
    yield StoreCall(
        "plant at the scope", "aput", (victim.scope, "planted", new), {"index": False}, True
    )
    yield StoreCall(
        "let expire",
        "aput",
        (victim.namespace, "secret", new),
        {"index": False, "ttl": 0.001},
        True,
    )
    yield StoreCall(
        "expect nothing",
        "aput",
        (victim.namespace, "secret", new),
        {"index": False, "expected": None},
        True,
    )
    yield StoreCall("delete", "adelete", (victim.namespace, "secret"), {}, True)
    yield StoreCall("delete what is not there", "adelete", (victim.namespace, "nothing"), {}, True)
    for label in (
        f"{id_}/",
        f"{id_}%",
        "%",
        "*",
        "_" * len(id_),
        f"{id_}' OR '1'='1",
        id_.upper(),
        f" {id_}",
    ):
        yield StoreCall(
            f"plant ({label})",
            "aput",
            ((kind, label, "facts"), "secret", new),
            {"index": False},
            True,
        )
        yield StoreCall(
            f"delete ({label})", "adelete", ((kind, label, "facts"), "secret"), {}, True
        )


def memories(victim: Victim) -> Iterator[StoreCall]:
    """Yield the manager's own methods, called about another user."""
    payload = {
        "identity": victim.id,
        "timestamp": "2026-01-01T00:00:00Z",
        "agent": "a",
        "session_id": "s",
        "type": "fact",
        "content": {"content": "planted"},
    }
    yield StoreCall("recall", "recall_memory", (victim.id, WORD))
    yield StoreCall("recall by tag", "recall_memory", (victim.id, "", ["t"]))
    yield StoreCall("load the context", "load_context", (victim.id, "s"), {"query": WORD})
    yield StoreCall("recall receipts", "recall_receipts", (victim.id,))
    yield StoreCall("write memory", "write_memory", (victim.id, "s", payload), {}, True)
    yield StoreCall("log an event", "log_event", (victim.id, "noted", {}), {}, True)
    yield StoreCall("decay", "decay_memory", (victim.id, 0.000001), {}, True)
    yield StoreCall(
        "ask what would decay", "operations.oversight.would_decay", (victim.id, 0.000001)
    )
    yield StoreCall(
        "ask what an erasure would remove", "operations.oversight.would_erase", (victim.id,)
    )


def brain(victim: Victim) -> Iterator[StoreCall]:
    """Yield calls about the slugs of a user or a company."""
    owner = {"users": "user", "orgs": "company"}.get(victim.kind)
    if owner is None:
        return
    yield StoreCall("get by slug", f"brain.get_{owner}_memory", (victim.id, "secret"))
    yield StoreCall("get all by slug", f"brain.{owner}_memories", (victim.id,))
    save = f"brain.save_{owner}_memories"
    yield StoreCall("replace by slug", save, (victim.id, {"secret": "planted"}), {}, True)
    yield StoreCall("guess by slug", save, (victim.id, {"secret": secret_of(victim)}), {}, True)
    yield StoreCall("plant by slug", save, (victim.id, {"planted": "planted"}), {}, True)
    yield StoreCall("save nothing", save, (victim.id, {"Not a slug": "planted"}), {}, True)
    yield StoreCall(
        "forget by slug", f"brain.forget_{owner}_memory", (victim.id, "secret"), {}, True
    )
    yield StoreCall(
        "erase by slug",
        f"brain.forget_{owner}_memory",
        (victim.id, "secret"),
        {"for_good": True},
        True,
    )
    yield StoreCall("load its profile", f"brain.load_{owner}", (victim.id,), {}, True)
    load_id = str(UUID(md5(victim.id.encode(), usedforsecurity=False).hexdigest()))
    yield StoreCall("look at its load", "brain.load", (load_id,), {}, True)
    yield StoreCall("cancel its load", "brain.cancel_load", (load_id,), {}, True)
    if owner == "user":
        yield StoreCall("get the companies", "brain.companies_of", (victim.id,))
        yield StoreCall("list the memberships", "memberships.of", (victim.id,))
        yield StoreCall("accept for them", "memberships.accept", (victim.id, "acme"), {}, True)
        yield StoreCall("leave for them", "memberships.leave", (victim.id, "acme"), {}, True)


def secret_of(victim: Victim) -> str:
    """Return the content of `secret` in a victim's brain."""
    return f"The brain's password is {victim.marker}."


def knowledge(victim: Victim) -> Iterator[StoreCall]:
    """Yield calls about a user's memories and their relationships, also from the actor's own."""
    secret, another = (victim.namespace, "secret"), (victim.namespace, "another")
    said = {"session_id": "s", "agent": "a"}
    yield StoreCall("erase", "memories.forget", (victim.id, secret), {"for_good": True}, True)
    yield StoreCall("list beliefs", "beliefs.of", (victim.id,), {"superseded": True})
    yield StoreCall("get a belief", "beliefs.get", (victim.id, "secret"))
    yield StoreCall("read confidences", "beliefs.confidences", (victim.id, ["secret"]))
    yield StoreCall("hold a belief", "beliefs.hold", (victim.id, "planted"), said, True)
    yield StoreCall(
        "revise a belief", "beliefs.revise", (victim.id, "secret", "planted"), said, True
    )
    yield StoreCall(
        "doubt a belief", "beliefs.set_confidence", (victim.id, "secret", 0.1), {}, True
    )
    yield StoreCall("list goals", "goals.list", (victim.id,))
    yield StoreCall("get a goal", "goals.get", (victim.id, "secret"))
    yield StoreCall("set a goal", "goals.set", (victim.id, "planted"), said, True)
    yield StoreCall(
        "assess a goal", "goals.assess", (victim.id, "secret"), {"status": "abandoned"}, True
    )
    yield StoreCall("list reflections", "reflections.of", (victim.id,), {"on": secret})
    yield StoreCall(
        "reflect", "reflections.write", (victim.id, "planted"), {**said, "on": [secret]}, True
    )
    yield StoreCall("read a series", "metrics.series", (victim.id, victim.marker))
    yield StoreCall("record a metric", "metrics.record", (victim.id, "planted", 1.0), {}, True)
    yield StoreCall("traverse", "relationships.traverse", (victim.id, secret), {"hops": 3})
    yield StoreCall("list edges", "relationships.of", (victim.id, secret))
    yield StoreCall(
        "relate", "relationships.relate", (victim.id, secret, another, "planted"), {}, True
    )
    yield StoreCall(
        "unrelate", "relationships.unrelate", (victim.id, secret, another, victim.marker), {}, True
    )
    yield StoreCall("read origins", "origins.of", (victim.id, [secret, another]))


def from_ones_own(actor_id: str, victim: Victim) -> Iterator[StoreCall]:
    """Yield calls about the actor's own data that lead to the victim's."""
    secret, another = (victim.namespace, "secret"), (victim.namespace, "another")
    said = {"session_id": "s", "agent": "a"}
    yield StoreCall(
        "traverse theirs as one's own", "relationships.traverse", (actor_id, secret), {"hops": 3}
    )
    yield StoreCall("list theirs as one's own", "relationships.of", (actor_id, secret))
    yield StoreCall(
        "relate theirs as one's own",
        "relationships.relate",
        (actor_id, secret, another, "x"),
        {},
        True,
    )
    yield StoreCall(
        "believe about theirs", "beliefs.hold", (actor_id, "x"), {**said, "about": [secret]}, True
    )
    yield StoreCall(
        "reflect on theirs", "reflections.write", (actor_id, "x"), {**said, "on": [secret]}, True
    )
    yield StoreCall("reflections on theirs", "reflections.of", (actor_id,), {"on": secret})
    yield StoreCall("origins of theirs", "origins.of", (actor_id, [secret, another]))


def unchecked(victim: Victim) -> list[Op]:
    """Return one batch of raw operations, which no method has checked before."""
    operations: list[Op] = []
    for namespace in (victim.namespace, *disguises(victim).values()):
        operations.append(GetOp(namespace, "secret"))
        operations.append(SearchOp(namespace, query=None, limit=100))
        operations.append(ListNamespacesOp((MatchCondition("prefix", namespace),), limit=1000))
    return operations


def unchecked_writes(victim: Victim) -> list[Op]:
    kind, id_ = victim.scope
    names = [
        victim.namespace,
        (f"{kind}.{id_}.facts",),
        (f"{kind}.{id_}", "facts"),
        (kind, f"{id_}.facts"),
    ]
    return [
        op
        for name in names
        for op in (
            PutOp(name, "secret", {"content": "planted"}, False),
            PutOp(name, "secret", None),
        )
    ]
