"""The one place where the driver's errors become ours."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg

from graphs.memory.database.parts import part_named_in
from graphs.memory.errors import (
    AccessDenied,
    GraphMemoryError,
    InvalidInput,
    InvalidValue,
    RunDeleted,
    SchemaPartMissing,
    SetupRequired,
    StatementTimeout,
    StoreUnavailable,
    VersionConflict,
    error_sentence,
)

VERSION_CONFLICT = "GM409"
"""The SQLSTATE with which the schema's `expect_versions` refuses."""

RUN_DELETED = "GM410"
"""The SQLSTATE with which the schema's `refuse_deleted_runs` refuses."""


TRANSIENT = (
    # connection lost, server shutting down, too many connections, deadlock (a subclass)
    psycopg.OperationalError,
    psycopg.InterfaceError,  # "the connection is closed": it died while it lay in the pool
    pg.SerializationFailure,
    pg.DeadlockDetected,
)
"""Driver errors after which the same transaction may well succeed."""

READ_ONLY = (
    "If its disk or the plan's quota is full (Supabase then makes it read-only), free space or "
    "enlarge it. If DATABASE_URL names a read replica, name the primary. Reads go on."
)
DISK_FULL = "Enlarge the disk, or free space on it. Reads go on."


@contextmanager
def driver_errors() -> Iterator[None]:
    """Turn the driver's errors into ours, which keep them as their cause."""
    try:
        yield
    except pg.InsufficientPrivilege as error:
        raise AccessDenied(
            f"Access denied by the database: {error.diag.message_primary}"
        ) from error
    except (
        pg.UndefinedTable,
        pg.UndefinedFunction,
        pg.UndefinedColumn,
        pg.InvalidSchemaName,
    ) as error:
        raise _missing(error) from error
    except pg.UntranslatableCharacter as error:
        raise InvalidValue(
            "value", f"contains text that Postgres cannot store: {error.diag.message_primary}"
        ) from error
    except (pg.DataError, pg.CheckViolation) as error:
        raise InvalidInput(f"Postgres cannot store this: {error_sentence(error)}") from error
    except pg.ProgramLimitExceeded as error:
        raise InvalidInput(f"Too large for Postgres: {error.diag.message_primary}") from error
    except pg.QueryCanceled as error:
        raise StatementTimeout(
            "The database cancelled the statement, most likely at its statement_timeout."
        ) from error
    except pg.ReadOnlySqlTransaction as error:
        raise StoreUnavailable("The database is read-only.", READ_ONLY) from error
    except pg.DiskFull as error:
        raise StoreUnavailable("The disk of the database is full.", DISK_FULL) from error
    except TRANSIENT as error:
        raise StoreUnavailable(f"The database is not available: {error_sentence(error)}") from error
    except psycopg.Error as error:
        if error.sqlstate == VERSION_CONFLICT:
            raise VersionConflict(*json.loads(error.diag.message_detail or '["", ""]')) from error
        if error.sqlstate == RUN_DELETED:
            raise RunDeleted("The run was deleted: it stores nothing more.") from error
        raise GraphMemoryError(f"The database refused: {error_sentence(error)}") from error


def _missing(error: psycopg.Error) -> SetupRequired:
    """Return the error for a missing part of the schema, or for a missing or old schema."""
    if part := part_named_in(error.diag.message_primary):
        return SchemaPartMissing(part)
    return SetupRequired(
        f"The database lacks this version's schema ({error.diag.message_primary}): "
        "call `await store.setup()` once, or run `graph-memory setup`."
    )
