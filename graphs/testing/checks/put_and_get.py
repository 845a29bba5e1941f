"""Put, get and delete: an item is read as it was put."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from langgraph.store.base import BaseStore, Item

from graphs.testing.registry import promise
from graphs.testing.support import found, refusal, same

NS = ("users", "u1", "notes")


@promise()
async def an_item_comes_back_as_it_was_put(store: BaseStore) -> None:
    """An item comes back with its namespace, key, value and times."""
    value = {
        "text": "héllo 🌍",
        "n": 1,
        "f": 1.5,
        "t": True,
        "z": None,
        "deep": {"a": [{"b": [1, "2"]}]},
    }
    await store.aput(NS, "k", value)
    item = found(await store.aget(NS, "k"))
    assert isinstance(item, Item)
    assert (item.namespace, item.key) == (NS, "k")
    assert same(item.value, value), item.value
    assert abs((datetime.now(UTC) - item.created_at).total_seconds()) < 60
    assert item.updated_at >= item.created_at


@promise()
async def a_missing_item_is_none(store: BaseStore) -> None:
    """Getting a missing item returns None."""
    assert await store.aget(NS, "nothing") is None


@promise()
async def a_put_replaces_the_whole_value(store: BaseStore) -> None:
    """A put replaces the earlier value and merges nothing of it."""
    await store.aput(NS, "k", {"a": 1, "b": 2})
    await store.aput(NS, "k", {"a": 3})
    assert found(await store.aget(NS, "k")).value == {"a": 3}


@promise()
async def an_update_keeps_the_time_of_creation(store: BaseStore) -> None:
    """An update advances `updated_at` and keeps `created_at`."""
    await store.aput(NS, "k", {"n": 1})
    before = found(await store.aget(NS, "k"))
    await asyncio.sleep(0.01)
    await store.aput(NS, "k", {"n": 2})
    after = found(await store.aget(NS, "k"))
    assert after.created_at == before.created_at
    assert after.updated_at > before.updated_at


@promise()
async def a_deleted_item_is_gone(store: BaseStore) -> None:
    """A deleted item appears in no read, and deleting it again is no error."""
    await store.aput(NS, "k", {"a": 1})
    await store.adelete(NS, "k")
    await store.adelete(NS, "k")
    assert await store.aget(NS, "k") is None
    assert await store.asearch(NS) == []
    assert await store.asearch(NS, query="a") == []


@promise()
async def what_was_read_is_a_copy(store: BaseStore) -> None:
    """Changing a value that was put or read does not change the stored value."""
    value: dict[str, Any] = {"list": [1]}
    await store.aput(NS, "k", value)
    value["list"].append(2)
    found(await store.aget(NS, "k")).value["list"].append(3)
    (await store.asearch(NS))[0].value["list"].append(4)
    assert found(await store.aget(NS, "k")).value == {"list": [1]}


AWKWARD: dict[str, Any] = {
    "a large float": 1e300,
    "a small float": 5e-324,
    "a whole float": 1.0,
    "a negative zero": -0.0,
    "the largest integer of 64 bits": 2**64 - 1,
    "an integer beyond 64 bits": 2**80,
    "a truth beside a number": [True, 1, 1.0],
    "infinity": float("inf"),
    "an empty list": [],
    "an empty object": {},
    "nothing": None,
    "an empty name": {"": {"": 0}},
    "names that look like numbers": {"1": 1, "01": 2},
    "a NUL": "a\0b",
    "a lone surrogate": "\ud800",
    "quotes and escapes": "'\"\\\\ %s $1 \b\f\n\r\t\x1f\x7f\u2028",
    "every plane of Unicode": "ß 汉 🧑\u200d🚀 \U0010ffff \ufeff e\u0301",
    "fifty levels": json.loads("[" * 50 + "]" * 50),
}


@promise(index=None)
async def a_value_comes_back_exactly_or_is_refused(store: BaseStore) -> None:
    """A value comes back exactly, types included, or is refused with an error and not stored."""
    for name, part in AWKWARD.items():
        if await refusal(store.aput(NS, name, {"v": part})):
            assert await store.aget(NS, name) is None, f"{name} was refused, but stored"
        else:
            value = found(await store.aget(NS, name)).value
            assert same(value, {"v": part}), f"{name}: {part!r} came back as {value!r}"


@promise()
async def a_mebibyte_comes_back(store: BaseStore) -> None:
    """A value of one MiB is stored like any other."""
    value = {"text": "memory ☂ " * (2**20 // 11)}
    await store.aput(NS, "k", value)
    assert found(await store.aget(NS, "k")).value == value


@promise()
async def any_key_is_kept_apart(store: BaseStore) -> None:
    """A key may be any text, and two different keys are two items, unless a key is refused."""
    texts = [
        "k",
        "K",
        "k ",
        " k",
        "",
        "%",
        "_",
        "a.b",
        "a/b",
        "'",
        '"',
        "\\",
        "\n",
        "é",
        "e\u0301",
        "🧑\u200d🚀",
        "x" * 200,
    ]
    kept = [text for text in texts if not await refusal(store.aput(NS, text, {"key": text}))]
    assert "k" in kept
    for text in kept:
        assert found(await store.aget(NS, text)).value == {"key": text}
    assert len(await store.asearch(NS, limit=100)) == len(kept)
