"""From talk to facts: what of an exchange is worth remembering beyond its session.

Deterministic, in the manner of a careful note-taker: it keeps what the user states about themselves, in their own
words, and leaves questions, requests and small talk to the turns. Only what the user said is read, never the answer
and never what was recalled.
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
    r"^\s*(and\s+|but\s+|so\s+|well,?\s+)?(what|who|whom|whose|which|when|where|why|how|is|are|am|was|were|do|does|did"
    r"|can|could|will|would|should|shall|may|might|has|have|had|tell me|show me|give me|help me|let me know|remind me"
    r"|explain|describe|list|find|search|recommend|suggest)\b",
    re.IGNORECASE,
)
_MIN_WORDS = 3

MAX_FACTS = 50
"""Most facts that are taken from one message: a pasted document is no conversation."""


def worth_remembering(text: str) -> list[str]:
    """Return what a user's message states about the user: sentences in order, without repeats, `MAX_FACTS` at most."""
    found: dict[str, None] = {}
    for match in _SENTENCE.finditer(text):
        sentence = match.group().strip()
        asked = _ASKED_TO_REMEMBER.match(sentence)
        statement = sentence[asked.end() :].strip() if asked else sentence
        if statement.endswith("?") or (_QUESTION.match(statement) and not asked):
            continue
        if (asked or _ABOUT_ME.search(statement)) and len(statement.split()) >= _MIN_WORDS:
            found[statement] = None
        if len(found) == MAX_FACTS:
            break
    return list(found)
