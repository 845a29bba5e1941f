"""Every command of the guides runs and prints what they show (see tests/support/guides.py)."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo

from graphs.deployment.settings import load_settings
from graphs.memory_manager import MemoryManager
from tests.conftest import create_database, drop_database
from tests.support.guide_variables import MEMORIES, USER_ID, VARIABLES, Scene
from tests.support.guides import Guide, unknown_commands
from tests.support.markdown import headings, links
from tests.support.operator import Operator

ROOT = Path(__file__).parents[2]
GUIDES = [*sorted((ROOT / "docs" / "guides").glob("*.md")), ROOT / "docs" / "operations.md"]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

Follow = Callable[[str], None]


@pytest.fixture(scope="session")
def lived_in(postgres: str, template: str, index: IndexConfig) -> str:
    """Return the name of a database in which $USER_ID has memories, to be cloned."""
    name = create_database(postgres, template)

    async def fill() -> None:
        async with MemoryManager.from_conn_string(
            make_conninfo(postgres, dbname=name), index=index
        ) as store:
            for key, content in MEMORIES.items():
                value = {"content": content, "type": "fact", "tags": ["guide"]}
                await store.aput(("users", USER_ID, "facts"), key, value)
            await store.wait_until_indexed()

    asyncio.run(fill())
    return name


@pytest.fixture
def follow(
    postgres: str, lived_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Follow]:
    """Return a function that follows a page in an empty folder, on a deployment of its own."""
    with ExitStack() as stack:
        scene = Scene(postgres, create_database(postgres, lived_in), tmp_path, stack)
        stack.callback(drop_database, postgres, scene.name)
        stack.callback(load_settings.cache_clear)
        monkeypatch.chdir(tmp_path)
        operate = Operator(postgres, scene.database, str(tmp_path), monkeypatch)

        def follow(page: str) -> None:
            named = {
                name: make(scene)
                for name, make in VARIABLES.items()
                if name == "DATABASE_URL" or name in page
            }
            Guide(operate, tmp_path, named).follow(page)

        yield follow


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_what_a_guide_says_is_so(path: Path, follow: Follow) -> None:
    follow(path.read_text())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_that_is_named_in_passing_is_one(path: Path) -> None:
    assert unknown_commands(path.read_text()) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_page_and_a_heading_of_it(path: Path) -> None:
    lost = [link for link in links(path.read_text()) if not leads_somewhere(path, link)]
    assert lost == []


def leads_somewhere(path: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    target = path.parent / name if name else path
    return target.exists() and (not heading or heading in headings(target.read_text()))


def test_the_index_names_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= {*links((ROOT / "docs" / "README.md").read_text())}


def test_the_page_of_operations_says_what_prunes_each_table() -> None:
    section = (
        (ROOT / "docs" / "operations.md").read_text().split("## What grows")[1].split("\n## ")[0]
    )
    named = {name.removeprefix("memory.") for name in re.findall(r"`([\w.]+)`", section)}
    schema = (ROOT / "schema" / "supabase_schema.sql").read_text()
    assert set(re.findall(r"CREATE TABLE IF NOT EXISTS memory\.(\w+)", schema)) <= named


def test_the_index_names_every_guide() -> None:
    index = ROOT / "docs" / "guides" / "README.md"
    assert {path.name for path in GUIDES} <= {
        index.name,
        "operations.md",
        *links(index.read_text()),
    }


def test_what_a_guide_does_holds_for_the_rest_of_it(follow: Follow) -> None:
    claims = "SELECT set_config('request.jwt.claims', '{\"sub\": \"$USER_ID\"}', true);"
    follow(
        "```dotenv\nLOCAL_USER_ID=$USER_ID\nMEMORY_HASH_KEY=…\n```\n"
        "```sh\nexport WHAT='green tea'\n"
        'graph-memory recall "$WHAT" --json | head -c 9 > found.json\n'
        "graph-memory rls debug \\\n"
        "  users.$USER_ID.facts tea --user-id $OTHER_ID  # exit 1: hidden\n```\n"
        "```text\nHidden. No policy …: it belongs to the user $USER_ID\n…permissive … no\n```\n"
        "```sh\nset -C; cat found.json\nnone  # Not tested: there is no such command\n```\n"
        "```text\n[{\n```\n"
        f"```sql\nBEGIN; SET LOCAL ROLE authenticated;\n{claims}\n"
        "SELECT key FROM memory.memories ORDER BY key;\nDELETE FROM memory.memories;\n```\n"
        "```text\nbudget\ntea\n```\n"
        "```sql\nSELECT count(*) FROM memory.memories;\n```\n```text\n3\n```\n"
        "```sql\nSELECT 1/0;\n```\n```text\nERROR:  division by zero\n```\n"
        "```python\nprint('done')\n```\n```text\ndone\n```\n"
        "```sh\n# Not tested: needs a server\ncurl -s $NOWHERE\n```\n```text\nnothing\n```\n"
    )


@pytest.mark.parametrize(
    "page",
    [
        "```sh\ngraph-memory nothing\n```",
        "```sh\ngraph-memory schema diff  # exit 1: it is as it should be\n```",
        "```sh\ngraph-memory schema diff\n```\n```text\nThe database is otherwise.\n```",
        "```sh\ngraph-memory history $NOBODYS\n```",
        "```sh\nfalse | true\n```",
        "```sh\ntrue; graph-memory verify\n```",
        "```bash\ntrue\n```",
        "```\ntrue\n```",
        "```text\nwhat nothing printed\n```",
        "```sql\nSELECT 1/0;\n```",
        "```python\nassert False\n```",
        "```dotenv\nNO_SETTING=1\n```",
    ],
)
def test_a_guide_that_is_wrong_is_found_out(page: str, follow: Follow) -> None:
    with pytest.raises(AssertionError):
        follow(page + "\n")


@pytest.mark.parametrize(
    "named",
    ["graph-memory nothing", "graph-memory jobs list --nothing", "graph-memory pool check|no"],
)
def test_a_command_that_there_is_not_is_found_out(named: str) -> None:
    assert unknown_commands(f"Run `{named}`, or `graph-memory schema apply|diff --json`.") == [
        named
    ]
