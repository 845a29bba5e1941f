"""The inspector in a real browser, on a real server: everything users see and do there."""

import re
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest

pytest.importorskip("axe_playwright_python", reason="The group `dev` installs it and Playwright.")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESKTOP, PHONE, Open
from tests.browser.people import EVIL, QUESTION, Person, Story
from tests.support.server import Server

SEARCH = f"#/search?{urlencode({'q': QUESTION})}"


def rows(page: Page) -> Any:
    return page.locator("#list .row")


def title(page: Page) -> Any:
    return page.locator("#detail h2")


LISTS = ["#/memories", "#/sessions", "#/runs", "#/brain"]


def views(story: Story) -> list[str]:
    """Return a URL for every kind of view besides the lists, with content in it."""
    run = story.person.ask("GET", f"memories/{story.budget}/origin")["run_id"]
    found = SEARCH.replace("search", f"search/{story.budget}")
    return [SEARCH, found, *(f"#/{name}" for name in (
        f"brain/{story.goal}", f"sessions/{story.thread}", f"threads/{story.thread}", f"runs/{run}",
    ))]  # fmt: skip


def go(page: Page, view: str) -> None:
    """Open another view, and wait until it is complete."""
    there = "new Promise(gone => addEventListener('hashchange', gone, { once: true }))"
    page.evaluate(
        f"async view => {{ const there = {there}; location.hash = view; await there; }}", view
    )
    expect(page.locator("[aria-busy]")).to_have_count(0)
    expect(page.locator("#list h1")).to_be_attached()


def test_a_search_shows_scores_whose_parts_add_up(open_as: Open, story: Story) -> None:
    page = open_as(story.person)
    page.get_by_role("searchbox").fill(QUESTION)
    found = story.person.ask(
        "GET", "recall", params={"query": QUESTION, "limit": 20, "explain": True}
    )["items"]
    expect(rows(page)).to_have_count(len(found))
    expect(page.get_by_role("status")).to_contain_text(f"{len(found)} memories recalled")

    for n, memory in enumerate(found):
        row = rows(page).nth(n)
        expect(row.locator(".row-text")).to_have_text(memory["content"])
        expect(row.locator(".number")).to_have_text(f"{memory['score']:.2f}")
        widths = row.locator(".stacked").evaluate(
            "bar => [...bar.children]"
            ".map(piece => piece.getBoundingClientRect().width / bar.clientWidth)"
        )
        assert sum(widths) == pytest.approx(memory["score"], abs=0.02)
        assert len(widths) == sum(part > 1e-6 for part in memory["explanation"].values())

    rows(page).first.click()
    expect(title(page)).to_have_text(found[0]["content"])
    why = page.locator(".part", has_text="Why it was recalled")
    expect(why.locator(".because")).to_contain_text("Recalled because")
    parts = [
        float(n)
        for n in why.locator("[data-value]").evaluate_all(
            "cells => cells.map(c => c.dataset.value)"
        )
    ]
    assert sum(parts) == pytest.approx(found[0]["score"], abs=1e-4)
    expect(why.locator(".total .number")).to_have_text(f"{found[0]['score']:.2f}")
    why.get_by_text("Meaning of the parts").click()
    expect(why.locator(".legend dd").first).to_be_visible()


def test_a_correction_is_stored_and_the_history_shows_what_was_said_before(
    open_as: Open, person: Person
) -> None:
    id_ = person.remember("Lives in Santiago de Chile.", tags=["home"])
    page = open_as(person, f"#/memories/{id_}")
    expect(title(page)).to_be_visible()
    page.keyboard.press("e")
    page.get_by_label("Correct text").fill("Lives in Valparaíso de Chile.")
    page.get_by_role("textbox", name="Tags").fill("home, city")
    page.get_by_role("button", name="Save").click()

    expect(title(page)).to_have_text("Lives in Valparaíso de Chile.")
    expect(rows(page).first).to_contain_text("Valparaíso")
    now = person.memory(id_)
    assert (now["content"], now["tags"]) == ("Lives in Valparaíso de Chile.", ["home", "city"])
    life = page.locator(".timeline li")
    expect(life.first.locator("del")).to_have_text("Santiago")
    expect(life.first.locator("ins")).to_have_text("Valparaíso")
    expect(life.first).to_contain_text("tag city added")
    expect(life.nth(1)).to_contain_text("Lives in Santiago de Chile.")


