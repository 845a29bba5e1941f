"""The error tree. `database.driver_errors` is the one place where the driver's errors become ours.

GraphMemoryError
├── ConfigurationError          a setting is wrong; the message says which and what to write
│   ├── EmbeddingModelMismatch  the database holds vectors of another model
│   ├── MissingExtra            an optional dependency is not installed; an ImportError, too
│   ├── DatabaseUnreachable     nobody answers at the database's address; a StoreUnavailable, too
│   ├── SchemaTooNew            the database is at a step (`step`) beyond the newest one `known`
│   └── SchemaTooOld            the schema is older than the first step; `missing` lists objects
├── SetupRequired               the schema is missing or older than the code
│   └── SchemaPartMissing       the database was made without this part of the schema; `part` names it
├── InvalidInput (ValueError)   bad input, refused before anything is written
│   ├── ContractError           a payload breaks the JSON contract; `fields` names where
│   ├── InvalidValue            an item's value cannot be stored; `path` names where
│   │   ├── InvalidEntityId     an entity's id is not one of its kind; `path` names the field
│   │   └── IdempotencyConflict an earlier write had the same idempotency key and said something else
│   ├── InvalidFilter           a filter cannot be understood; `operator` names what
│   ├── InvalidBackup           a file is no backup, is damaged, or has another key; `reason` says which
│   ├── CannotFollow            what changed since a backup cannot be told; a full one is needed
│   └── SchemaPartPresent       a part of the schema is to be left out that the database has; `part` names it
├── SchemaNotApplied            the database refused a file of the schema; `what` names it
├── RestoreConflict             the database holds other rows under the numbers of a backup's
├── ErasedPresent               the database holds people of whom a backup knows that they were erased
├── VersionConflict             an item is not at the version that a write expected
├── AccessDenied                the principal may not do this
│   └── PrincipalRequired       nobody is acting, and somebody must
├── EmbeddingFailed             the embedding model did not answer, also when asked again
├── JudgementFailed             the model did not say what a new fact means for known ones
├── StorageFailed               Supabase Storage did not take, give or remove a file
├── FileNotFound                the user has no file of this id
├── ExtractionFailed            the model did not make facts of what was said, or nothing that can be read
├── JobNotFound                 there is no such job, or none that can be tried again
├── DeliveryFailed              a service outside did not take what was for it
├── DeliveryNotFound            there is no such delivery, or none that can be tried again
├── MigrationNotFound           there is no such migration
├── MigrationConflict           somebody else carries a migration out, or it has ended
├── SwitchRefused               a store cannot be switched from: both sides are not the same
├── SourceFailed                what is migrated from gave something that cannot be read
│   └── SourceUnavailable       it cannot be reached, or gave up; worth trying again later
├── MemoryNotFound              there is no memory at an address, or not for whoever asks
└── StoreUnavailable            the database cannot be reached, or gave up; worth trying again later
    └── StatementTimeout        it took longer than the database allows, perhaps waiting for somebody else
"""

from collections.abc import Sequence


class GraphMemoryError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigurationError(GraphMemoryError):
    """A setting, or what it points at, is wrong. One sentence says which and what to do."""


class MissingExtra(ConfigurationError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, extra: str, module: str) -> None:
        self.extra, self.module = extra, module
        super().__init__(f'{module} is not installed: pip install "graph-native-memory[{extra}]".')


class EmbeddingModelMismatch(ConfigurationError):
    """The database holds vectors of another embedding model than the one configured."""

    def __init__(
        self, stored: str, stored_dimensions: int, configured: str, configured_dimensions: int
    ) -> None:
        self.stored, self.stored_dimensions = stored, stored_dimensions
        self.configured, self.configured_dimensions = configured, configured_dimensions
        super().__init__(
            f"This database holds embeddings of {stored} ({stored_dimensions} dimensions), but {configured} "
            f"({configured_dimensions} dimensions) is configured, and vectors of different models cannot be compared. "
            f"Run `graph-memory reembed` to fill in the new model beside the old one and switch to it, or configure "
            f"{stored} again (VECTOR_EMBEDDING_MODEL, VECTOR_EMBEDDING_DIMENSIONS and its API key)."
        )


class SchemaTooNew(ConfigurationError):
    """The database is at a step of the schema that this code does not know. Nothing was changed."""

    def __init__(self, step: int, known: int) -> None:
        self.step, self.known = step, known
        super().__init__(
            f"This database is at step {step} of the schema, and this code knows {known}: a newer "
            "version has changed it. Update the code; nothing was changed."
        )


