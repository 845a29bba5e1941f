"""What an operator does every day with the memory of one person: look, put right, hand out, remove.

They act as the service, on behalf of `--user-id`.
"""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from graphs.cli.asking import (
    KeyArgument,
    UserId,
    Which,
    Yes,
    address_of,
    confirm,
    whose,
)
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
from graphs.cli.output import (
    AsJson,
    DryRun,
    note,
    print_json,
    print_table,
    progress,
)
from graphs.cli.whole_file import whole_file
from graphs.memory.contract import (
    DecayReport,
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
from graphs.memory_manager import MemoryManager
from graphs.operations.oversight import Fading

OPERATOR = "graph-memory"
"""The agent, and the session, of what an operator has remembered."""

_RECEIPTS = 200
"""How many of the latest recalls are looked through for one that chose a memory."""

_PORTION = 500

app = typer.Typer()

PANEL = "Every day"

Days = Annotated[float, typer.Option("--days", help="For how many days nobody touched them.")]


@app.command(rich_help_panel=PANEL)
def recall(
    query: Annotated[
        str, typer.Argument(help="What to look for, in plain words; empty for the latest.")
    ],
    user_id: UserId = None,
    tag: Annotated[
        list[str], typer.Option(help="Only memories with this tag; may be given again.")
    ] = [],  # noqa: B006  typer copies it
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only of this type, such as fact; may be given again."),
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Only what this agent wrote.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 5,
    explain: Annotated[bool, typer.Option("--explain", help="Take each score apart.")] = False,
    as_json_: AsJson = False,
) -> None:
    """Search a person's memory, as a run would; the recall leaves a receipt."""

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
        note("Nothing is remembered about that.")


@app.command(rich_help_panel=PANEL)
def remember(
    content: Annotated[str, typer.Argument(help="What to remember.")],
    user_id: UserId = None,
    type_: Annotated[
        str, typer.Option("--type", help="fact, preference, episode, goal, belief, …")
    ] = "fact",
    tag: Annotated[list[str], typer.Option(help="A tag; may be given again.")] = [],  # noqa: B006  typer copies it
    importance: Annotated[
        float, typer.Option(min=0, max=1, help="From 0.7 on it fades before it is trimmed.")
    ] = 0.5,
    as_json_: AsJson = False,
) -> None:
    """Store a memory of a person. The same words again are the same memory."""

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


@app.command(rich_help_panel=PANEL)
def history(
    memory: Which,
    key: KeyArgument = None,
    user_id: UserId = None,
    limit: Annotated[
        int, typer.Option(min=1, max=MOST, help="How many earlier versions at most.")
    ] = 50,
    as_json_: AsJson = False,
) -> None:
    """Show what a memory was before, the last version first; also of one that was forgotten."""
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


@app.command(rich_help_panel=PANEL)
def forget(
    memory: Which,
    key: KeyArgument = None,
    user_id: UserId = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json_: AsJson = False,
) -> None:
    """Delete a memory, and show it before. What it was stays in its history, and nothing recalls it any more."""
    address = address_of(memory, key)

    async def look() -> tuple[str, Memory]:
        user = await whose(user_id)
        async with as_service() as store:
            return user, await store.memories.get(user, address)

    async def work() -> None:
        async with as_service() as store:
            await store.memories.forget(user, address, expected=found.updated_at)

    user, found = run(look())
    if not as_json_:
        show_memory(found)
    if not dry_run:
        confirm("Forget this memory?", yes)
        run(work())
    if as_json_:
        print_json({"dry_run": dry_run, "forgotten": as_json(found)})
    else:
        show("It would be forgotten." if dry_run else "It is forgotten.")


@app.command(rich_help_panel=PANEL)
def explain(
    memory: Which, key: KeyArgument = None, user_id: UserId = None, as_json_: AsJson = False
) -> None:
    """Tell why a memory was recalled, who wrote it from where, and what was said in the turns it was taken from."""
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
            "Taken from",
            *(
                f"      {turn.created_at:%Y-%m-%d %H:%M}  {turn.role}: {turn.content}"
                for turn in turns
            ),
        )
    show(
        "Recalled"
        if recalls
        else f"None of the last {len(receipts)} recalls chose it, not even nearly."
    )
    for each in recalls[:5]:
        show_recall(each)


def _recall_of(receipt: RecallReceipt, address: Address) -> RecallMention | None:
    """What a receipt tells of a memory, if it is about it."""
    told = {"at": receipt.at, "actor": receipt.actor, "query": receipt.query}
    listed = chain(enumerate(receipt.chosen, 1), enumerate(receipt.nearly, 1))
    for n, (rank, each) in enumerate(listed):
        if (tuple(each["namespace"]), each["key"]) == address:
            chosen = n < len(receipt.chosen)
            return RecallMention(
                **told, chosen=chosen, rank=rank, score=each["score"], parts=each["parts"]
            )
    return None


