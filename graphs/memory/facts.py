"""From talk to facts: what of an exchange is worth remembering beyond its session.

Deterministic, in the manner of a careful note-taker: it keeps what the user states about themselves, in their own
words, and leaves questions, requests and small talk to the turns. Only what the user said is read, never the answer
and never what was recalled.
"""

import re

_SENTENCE = re.compile(r"[^.!?\n]+(?:\.(?=\S)[^.!?\n]+)*[.!?]*")
_ABOUT_ME = re.compile(r"\b(i|i'm|i've|i'd|i'll|im|my|mine|me|we|we're|we've|our|ours|us)\b", re.IGNORECASE)
_ASKED_TO_REMEMBER = re.compile(r"^\s*(please\s+)?(remember|note|keep in mind)\b(\s+that\b)?[:,]?\s*", re.IGNORECASE)
_QUESTION = re.compile(
    r"^\s*(and\s+|but\s+|so\s+|well,?\s+)?(what|who|whom|whose|which|when|where|why|how|is|are|am|was|were|do|does|did"
    r"|can|could|will|would|should|shall|may|might|has|have|had|tell me|show me|give me|help me|let me know|remind me"
    r"|explain|describe|list|find|search|recommend|suggest)\b",
    re.IGNORECASE,
)
_MIN_WORDS = 3


def worth_remembering(text: str) -> list[str]:
    """Return the sentences of a user's message that state something about the user, in order, without repeats."""
    found: list[str] = []
    for match in _SENTENCE.finditer(text):
        sentence = match.group().strip()
        asked = _ASKED_TO_REMEMBER.match(sentence)
        statement = sentence[asked.end() :].strip() if asked else sentence
        if statement.endswith("?") or (_QUESTION.match(statement) and not asked):
            continue
        if (asked or _ABOUT_ME.search(statement)) and len(statement.split()) >= _MIN_WORDS and statement not in found:
            found.append(statement)
    return found
