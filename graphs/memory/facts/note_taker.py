"""Rules that pick the sentences of an exchange to remember, without a model.

The rules are deterministic. They keep the sentences in which users state something about
themselves, in their own words. Questions, requests and small talk stay in the turns. Only the
user's message is read, never the answer and never recalled memories.
"""

import re

_SENTENCE = re.compile(r"[^.!?\n]+(?:\.(?=\S)[^.!?\n]+)*[.!?]*")
_ABOUT_ME = re.compile(
    r"\b(i|i'm|i've|i'd|i'll|im|my|mine|me|we|we're|we've|our|ours|us)\b", re.IGNORECASE
)
_ASKED_TO_REMEMBER = re.compile(
    r"^\s*(please\s+)?(remember|note|keep in mind)\b(\s+that\b)?[:,]?\s*", re.IGNORECASE
)
_QUESTION = re.compile(
    r"^\s*(and\s+|but\s+|so\s+|well,?\s+)?(what|who|whom|whose|which|when|where|why|how|is|are|am"
    r"|was|were|do|does|did|can|could|will|would|should|shall|may|might|has|have|had|tell me"
    r"|show me|give me|help me|let me know|remind me"
    r"|explain|describe|list|find|search|recommend|suggest)\b",
    re.IGNORECASE,
)
_MIN_WORDS = 3

MAX_FACTS = 50
"""Most facts taken from one message: a pasted document is not a conversation."""


def worth_remembering(text: str) -> list[str]:
    """Return the sentences of a user's message that state something about the user.

    They come in order, without repeats, and are at most `MAX_FACTS`.
    """
    found: dict[str, None] = {}
    for match in _SENTENCE.finditer(text):
        sentence = match.group().strip()
        asked = _ASKED_TO_REMEMBER.match(sentence)
        statement = sentence[asked.end() :].strip() if asked else sentence
        # A request to remember counts even if the sentence after it begins like a question.
        if statement.endswith("?") or (_QUESTION.match(statement) and not asked):
            continue
        if (asked or _ABOUT_ME.search(statement)) and len(statement.split()) >= _MIN_WORDS:
            found[statement] = None
        if len(found) == MAX_FACTS:
            break
    return list(found)
