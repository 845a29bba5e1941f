"""One embedded Postgres for the whole run; a database of its own for each test, cloned from a template."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import settings
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo

from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.embedded_postgres import embedded_postgres
from graphs.deployment.pools import open_pool
from graphs.deployment.settings import Settings, load_settings
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from tests.attacks.tally import OVERALL, Tally, report

if TYPE_CHECKING:
    from tests.support.operator import Operator
    from tests.support.server import Server

_numbers = count(1)

settings.register_profile("no time is asserted", deadline=None)
settings.load_profile("no time is asserted")

# A test run knows no keys, and no database but its own.
for _name in [*os.environ]:
    if _name.lower() in Settings.model_fields or _name.startswith(
        ("LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_")
    ):
        del os.environ[_name]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OVERALL] = Tally()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where several processes share the tests, each hands on what its attacks came to."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        tally = session.config.stash[OVERALL]
        output["attacks"] = (dict(tally.attempts), tally.leaks)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a file to one process, and files that share a server to the same."""
    from tests.support.scheduling import SharingServers

    return SharingServers(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    attempts, leaks = getattr(node, "workeroutput", {}).get("attacks", ({}, []))
    node.config.stash[OVERALL].add(Tally(Counter(attempts), leaks))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """End with the line that says what was attacked, and with the tables that tests have recorded as properties."""
    for outcome in ("passed", "failed"):
        for test in terminalreporter.getreports(outcome):
            for title, table in test.user_properties:
                terminalreporter.section(title)
                terminalreporter.write_line(str(table))
    overall = config.stash[OVERALL]
    if overall.attempts:
        terminalreporter.section("attacks")
        report(overall, terminalreporter.write_line)


def quick_folder() -> str | None:
    """Where files are in memory, if there is room: to clone a database, of 300 files, takes a tenth of the time there.

    None stands for the usual temporary folder.
    """
    memory = Path("/dev/shm")  # noqa: S108  in it, each gets a folder of its own
    return str(memory) if memory.is_dir() and disk_usage(memory).free > 4 * 2**30 else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Connection string of a running Postgres, as its superuser.

    Its folder is none of pytest's: another run that starts meanwhile would take the rights to that away.
    """
    with (
        TemporaryDirectory(dir=quick_folder()) as folder,
        embedded_postgres(Path(folder) / "postgres") as url,
    ):
        with psycopg.connect(url, autocommit=True) as conn:
            # What it holds is gone with the run. Forced to the disk, a dropped database took half a second, not 0.02 s.
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                conn.execute(f"ALTER SYSTEM SET {setting} = off")
            conn.execute("ALTER SYSTEM SET max_wal_size = '128MB'")  # it may lie in memory
            conn.execute("SELECT pg_reload_conf()")
        yield url


@pytest.fixture(scope="session")
def embeddings() -> OfflineEmbeddings:
    return OfflineEmbeddings()


@pytest.fixture(scope="session")
def index(embeddings: OfflineEmbeddings) -> IndexConfig:
    """The index of a deployment without keys."""
    return {"dims": 256, "embed": embeddings, "fields": ["$"], "model": "offline:wordllama"}  # type: ignore[typeddict-unknown-key]


@pytest.fixture(scope="session")
def template(postgres: str, index: IndexConfig) -> str:
    """Name of a database that has the schema, to be cloned."""
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute("CREATE DATABASE prepared")

    async def prepare() -> None:
        url = make_conninfo(postgres, dbname="prepared")
        async with (
            MemoryManager.from_conn_string(url, index=index) as store,
            open_pool(url) as pool,
        ):
            await store.setup()
            await PostgresCheckpointer(pool).setup()

    asyncio.run(prepare())
    return "prepared"


def create_database(postgres: str, template: str) -> str:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return name


def drop_database(postgres: str, name: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(postgres: str, template: str) -> Iterator[str]:
    """Connection string of a fresh database that has the schema."""
    name = create_database(postgres, template)
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@pytest.fixture(scope="session")
def server_database(postgres: str, template: str) -> Iterator[str]:
    """Connection URL of a database that the tests of one server share."""
    name = create_database(postgres, template)
    yield as_url(postgres, name)
    drop_database(postgres, name)


@pytest.fixture(scope="session")
def server(server_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:
    """A running server with sign-in, which tests share: each is somebody whom no other test knows."""
    from tests.support.server import JWT_SECRET, Server

    folder = make_project(tmp_path_factory.mktemp("server") / "project")
    running = Server(
        folder, {"DATABASE_URL": server_database, "SUPABASE_JWT_SECRET": JWT_SECRET}
    ).start()
    yield running
    running.stop()


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """Connection string of a fresh database without any schema."""
    name = create_database(postgres, "template0")
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@pytest.fixture(scope="session")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Mem0Extractor:
    """What makes facts of talk in a deployment without keys."""
    return Mem0Extractor(None, tmp_path_factory.mktemp("data"))


@pytest.fixture
async def store(
    database: str, index: IndexConfig, extractor: Mem0Extractor
) -> AsyncIterator[MemoryManager]:
    """A store with vector search, acting as the service. `await store.jobs.run_pending()` does what is queued."""
    async with MemoryManager.from_conn_string(
        database, index=index, ttl={"refresh_on_read": True}, extractor=extractor, extract_after=0
    ) as store:
        yield store


@pytest.fixture
def operate(
    postgres: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator["Operator"]:
    """Calls `graph-memory` on a fresh database that has the schema."""
    from tests.support.operator import Operator

    yield Operator(postgres, database, str(tmp_path), monkeypatch)
    load_settings.cache_clear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty folder from which a server can be started, as from a checkout."""
    return make_project(tmp_path / "project")


def as_url(postgres: str, database: str) -> str:
    """The same server, another database, in the form that DATABASE_URL takes."""
    host = psycopg.conninfo.conninfo_to_dict(postgres)["host"]
    return f"postgresql://postgres@/{database}?host={host}"


def make_project(folder: Path) -> Path:
    """Lay out what `graph-memory dev` needs: langgraph.json, and beside our graphs a slow one and one of tools."""
    import json

    here = Path(__file__).parent
    config = json.loads((here.parent / "langgraph.json").read_text())
    folder.mkdir()
    for name in ("slow", "tool"):
        config["graphs"][name] = f"{name}_agent:graph"
        (folder / f"{name}_agent.py").write_text(
            (here / "support" / f"{name}_agent.py").read_text()
        )
    (folder / "langgraph.json").write_text(json.dumps(config))
    return folder