def test_a_correction_of_the_text_leaves_the_importance_as_it_is(
    open_as: Open, person: Person
) -> None:
    """Use an importance between two steps of the slider, as decayed memories have."""
    id_ = person.remember("Lives in Santiago.", importance=0.33)
    page = open_as(person, f"#/memories/{id_}")
    expect(title(page)).to_be_visible()
    page.keyboard.press("e")
    page.get_by_label("Correct text").fill("Lives in Valparaíso.")
    page.get_by_role("button", name="Save").click()
    expect(title(page)).to_have_text("Lives in Valparaíso.")
    assert person.memory(id_)["importance"] == 0.33

    page.keyboard.press("e")
    page.get_by_label("Importance").fill("0.9")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("form.edit")).to_have_count(0)
    assert person.memory(id_)["importance"] == 0.9


def test_a_memory_is_pinned_and_forgotten(
    open_as: Open, person: Person, refusals: list[int]
) -> None:
    kept, gone = person.remember("Prefers tea."), person.remember("Prefers coffee.")
    page = open_as(person, f"#/memories/{gone}")
    expect(title(page)).to_be_visible()
    page.keyboard.press("p")
    expect(page.get_by_role("button", name="Unpin")).to_be_focused()
    assert person.memory(gone)["pinned"]

    page.keyboard.press("Delete")
    expect(page.get_by_role("dialog")).to_contain_text("Prefers coffee.")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    assert person.memory(gone)["content"] == "Prefers coffee."
    page.keyboard.press("Delete")
    page.get_by_role("dialog").get_by_role("button", name="Forget").click()

    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("Prefers tea.")
    assert [memory["id"] for memory in person.ask("GET", "memories")["items"]] == [kept]
    go(page, f"#/memories/{gone}")
    expect(title(page)).to_have_text("This memory was forgotten")
    expect(page.locator(".timeline .gone")).to_contain_text("Prefers coffee.")
    refusals.append(404)
    go(page, f"#/memories/{kept}")
    page.keyboard.press("Delete")
    page.get_by_role("dialog").get_by_role("button", name="Erase for good").click()
    expect(rows(page)).to_have_count(0)
    assert person.ask("GET", f"memories/{kept}/history")["items"] == []


def test_what_changed_meanwhile_is_not_overwritten(
    open_as: Open, person: Person, refusals: list[int]
) -> None:
    id_ = person.remember("The budget is 80k.")
    page = open_as(person, f"#/memories/{id_}")
    page.get_by_role("button", name="Correct").click()
    page.get_by_label("Correct text").fill("The budget is 100k.")
    person.revise(id_, content="The budget is 120k.")
    page.get_by_role("button", name="Save").click()

    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("nothing was overwritten")
    expect(notice.locator("del")).to_have_text("120k.")
    assert person.memory(id_)["content"] == "The budget is 120k."
    page.get_by_role("button", name="Overwrite with mine").click()
    expect(title(page)).to_have_text("The budget is 100k.")
    expect(page.locator(".timeline li")).to_have_count(3)

    person.revise(id_, content="The budget is 90k.")
    page.get_by_role("button", name="Pin").click()
    expect(title(page)).to_have_text("The budget is 90k.")
    expect(page.locator("#toast")).to_contain_text("nothing was overwritten")
    assert not person.memory(id_)["pinned"]
    refusals.append(412)


def test_older_memories_come_on_demand(open_as: Open, person: Person) -> None:
    for n in range(32):
        person.remember(f"Number {n}.", "goal" if n == 0 else "fact")
    page = open_as(person)
    expect(rows(page)).to_have_count(30)
    page.get_by_role("button", name="Show more").click()
    expect(rows(page)).to_have_count(32)
    expect(rows(page).nth(30)).to_be_focused()
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    page.get_by_label("Type").select_option("goal")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("Number 0.")


def test_a_memory_that_is_markup_is_shown_and_does_nothing(open_as: Open, person: Person) -> None:
    evil = person.remember(EVIL, tags=[EVIL[:60]], agent="<b>agent</b>")
    person.revise(evil, content=f"{EVIL}!")
    other = person.remember("Harmless.", "belief")
    person.relate(other, "<i>about</i>", evil)
    person.ask("PUT", "brain/user_note", {"content": EVIL})
    page = open_as(person, f"#/memories/{evil}")
    expect(title(page)).to_have_text(f"{EVIL}!")
    assert "onerror" in page.locator("main").inner_text()
    for view in (
        f"#/memories/{other}",
        f"#/search/{evil}?{urlencode({'q': EVIL})}",
        "#/brain",
        "#/runs/outside",
    ):
        go(page, view)
        assert "onerror" in page.locator("main").inner_text()
        assert (
            page.locator("main").evaluate(
                "main => main.querySelectorAll('img, script, b, i').length"
            )
            == 0
        )
    assert page.evaluate("window.hit") is None


