"""Commands on the memories of one user: search, store, explain, forget.

They act as the service, on behalf of `--user-id`.
"""

from datetime import UTC, datetime
from itertools import chain
from typing import Annotated

import typer

from graphs.cli.asking import KeyArgument, UserId, Which, Yes, address_of, confirm, whose
from graphs.cli.ending import as_service, run
from graphs.cli.memory_views import (
    RecallMention,
    as_json,
    show,
    show_history,
    show_memory,
    show_recall,
    show_recalled,
)
from graphs.cli.output import AsJson, DryRun, note, print_json
from graphs.memory.contract import (
    ErasureCertificate,
    RecalledMemory,
    RecallReceipt,
    WriteReceipt,
)
from graphs.memory.conversations.sessions import StoredTurn
from graphs.memory.errors import MemoryNotFound
from graphs.memory.knowledge.memories import Memory, Version
from graphs.memory.knowledge.origins import Origin
from graphs.memory.values.ids import to_id
from graphs.memory.values.namespaces import Address
from graphs.memory.values.paging import MOST

OPERATOR = "graph-memory"
"""Agent and session of memories that an operator stores."""

_RECEIPTS = 200
"""Number of the latest recalls that `explain` searches for a memory."""


def recall(
    query: Annotated[
        str, typer.Argument(help="Words to search for; empty for the latest memories.")
    ],
    user_id: UserId = None,
    tag: Annotated[list[str], typer.Option(help="Only memories with this tag; repeatable.")] = [],  # noqa: B006  typer copies it
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only memories of this type, such as fact; repeatable."),
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Only memories that this agent wrote.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most results.")] = 5,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the parts of each score.")
    ] = False,
    as_json_: AsJson = False,
) -> None:
    """Search a user's memory, as a run would. The recall leaves a receipt."""

    async def work() -> list[RecalledMemory]:
        user = await whose(user_id)
        async with as_service() as store:
            return await store.recall_memory(
                user, query, tag, types=type_, agent=agent, limit=limit, explain=explain
            )

    found = run(work())
    if as_json_:
        print_json([as_json(memory) for memory in found])
        return
    for memory in found:
        show_recalled(memory)
    if not found:
        note("No memory was found.")


def remember(
    content: Annotated[str, typer.Argument(help="The text of the memory.")],
    user_id: UserId = None,
    type_: Annotated[
        str, typer.Option("--type", help="fact, preference, episode, goal, belief, …")
    ] = "fact",
    tag: Annotated[list[str], typer.Option(help="A tag; repeatable.")] = [],  # noqa: B006  typer copies it
    importance: Annotated[
        float,
        typer.Option(min=0, max=1, help="From 0.7 on, decay lowers it before it trims the memory."),
    ] = 0.5,
    as_json_: AsJson = False,
) -> None:
    """Store a memory of a user. The same text again is the same memory."""

    async def work() -> WriteReceipt:
        user = await whose(user_id)
        payload = {
            "identity": user,
            "agent": OPERATOR,
            "session_id": OPERATOR,
            "timestamp": datetime.now(UTC),
        }
        payload |= {"type": type_, "content": content, "tags": tag, "importance": importance}
        async with as_service() as store:
            return await store.write_memory(user, OPERATOR, payload)

    [(namespace, key)] = run(work()).memories
    if as_json_:
        print_json({"id": to_id(namespace, key), "namespace": namespace, "key": key})
    else:
        show(f"Remembered: id {to_id(namespace, key)}")


def history(
    memory: Which,
    key: KeyArgument = None,
    user_id: UserId = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Most earlier versions.")] = 50,
    as_json_: AsJson = False,
) -> None:
    """Show the earlier versions of a memory, the latest first; also of a deleted memory."""
    address = address_of(memory, key)

    async def work() -> tuple[Memory | None, list[Version]]:
        user = await whose(user_id)
        async with as_service() as store:
            versions = (await store.memories.history(user, address, limit=limit)).items
            try:
                return await store.memories.get(user, address), versions
            except MemoryNotFound:
                if not versions:
                    raise
                return None, versions

    now, versions = run(work())
    if as_json_:
        print_json({"id": to_id(*address), "now": now and as_json(now), "versions": versions})
    else:
        show_history(now, versions)


