"""What commands ask of whoever calls them: whose memory, which memory, and whether they mean it."""

import asyncio
import sys
from typing import Annotated

import typer

from graphs.cli.ending import Exit, fail
from graphs.cli.output import inert
from graphs.deployment.settings import load_settings
from graphs.memory.values.ids import UnknownId, from_id
from graphs.memory.values.namespaces import Address

UserId = Annotated[
    str | None,
    typer.Option(
        "--user-id", help="Whose memory; where nobody signs in, the local user's unless given."
    ),
]
Which = Annotated[
    str,
    typer.Argument(
        metavar="MEMORY", help="A memory's id; or its namespace, as in users.ID.facts, and its key."
    ),
]
KeyArgument = Annotated[
    str | None, typer.Argument(metavar="KEY", help="Its key, where MEMORY is a namespace.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


async def whose(user_id: str | None) -> str:
    """Return the user whose memory is meant; it ends the command where that has to be said."""
    if user_id is not None:
        return user_id
    settings = await asyncio.to_thread(load_settings)
    if settings.supabase_auth:
        fail("Say whose memory, with --user-id: people sign in here (SUPABASE_URL).", Exit.USAGE)
    return settings.local_user_id


def address_of(memory: str, key: str | None) -> Address:
    """Return the namespace and the key that a memory is named by; it ends the command where they are none."""
    if key is not None:
        return tuple(memory.removesuffix(".").split(".")), key
    try:
        return from_id(memory)
    except UnknownId:
        fail(
            f"{memory!r} is no memory's id: give one that `graph-memory recall` shows, or a namespace and a key.",
            Exit.USAGE,
        )


def confirm(question: str, yes: bool) -> None:
    """Go on if whoever calls means it; otherwise end the command. Where nobody can answer, `--yes` has to say so."""
    if yes:
        return
    if not on_terminal():
        fail(f"{question} Nobody is here to answer: say --yes.", Exit.USAGE)
    try:
        meant = typer.confirm(inert(question).plain, err=True)
    except typer.Abort:
        fail("Interrupted; nothing was changed.", Exit.INTERRUPTED)
    if not meant:
        fail("Nothing was changed.")


def on_terminal() -> bool:
    """Return whether somebody can answer."""
    return sys.stdin.isatty()
