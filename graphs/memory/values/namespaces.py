"""Namespace tuples and the text that stands for them in the database.

`("users", "u1", "facts")` is stored as `users.u1.facts.`: a dot follows every label. So the scope
of a prefix is one range of a C-collated index, and siblings never match. LangGraph forbids dots in
labels: a dot in an id (an e-mail address) becomes `%2E`, and a percent sign `%25`.
"""

from langgraph.store.base import InvalidNamespaceError

from graphs.memory.errors import InvalidValue
from graphs.memory.values.text import problem_with

Namespace = tuple[str, ...]

Address = tuple[Namespace, str]
"""The address of an item: its namespace and key."""

MAX_KEY_BYTES = 2300
"""Longest namespace and key together. Postgres indexes at most about 2,700 bytes of a row."""


def encode_label(identifier: str) -> str:
    """Return an id as a namespace label; `decode_label` undoes it."""
    return identifier.replace("%", "%25").replace(".", "%2E")


def decode_label(label: str) -> str:
    """Return the id that a label stands for."""
    return label.replace("%2E", ".").replace("%25", "%")


def user_scope(user_id: str, *labels: str) -> Namespace:
    """Return the namespace of a user, or one below it: `("users", user_id, *labels)`."""
    if not user_id:
        raise InvalidNamespaceError("A user's namespace needs a user_id, and it is empty.")
    return ("users", encode_label(user_id), *labels)


def agent_label(agent: str) -> str:
    """Return the label of an agent's own scope: `("users", user_id, agent_label(agent))`."""
    return encode_label(f"agent:{agent}")


def to_text(namespace: Namespace) -> str:
    """Return a namespace as it is stored. The root is the empty text."""
    return ".".join((*namespace, ""))


def from_text(text: str) -> Namespace:
    """Return the namespace that `to_text` stored."""
    return tuple(text.split(".")[:-1])


_ABOVE_ALL = "\U0010ffff" * (MAX_KEY_BYTES // 4 + 1)
"""Greater than every storable namespace. A prepared plan needs both bounds of a range."""


def bounds(prefix: Namespace) -> tuple[str, str]:
    """Return the half-open range of stored namespaces that a prefix covers.

    `/` follows `.` in ASCII, so `users.u1.` ≤ n < `users.u1/` is the scope itself and all below it.
    """
    low = to_text(prefix)
    return (low, low[:-1] + "/") if low else ("", _ABOVE_ALL)


def check_address(namespace: Namespace, key: str) -> None:
    """Refuse an address that Postgres cannot hold.

    Raises:
        InvalidValue: a NUL or a lone surrogate in it, or too long for an index.
    """
    if not isinstance(key, str):
        raise InvalidValue("key", f"must be a text; got {key!r}.")
    path = to_text(namespace)
    for name, text in (("namespace", path), ("key", key)):
        if problem := problem_with(text):
            raise InvalidValue(name, problem)
    size = len(path.encode()) + len(key.encode())
    if size > MAX_KEY_BYTES:
        raise InvalidValue(
            "key",
            f"and namespace take {size} bytes together; at most {MAX_KEY_BYTES} can be indexed.",
        )
