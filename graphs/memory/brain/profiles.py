"""What is known of users and companies elsewhere, and the memories of the brain that it becomes."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from graphs.memory.access import Access
from graphs.memory.brain.models import BrainMemory
from graphs.memory.brain.owners import Entity
from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory.principal import Principal
from graphs.memory.values.text import cleaned, problem_with

_SQL = statements.load("profiles", __package__)

MARK = {"source": "profile"}
"""The metadata of memories that were made of a profile. One that the profile no longer has is forgotten by it."""

_NAMES: Mapping[Entity, str] = {"user": "user_full_name", "company": "company_name"}
_LONGEST = 128  # characters of a slug
_DEEPEST = 20
_SHOWN = 200  # characters of what was to be a slug, in a problem


@dataclass(frozen=True, slots=True)
class Profile:
    """What a source knows of a user or a company.

    Args:
        id: whose it is, as `store.brain` keeps it.
        name: the full name of the user, the name of the company.
        entries: what else is known, by name; JSON.
        problem: why it cannot be read, if it cannot; nothing is made of it then, and nothing forgotten.
    """

    id: str
    name: str | None = None
    entries: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


class BrainSource(Protocol):
    """Where profiles are read. `StoredProfiles` is the default; a deployment may have them in its CRM.

    Whatever it raises ends the job, which is tried again where it stopped.
    """

    async def one(self, entity: Entity, entity_id: str) -> Profile | None:
        """Return the profile of a user or a company, None if there is none."""

    async def after(self, entity: Entity, cursor: str, most: int) -> Sequence[Profile]:
        """Return the first profiles after an id, in an order of ids that stays; fewer than `most` are the last.

        Args:
            entity: of users, or of companies.
            cursor: the id of the last profile that was read; empty at the beginning.
            most: how many at most.
        """

    async def total(self, entity: Entity) -> int:
        """Return how many profiles there are."""


class StoredProfiles:
    """The profiles in `memory.users` and `memory.organisations`, read as the service.

    Args:
        access: the way to the database.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def one(self, entity: Entity, entity_id: str) -> Profile | None:
        """Return the profile of a user or a company, None if there is none."""
        found = await self._ask(entity, "one", _profiles, id=entity_id)
        return found[0] if found else None

    async def after(self, entity: Entity, cursor: str, most: int) -> Sequence[Profile]:
        """Return the first profiles after an id, in the order of ids: one query."""
        found: Sequence[Profile] = await self._ask(
            entity, "after", _profiles, cursor=cursor, most=most
        )
        return found

    async def total(self, entity: Entity) -> int:
        """Return how many profiles there are."""
        return int(await self._ask(entity, "total", lambda rows: rows[0].total))

    async def _ask(
        self, entity: Entity, statement: str, read: Callable[[Any], Any], **given: Any
    ) -> Any:
        query = Query(_SQL[f"{statement}_{entity}"], given, read)
        return (await self._access.run(Principal.service(), [query]))[0]


def _profiles(rows: Any) -> list[Profile]:
    return [_profile(*row) for row in rows]


def _profile(id_: str, name: str | None, entries: str | None) -> Profile:
    """A row as a profile. People write their own: one that is made to break its reader stops nobody else's."""
    if entries is None:
        return Profile(id_, name, problem="the profile is larger than 64 KB")
    try:
        return Profile(
            id_, name, json.loads(entries, parse_int=str, parse_float=str)
        )  # in the digits they have
    except RecursionError:
        return Profile(id_, name, problem="the profile is nested too deep")


class ProfileProblem(NamedTuple):
    """An entry of a profile that is no memory, and why. It never tells what the entry holds."""

    slug: str
    reason: str


def memories_of(entity: Entity, profile: Profile) -> tuple[list[BrainMemory], list[ProfileProblem]]:
    """Return the memories that a profile is, and what of it cannot be one. Pure.

    The name becomes `user_full_name` or `company_name`, each entry `user_<key>` or `company_<key>`, the key in small
    letters, digits and underscores (`taxRegime` and `Tax régime` are both `tax_regime`). What is nested is written out.
    An entry that is empty is nothing known, and no problem. Of two entries with one slug the first counts.
    """
    memories: dict[str, BrainMemory] = {}
    problems: list[ProfileProblem] = []
    named = [(_NAMES[entity], _NAMES[entity], profile.name)]
    for key, slug, value in named + [
        (key, slug_of(entity, key), value) for key, value in profile.entries.items()
    ]:
        try:
            content = _text(value)
        except ValueError as error:
            problems.append(ProfileProblem(slug or _shown(key), str(error)))
            continue
        if not content:
            continue
        if slug is None:
            reason = f"the key makes no slug of at most {_LONGEST} letters a to z, digits and underscores"
            problems.append(ProfileProblem(_shown(key), reason))
        elif problem := problem_with(content):
            problems.append(ProfileProblem(slug, f"the entry {problem}"))
        elif slug in memories:
            problems.append(ProfileProblem(slug, "another entry has this slug already"))
        else:
            memories[slug] = BrainMemory(slug=slug, content=content, metadata=MARK)
    return list(memories.values()), problems


def slug_of(entity: Entity, key: str) -> str | None:
    """Return the slug for an entry of a profile, None if its key has letters that are not a to z, or none at all."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key)
    letters = [
        c for c in unicodedata.normalize("NFKD", words.casefold()) if not unicodedata.combining(c)
    ]
    if any(c.isalnum() and not c.isascii() for c in letters):
        return None
    slug = "_".join([entity, *re.findall("[a-z0-9]+", "".join(letters))])
    return slug if entity != slug and len(slug) <= _LONGEST else None


def _shown(key: str) -> str:
    return cleaned(key)[:_SHOWN]


def _text(value: Any, depth: int = 0) -> str:
    """A value of JSON as people read it; empty where nothing is in it.

    Raises:
        ValueError: it is nested too deep.
    """
    if depth > _DEEPEST:
        raise ValueError(f"the entry is nested deeper than {_DEEPEST} levels")
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return value.strip()
        case Mapping():
            parts = [(f"{str(key).replace('_', ' ')}: ", part) for key, part in value.items()]
        case list() | tuple():
            parts = [("", part) for part in value]
        case _:
            return str(value)
    return ", ".join(
        f"{label}{text}" for label, part in parts if (text := _nested(part, depth + 1))
    )


def _nested(value: Any, depth: int) -> str:
    text = _text(value, depth)
    return f"({text})" if text and isinstance(value, Mapping | list | tuple) else text
