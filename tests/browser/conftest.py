"""The shared server and one browser for all tests of the inspector; each test has a new user."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.people import Person, Story
from tests.support.server import Server

if TYPE_CHECKING:  # the tests are skipped if it is not installed
    from playwright.sync_api import Browser, Dialog, Page

DESKTOP, PHONE = {"width": 1360, "height": 900}, {"width": 390, "height": 844}

Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("There is no Chromium here: apt-get install chromium.")
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        # Chromium as root, as in containers, has no sandbox. It only opens the test's server.
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as running,
    ):
        yield running


@pytest.fixture
def person(server: Server) -> Person:
    return Person(server)


@pytest.fixture(scope="module")
def story(server: Server) -> Story:
    return Story(Person(server))


class Watch:
    """Errors of a page, and its requests to other servers."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.complaints: list[str] = []
        self.refused: list[int] = []

    def over(self, page: Page) -> Page:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._interrupted)
        page.on("request", lambda request: self._asked(request.url))
        page.on(
            "response",
            lambda answer: self.refused.append(answer.status) if answer.status >= 400 else None,
        )
        return page

    def _interrupted(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def _asked(self, url: str) -> None:
        if not url.startswith(f"{self.origin}/"):
            self.complaints.append(f"asked {url}")


@pytest.fixture
def refusals() -> list[int]:
    """Return statuses of refusals that a test expects; any other refusal fails it."""
    return []


@pytest.fixture
def open_as(browser: Browser, server: Server, refusals: list[int]) -> Iterator[Open]:
    """Return a function that opens the inspector as a user.

    Afterwards, check that no page reported errors, violations of its content security policy, or
    requests to other servers.
    """
    watch = Watch(server.url)
    contexts = []

    def open_(who: Person | None, view: str = "#/memories", **options: Any) -> Page:
        context = browser.new_context(
            **{"viewport": DESKTOP, "reduced_motion": "reduce", **options}
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        if who:
            context.add_init_script(f"sessionStorage.setItem('memory-token', '{who.token}')")
        page = watch.over(context.new_page())
        page.goto(f"{server.url}/memory/inspector{view}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert watch.complaints == []
    assert set(watch.refused) <= set(refusals)
