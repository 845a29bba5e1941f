"""The error tree. `database.driver_errors` is the one place where the driver's errors become ours.

GraphMemoryError
├── ConfigurationError          a setting is wrong; the message says which and what to write
│   ├── EmbeddingModelMismatch  the database holds vectors of another model
│   ├── MissingExtra            an optional dependency is not installed; an ImportError, too
│   ├── DatabaseUnreachable     nobody answers at the database's address; a StoreUnavailable, too
│   ├── SchemaTooNew            the database is at a step (`step`) beyond the newest one `known`
│   └── SchemaTooOld            the schema is older than the first step; `missing` lists objects
├── SetupRequired               the schema is missing or older than the code
│   └── SchemaPartMissing       the database has no such part of the schema; `part` names it
├── InvalidInput (ValueError)   bad input, refused before anything is written
│   ├── ContractError           a payload breaks the JSON contract; `fields` names where
│   ├── InvalidValue            an item's value cannot be stored; `path` names where
│   │   ├── InvalidEntityId     an entity's id is not one of its kind; `path` names the field
│   │   └── IdempotencyConflict another payload had the same idempotency key before
│   ├── InvalidFilter           a filter cannot be understood; `operator` names what
│   └── SchemaPartPresent       a part to leave out exists already; `part` names it
├── SchemaNotApplied            the database refused a file of the schema; `what` names it
├── RunDeleted                  the run of a write was deleted; nothing of it is stored any more
├── OutcomeUnknown              the answer to a conditional write was lost; it may be stored
├── VersionConflict             an item is not at the version that a write expected
├── AccessDenied                the principal may not do this
│   └── PrincipalRequired       nobody is acting, and somebody must
├── ChatModelFailed             the chat model did not answer: no key, no such model, no service
├── EmbeddingFailed             the embedding model did not answer, also when asked again
├── JudgementFailed             the model did not say what a new fact means for known ones
├── StorageFailed               Supabase Storage did not take, give or remove a file
├── FileNotFound                the user has no file of this id
├── ExtractionFailed            the model gave no facts, or none that can be read
├── JobNotFound                 there is no such job, or none that can be tried again
├── DeliveryFailed              a service outside did not take what was for it
├── DeliveryNotFound            there is no such delivery, or none that can be tried again
├── MemoryNotFound              the principal can see no memory at an address
└── StoreUnavailable            the database cannot be reached, or gave up; worth trying again later
    └── StatementTimeout        it took longer than the database allows, perhaps for a lock
"""

from collections.abc import Sequence


class GraphMemoryError(RuntimeError):
    """Base of every error this project raises on purpose.

    A RuntimeError, since LangGraph's server hides the messages of most other errors from clients.
    """


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
            f"This database holds embeddings of {stored} ({stored_dimensions} dimensions), but "
            f"{configured} ({configured_dimensions} dimensions) is configured, and vectors of "
            "different models cannot be compared. Run `graph-memory reembed` to add the new model "
            f"beside the old one and switch to it, or configure {stored} again ("
            "VECTOR_EMBEDDING_MODEL, VECTOR_EMBEDDING_DIMENSIONS and its API key)."
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
    """The schema is missing or older than this code: call `await store.setup()` once."""


class SchemaPartMissing(SetupRequired):
    """The database was made without this part of the schema. What does not need it goes on."""

    def __init__(self, part: str) -> None:
        self.part = part
        super().__init__(
            f"This database was made without the {part}. `graph-memory schema apply --with {part}` "
            "adds it, empty, for later writes."
        )


class InvalidInput(GraphMemoryError, ValueError):
    """Bad input, refused whole before anything is written."""