class SchemaTooOld(ConfigurationError):
    """The schema is older than the first step, and cannot be upgraded. Nothing was changed."""

    def __init__(self, missing: Sequence[str]) -> None:
        self.missing = tuple(missing)
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        super().__init__(
            "The schema of this database is too old to be upgraded: it lacks "
            f"{', '.join(missing[:3])}{more}. Nothing was changed. With the version that made it, "
            "write the memories to a file (`graph-memory backup`, or `graph-memory export-user` "
            "for each person). Then point DATABASE_URL to a new database and run `graph-memory "
            "restore` with this version (`graph-memory migrate jsonl` for exports)."
        )


class SchemaNotApplied(GraphMemoryError):
    """The database refused a step, or another file of the schema. Nothing of it was applied."""

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        super().__init__(
            f"{what} could not be applied, and nothing of it was: {reason}. `graph-memory schema "
            "diff` lists the objects that differ. Repair them, and run `graph-memory schema apply`."
        )


class SetupRequired(GraphMemoryError):
    """The schema is missing or older than this code: `await store.setup()` once, or `graph-memory setup`."""


class SchemaPartMissing(SetupRequired):
    """The database was made without this part of the schema. What does not need it goes on."""

    def __init__(self, part: str) -> None:
        self.part = part
        super().__init__(
            f"This database has no {part}: it was made without. `graph-memory schema apply --with {part}` adds it, "
            "empty, for what is written from then on."
        )


class InvalidInput(GraphMemoryError, ValueError):
    """Bad input, refused whole before anything is written."""


class ContractError(InvalidInput):
    """A payload breaks the JSON contract. `fields` maps each offending field to what is wrong with it."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in fields.items()))


class InvalidValue(InvalidInput):
    """An item cannot be stored as given. `path` leads to the offending part, such as `value.tags[2]`."""

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path} {problem}")


class InvalidEntityId(InvalidValue):
    """The id of a user, a company or the like is not one of its kind. `path` is the field it was given in."""


class InvalidFilter(InvalidInput):
    """A filter cannot be understood. `operator` is the offending operator or field."""

    def __init__(self, operator: str, problem: str) -> None:
        self.operator, self.problem = operator, problem
        super().__init__(f"filter {operator}: {problem}")


class InvalidBackup(InvalidInput):
    """A file cannot be restored: it is no backup, or damaged, or its key another one. Nothing was changed."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"This file cannot be restored: {reason}. Nothing was changed.")


class CannotFollow(InvalidInput):
    """What changed since a backup was made cannot be told from that backup and this database. `reason` says why."""

    def __init__(self, earlier: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"What changed since {earlier} cannot be told: {reason}. Make a full backup, without --since."
        )


class SchemaPartPresent(InvalidInput):
    """A part of the schema is to be left out that the database has: nothing is ever dropped."""

    def __init__(self, part: str) -> None:
        self.part = part
        super().__init__(
            f"This database has the {part}, and nothing is ever dropped: only an empty database can be made without. "
            "Nothing was changed."
        )


class RestoreConflict(GraphMemoryError):
    """The database holds other rows under the numbers that a backup's rows have. Nothing was changed."""

    def __init__(self, table: str, rows: int) -> None:
        self.table, self.rows = table, rows
        super().__init__(
            f"{table} has {rows:,} other rows under the numbers of the backup's: restore it into the database that it "
            "was made of, or into an empty one (`graph-memory setup` prepares it). Nothing was changed."
        )


class ErasedPresent(GraphMemoryError):
    """The database holds people who were erased after it was what it is. Nothing was changed."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(
            f"{table} has rows of people who, by what lies beside the backup or --erasures tells, were erased since: "
            "restore into an empty database (`graph-memory setup` prepares it). Nothing was changed."
        )


class IdempotencyConflict(InvalidValue):
    """An earlier write had this idempotency key and said something else. Give each write a key of its own."""

    def __init__(self) -> None:
        super().__init__(
            "idempotency_key",
            "is that of an earlier write, which said something else; give each write a key of its own.",
        )


class VersionConflict(GraphMemoryError):
    """An item was written by somebody else since it was read: read it again and decide anew. Nothing was stored."""

    def __init__(self, namespace: str, key: str) -> None:
        self.namespace, self.key = tuple(namespace.split(".")[:-1]), key
        super().__init__(
            f"The item {key!r} in {self.namespace} is not at the version that the write expected: somebody else wrote "
            "or deleted it meanwhile. Read it again, and put again what is still right."
        )


class AccessDenied(GraphMemoryError):
    """Whoever is acting may not read or write this. `about` is whose it is, where that is known."""

    def __init__(self, message: str, about: str | None = None) -> None:
        self.about = about
        super().__init__(message)


class PrincipalRequired(AccessDenied):
    """Nobody is acting. Sign in, or act explicitly: `with acting_as(Principal.user(user_id)): …`."""

    def __init__(self) -> None:
        super().__init__(
            "No principal: this store acts for signed-in users only. Call it inside a run or a request of an "
            "authenticated user, or act explicitly with `with acting_as(Principal.user(user_id)):` or "
            "`with acting_as(Principal.service()):`."
        )


class EmbeddingFailed(GraphMemoryError):
    """The embedding model did not answer, also when it was asked again. Nothing was stored."""


class JudgementFailed(GraphMemoryError):
    """The model did not say what a new fact means for those that are known. `reason` is why, without any content."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"The model gave no judgement that could be used ({reason}); no known fact was changed."
        )