def test_the_graph_is_drawn_and_leads_from_memory_to_memory(open_as: Open, story: Story) -> None:
    page = open_as(story.person, f"#/memories/{story.budget}")
    drawing = page.locator(".drawing")
    expect(drawing.get_by_role("link")).to_have_count(5)
    page.get_by_text("1 step").click()
    expect(drawing.get_by_role("link")).to_have_count(2)
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("table").last).to_contain_text("limits")
    drawing.get_by_role("link", name="A used robot").focus()
    page.keyboard.press("Enter")
    expect(title(page)).to_contain_text("A used robot")
    expect(title(page)).to_be_focused()


def test_origins_lead_to_session_run_and_thread(open_as: Open, story: Story) -> None:
    page = open_as(story.person, f"#/memories/{story.budget}")
    origin = page.locator(".part", has_text="Origin")
    expect(origin.locator(".turn.user")).to_contain_text("my budget is 120k")
    expect(page.locator(".timeline li").nth(1)).to_contain_text("80k")
    origin.locator("dd a").nth(1).click()
    expect(page.locator(".part", has_text="Wrote")).to_contain_text("my budget is 120k")
    expect(page.locator(".receipt h4").first).to_contain_text("120k")
    expect(page.locator(".chosen li").first).to_contain_text("of the query")
    page.get_by_role("link", name="thread").click()
    expect(page.locator("#detail pre")).to_contain_text(f'"thread_id": "{story.thread}"')
    page.get_by_role("link", name="its session").click()
    expect(page.locator("#detail .turn")).to_have_count(4)
    expect(page.locator("#detail .turn").first).to_contain_text("80k")


def test_a_run_is_undone_after_a_look_at_what_that_changes(open_as: Open, person: Person) -> None:
    thread = str(uuid4())
    person.say("My dog is called Rex.", thread)
    before = person.http.get(f"/threads/{thread}/state").json()["checkpoint"]["checkpoint_id"]
    person.say("My budget is 80k.", thread)
    person.say("My cat is called Tom.", thread, checkpoint_id=before)
    page = open_as(person, f"#/sessions/{thread}")
    tree = page.locator(".part", has=page.get_by_role("heading", name="Runs"))
    expect(tree.locator("li .line li")).to_contain_text("left")
    [head] = [run for run in person.ask("GET", "runs")["items"] if run["is_head"]]
    now = tree.locator("li.now")
    expect(now).to_contain_text("My cat is called Tom.")
    now.get_by_text("Wrote").click()
    expect(now.get_by_role("link", name="My cat is called Tom.").first).to_be_visible()

    now.get_by_role("button", name="Undo").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("del", has_text="My cat is called Tom.").first).to_be_visible()
    assert serious(page, "light") == []
    page.keyboard.press("Escape")
    assert person.ask("GET", f"runs/{head['run_id']}")["run"]["status"] == "kept"
    expect(now.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Undo the run").click()
    redo = page.locator(f"[data-run='{head['run_id']}']")
    expect(redo).to_have_text("Redo")
    expect(redo).to_be_focused()
    assert person.ask("GET", f"runs/{head['run_id']}")["run"]["status"] == "undone"
    redo.click()
    expect(dialog.locator("ins", has_text="My cat is called Tom.").first).to_be_visible()
    dialog.get_by_role("button", name="Redo the run").click()
    expect(tree.locator("li.now")).to_contain_text("My cat is called Tom.")


def test_everything_can_be_done_with_the_keyboard(open_as: Open, person: Person) -> None:
    for text in ("First.", "Second.", "Third."):
        person.remember(text)
    page = open_as(person)
    expect(rows(page)).to_have_count(3)
    press = page.keyboard.press
    press("j"), press("j"), press("j"), press("k")
    expect(rows(page).nth(1)).to_be_focused()
    press("Enter")
    expect(title(page)).to_have_text("Second.")
    expect(title(page)).to_be_focused()
    press("e")
    page.keyboard.type(" And corrected.")
    press("Escape")
    expect(title(page)).to_have_text("Second.")
    press("Escape")
    expect(rows(page).nth(1)).to_be_focused()
    press("?")
    expect(page.get_by_role("dialog")).to_contain_text("search")
    press("Escape")
    expect(rows(page).nth(1)).to_be_focused()
    press("/")
    page.keyboard.type("third")
    press("ArrowDown")
    expect(rows(page)).to_have_count(3)
    expect(rows(page).first).to_be_focused()
    press("Enter")
    expect(title(page)).to_have_text("Third.")
    expect(page.locator(".because")).to_be_visible()


def test_a_dialog_that_closes_leaves_the_focus_where_the_user_put_it_since(
    open_as: Open, story: Story
) -> None:
    page = open_as(story.person)
    rows(page).first.focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    focused = page.evaluate(
        """async () => {
            document.querySelector("dialog").close();
            document.querySelector("#search input").focus();
            await new Promise((resolve) => setTimeout(resolve, 50));
            return document.activeElement.matches("#search input");
        }"""
    )
    assert focused


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_view(
    open_as: Open, story: Story, scheme: Literal["light", "dark"]
) -> None:
    page = open_as(story.person, "#/", color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) > 380) == (scheme == "light")
    for view in views(story):
        go(page, view)
        assert page.evaluate("document.documentElement.scrollHeight") == DESKTOP["height"], (
            "the columns scroll, not the page"
        )
        page.evaluate(
            "document.querySelectorAll('details').forEach(folded => { folded.open = true; })"
        )
        assert serious(page, scheme) == [], view
    page.keyboard.press("?")
    assert serious(page, scheme) == []
    page.keyboard.press("Escape")
    go(page, f"#/memories/{story.goal}")
    page.get_by_role("button", name="Correct").click()
    assert serious(page, scheme) == []