def forget(
    memory: Which,
    key: KeyArgument = None,
    user_id: UserId = None,
    for_good: Annotated[
        bool,
        typer.Option(
            "--for-good",
            help="Erase its history and the queries of its recalls as well, also of a memory that "
            "was forgotten.",
        ),
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json_: AsJson = False,
) -> None:
    """Show a memory and delete it. Its history stays, and no recall returns it any more."""
    address = address_of(memory, key)

    async def look() -> tuple[str, Memory | None]:
        user = await whose(user_id)
        async with as_service() as store:
            try:
                return user, await store.memories.get(user, address)
            except MemoryNotFound:
                if for_good and (await store.memories.history(user, address, limit=1)).items:
                    return user, None
                raise

    async def work() -> ErasureCertificate | None:
        async with as_service() as store:
            return await store.memories.forget(
                user, address, expected=found.updated_at if found else None, for_good=for_good
            )

    user, found = run(look())
    if not as_json_:
        show_memory(found) if found else show("It was forgotten; its earlier versions are left.")
    certificate = None
    if not dry_run:
        confirm(
            "Erase this memory for good? It cannot be undone."
            if for_good
            else "Forget this memory?",
            yes,
        )
        certificate = run(work())
    if as_json_:
        told = {"dry_run": dry_run, "forgotten": found and as_json(found)}
        print_json(told | ({"certificate": certificate} if for_good else {}))
    else:
        done = "erased for good" if for_good else "forgotten"
        show(f"It would be {done}." if dry_run else f"It is {done}.")


def explain(
    memory: Which, key: KeyArgument = None, user_id: UserId = None, as_json_: AsJson = False
) -> None:
    """Show why a memory was recalled, who wrote it, and the turns that it was extracted from."""
    address = address_of(memory, key)

    async def work() -> tuple[Memory, Origin, list[StoredTurn], list[RecallReceipt]]:
        user = await whose(user_id)
        async with as_service() as store:
            found = await store.memories.get(user, address)
            origin = (await store.origins.of(user, [address])).get(address, Origin())
            turns = await store.sessions.exchanges(user, origin.sources) if origin.sources else []
            return found, origin, turns, await store.recall_receipts(user, limit=_RECEIPTS)

    found, origin, turns, receipts = run(work())
    recalls = [recall for receipt in receipts if (recall := _recall_of(receipt, address))]
    if as_json_:
        print_json({"memory": as_json(found), "origin": origin, "turns": turns, "recalls": recalls})
        return
    show_memory(found)
    known = origin.model_dump(exclude={"sources"}, exclude_none=True)
    show(
        "Written by",
        *(f"      {name.removesuffix('_id')}  {value}" for name, value in known.items()),
    )
    if turns:
        show(
            "Extracted from",
            *(
                f"      {turn.created_at:%Y-%m-%d %H:%M}  {turn.role}: {turn.content}"
                for turn in turns
            ),
        )
    show(
        "Recalled"
        if recalls
        else f"None of the last {len(receipts)} recalls chose it, or nearly chose it."
    )
    for each in recalls[:5]:
        show_recall(each)


def _recall_of(receipt: RecallReceipt, address: Address) -> RecallMention | None:
    """Return a receipt's mention of a memory; None if the recall did not find it."""
    told = {"at": receipt.at, "actor": receipt.actor, "query": receipt.query}
    listed = chain(enumerate(receipt.chosen, 1), enumerate(receipt.nearly, 1))
    for n, (rank, each) in enumerate(listed):
        if (tuple(each["namespace"]), each["key"]) == address:
            chosen = n < len(receipt.chosen)
            return RecallMention(
                **told, chosen=chosen, rank=rank, score=each["score"], parts=each["parts"]
            )
    return None