@app.command(rich_help_panel=PANEL)
def export_user(
    output: Annotated[
        Path, typer.Option("--output", dir_okay=False, help="The file to write: JSON lines.")
    ],
    user_id: UserId = None,
    as_json_: AsJson = False,
) -> None:
    """Write all that is kept about a person to a file, which is there whole or not at all. It is recorded."""

    async def work() -> tuple[str, dict[str, Any]]:
        user = await whose(user_id)
        async with as_service() as store, whole_file(output) as write:
            last = "{}"
            with progress("rows") as advance:
                done = 0
                async for portion in _portions(store, user):
                    await write(portion)
                    last, done = portion[-1], done + len(portion)
                    advance(done, None)
            return user, json.loads(last)

    user, end = run(work())
    if as_json_:
        print_json({"user_id": user, "output": str(output), **end})
    else:
        print_table(("table", "rows"), [*end["rows"].items()])
        show(f"{output} has all about {user}; SHA-256 of its lines {end['sha256']}")


async def _portions(store: MemoryManager, user_id: str) -> AsyncIterator[list[str]]:
    lines: list[str] = []
    async for line in store.export_user(user_id):
        lines.append(line)
        if len(lines) == _PORTION:
            yield lines
            lines = []
    if lines:
        yield lines


@app.command(rich_help_panel=PANEL)
def erase_user(
    user_id: UserId = None, yes: Yes = False, dry_run: DryRun = False, as_json_: AsJson = False
) -> None:
    """Remove all that is kept about a person, and print the certificate that stays. End their runs first.

    --dry-run makes the erasure and rolls it back, and prints how many rows it removed.
    """

    async def count() -> dict[str, int]:
        async with as_service() as store:
            return await store.operations.oversight.would_erase(user)

    async def work() -> ErasureCertificate:
        async with as_service() as store:
            return await store.erase_user(user)

    user = run(whose(user_id))
    if dry_run:
        rows = run(count())
        if as_json_:
            print_json({"dry_run": True, "user_id": user, "erased": rows})
        else:
            print_table(("table", "rows that would go"), [*rows.items()])
        return
    confirm(f"Erase all that is kept about {user}? It cannot be undone.", yes)
    certificate = run(work())
    if as_json_:
        print_json(certificate)
    else:
        print_table(
            ("table", "rows erased"), [*certificate.erased.items()], title="Certificate of erasure"
        )
        told = certificate.model_dump(mode="json", exclude={"erased"})
        show(*(f"{name:<9}  {value}" for name, value in told.items()))


@app.command(rich_help_panel=PANEL)
def sweep(dry_run: DryRun = False, as_json_: AsJson = False) -> None:
    """Delete everybody's memories that have expired. Nothing reads them; background jobs do it every few minutes."""

    async def work() -> int:
        async with as_service() as store:
            return await (
                store.operations.oversight.would_sweep() if dry_run else store.sweep_ttl()
            )

    swept = run(work())
    if as_json_:
        print_json({"dry_run": dry_run, "swept": swept})
    else:
        show(f"{swept:,} expired memories {'would be' if dry_run else 'were'} deleted.")


@app.command(rich_help_panel=PANEL)
def decay(
    days: Days,
    user_id: UserId = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json_: AsJson = False,
) -> None:
    """Trim a person's memories that nobody touched for some days; important ones lose half their importance.

    What was trimmed stays in the history. Pinned memories, and what applications keep for themselves, are left alone.
    """

    async def look() -> list[Fading]:
        async with as_service() as store:
            return await store.operations.oversight.would_decay(user, days)

    async def work() -> DecayReport:
        async with as_service() as store:
            return await store.decay_memory(user, days)

    user = run(whose(user_id))
    if dry_run:
        _show_fading(user, run(look()), as_json_)
        return
    confirm(f"Trim the memories of {user} that nobody touched for {days:g} days?", yes)
    report = run(work())
    if as_json_:
        print_json({"dry_run": False, "user_id": user, **report.model_dump()})
    else:
        show(f"{report.trimmed:,} memories were trimmed, {report.faded:,} important ones faded.")


def _show_fading(user: str, found: list[Fading], as_json_: bool) -> None:
    trimmed = sum(each.trimmed for each in found)
    if as_json_:
        memories = [{"id": to_id(each.namespace, each.key), **each.model_dump()} for each in found]
        counts = {"faded": len(found) - trimmed, "trimmed": trimmed}
        print_json({"dry_run": True, "user_id": user, **counts, "memories": memories})
        return
    rows = [("goes" if each.trimmed else "fades", each.importance, each.content) for each in found]
    print_table(("", "importance", "memory"), rows)
    show(
        f"{trimmed:,} memories would be trimmed, {len(found) - trimmed:,} important ones would fade."
    )
