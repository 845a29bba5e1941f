"""Questions that commands ask: which user, which memory, and whether to continue."""

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
    typer.Option("--user-id", help="The user; without sign-in, the local user by default."),
]
Which = Annotated[
    str,
    typer.Argument(
        metavar="MEMORY",
        help="A memory's id; or its namespace, such as users.ID.facts, and its key.",
    ),
]
KeyArgument = Annotated[
    str | None, typer.Argument(metavar="KEY", help="The memory's key, if MEMORY is a namespace.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


async def whose(user_id: str | None) -> str:
    """Return the user that a command is about; the local user by default.

    If users sign in, there is no default: the command ends.
    """
    if user_id is not None:
        return user_id
    settings = await asyncio.to_thread(load_settings)
    if settings.supabase_auth:
        fail(
            "Give --user-id: users sign in here (SUPABASE_URL), so there is no default.", Exit.USAGE
        )
    return settings.local_user_id


def address_of(memory: str, key: str | None) -> Address:
    """Return the address of a memory that is given by its id, or by its namespace and key.

    If the id is malformed, the command ends.
    """
    if key is not None:
        return tuple(memory.removesuffix(".").split(".")), key
    try:
        return from_id(memory)
    except UnknownId:
        fail(
            f"{memory!r} is not a memory's id: give one that `graph-memory recall` shows, "
            "or a namespace and a key.",
            Exit.USAGE,
        )


def confirm(question: str, yes: bool) -> None:
    """Ask a question, and end the command unless the answer is yes.

    Without a terminal nobody can answer, so `--yes` is required.
    """
    if yes:
        return
    if not on_terminal():
        fail(f"{question} There is no terminal to answer on: give --yes.", Exit.USAGE)
    try:
        meant = typer.confirm(inert(question).plain, err=True)
    except typer.Abort:
        fail("Interrupted; nothing was changed.", Exit.INTERRUPTED)
    if not meant:
        fail("Nothing was changed.")


def on_terminal() -> bool:
    """Return True if a terminal can answer questions."""
    return sys.stdin.isatty()
