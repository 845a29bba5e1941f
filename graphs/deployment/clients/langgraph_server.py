"""What a LangGraph server keeps of a person in tables or files of its own."""

from langgraph_sdk.client import LangGraphClient

_PORTION = 100


async def remove_what_is_owned(client: LangGraphClient, user_id: str) -> dict[str, int]:
    """Delete a person's threads with their runs, and their assistants; return their numbers.

    The server's own record of a thread repeats the last state, and that of a run its input, beside
    the checkpoints. Sign-in marks each with its owner.

    Args:
        client: a client that may see and delete the person's threads: of the server itself, of the
            service, or of the person.
        user_id: the person.
    """
    mine = {"owner": user_id}
    removed = {"server threads": 0, "server assistants": 0}
    # Each round deletes all that it found, so the next one finds others, or none.
    while threads := await client.threads.search(metadata=mine, limit=_PORTION):
        for thread in threads:
            await client.threads.delete(thread["thread_id"])
        removed["server threads"] += len(threads)
    while assistants := await client.assistants.search(metadata=mine, limit=_PORTION):
        for assistant in assistants:
            await client.assistants.delete(assistant["assistant_id"])
        removed["server assistants"] += len(assistants)
    return {name: number for name, number in removed.items() if number}
