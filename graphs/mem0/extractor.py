"""Facts from talk, by Mem0's prompts and pipeline, our model and our tables."""

import asyncio
import json
import logging
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from graphs.mem0.importing import import_mem0
from graphs.memory.errors import ExtractionFailed
from graphs.memory.facts.conversation import Conversation, ExtractedFact, with_sources
from graphs.memory.facts.statements import worth_remembering
from graphs.memory.values.text import cleaned

T = TypeVar("T")

LONGEST_TURN = 20_000
"""Characters of a turn that a model is shown; what is longer is a document, whose beginning has to do."""

_OVER_CONTENT = frozenset({400, 413, 422})
"""What services answer that do not take what they were sent, however often."""

LONGEST_ANSWER = 120.0
"""Seconds after which a model that has not answered is given up."""

MOST_FACTS = 200
"""Most facts that are taken from what is read at once. Each is compared with what is known, so many take long."""

LONGEST_FACT = 2000
"""Most characters of a fact; what is longer is a document, or a model that has run away."""

log = logging.getLogger(__name__)


class Mem0Extractor:
    """Makes facts of conversations with Mem0.

    Args:
        model: the chat model that reads the conversation; None for a deterministic note-taker in its place.
        folder: where mem0 may make the folder that it makes when it is imported.
    """

    def __init__(self, model: BaseChatModel | None = None, folder: Path = Path(".data")) -> None:
        self._model = model
        self._folder = folder.absolute()

    async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
        """Return the facts in what was said, each with the exchanges that it comes from.

        Raises:
            ExtractionFailed: the model did not answer, or nothing that can be read.
        """
        engine = await asyncio.to_thread(_engine, self._folder)
        home = asyncio.get_running_loop()
        asked = Asked(home)
        reader = Mem0ChatModel(self._model, asked) if self._model else NoteTaker(conversation)
        memory = engine.FactMemory(conversation, reader, asked)
        said = [
            {"role": turn.role, "content": turn.content[:LONGEST_TURN]}
            for turn in conversation.said
        ]
        try:
            await memory.add(
                said, user_id=conversation.user_id, infer=True, prompt=_instructions(conversation)
            )
        except engine.LLMError as error:
            cause = error.__cause__ or error
            if isinstance(cause, ExtractionFailed):
                raise cause from None
            raise ExtractionFailed(  # its kind, and not its words: they may quote what was said
                f"The model that extracts facts did not answer ({type(cause).__name__}).",
                over_content=getattr(cause, "status_code", None) in _OVER_CONTENT,
            ) from error
        finally:
            asked.stop()
        return await asyncio.to_thread(with_sources, memory.vector_store.texts, conversation.said)


def _instructions(conversation: Conversation) -> str:
    return (
        f"The new messages were said on {conversation.said[-1].said_at:%A, %Y-%m-%d}; resolve relative dates from "
        "there. Write in the language in which the user speaks."
    )


@lru_cache(maxsize=1)
def _engine(folder: Path) -> ModuleType:
    """Import what is made of mem0's classes, and mem0 before it."""
    import_mem0(folder)
    from graphs.mem0 import engine

    return engine


class Asked:
    """What threads of mem0 wait for, on the loop they came from; it must not keep them once nobody waits for them.

    Args:
        home: the loop.
    """

    def __init__(self, home: asyncio.AbstractEventLoop) -> None:
        self._home = home
        self._waiting: set[Future[Any]] = set()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work on the loop and wait for it in this thread."""
        future = asyncio.run_coroutine_threadsafe(work, self._home)
        self._waiting.add(future)
        try:
            return future.result()
        finally:
            self._waiting.discard(future)

    def stop(self) -> None:
        """Give up what is waited for, so that the threads end."""
        for future in list(self._waiting):
            future.cancel()


class Mem0ChatModel:
    """The deployment's chat model, as mem0 calls one: synchronously, in a thread.

    Args:
        model: the chat model.
        asked: waits for it.
    """

    def __init__(self, model: BaseChatModel, asked: Asked) -> None:
        self._model = model
        self._asked = asked

    def generate_response(self, messages: Sequence[dict[str, str]], **_: object) -> str:
        """Return the JSON in the model's answer; mem0 itself would take anything else for no facts, without a word.

        Raises:
            ExtractionFailed: it is not a list of memories.
        """
        kinds = {"system": SystemMessage, "user": HumanMessage}
        prompt = [kinds[message["role"]](message["content"]) for message in messages]

        async def ask() -> str:
            async with asyncio.timeout(LONGEST_ANSWER):
                return str((await self._model.ainvoke(prompt)).text)

        return checked(self._asked.wait(ask()))


def checked(answer: str) -> str:
    """Return the memories in a model's answer, as JSON.

    Raises:
        ExtractionFailed: there is no JSON object in it, or it is not a list of memories.
    """
    found = answer[answer.find("{") : answer.rfind("}") + 1]
    try:
        texts = [
            cleaned(memory["text"]).strip() for memory in json.loads(found, strict=False)["memory"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ExtractionFailed(
            "The model that extracts facts gave something else than a list of them.",
            over_content=True,
        ) from None
    return as_memories(texts)


def as_memories(texts: Sequence[str]) -> str:
    """Return texts as mem0 expects them of a model, without those that no fact can be: each once, and not too many."""
    facts = [text for text in dict.fromkeys(texts) if 0 < len(text) <= LONGEST_FACT][:MOST_FACTS]
    if len(facts) < len(texts):
        log.warning(
            "Of %d facts that were made of a conversation %d are kept", len(texts), len(facts)
        )
    return json.dumps({"memory": [{"id": str(n), "text": text} for n, text in enumerate(facts)]})


class NoteTaker:
    """Answers in the place of a model where there is none: it keeps what the user states about themselves.

    Args:
        conversation: what mem0 asks about.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._said = [turn.content for turn in conversation.said if turn.role == "user"]

    def generate_response(self, messages: object, **_: object) -> str:
        """Return the user's statements in the form in which mem0 expects them of a model."""
        texts = dict.fromkeys(text for said in self._said for text in worth_remembering(said))
        return as_memories(list(texts))
