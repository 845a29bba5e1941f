"""Takes the README's pictures from a running server: `python -m tests.browser.picture`.

The pictures depend on the fonts of the machine.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import urlencode

from playwright.sync_api import Browser, sync_playwright

from tests.browser.people import QUESTION, Person, Story
from tests.conftest import make_project
from tests.support.server import Server

DOCS = Path(__file__).parents[2] / "docs"
SIZE = {"width": 1440, "height": 1000}
PICTURES: dict[str, Literal["light", "dark"]] = {
    "inspector.png": "light",
    "inspector-dark.png": "dark",
}


def main() -> None:
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(make_project(Path(folder) / "project")).start()
        try:
            story = Story(Person(server))
            with playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            ) as browser:
                for name, scheme in PICTURES.items():
                    take(browser, story, scheme, DOCS / name)
        finally:
            server.stop()


def take(browser: Browser, story: Story, scheme: Literal["light", "dark"], to: Path) -> None:
    """Search, open the first result, and take a picture."""
    page = browser.new_page(
        viewport=SIZE,  # type: ignore[arg-type]
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page.goto(
        f"{story.person.server.url}/memory/inspector#/search/{story.budget}"
        f"?{urlencode({'q': QUESTION})}"
    )
    page.get_by_role("heading", name="Relationships").wait_for()
    page.screenshot(path=to)
    page.close()


if __name__ == "__main__":
    main()
