"""The chat model of a deployment without keys: deterministic, honest about what it is, and useful all the same.

It does not understand language. It answers a question with the sentence it knows (from the recalled memories in the
system prompt, from the conversation, from a tool's result) that shares most words with the question. It calls the
bound tool whose name and description share most words with it, with the arguments that it finds: a number goes to the
parameter whose description has the words beside it, a choice and a form such as a zip code's are recognised, and what
is required and was not said is asked for. That is enough to see memory work.
"""

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
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

SIGNATURE = "(I am the offline model: set OPENAI_API_KEY for a real one.)"

_STOP_WORDS = frozenset(
    "a about am an and any are as at be been but by can could did do does for from had has have how i if in is it its"
    " let me my of on or our over please shall should so tell that the their them then there these they this to us was"
    " we were what when where which who whom why will with would you your".split()
)
_ASKS = re.compile(
    r"\s*(what|who|whose|which|when|where|why|how|is|are|am|do|does|did|can|could|will|would|should|tell|show|list)\b",
    re.IGNORECASE,
)
_GREETS = re.compile(
    r"\s*(hi|hello|hey|help|good (morning|day|evening)|what can you do)\b", re.IGNORECASE
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
    if tool := _best_tool(question, tools):
        arguments, missing = _arguments(tool, question, [*reversed(earlier), *known])
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
    """The recalled memories: the list items of the system prompt."""
    prompt = "\n".join(str(m.text) for m in messages if isinstance(m, SystemMessage))
    return [line[2:].strip() for line in prompt.splitlines() if line.startswith("- ")]


def _reply(question: str, known: list[str], earlier: list[str]) -> str:
    if not _is_question(question):
        return f"Understood: “{question}” I will remember what you told me about yourself."
    said = [text for text in reversed(earlier) if not _is_question(text)]
    sources = [(text, "You said in this conversation") for text in said] + [
        (text, "You told me") for text in known
    ]
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


# Tools ------------------------------------------------------------------------------------------------------------

_CHANGES = frozenset("save add create apply update set delete remove send book order".split())
"""Verbs of tools that change something: a question is rather for one that looks something up."""
_MONEY = frozenset("amount budget cost deposit dollar payment price revenu usd".split())
_SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "mio": 1e6, "million": 1e6}
_SPELLED = {
    word: n
    for n, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve".split(), 2
    )
}
_NUMBER = re.compile(
    rf"(?P<money>[$€£]\s*)?(?<![\w-])(?P<digits>\d[\d,]*(?:\.\d+)?|(?:{'|'.join(_SPELLED)})\b)"
    rf"(?:\s*(?P<scale>{'|'.join(_SCALES)})\b)?(?![\w-]*\d)",
    re.IGNORECASE,
)
_PART = re.compile(r"[,;.](?!\d)|\band\b")
_CODE = re.compile(r"\b(?=[\w-]*\d)[A-Z][A-Za-z]*-?[\w-]*\b")
_CODES = frozenset("code model serial sku".split())
_FOLLOWS = re.compile(r"\s*(and|also|but|or|what about|how about)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Number:
    """A number that was said, and the words beside it."""

    value: float
    is_money: bool
    unit: frozenset[str]
    beside: frozenset[str]


def _numbers(text: str) -> list[_Number]:
    found: list[_Number] = []
    for match in _NUMBER.finditer(text):
        digits, scale = match["digits"].casefold(), (match["scale"] or "").casefold()
        value = float(_SPELLED.get(digits) or digits.replace(",", "").rstrip(".")) * _SCALES.get(
            scale, 1
        )
        before = _WORD.findall(_PART.split(text[: match.start()])[-1])[-3:]
        after = _WORD.findall(_PART.split(text[match.end() :])[0])
        is_money = bool(match["money"] or scale) or value >= 1000
        found.append(
            _Number(value, is_money, _as_stems(after[:1]), _as_stems([*before, *after[:3]]))
        )
    return found


def _as_stems(words: Sequence[str]) -> frozenset[str]:
    return frozenset(_stems(" ".join(words)))


def _best_tool(question: str, tools: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The tool that fits best: by words, by the numbers and forms it needs; none if it shares nothing."""
    asked = _stems(question)

    def fit(tool: dict[str, Any]) -> float:
        name, (summary, _, more) = (
            _stems(tool["name"].replace("_", " ")),
            tool.get("description", "").partition("\n\n"),
        )
        words = (
            2 * len(asked & name)
            + len(asked & _stems(summary) - name)
            + len(asked & _stems(more) - name) / 2
        )
        arguments, missing = _arguments(tool, question)
        told = [value for value in arguments.values() if value != question and value != [question]]
        if words + len(told) < 1:
            return 0
        changes = not _CHANGES.isdisjoint(tool["name"].split("_")[:1])
        return float(
            max(words + len(told) - len(missing) - 2 * (_is_question(question) and changes), 0.1)
        )

    best = max(tools, key=fit, default=None)
    return best if best and fit(best) > 0 else None


def _arguments(
    tool: dict[str, Any], question: str, elsewhere: Sequence[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """The arguments that were said, and in words what is required beside them.

    Args:
        tool: its name, description and parameters.
        question: what the user says now; wanted as it is where a text is required.
        elsewhere: what else is known, the most recent first: where a required form is looked for, too.
    """
    schema = tool.get("parameters") or {}
    parameters = {
        name: _unwrapped(parameter) for name, parameter in schema.get("properties", {}).items()
    }
    required = [name for name in schema.get("required", []) if name in parameters]
    said = f"{question} {elsewhere[0]}" if elsewhere and _FOLLOWS.match(question) else question
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        texts = [question, *elsewhere] if name in required else [question]
        if (value := _told(name, parameter, said, texts, name in required)) is not None:
            found[name] = value
    unformed = re.sub("|".join(map(re.escape, _texts(found))) or r"(?!)", " ", question)
    found |= _matched(unformed, {n: p for n, p in parameters.items() if _is_number(p)}, required)
    for name in required:
        if (
            name not in found
            and parameters[name].get("type") not in ("integer", "number")
            and not _form(parameters[name])
        ):
            found[name] = _plain(parameters[name], question)
    missing = [_wanted(name, parameters[name]) for name in required if name not in found]
    return found, missing


def _unwrapped(parameter: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema without the alternative that it may be null."""
    kinds = [kind for kind in parameter.get("anyOf", []) if kind.get("type") != "null"]
    return {**parameter, **kinds[0]} if len(kinds) == 1 else parameter


def _is_number(parameter: dict[str, Any]) -> bool:
    return parameter.get("type") in ("integer", "number") and "enum" not in parameter


def _form(parameter: dict[str, Any]) -> str | None:
    """The form that a text must have, such as a zip code's."""
    return parameter.get("pattern") if parameter.get("type") == "string" else None


def _told(
    name: str, parameter: dict[str, Any], said: str, texts: Sequence[str], is_required: bool
) -> Any:
    """The choice, the form or the code that was said for a parameter; None if none was."""
    if choices := parameter.get("enum"):
        asked = _stems(said)
        named = [
            c
            for c in choices
            if all(any(_alike(s, word) for word in asked) for s in _stems(str(c)))
        ]
        return named[0] if named else choices[0] if is_required else None
    if form := _form(parameter):
        pattern = re.compile(rf"(?<![\w$.,-]){form.strip('^$')}(?![\w-])")
        return next((match[0] for text in texts if (match := pattern.search(text))), None)
    if codes := _CODE.findall(texts[0]) if _CODES & _stems(f"{name.replace('_', ' ')}") else []:
        return codes if parameter.get("type") == "array" else codes[0]
    return None


def _alike(stem: str, word: str) -> bool:
    return word == stem or (len(stem) >= 4 and word.startswith(stem[:6]))


def _texts(found: dict[str, Any]) -> list[str]:
    return [
        text
        for value in found.values()
        for text in (value if isinstance(value, list) else [str(value)])
        if text
    ]


def _matched(
    question: str, parameters: dict[str, dict[str, Any]], required: Sequence[str]
) -> dict[str, Any]:
    """The numbers of a question, each at the parameter whose words are beside it; others where one is required."""
    numbers = _numbers(question)
    fits = sorted(
        (
            (_fit(number, name, p) + 1.5 * (name in required), -n, name)
            for n, number in enumerate(numbers)
            for name, p in parameters.items()
            if _fit(number, name, p) > 0
        ),
        reverse=True,
    )
    chosen: dict[str, int] = {}
    for _, n, name in fits:
        if name not in chosen and -n not in chosen.values():
            chosen[name] = -n
    for name in (name for name in required if name in parameters and name not in chosen):
        if left := [n for n in range(len(numbers)) if n not in chosen.values()]:
            chosen[name] = left[0]
    return {name: _as_wanted(numbers[n], name, parameters[name]) for name, n in chosen.items()}


def _words_of(name: str, parameter: dict[str, Any]) -> set[str]:
    return _stems(f"{name.replace('_', ' ')} {parameter.get('description', '')}")


def _fit(number: _Number, name: str, parameter: dict[str, Any]) -> float:
    """How well a number fits a parameter: by its unit, by the words beside it, by being money."""
    words = _words_of(name, parameter)
    in_months = _in_months(number, words)
    money, is_money = bool(_MONEY & words), number.is_money or bool(_MONEY & number.unit)
    if money != is_money and (money or not number.unit & words):
        return 0
    return 2 * (bool(number.unit & words) or in_months) + len(number.beside & words) + money / 2


def _in_months(number: _Number, words: set[str]) -> bool:
    """Whether years were said where months are wanted."""
    return "year" in number.unit and "month" in words and "year" not in words


def _as_wanted(number: _Number, name: str, parameter: dict[str, Any]) -> float | int:
    value = number.value * (12 if _in_months(number, _words_of(name, parameter)) else 1)
    return round(value) if parameter.get("type") == "integer" else value


def _plain(parameter: dict[str, Any], question: str) -> Any:
    """What a required parameter gets that nothing in particular was said for."""
    match parameter.get("type"):
        case "boolean":
            return True
        case "array":
            return [question]
        case _:
            return question


def _wanted(name: str, parameter: dict[str, Any]) -> str:
    """What is asked for, in words."""
    described = str(parameter.get("description", "")).rstrip(".")
    return f"the {name.replace('_', ' ')}" + (
        f" ({described[:1].lower()}{described[1:]})" if described else ""
    )
