"""Connection strings as other libraries write them, made into those of libpq."""

import re
from typing import Any
from urllib.parse import parse_qsl

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from graphs.memory.errors import ConfigurationError

_SCHEME = r"postgres(?:ql)?(?:\+\w+)?://"
"""SQLAlchemy adds a driver to the scheme: `postgresql+psycopg://`."""
_ADDRESS = re.compile(_SCHEME + r"(?P<address>(?:[^@/]*@)?[^?]*)(?:\?(?P<query>.*))?", re.DOTALL)
"""For libpq, a password may contain a question mark."""

_MODE = "pgbouncer"
"""Prisma's parameter for a transaction pooler."""

_DROPPED = {
    _MODE,
    "connection_limit",
    "pool_timeout",
    "socket_timeout",
    "statement_cache_size",
    "prepared_statement_cache_size",
    "supa",
    "workaround",
}
"""Parameters of Prisma, asyncpg and Supabase's dashboard that say nothing to a server."""


def is_postgres(url: str) -> bool:
    """Return whether a text begins as the URL of a Postgres does."""
    return re.match(_SCHEME, url) is not None


def parsed(conn_string: str, setting: str) -> tuple[dict[str, Any], bool]:
    """Return the parameters of a connection string, and whether it names a transaction pooler.

    Args:
        conn_string: a URL, or libpq's `name=value` pairs.
        setting: where it comes from, for errors.

    Raises:
        ConfigurationError: it cannot be parsed, or has a parameter that Postgres does not know. The
            message does not quote it: the wrong part may be a piece of the password.
    """
    pooler = False
    if is_postgres(conn_string):
        conn_string, pooler = _without_others(conn_string, setting)
    try:
        parameters = conninfo_to_dict(conn_string)
    except psycopg.Error:
        parameters = {}
    host, port = str(parameters.get("host") or ""), str(parameters.get("port") or "0")
    if not parameters or "@" in host or not port.replace(",", "").isdigit():
        raise ConfigurationError(
            f"{setting} is not a connection string: write "
            "postgresql://user:password@host:port/database, with special characters of the "
            "password percent-encoded (@ is %40, : is %3A, / is %2F, # is %23, ? is %3F)."
        ) from None
    return parameters, pooler


def _without_others(url: str, setting: str) -> tuple[str, bool]:
    """Return a URL without the parameters of other libraries."""
    found = _ADDRESS.match(url)
    query = (found and found["query"]) or ""
    if not found or "@" in query:  # a part of the password, which must not be named
        return url, False
    given = dict(parse_qsl(query, keep_blank_values=True))
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"ssl"}
    for name, value in given.items():
        if name == "schema" and value != "public":
            raise ConfigurationError(
                f"{setting} has the parameter schema={value}, but the tables are always in the "
                "schema memory: remove the parameter."
            )
        if name not in known | _DROPPED | {"schema"}:
            raise ConfigurationError(
                f"{setting} has the parameter {name!r}, which Postgres does not know: remove it"
                f"{', and write sslmode=require' if 'ssl' in name.lower() else ''}."
            )
    kept = "&".join(
        part for part in query.split("&") if part.partition("=")[0] not in {*_DROPPED, "schema"}
    )
    address = f"postgresql://{found['address']}"
    return f"{address}?{kept}" if kept else address, given.get(_MODE) == "true"
