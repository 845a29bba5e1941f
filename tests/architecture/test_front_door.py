"""The front door `graphs`: its names, the modules that they load, and their types."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from langgraph.store.postgres.aio import AsyncPostgresStore

import graphs
from graphs import MemoryManager, MissingExtra
from graphs.memory.extras import extra

ROOT = Path(__file__).parents[2]

NAMES = """
AccessDenied ConfigurationError GraphMemoryError InvalidInput Keeping Mem0Extractor MemoryContext
MemoryIndexConfig MemoryManager MemoryPayload MemoryRetriever MissingExtra OfflineEmbeddings
Principal PrincipalRequired RecalledMemory SetupRequired StoreUnavailable Timing VersionConflict
NOW Weights WriteReceipt acting_as agent_with_memory as_of errors load_context memory_tools
open_checkpointer open_store supervisor_of with_memory write_memory
""".split()

NOT_LOADED = """
boto3 cryptography fastapi httpx idnumbers jwt langchain langchain_openai langgraph.graph
langgraph.runtime langsmith.run_trees mcp mem0 openai phonenumbers pydantic_settings rich sqlalchemy
starlette supabase tiktoken typer upstash_redis wordllama zipcodes
""".split()


def test_the_names_that_applications_import() -> None:
    assert sorted(graphs.__all__) == sorted(NAMES)
    assert all(getattr(graphs, name) is not None for name in NAMES)
    assert set(NAMES) | {"__version__"} <= set(dir(graphs))
    assert graphs.__version__ == "0.1.0"
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = graphs.nothing_of_the_kind


def test_type_checkers_see_the_names_where_they_are_imported_from() -> None:
    tree = ast.parse(Path(graphs.__file__).read_text())
    [typed] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {**graphs._MODULES, "errors": "graphs.memory"}


def test_a_store_is_imported_without_what_it_does_not_need() -> None:
    script = (
        "import sys; from graphs import MemoryManager; "
        f"print([name for name in {NOT_LOADED!r} if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


def test_importing_the_package_alone_loads_nothing_of_it() -> None:
    script = "import sys, graphs; print([n for n in sys.modules if n.startswith('graphs.')])"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


def test_a_missing_extra_says_what_to_install() -> None:
    with (
        pytest.raises(MissingExtra, match=r'pip install "graph-native-memory\[cli\]"') as told,
        extra("cli"),
    ):
        import a_module_that_nobody_has  # type: ignore[import-not-found]  # noqa: F401
    assert (told.value.extra, told.value.module) == ("cli", "a_module_that_nobody_has")
    assert isinstance(told.value, ImportError)


def test_a_module_of_ours_that_is_missing_is_no_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"graphs\.nowhere"), extra("cli"):
        importlib.import_module("graphs.nowhere")


def test_from_conn_string_takes_what_the_constructor_and_langgraphs_store_take() -> None:
    ours = inspect.signature(MemoryManager.from_conn_string).parameters
    constructor = inspect.signature(MemoryManager).parameters
    theirs = inspect.signature(AsyncPostgresStore.from_conn_string).parameters
    assert set(ours) == {"conn_string", "pipeline", "pool_config", *constructor} - {"pool"}
    assert {name: ours[name].default for name in constructor if name != "pool"} == {
        name: parameter.default for name, parameter in constructor.items() if name != "pool"
    }
    for name, parameter in theirs.items():
        assert (ours[name].kind, ours[name].default) == (parameter.kind, parameter.default), name
    documented = inspect.getdoc(MemoryManager.from_conn_string) or ""
    assert [name for name in ours if f"    {name}: " not in documented] == []


USER_CODE = """
from langgraph.store.base import IndexConfig
from langgraph.store.postgres.base import PostgresIndexConfig

from graphs import MemoryIndexConfig, MemoryManager, OfflineEmbeddings, errors, memory_tools


async def main(plain: IndexConfig, postgres: PostgresIndexConfig) -> None:
    literal = MemoryManager.from_conn_string(
        "postgresql://", index={"dims": 256, "embed": OfflineEmbeddings(), "ranking": "hybrid"}
    )
    named: MemoryIndexConfig = {
        "dims": 256, "embed": OfflineEmbeddings(), "fields": ["text"], "model": "words",
        "ranking": "hybrid", "weights": {"recency": 0.5}, "text_search": "simple",
    }
    similar = MemoryManager.from_conn_string(
        "postgresql://", index={"dims": 3, "embed": "openai:small"}
    )
    async with literal as store, MemoryManager.from_conn_string("", index=named), similar:
        try:
            await store.setup()
        except errors.ConfigurationError:
            reveal_type(store)
    MemoryManager.from_conn_string("", index=plain)
    MemoryManager.from_conn_string("", index=postgres)
    print(memory_tools())
"""


def test_a_users_code_passes_a_strict_type_checker(tmp_path: Path) -> None:
    file = tmp_path / "user.py"
    file.write_text(USER_CODE)
    # Silent about the package itself: that is for `make check`.
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(file)]
    checked = subprocess.run(
        [*command, "--config-file", "", "--cache-dir", str(ROOT / ".mypy_cache" / "user")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert 'Revealed type is "graphs.memory_manager.MemoryManager"' in checked.stdout
    assert (ROOT / "graphs" / "py.typed").is_file()
