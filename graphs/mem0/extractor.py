"""Extraction of facts with Mem0's prompts and pipeline, our model and our tables."""

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
from graphs.memory.facts.note_taker import worth_remembering
from graphs.memory.values.text import cleaned

T = TypeVar("T")

LONGEST_TURN = 20_000
"""Most characters of a turn that a model is shown; a longer one is a document and is cut."""

_OVER_CONTENT = frozenset({400, 413, 422})
"""Status codes with which a service refuses the content itself, so that a retry cannot help."""

LONGEST_ANSWER = 120.0
"""Seconds to wait for a model's answer."""

MOST_FACTS = 200
"""Most facts of one batch of turns. Each is compared with known ones, which takes time."""

LONGEST_FACT = 2000
"""Most characters of a fact. A longer one is a document, or a model that did not stop."""

log = logging.getLogger(__name__)


class Mem0Extractor:
    """An extractor of facts from conversations that uses Mem0.

    Args:
        model: the chat model that reads the conversation; None for the deterministic note-taker.
        folder: the parent of the folder that mem0 makes when it is imported.
    """

    def __init__(self, model: BaseChatModel | None = None, folder: Path = Path(".data")) -> None:
        self._model = model
        self._folder = folder.absolute()

    async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
        """Return the facts in the new turns, each with the exchanges that it comes from.

        Raises:
            ExtractionFailed: the model failed, or its answer cannot be read.
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
            # Only the type is told: the error's text may quote the conversation.
            raise ExtractionFailed(
                f"The model that extracts facts did not answer ({type(cause).__name__}).",
                over_content=getattr(cause, "status_code", None) in _OVER_CONTENT,
            ) from error
        finally:
            # A cancelled call leaves threads of mem0 behind, which wait for this loop.
            asked.stop()
        return await asyncio.to_thread(with_sources, memory.vector_store.texts, conversation.said)


def _instructions(conversation: Conversation) -> str:
    return (
        f"The new messages were said on {conversation.said[-1].said_at:%A, %Y-%m-%d}; "
        "resolve relative dates from there. Write in the language in which the user speaks."
    )


@lru_cache(maxsize=1)
def _engine(folder: Path) -> ModuleType:
    """Import mem0, and then the classes derived from its own."""
    import_mem0(folder)
    from graphs.mem0 import engine

    return engine


class Asked:
    """Coroutines that mem0's threads wait for, on the loop that they came from.

    Threads must not hang once nobody needs them: `stop` ends their waiting.

    Args:
        home: the loop.
    """

    def __init__(self, home: asyncio.AbstractEventLoop) -> None:
        self._home = home
        self._waiting: set[Future[Any]] = set()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result in this thread."""
        future = asyncio.run_coroutine_threadsafe(work, self._home)
        self._waiting.add(future)
        try:
            return future.result()
        finally:
            self._waiting.discard(future)

    def stop(self) -> None:
        """Cancel all waiting, so that the threads end."""
        for future in list(self._waiting):
            future.cancel()


class Mem0ChatModel:
    """The deployment's chat model with mem0's interface: synchronous, called in a thread.

    Args:
        model: the chat model.
        asked: waits for the model.
    """

    def __init__(self, model: BaseChatModel, asked: Asked) -> None:
        self._model = model
        self._asked = asked

    def generate_response(self, messages: Sequence[dict[str, str]], **_: object) -> str:
        """Return the JSON in the model's answer.

        It is checked here, since mem0 would silently treat any other answer as no facts.

        Raises:
            ExtractionFailed: the answer is not a list of memories.
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
        ExtractionFailed: the answer has no JSON object, or it is not a list of memories.
    """
    found = answer[answer.find("{") : answer.rfind("}") + 1]
    try:
        texts = [
            cleaned(memory["text"]).strip() for memory in json.loads(found, strict=False)["memory"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ExtractionFailed(
            "The model that extracts facts did not return a list of facts.",
            over_content=True,
        ) from None
    return as_memories(texts)


def as_memories(texts: Sequence[str]) -> str:
    """Return texts in the form that mem0 expects of a model.

    Repeats and texts that cannot be facts are dropped, and their number is limited.
    """
    facts = [text for text in dict.fromkeys(texts) if 0 < len(text) <= LONGEST_FACT][:MOST_FACTS]
    if len(facts) < len(texts):
        log.warning(
            "Of %d facts extracted from a conversation, %d are kept", len(texts), len(facts)
        )
    return json.dumps({"memory": [{"id": str(n), "text": text} for n, text in enumerate(facts)]})


class NoteTaker:
    """A deterministic stand-in for a model: it keeps statements of users about themselves.

    Args:
        conversation: the conversation that mem0 asks about.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._said = [turn.content for turn in conversation.said if turn.role == "user"]

    def generate_response(self, messages: object, **_: object) -> str:
        """Return the user's statements in the form that mem0 expects of a model."""
        texts = dict.fromkeys(text for said in self._said for text in worth_remembering(said))
        return as_memories(list(texts))
