"""The chat model of a deployment without keys: deterministic, honest about what it is, and useful all the same.

It does not understand language. It answers a question with the sentence it knows (from the recalled memories in the
system prompt, from the conversation, from a tool's result) that shares most words with the question, and it calls the
bound tool whose name and description share most words with it. That is enough to see memory work.
"""

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

SIGNATURE = "(I am the offline model: set OPENAI_API_KEY for a real one.)"

_STOP_WORDS = frozenset(
    "a about am an and any are as at be been but by can could did do does for from had has have how i if in is it its"
    " let me my of on or our please shall should so tell that the their them then there these they this to us was we"
    " were what when where which who whom why will with would you your".split()
)
_ASKS = re.compile(
    r"\s*(what|who|whose|which|when|where|why|how|is|are|am|do|does|did|can|could|will|would|should|tell|show|list)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+")


class OfflineChatModel(BaseChatModel):
    """Answers from what it is shown. Streams word by word; supports `bind_tools`."""

    tools: list[dict[str, Any]] = Field(default_factory=list)
    """Tools the model may call, as OpenAI function specifications; set by `bind_tools`."""

    @property
    def _llm_type(self) -> str:
        return "graph-native-memory-offline"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **_: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return a model that may call these tools."""
        return self.model_copy(update={"tools": [convert_to_openai_tool(tool)["function"] for tool in tools]})

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
    """An answer, word by word, the way a hosted model streams it."""
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
    """Return the reply to a conversation: a tool call, or what is known that fits the last thing the user said."""
    results = _trailing_tool_results(messages)
    humans = [text for m in messages if isinstance(m, HumanMessage) and (text := str(m.text).strip())]
    if not humans:
        return AIMessage(f"Hello. What would you like to talk about? {SIGNATURE}")
    question, earlier = humans[-1], humans[:-1]
    if results:
        return AIMessage(f"{' '.join(results)} {SIGNATURE}")
    if tool := _best_tool(question, tools):
        call = {"name": tool["name"], "args": _arguments(tool, question), "id": f"call_{uuid.uuid4().hex[:12]}"}
        return AIMessage("", tool_calls=[{**call, "type": "tool_call"}])
    return AIMessage(f"{_reply(question, _known(messages), earlier)} {SIGNATURE}")


def _trailing_tool_results(messages: Sequence[BaseMessage]) -> list[str]:
    results: list[str] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        results.insert(0, str(message.text))
    return results


def _known(messages: Sequence[BaseMessage]) -> list[str]:
    """The recalled memories: the list items of the system prompt."""
    prompt = "\n".join(str(m.text) for m in messages if isinstance(m, SystemMessage))
    return [line[2:].strip() for line in prompt.splitlines() if line.startswith("- ")]


def _reply(question: str, known: list[str], earlier: list[str]) -> str:
    if not _is_question(question):
        return f"Understood: “{question}” I will remember what you told me about yourself."
    said = [text for text in reversed(earlier) if not _is_question(text)]
    sources = [(text, "You said in this conversation") for text in said] + [(text, "You told me") for text in known]
    if re.search(r"\b(know|remember|recall)\b.*\b(me|i|my)\b", question, re.IGNORECASE) and known:
        return "This is what I remember about you: " + " ".join(f"“{text}”" for text in known)
    asked = _stems(question)
    best = max(sources, key=lambda source: _overlap(asked, source[0]), default=None)
    if best and _overlap(asked, best[0]) > 0:
        return f"{best[1]}: “{best[0]}”"
    if known:
        return f"I do not know for certain. The closest I remember is: “{known[0]}”"
    return "I do not know that yet. Tell me, and I will remember it in our next conversation."


def _is_question(text: str) -> bool:
    return text.rstrip().endswith("?") or bool(_ASKS.match(text))


def _overlap(asked: set[str], text: str) -> float:
    """Share of the question's words that a text has. Of texts with the same share the first one wins."""
    return len(asked & _stems(text)) / max(len(asked), 1)


def _stems(text: str) -> set[str]:
    words = (word for word in _WORD.findall(text.casefold()) if word not in _STOP_WORDS)
    return {re.sub(r"(ing|ed|es|s|e)$", "", word) if len(word) > 3 else word for word in words}


def _best_tool(question: str, tools: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The tool that shares most words with the question; none if they share nothing."""
    asked = _stems(question)

    def shared(tool: dict[str, Any]) -> int:
        return len(asked & _stems(f"{tool['name'].replace('_', ' ')} {tool.get('description', '')}"))

    best = max(tools, key=shared, default=None)
    return best if best and shared(best) > 0 else None


def _arguments(tool: dict[str, Any], question: str) -> dict[str, Any]:
    """Required arguments: numbers from the question in their order, the question itself wherever text is wanted."""
    schema = tool.get("parameters") or {}
    numbers = [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?", question)]
    arguments: dict[str, Any] = {}
    for name in schema.get("required", []):
        match schema["properties"][name]:
            case {"enum": [*choices]}:
                asked = _stems(question)
                arguments[name] = max(choices, key=lambda choice: len(asked & _stems(str(choice))))
            case {"type": "integer"}:
                arguments[name] = int(numbers.pop(0)) if numbers else 0
            case {"type": "number"}:
                arguments[name] = numbers.pop(0) if numbers else 0.0
            case {"type": "boolean"}:
                arguments[name] = True
            case {"type": "array"}:
                arguments[name] = [question]
            case _:
                arguments[name] = question
    return arguments