def serious(page: Page, scheme: str) -> list[str]:
    """Return axe's serious findings; in the dark scheme, only those about colours."""
    rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    found = Axe().run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]
    return [
        f"{v['id']}: {v['nodes'][0]['html']}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


def test_a_phone_shows_one_column_without_scrolling_sideways(open_as: Open, story: Story) -> None:
    page = open_as(story.person, "#/", viewport=PHONE, has_touch=True, is_mobile=True)
    for view in [*views(story), *LISTS]:
        go(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], view
        small = page.locator("button:visible, select:visible, nav a, .row:visible").evaluate_all(
            "all => all.filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML)"
        )
        assert small == [], view
    rows(page).first.tap()
    expect(rows(page).first).to_be_hidden()
    page.locator(".back").tap()
    expect(rows(page).first).to_be_visible()


@pytest.mark.parametrize(
    "address", ["#/constructor", "#/memories/%E0%A4%A", "#/search", "#/nothing?q=%"]
)
def test_an_address_that_means_nothing_shows_the_latest_memories(
    open_as: Open, story: Story, address: str
) -> None:
    page = open_as(story.person, address)
    expect(page.get_by_role("heading", name="Memories")).to_be_visible()
    expect(rows(page).first).to_be_visible()


def test_the_theme_is_the_systems_until_one_is_chosen(open_as: Open, person: Person) -> None:
    page = open_as(person, color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_people_sign_in_with_their_token_and_see_their_own(
    open_as: Open, person: Person, server: Server, refusals: list[int]
) -> None:
    person.remember("Mine alone.")
    page = open_as(None)
    field = page.get_by_label("Access token")
    field.fill("nobody's")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("dialog")).to_contain_text("not valid")
    field.fill(person.token)
    page.get_by_role("button", name="Sign in").click()
    expect(rows(page)).to_contain_text("Mine alone.")
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("Mine alone.")
    refusals.append(401)


def test_the_page_is_small_kept_and_strict(server: Server) -> None:
    with httpx.Client(base_url=f"{server.url}/memory/", trust_env=False) as client:
        page = client.get("inspector")
        names = ["inspector", *re.findall(r'(?:src|href)="(inspector/[^"]+)"', page.text)]
        answers = [client.get(name) for name in names]
        assert all(answer.is_success for answer in answers)
        assert sum(int(answer.headers["Content-Length"]) for answer in answers) < 60_000
        for answer in answers:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        again = client.get("inspector", headers={"If-None-Match": page.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get("inspector/", follow_redirects=True).text == page.text
        for elsewhere in (
            "none.js",
            "..%2Froutes.py",
            "%2e%2e%2froutes.py",
            "..\\routes.py",
        ):
            assert client.get(f"inspector/{elsewhere}").status_code in (401, 404)