class StorageFailed(GraphMemoryError):
    """Supabase Storage did not take, give or remove a file, also when it was asked again."""


class FileNotFound(GraphMemoryError):
    """The user has no file of this id."""

    def __init__(self, file_id: str) -> None:
        self.file_id = file_id
        super().__init__(f"There is no file {file_id!r} of this user.")


class ExtractionFailed(GraphMemoryError):
    """The model that turns talk into facts did not answer, or gave nothing that can be read. Nothing was stored.

    `over_content` says that it is a matter of what was said: less of it may do, and the same again will not.
    """

    def __init__(self, message: str, *, over_content: bool = False) -> None:
        self.over_content = over_content
        super().__init__(message)


class JobNotFound(GraphMemoryError):
    """There is no such job, or it is not one that failed."""


class DeliveryFailed(GraphMemoryError):
    """A service outside did not take, give or remove something, or is not done yet.

    What comes after it, for the same person, waits until it was taken or given up.

    Args:
        message: what it said about itself; never what was sent.
        retry_after: seconds after which to try again, if the service said so.
        hopeless: whether it will not be taken however often it is tried.
        receipt: under which the service goes on working on it, so that the next attempt only asks how far it is.
    """

    keeps_its_turn = True

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        hopeless: bool = False,
        receipt: str | None = None,
    ) -> None:
        self.retry_after, self.hopeless, self.receipt = retry_after, hopeless, receipt
        super().__init__(message)


class DeliveryNotFound(GraphMemoryError):
    """There is no such delivery, or it neither failed nor was skipped."""


class MigrationNotFound(GraphMemoryError):
    """There is no such migration."""

    def __init__(self, migration_id: str) -> None:
        self.migration_id = migration_id
        super().__init__(
            f"There is no migration {migration_id!r}; `graph-memory migrate list` shows which there are."
        )


class MigrationConflict(GraphMemoryError):
    """Somebody else carries a migration out at the same time, or it has ended. Nothing of the batch was stored."""

    def __init__(self, migration_id: str, status: str) -> None:
        self.migration_id, self.status = migration_id, status
        super().__init__(
            f"Migration {migration_id} is {status.replace('_', ' ')}, and not where this process left it: somebody "
            "else works on it. Nothing of this batch was stored; `graph-memory migrate show` tells how far it is."
        )


class SwitchRefused(GraphMemoryError):
    """A store that is moved cannot be switched from, or back to, yet. It goes on as before."""


class SourceFailed(GraphMemoryError):
    """What memories are migrated from refused, or gave something that cannot be read. What was stored before stays."""


class SourceUnavailable(SourceFailed):
    """What memories are migrated from cannot be reached, or gave up. Run the same command later: it goes on."""


class MemoryNotFound(GraphMemoryError):
    """There is no memory at an address: none, one that has expired, or one that whoever asks may not see."""

    def __init__(self, namespace: tuple[str, ...], key: str) -> None:
        self.namespace, self.key = namespace, key
        super().__init__(f"There is no memory {key!r} in {namespace}; write it first.")


class SessionNotFound(GraphMemoryError):
    """There is no such session: none, or one that whoever asks may not see."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(
            f"There is no session {session_id!r}; the first turn that is written to it makes it."
        )


class StoreUnavailable(GraphMemoryError):
    """The database cannot be reached, or gave the work up.

    Nothing of the call was stored, unless the connection broke while the database was confirming it; every call is
    safe to repeat.
    """


class DatabaseUnreachable(ConfigurationError, StoreUnavailable):
    """Nobody answers at the database's address, or not yet: the address is wrong, or it is worth trying again later."""


class StatementTimeout(StoreUnavailable):
    """The database cancelled the statement at its `statement_timeout`; perhaps it waited for somebody else's lock."""


def error_sentence(error: BaseException) -> str:
    """Return what an error says in its first line. The lines after it may show rows, which are nobody's business."""
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )
