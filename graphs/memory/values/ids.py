"""Ids of memories for HTTP, MCP and commands: namespace and key as one opaque word."""

import base64
import json

from graphs.memory.values.namespaces import Address, Namespace, check_address


class UnknownId(Exception):
    """Something is not the id of any memory."""


def to_id(namespace: Namespace, key: str) -> str:
    """Return the id of a memory: base64url of its namespace and key as JSON, without padding."""
    address = json.dumps([*namespace, key], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(address.encode()).decode().rstrip("=")


def from_id(memory_id: str) -> Address:
    """Return the namespace and key of an id. The memory need not exist.

    Raises:
        UnknownId: no memory can have it.
    """
    try:
        labels = json.loads(base64.urlsafe_b64decode(memory_id + "=" * (-len(memory_id) % 4)))
        *namespace, key = labels
        check_address(tuple(namespace), key)
        is_one = (
            to_id(tuple(namespace), key) == memory_id
        )  # a memory has one id, not several spellings of it
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UnknownId from None
    if not is_one:
        raise UnknownId
    return tuple(namespace), key
