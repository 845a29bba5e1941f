"""One embedded Postgres for the test run, and a database for each test, cloned from a template."""

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

# Tests use no keys of the environment, and no database but their own.
for _name in [*os.environ]:
    if _name.lower() in Settings.model_fields or _name.startswith(
        ("LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_")
    ):
        del os.environ[_name]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OVERALL] = Tally()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the results of attacks to the main process, where several processes share the tests."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        tally = session.config.stash[OVERALL]
        output["attacks"] = (dict(tally.attempts), tally.leaks)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a file to one process, and files that share a server to the same one."""
    from tests.support.scheduling import SharingServers

    return SharingServers(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    attempts, leaks = getattr(node, "workeroutput", {}).get("attacks", ({}, []))
    node.config.stash[OVERALL].add(Tally(Counter(attempts), leaks))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the number of attacks, and the tables that tests recorded as properties."""
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
    """Return a folder in memory, if there is room; None for the usual temporary folder.

    A database has 300 files. To clone one takes a tenth of the time there.
    """
    memory = Path("/dev/shm")  # noqa: S108  each run makes a folder of its own in it
    return str(memory) if memory.is_dir() and disk_usage(memory).free > 4 * 2**30 else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Yield the connection string of a running Postgres, as its superuser.

    Its folder is not pytest's: another test run that starts meanwhile would take its permissions.
    """
    with (
        TemporaryDirectory(dir=quick_folder()) as folder,
        embedded_postgres(Path(folder) / "postgres") as url,
    ):
        with psycopg.connect(url, autocommit=True) as conn:
            # The data need not survive the run. With fsync, a drop takes half a second, not 0.02 s.
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                conn.execute(f"ALTER SYSTEM SET {setting} = off")
            conn.execute("ALTER SYSTEM SET max_wal_size = '128MB'")  # the folder may be in memory
            conn.execute("SELECT pg_reload_conf()")
        yield url


@pytest.fixture(scope="session")
def embeddings() -> OfflineEmbeddings:
    return OfflineEmbeddings()


@pytest.fixture(scope="session")
def index(embeddings: OfflineEmbeddings) -> IndexConfig:
    """Return the index configuration of a deployment without keys."""
    return {
        "dims": 256,
        "embed": embeddings,
        "fields": ["$"],
        "model": "offline:wordllama",  # type: ignore[typeddict-unknown-key]
    }


@pytest.fixture(scope="session")
def template(postgres: str, index: IndexConfig) -> str:
    """Return the name of a database with the schema, to be cloned."""
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
    """Yield the connection string of a fresh database with the schema."""
    name = create_database(postgres, template)
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@pytest.fixture(scope="session")
def server_database(postgres: str, template: str) -> Iterator[str]:
    """Yield the connection URL of a database that the tests of one server share."""
    name = create_database(postgres, template)
    yield as_url(postgres, name)
    drop_database(postgres, name)


@pytest.fixture(scope="session")
def server(server_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:
    """Yield a running server with sign-in, which tests share; each uses new users of its own."""
    from tests.support.server import JWT_SECRET, Server

    folder = make_project(tmp_path_factory.mktemp("server") / "project")
    running = Server(
        folder, {"DATABASE_URL": server_database, "SUPABASE_JWT_SECRET": JWT_SECRET}
    ).start()
    yield running
    running.stop()


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """Yield the connection string of a fresh database without any schema."""
    name = create_database(postgres, "template0")
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@pytest.fixture(scope="session")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Mem0Extractor:
    """Return the fact extractor of a deployment without keys."""
    return Mem0Extractor(None, tmp_path_factory.mktemp("data"))


@pytest.fixture
async def store(
    database: str, index: IndexConfig, extractor: Mem0Extractor
) -> AsyncIterator[MemoryManager]:
    """Yield a store with vector search that acts as the service.

    `await store.jobs.run_pending()` runs the queued jobs.
    """
    async with MemoryManager.from_conn_string(
        database, index=index, ttl={"refresh_on_read": True}, extractor=extractor, extract_after=0
    ) as store:
        yield store


@pytest.fixture
def operate(
    postgres: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator["Operator"]:
    """Return a function that calls `graph-memory` on a fresh database with the schema."""
    from tests.support.operator import Operator

    yield Operator(postgres, database, str(tmp_path), monkeypatch)
    load_settings.cache_clear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return an empty folder from which a server can be started, as from a checkout."""
    return make_project(tmp_path / "project")


def as_url(postgres: str, database: str) -> str:
    """Return the URL of another database on the same server, the form that DATABASE_URL takes."""
    host = psycopg.conninfo.conninfo_to_dict(postgres)["host"]
    return f"postgresql://postgres@/{database}?host={host}"


def make_project(folder: Path) -> Path:
    """Write the langgraph.json that `graph-memory dev` needs, with our and three test graphs."""
    import json

    here = Path(__file__).parent
    config = json.loads((here.parent / "langgraph.json").read_text())
    folder.mkdir()
    for name in ("lingering", "slow", "tool"):
        config["graphs"][name] = f"{name}_agent:graph"
        (folder / f"{name}_agent.py").write_text(
            (here / "support" / f"{name}_agent.py").read_text()
        )
    (folder / "langgraph.json").write_text(json.dumps(config))
    return folder
