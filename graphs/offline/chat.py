"""The chat model of a deployment without keys: deterministic, and says that it is offline.

It does not understand language. It answers a question with the known sentence that shares most
words with it: a recalled memory in the system prompt, an earlier message, a tool's result.
It calls the bound tool whose name and description share most words with the question; see
`tool_calls`. It asks for required arguments that the user did not give. That is enough to see
memory work.
"""

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from graphs.offline.tool_calls import best_tool, find_arguments
from graphs.offline.words import is_question, stems

SIGNATURE = "(I am the offline model: set OPENAI_API_KEY for a real one.)"

_GREETS = re.compile(
    r"\s*(hi|hello|hey|help|good (morning|day|evening)|what can you do)\b", re.IGNORECASE
)


class OfflineChatModel(BaseChatModel):
    """A chat model that answers from its messages. Streams word by word; supports `bind_tools`."""

    tools: list[dict[str, Any]] = Field(default_factory=list)
    """Tools the model may call, as OpenAI function specifications; set by `bind_tools`."""

    @property
    def _llm_type(self) -> str:
        return "graph-native-memory-offline"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **_: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return a model that may call these tools."""
        return self.model_copy(
            update={"tools": [convert_to_openai_tool(tool)["function"] for tool in tools]}
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=answer(messages, self.tools))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(answer(messages, self.tools)):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(answer(messages, self.tools)):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def _chunks(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    """Yield an answer word by word, as a hosted model streams it."""
    if message.tool_calls:
        calls = [
            tool_call_chunk(name=c["name"], args=json.dumps(c["args"]), id=c["id"], index=n)
            for n, c in enumerate(message.tool_calls)
        ]
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=calls))
        return
    for word in re.findall(r"\S+\s*", str(message.text)):
        yield ChatGenerationChunk(message=AIMessageChunk(content=word))


def answer(messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] = ()) -> AIMessage:
    """Return the reply to a conversation: a tool call, a question for missing arguments, or a text.

    Args:
        messages: the conversation; its last human message is answered.
        tools: OpenAI function specifications of the tools that may be called.
    """
    results = _trailing_tool_results(messages)
    humans = [
        text for m in messages if isinstance(m, HumanMessage) and (text := str(m.text).strip())
    ]
    if not humans:
        return AIMessage(f"Hello. What would you like to talk about? {SIGNATURE}")
    question, earlier = humans[-1], humans[:-1]
    if results:
        told = "\n".join(results)
        return AIMessage(f"{told}{chr(10) if chr(10) in told else ' '}{SIGNATURE}")
    known = _known(messages)
    if tool := best_tool(question, tools):
        arguments, missing = find_arguments(tool, question, [*reversed(earlier), *known])
        if missing:
            return AIMessage(f"Please tell me {'; and '.join(missing)}. {SIGNATURE}")
        call = {"name": tool["name"], "args": arguments, "id": f"call_{uuid.uuid4().hex[:12]}"}
        return AIMessage("", tool_calls=[{**call, "type": "tool_call"}])
    if tools and _GREETS.match(question):
        can = "; ".join(re.split("[,:;.]", str(tool.get("description", "")))[0] for tool in tools)
        return AIMessage(f"Hello. This is what I can do: {can}. {SIGNATURE}")
    return AIMessage(f"{_reply(question, known, earlier)} {SIGNATURE}")


def _trailing_tool_results(messages: Sequence[BaseMessage]) -> list[str]:
    results: list[str] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        results.insert(0, str(message.text))
    return results


def _known(messages: Sequence[BaseMessage]) -> list[str]:
    """Return the recalled memories: the list items of the system prompt."""
    prompt = "\n".join(str(m.text) for m in messages if isinstance(m, SystemMessage))
    return [_unquoted(line[2:].strip()) for line in prompt.splitlines() if line.startswith("- ")]


def _unquoted(line: str) -> str:
    """Return a quoted memory, or a quoted line of a profile, as the text that was stored."""
    try:
        found = json.loads(line if line.count('": "') != 1 else f"{{{line}}}")
    except ValueError:
        return line
    if isinstance(found, dict):
        return ", ".join(f"{name}: {value}" for name, value in found.items())
    return str(found)


def _reply(question: str, known: list[str], earlier: list[str]) -> str:
    if not is_question(question):
        return f"Understood: “{question}” I will remember what you told me about yourself."
    said = [text for text in reversed(earlier) if not is_question(text)]
    sources = [(text, "You said in this conversation") for text in said] + [
        (text, "You told me") for text in known
    ]
    if re.search(r"\b(know|remember|recall)\b.*\b(me|i|my)\b", question, re.IGNORECASE) and known:
        return "This is what I remember about you: " + " ".join(f"“{text}”" for text in known)
    asked = stems(question)
    best = max(sources, key=lambda source: _overlap(asked, source[0]), default=None)
    if best and _overlap(asked, best[0]) > 0:
        return f"{best[1]}: “{best[0]}”"
    if known:
        return f"I do not know for certain. The closest I remember is: “{known[0]}”"
    return "I do not know that yet. Tell me, and I will remember it in our next conversation."


def _overlap(asked: set[str], text: str) -> float:
    """Return the share of the question's words that a text has, from 0 to 1."""
    return len(asked & stems(text)) / max(len(asked), 1)