class ContractError(InvalidInput):
    """A payload breaks the JSON contract. `fields` maps each offending field to its problem."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in fields.items()))


class InvalidValue(InvalidInput):
    """An item cannot be stored. `path` leads to the offending part, such as `value.tags[2]`."""

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path} {problem}")


class InvalidEntityId(InvalidValue):
    """An id is not valid for its kind of entity. `path` is the field that has it."""


class InvalidFilter(InvalidInput):
    """A filter cannot be understood. `operator` is the offending operator or field."""

    def __init__(self, operator: str, problem: str) -> None:
        self.operator, self.problem = operator, problem
        super().__init__(f"filter {operator}: {problem}")


class SchemaPartPresent(InvalidInput):
    """A part of the schema is to be left out that the database has: nothing is ever dropped."""

    def __init__(self, part: str) -> None:
        self.part = part
        super().__init__(
            f"This database has the {part}, which is never dropped: only an empty database can be "
            "made without it. Nothing was changed."
        )


class IdempotencyConflict(InvalidValue):
    """Another payload had this idempotency key before. Give each write a key of its own."""

    def __init__(self) -> None:
        super().__init__(
            "idempotency_key",
            "belongs to an earlier write with another payload; give each write a key of its own.",
        )


class RunDeleted(GraphMemoryError):
    """The run that writes was deleted, with its thread or by an erasure. Nothing was stored."""


class OutcomeUnknown(GraphMemoryError):
    """The answer to a conditional write was lost, and it may have been stored.

    Read the item before you decide anew. It changed since it was read: by this write, or by another
    one.
    """


class VersionConflict(GraphMemoryError):
    """An item has changed since it was read: read it again and decide anew. Nothing was stored."""

    def __init__(self, namespace: str, key: str) -> None:
        self.namespace, self.key = tuple(namespace.split(".")[:-1]), key
        super().__init__(
            f"The item {key!r} in {self.namespace} is not at the expected version: another caller "
            "wrote or deleted it. Read it again, then put your change again."
        )


class AccessDenied(GraphMemoryError):
    """Whoever is acting may not read or write this. `about` is whose it is, where that is known."""

    def __init__(self, message: str, about: str | None = None) -> None:
        self.about = about
        super().__init__(message)


class PrincipalRequired(AccessDenied):
    """No principal is acting. Sign in, or use `with acting_as(Principal.user(user_id)): …`."""

    def __init__(self) -> None:
        super().__init__(
            "No principal: this store acts for signed-in users only. Call it inside a run or a "
            "request of an authenticated user, or use `with acting_as(Principal.user(user_id)):` "
            "or `with acting_as(Principal.service()):`."
        )


class ChatModelFailed(GraphMemoryError):
    """The chat model gave no answer: its key, its name, or its service. The message says why."""


class EmbeddingFailed(GraphMemoryError):
    """The embedding model did not answer, also when it was asked again. Nothing was stored."""


class JudgementFailed(GraphMemoryError):
    """The model gave no ruling on a new fact. `reason` says why, without content."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The model gave no usable ruling ({reason}); no fact was changed.")


class StorageFailed(GraphMemoryError):
    """Supabase Storage did not take, give or remove a file, also when it was asked again."""


class FileNotFound(GraphMemoryError):
    """The user has no file of this id."""

    def __init__(self, file_id: str) -> None:
        self.file_id = file_id
        super().__init__(f"There is no file {file_id!r} of this user.")


class ExtractionFailed(GraphMemoryError):
    """The model that extracts facts gave no readable answer. Nothing was stored.

    `over_content` is true if the content is the cause: fewer turns may succeed, a repeat will not.
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
        receipt: the service's id for work in progress, which the next attempt polls.
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


class MemoryNotFound(GraphMemoryError):
    """The principal can see no memory at an address: it never was, has expired, or is hidden."""

    def __init__(self, namespace: tuple[str, ...], key: str) -> None:
        self.namespace, self.key = namespace, key
        super().__init__(f"There is no memory {key!r} in {namespace}; write it first.")


class SessionNotFound(GraphMemoryError):
    """There is no such session: none, or one that whoever asks may not see."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(f"There is no session {session_id!r}; its first turn makes it.")


class RunNotFound(GraphMemoryError):
    """There is no such run: none wrote memory, or it is one that whoever asks may not see."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"There is no run {run_id!r} that began with memory, or wrote it.")


class StoreUnavailable(GraphMemoryError):
    """The database cannot be reached, or gave the work up; every call is safe to repeat.

    Nothing of it was stored, unless the connection broke during the commit. `advice` says what an
    operator has to do, where waiting does not help.
    """

    def __init__(self, message: str = "", advice: str | None = None) -> None:
        self.advice = advice
        super().__init__(f"{message} {advice}" if advice else message)


class DatabaseUnreachable(ConfigurationError, StoreUnavailable):
    """The database's address does not answer: it is wrong, or the database is not up yet."""


class StatementTimeout(StoreUnavailable):
    """The database cancelled the statement at its `statement_timeout`, perhaps in a lock wait."""


def error_sentence(error: BaseException) -> str:
    """Return the first line of an error's text. Later lines may quote rows, which stay private."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
