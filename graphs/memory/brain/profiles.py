"""Profiles of users and companies, and the memories of the brain that they become."""

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
"""The metadata of memories that a load made from a profile.

A load deletes only memories with this mark, once the profile no longer has their entries.
"""

_NAMES: Mapping[Entity, str] = {"user": "user_full_name", "company": "company_name"}
_LONGEST = 128  # characters of a slug
_DEEPEST = 20  # levels of nesting of an entry
_SHOWN = 200  # characters of a bad key that a problem quotes


@dataclass(frozen=True, slots=True)
class Profile:
    """The facts that a source has about a user or a company.

    Args:
        id: the id of the user or company, as `store.brain` stores it.
        name: the full name of the user, or the name of the company.
        entries: everything else, by name; JSON.
        problem: the reason if the profile cannot be read. A load then saves and deletes nothing.
    """

    id: str
    name: str | None = None
    entries: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


class BrainSource(Protocol):
    """A source of profiles. `StoredProfiles` is the default; a deployment may read its CRM instead.

    Any exception ends the job. Its retry continues after the last batch that was recorded.
    """

    async def one(self, entity: Entity, entity_id: str) -> Profile | None:
        """Return the profile of a user or a company, None if there is none."""

    async def after(self, entity: Entity, cursor: str, most: int) -> Sequence[Profile]:
        """Return the next profiles after an id, in a stable order of ids.

        A result shorter than `most` is the last one.

        Args:
            entity: profiles of users, or of companies.
            cursor: the id of the last profile that was read; empty at the beginning.
            most: the largest number of profiles to return.
        """

    async def total(self, entity: Entity) -> int:
        """Return how many profiles there are."""


class StoredProfiles:
    """The profiles in `memory.users` and `memory.organisations`, read as the service.

    Args:
        access: runs the queries.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def one(self, entity: Entity, entity_id: str) -> Profile | None:
        """Return the profile of a user or a company, None if there is none."""
        found = await self._ask(entity, "one", _profiles, id=entity_id)
        return found[0] if found else None

    async def after(self, entity: Entity, cursor: str, most: int) -> Sequence[Profile]:
        """Return the next profiles after an id, in the order of ids, with one query."""
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
    """Return the profile of a row.

    Users can write their own profiles. One that cannot be parsed must not stop the load of others.
    """
    if entries is None:
        return Profile(id_, name, problem="the profile is larger than 64 KB")
    try:
        # As text, numbers keep their digits: 1.10 stays 1.10.
        return Profile(id_, name, json.loads(entries, parse_int=str, parse_float=str))
    except RecursionError:
        return Profile(id_, name, problem="the profile is nested too deep")


class ProfileProblem(NamedTuple):
    """An entry of a profile that cannot be a memory, and the reason. It never quotes the value."""

    slug: str
    reason: str


def memories_of(entity: Entity, profile: Profile) -> tuple[list[BrainMemory], list[ProfileProblem]]:
    """Return the memories of a profile, and the entries that cannot be memories. Pure.

    The name becomes `user_full_name` or `company_name`. Each entry becomes `user_<key>` or
    `company_<key>`, with the key in lower-case letters, digits and underscores: `taxRegime` and
    `Tax régime` are both `tax_regime`. Nested values are written out as text. Empty entries are
    skipped; they are not problems. If two entries have the same slug, the first one counts.
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
            rule = f"at most {_LONGEST} letters a to z, digits and underscores"
            problems.append(ProfileProblem(_shown(key), f"the key makes no slug of {rule}"))
        elif problem := problem_with(content):
            problems.append(ProfileProblem(slug, f"the entry {problem}"))
        elif slug in memories:
            problems.append(ProfileProblem(slug, "another entry has this slug already"))
        else:
            memories[slug] = BrainMemory(slug=slug, content=content, metadata=MARK)
    return list(memories.values()), problems


def slug_of(entity: Entity, key: str) -> str | None:
    """Return the slug of a profile's entry.

    None if its key has letters other than a to z (without accents), none at all, or too many.
    """
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
    """Return a JSON value as people read it; empty if it holds nothing.

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
