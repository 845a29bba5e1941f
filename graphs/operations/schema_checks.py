"""Checks of the schema: is the database at this version, and does it have all objects?"""

from collections.abc import Sequence

from graphs.memory.database.objects import ObjectKind
from graphs.memory.database.parts import SchemaPart
from graphs.operations.catalogue import SchemaDifference
from graphs.operations.results import CheckResult

MISSING = "missing"

_KINDS: tuple[ObjectKind, ...] = (
    "table", "column", "constraint", "index", "function", "trigger", "row-level security",
    "policy", "grant",
)  # fmt: skip
_PLURALS = {"index": "indexes", "policy": "policies"}
_TOLD = 3


def check_newer(step: int, known: int) -> CheckResult:
    """Report that a newer version of this code has changed the schema."""
    detail = f"at step {step}, and this code knows {known}"
    return CheckResult(
        name="schema", status="wrong", detail=detail, advice="Update the code of this server."
    )


def check_version(found: str | None, own: str, left_out: Sequence[SchemaPart] = ()) -> CheckResult:
    """Check that the database has this version of the schema; name the parts it leaves out."""
    if found == own:
        without = f", without {' and '.join(left_out)}" if left_out else ""
        return CheckResult(name="schema", status="ok", detail=f"version {own[:12]}{without}")
    if found is None:
        return CheckResult(
            name="schema", status="wrong", detail=MISSING, advice="Run `graph-memory schema apply`."
        )
    return CheckResult(
        name="schema",
        status="wrong",
        detail=f"version {found[:12]}, and this code's is {own[:12]}",
        advice="Run `graph-memory schema apply` of the newer one, and restart all servers with it.",
    )


def check_objects(found: Sequence[SchemaDifference]) -> list[CheckResult]:
    """Return one check for each kind of object: the database compared with the schema."""
    return [_check_kind(kind, [each for each in found if each.kind == kind]) for kind in _KINDS]


def _check_kind(kind: ObjectKind, found: Sequence[SchemaDifference]) -> CheckResult:
    name = kind if kind == "row-level security" else _PLURALS.get(kind, f"{kind}s")
    if not found:
        return CheckResult(name=name, status="ok", detail="as in the schema")
    # Extra objects belong to the operator, unless they can give access to somebody.
    harmless = all(each.problem == "extra" for each in found) and kind not in (
        "policy",
        "grant",
        "trigger",
    )
    advice = " ".join(dict.fromkeys(_advice(each) for each in found))
    return CheckResult(
        name=name, status="warn" if harmless else "wrong", detail=_summary(found), advice=advice
    )


def _summary(found: Sequence[SchemaDifference]) -> str:
    told = "; ".join(f"{each.name} is {each.problem}" for each in found[:_TOLD])
    return told + (f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else "")


def _advice(difference: SchemaDifference) -> str:
    if difference.problem == "extra":
        return "The schema does not create extra objects: drop them, unless they are intended."
    if difference.kind == "index" and difference.problem in ("missing", "invalid"):
        return "Run `graph-memory indexes create`."
    if difference.problem == "different" and difference.kind in ("column", "constraint", "index"):
        return "Run `graph-memory schema diff`, and change it by hand: `schema apply` does not."
    return "Run `graph-memory schema apply`."
