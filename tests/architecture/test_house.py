"""Imports go down only, along the edges of `house`; each rule is broken once to test it."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grimp
import pytest

from tests.architecture.house import ALONE, GRAPHS, INSIDE, MEMORY, ONLY, WORDS

ROOT = Path(__file__).parents[2]

Edge = tuple[str, str]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("graphs", include_external_packages=True, cache_dir=None)


def edges(graph: grimp.ImportGraph) -> Iterator[Edge]:
    for module in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            yield module, imported


def unit(module: str, below: str) -> str | None:
    """Return the folder or module directly below a package that a module belongs to."""
    if not module.startswith(f"{below}."):
        return None
    return module.removeprefix(f"{below}.").split(".")[0]


def breaches_between(
    graph: grimp.ImportGraph, below: str, allowed: Mapping[str, Sequence[str]]
) -> list[Edge]:
    """Return the imports between units of a package that are not allowed."""
    found = []
    for module, imported in edges(graph):
        importer, of = unit(module, below), unit(imported, below)
        if importer and of and importer != of and of not in allowed.get(importer, ()):
            found.append((module, imported))
    return found


def breaches_of_memory(graph: grimp.ImportGraph) -> list[Edge]:
    words = {word: WORDS[:n] for n, word in enumerate(WORDS)}
    folders = {folder: (*WORDS, *others) for folder, others in MEMORY.items()}
    return breaches_between(graph, "graphs.memory", words | folders)


def breaches_inside(graph: grimp.ImportGraph, folder: str) -> list[Edge]:
    """Return the imports inside a folder that do not lead to a lower layer."""
    layer = {module: n for n, names in enumerate(INSIDE[folder]) for module in names.split()}
    found = []
    for module, imported in edges(graph):
        importer, of = unit(module, folder), unit(imported, folder)
        if importer and of and importer != of and layer[of] <= layer[importer]:
            found.append((module, imported))
    return found


def breaches_of_libraries(graph: grimp.ImportGraph) -> list[Edge]:
    return [
        (module, imported)
        for module, imported in edges(graph)
        if (library := imported.split(".")[0]) in ONLY
        and not any(module == may or module.startswith(f"{may}.") for may in ONLY[library])
    ]


def breaches_of_solitude(graph: grimp.ImportGraph) -> list[Edge]:
    return [
        (module, imported)
        for module, imported in edges(graph)
        for folder, libraries in ALONE.items()
        if module.startswith(folder)
        and not imported.startswith(folder)
        and imported.split(".")[0] not in {*libraries, *sys.stdlib_module_names}
    ]


def test_folders_import_one_another_along_the_listed_edges_only(graph: grimp.ImportGraph) -> None:
    assert breaches_between(graph, "graphs", GRAPHS) == []
    assert breaches_of_memory(graph) == []


@pytest.mark.parametrize("folder", INSIDE)
def test_modules_of_a_folder_import_lower_layers_only(
    folder: str, graph: grimp.ImportGraph
) -> None:
    listed = sorted(name for names in INSIDE[folder] for name in names.split())
    assert listed == sorted({name for m in graph.modules if (name := unit(m, folder))})
    assert breaches_inside(graph, folder) == []
    for n, names in enumerate(INSIDE[folder][1:]):
        upwards = (f"{folder}.{names.split()[0]}", f"{folder}.{INSIDE[folder][n].split()[0]}")
        assert upwards in breaches_inside(broken(graph, upwards), folder)


def test_every_folder_of_the_memory_has_an_order_inside(graph: grimp.ImportGraph) -> None:
    folders = {unit(module, "graphs.memory") for module in graph.modules} - {*WORDS, None}
    alone = {"access"}
    assert {f"graphs.memory.{folder}" for folder in folders - alone} <= {*INSIDE}


def test_libraries_that_connect_are_imported_by_the_listed_modules_only(
    graph: grimp.ImportGraph,
) -> None:
    assert breaches_of_libraries(graph) == []
    assert breaches_of_solitude(graph) == []


def test_every_unit_is_listed_and_every_listed_edge_is_used(graph: grimp.ImportGraph) -> None:
    used: dict[str, set[Edge]] = {"graphs": set(), "graphs.memory": set()}
    units: dict[str, set[str]] = {"graphs": set(), "graphs.memory": set()}
    for below in used:
        for module in graph.modules:
            if name := unit(module, below):
                units[below].add(name)
        for module, imported in edges(graph):
            importer, of = unit(module, below), unit(imported, below)
            if importer and of and importer != of:
                used[below].add((importer, of))
    assert units["graphs"] == set(GRAPHS)
    assert units["graphs.memory"] == {*MEMORY, *WORDS}
    listed = {(importer, of) for importer, others in GRAPHS.items() for of in others}
    assert listed - used["graphs"] == set()
    listed = {(importer, of) for importer, others in MEMORY.items() for of in others}
    assert listed - used["graphs.memory"] == set()


@pytest.mark.parametrize("allowed", [GRAPHS, MEMORY], ids=["graphs", "memory"])
def test_edges_lead_downwards(allowed: Mapping[str, Sequence[str]]) -> None:
    """Each list is in the order of the layers: a unit names only units after it."""
    order = list(allowed)
    assert [
        (importer, of)
        for importer, others in allowed.items()
        for of in others
        if order.index(of) <= order.index(importer)
    ] == []


@pytest.mark.parametrize("library", ONLY)
def test_a_library_in_the_wrong_place_is_caught(library: str, graph: grimp.ImportGraph) -> None:
    """Import the library of each "only X may" rule in another module, which breaks the rule."""
    breach = ("graphs.memory.contract", library)
    assert breach in breaches_of_libraries(broken(graph, breach))


@pytest.mark.parametrize("importer", GRAPHS)
def test_an_edge_between_folders_that_is_not_listed_is_caught(
    importer: str, graph: grimp.ImportGraph
) -> None:
    forbidden = [of for of in GRAPHS if of not in (importer, *GRAPHS[importer])]
    for of in forbidden:
        breach = (f"graphs.{importer}", f"graphs.{of}")
        assert breach in breaches_between(broken(graph, breach), "graphs", GRAPHS)


@pytest.mark.parametrize("importer", [*MEMORY, *WORDS])
def test_an_edge_inside_memory_that_is_not_listed_is_caught(
    importer: str, graph: grimp.ImportGraph
) -> None:
    may = WORDS[: WORDS.index(importer)] if importer in WORDS else (*WORDS, *MEMORY[importer])
    for of in {*MEMORY, *WORDS} - {importer, *may}:
        breach = (f"graphs.memory.{importer}", f"graphs.memory.{of}")
        assert breach in breaches_of_memory(broken(graph, breach))


def test_a_contract_suite_that_needs_the_rest_is_caught(graph: grimp.ImportGraph) -> None:
    for other in ("graphs.memory.errors", "pydantic", "pytest"):
        breach = ("graphs.testing.conformance", other)
        assert breach in breaches_of_solitude(broken(graph, breach))


def broken(graph: grimp.ImportGraph, breach: Edge) -> grimp.ImportGraph:
    """Return a copy of the graph with one import more."""
    copied = grimp.ImportGraph()
    for module in graph.modules:
        copied.add_module(module, is_squashed=graph.is_module_squashed(module))
    for importer, imported in edges(graph):
        copied.add_import(importer=importer, imported=imported)
    for name in breach:
        if name not in copied.modules:
            copied.add_module(name, is_squashed=not name.startswith("graphs"))
    copied.add_import(importer=breach[0], imported=breach[1])
    return copied


@pytest.mark.parametrize(("table", "allowed"), [(0, GRAPHS), (1, MEMORY)])
def test_the_map_shows_every_edge_that_is_allowed(
    table: int, allowed: Mapping[str, Sequence[str]]
) -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    shown = page.split("| folder or module |")[1:][table].split("\n\n")[0].splitlines()[2:]
    rows = [[re.findall(r"`([\w./]+)`", cell) for cell in row.split("|")] for row in shown]
    named = {Path(first[0].rstrip("/")).stem: tuple(may) for _, first, _, may, _ in rows}
    assert named == dict(allowed)


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_names_exists(page: str) -> None:
    """A name may leave out the folders above, as `store/items.py` does; NAME is anything."""
    ours = [ROOT / folder for folder in ("graphs", "schema", "tests", "benchmarks")]
    files = {f"/{path.relative_to(ROOT)}" for folder in ours for path in folder.rglob("*.*")}
    named = re.findall(r"`([a-z0-9_/]+\.(?:py|sql|js))[`:]", (ROOT / page).read_text())
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in files)] == []
