"""`graph-memory audit`: access rights, accesses, and the integrity of the audit log."""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from graphs.cli.ending import Exit, as_service, run
from graphs.cli.memory_views import show
from graphs.cli.output import (
    AsJson,
    inert,
    note,
    print_json,
    print_table,
)
from graphs.cli.whole_file import whole_file
from graphs.operations.audit_report import Grant, SecurityReport
from graphs.operations.operations import Operations

app = typer.Typer(no_args_is_help=True, help="Security: access rights, and who used them.")

_ROLES = ("PUBLIC", "anon", "authenticated", "service_role")


@app.callback()
def _group() -> None:
    """Security: access rights, accesses, and the integrity of the audit log."""


@app.command()
def report(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", dir_okay=False, help="Write the report to this file, as Markdown."
        ),
    ] = None,
    days: Annotated[float, typer.Option(help="Days of accesses to report.")] = 7,
    head: Annotated[
        str | None,
        typer.Option(
            help="Digest of a seal kept elsewhere, to check that no seal up to it is missing."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report on row-level security, grants, functions, access and seals. Exit code 1 for findings.

    It reads only, except for --output. Verifying the seals reads all records, which takes a while
    if the log is large.
    """

    async def work() -> SecurityReport:
        async with as_service(prepare=False) as store:
            found = await Operations(store).oversight.security_report(days=days, head=head)
        if output:
            async with whole_file(output) as write:
                await write([*markdown(found)])
        return found

    found = run(work())
    if as_json:
        print_json(found)
    else:
        _show(found, output)
    if found.findings:
        raise typer.Exit(Exit.FAILED)


def _show(found: SecurityReport, output: Path | None) -> None:
    for each in found.findings:
        show(f"{each.subject}: {each.problem}", f"      {each.advice}")
    print_table(("looked at", "count"), [*_counts(found)])
    show(f"{len(found.findings)} findings." if found.findings else "No problems were found.")
    if output:
        note(f"{output} has the report.")


def _counts(found: SecurityReport) -> Iterator[tuple[str, int]]:
    yield "tables and views", len(found.relations)
    yield "under row-level security", sum(each.protected for each in found.relations)
    yield "functions that run as their owner", len(found.definers)
    yield f"refusals in {found.days:g} days", sum(each.times for each in found.denials)
    yield f"exports in {found.days:g} days", len(found.exports)
    yield f"erasures in {found.days:g} days", len(found.erasures)
    yield "readers of others' memory", len(found.readers)
    yield "problems with seals", len(found.seals)


def markdown(found: SecurityReport) -> Iterator[str]:
    """Yield the report as lines of Markdown."""
    yield "# Security audit"
    yield ""
    yield f"Made {found.at:%Y-%m-%d %H:%M:%S %Z}; access of the last {found.days:g} days."
    yield from _section("Findings", ("about", "problem", "what to do"), [
        (each.subject, each.problem, each.advice) for each in found.findings
    ])  # fmt: skip
    columns = ["table", "kind", "protected", "policies", "owner", "not indexed"]
    yield from _section("Row-level security", columns, [
        (r.full_name, r.kind, r.protected, r.policies, r.owner_columns, r.unindexed)
        for r in found.relations
    ])  # fmt: skip
    for kind in ("table", "function"):
        yield from _section(f"Grants on {kind}s", (kind, *_ROLES), _matrix(found.grants, kind))
    yield from _section("Functions that run as their owner", ("function", "search path"), [
        (each.full_name, each.search_path) for each in found.definers
    ])  # fmt: skip
    for title, rows in (
        ("Refusals", found.denials),
        ("Exports", found.exports),
        ("Erasures", found.erasures),
        ("Readers of others' memory", found.readers),
        ("Seals that do not hold", found.seals),
    ):
        columns = [*type(rows[0]).model_fields] if rows else []
        yield from _section(
            title, columns, [[*each.model_dump(mode="json").values()] for each in rows]
        )


def _matrix(grants: Sequence[Grant], kind: str) -> list[tuple[str, ...]]:
    """Return the privileges of each role on each object of a kind.

    Privileges that the role cannot use, because it cannot reach the object, are in parentheses.
    """
    cells: dict[str, dict[str, str]] = {}
    for grant in grants:
        if grant.kind == kind:
            may = ", ".join(grant.privileges)
            cells.setdefault(grant.full_name, {})[grant.role] = (
                may if grant.reachable else f"({may})"
            )
    return [(name, *(of.get(role, "") for role in _ROLES)) for name, of in cells.items()]


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    if not rows:
        yield "None."
        return
    yield _line(columns)
    yield _line(["---"] * len(columns))
    for row in rows:
        yield _line([_told(value) for value in row])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _told(value: Any) -> str:
    """Return a value as a cell of a Markdown table, with Markdown and HTML escaped."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(_told, value))
    return (
        html.escape(inert(str(value)).plain, quote=False).replace("\\", "\\\\").replace("|", "\\|")
    )
