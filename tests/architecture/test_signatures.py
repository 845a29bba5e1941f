"""The signatures of `MemoryManager`: what applications call, and must not change unnoticed."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from graphs import MemoryManager

SIGNATURES = """
MemoryManager(pool: Pool, *, index: IndexConfig | MemoryIndexConfig | None = None, ttl:
    TTLConfig | None = None, principal: Principal | None = None, supabase: SupabaseClient | None
    = None, files_bucket: str = memory, extractor: Extractor | None = None, judge: Judge | None
    = None, extract_after: float = 2.0, keeping: Keeping = Keeping(retention_days=0,
    decay_days=0, receipt_days=0, history_days=0, as_of_days=0, audit_days=0, delivery_days=0,
    execution_days=0), timing: Timing | None = None, outbound: Outbound | None = None,
    shadow_weights: Weights | None = None, entities: Mapping[Literal[user, company],
    EntityNormaliser] | None = None, profiles: BrainSource | None = None, statement_timeout:
    float | None = None) -> None
abatch(ops: Iterable[GetOp | SearchOp | PutOp | ListNamespacesOp | ExpectingPutOp]) -> list[Item
    | list[Item] | list[SearchItem] | list[tuple[str, ...]] | None]
aput(namespace: tuple[str, ...], key: str, value: Mapping[str, Any], index: Literal[False] |
    list[str] | None = None, *, ttl: float | NotProvided | None = NOT_GIVEN, expected: datetime
    | NotProvided | None = NOT_GIVEN) -> None
ask(query: Query[~T]) -> ~T
batch(ops: Iterable[GetOp | SearchOp | PutOp | ListNamespacesOp]) -> list[Item | list[Item] |
    list[SearchItem] | list[tuple[str, ...]] | None]
close() -> None
decay_memory(user_id: str, threshold_days: float) -> DecayReport
erase_user(user_id: str, elsewhere: Mapping[str, int] | None = None) -> ErasureCertificate
expire_turns(days: float) -> int
export_user(user_id: str) -> AsyncIterator[str]
extract_facts(user_id: str, session_id: str) -> ExtractionReport
from_conn_string(conn_string: str, *, pipeline: bool = False, pool_config: PoolConfig | None =
    None, index: IndexConfig | MemoryIndexConfig | None = None, ttl: TTLConfig | None = None,
    principal: Principal | None = None, supabase: SupabaseClient | None = None, files_bucket:
    str = memory, extractor: Extractor | None = None, judge: Judge | None = None, extract_after:
    float = 2.0, keeping: Keeping = Keeping(retention_days=0, decay_days=0, receipt_days=0,
    history_days=0, as_of_days=0, audit_days=0, delivery_days=0, execution_days=0), timing:
    Timing | None = None, outbound: Outbound | None = None, shadow_weights: Weights | None =
    None, entities: Mapping[Literal[user, company], EntityNormaliser] | None = None, profiles:
    BrainSource | None = None, statement_timeout: float | None = None) ->
    AsyncIterator[MemoryManager]
index_memories() -> int
load_context(user_id: str, session_id: str, *, query: str | None = None, agent: str | None =
    None, limit: int = 8, place: RunPlace | None = None) -> MemoryContext
log_event(user_id: str, event_type: str, data: dict[str, Any]) -> None
ping() -> None
prune_records() -> dict[str, int]
rebuild_index() -> None
recall_memory(user_id: str, query: str, tags: Sequence[str] | None = None, *, types:
    Sequence[str] | None = None, agent: str | None = None, limit: int = 5, explain: bool =
    False) -> list[RecalledMemory]
recall_receipts(user_id: str, *, run_id: str | None = None, limit: int = 20) ->
    list[RecallReceipt]
reembed(progress: Callable[[int, int | None], None] | None = None) -> int
refresh_embeddings() -> int
seal_audit() -> str | None
setup() -> None
start_ttl_sweeper(sweep_interval_minutes: float | None = None) -> Task[None]
stop_ttl_sweeper(timeout: float | None = None) -> bool
sweep_ttl() -> int
verify_audit(head: str | None = None) -> list[AuditProblem]
wait_until_indexed() -> None
write_memories(user_id: str, session_id: str, payloads: Sequence[MemoryPayload | dict[str,
    Any]], *, place: RunPlace | None = None) -> list[WriteReceipt]
write_memory(user_id: str, session_id: str, payload: MemoryPayload | dict[str, Any]) ->
    WriteReceipt
"""
"""Without the modules of types. A line that is indented goes on with the one before."""


def test_what_applications_call_stays_as_it_is() -> None:
    promised = re.sub(r"\n +", " ", SIGNATURES.strip()).splitlines()
    ours = [kind for kind in MemoryManager.__mro__ if kind.__module__.startswith("graphs.")]
    public = {
        name
        for kind in ours
        for name, value in vars(kind).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, classmethod))
    }
    methods = [f"{name}{shown(getattr(MemoryManager, name))}" for name in sorted(public)]
    assert [f"MemoryManager{shown(MemoryManager)}", *methods] == promised


def shown(method: Callable[..., Any]) -> str:
    """Return a signature without `self` and without the modules of its types."""
    text = str(inspect.signature(method)).replace("'", "")
    text = text.replace("(self, ", "(").replace("(self)", "()")
    text = re.sub(r"\b(?:\w+\.)+(?=[A-Za-z_~])", "", text)
    # Python before 3.14 shows this one union in the old spelling.
    return text.replace(
        "Union[Literal[False], list[str], NoneType]", "Literal[False] | list[str] | None"
    )
