// The left column: a list that is loaded page by page, and keyboard navigation in it.

import { announce, count, h, nothing, problem, toast } from "./dom.js";

const pane = document.getElementById("list");
let shown = { key: null, items: [] };

/** Show a section's list, unless it is shown already. Resolves with the items. */
export async function showList(section, route, signal, { fresh = false } = {}) {
  const key = `${route.section}?${section.key?.(route) ?? ""}`;
  if (key === shown.key && !fresh) {
    pane.removeAttribute("aria-busy"); // left over from a load that was aborted
    return shown.items;
  }
  const scroll = key === shown.key ? pane.scrollTop : 0;
  pane.setAttribute("aria-busy", "true");
  try {
    const page = await section.load(route, null, signal);
    shown = { key, items: page.items };
    draw(section, route, page);
    pane.scrollTop = scroll;
  } catch (error) {
    if (error.name === "AbortError" || error.status === 401) throw error;
    shown = { key: null, items: [] };
    pane.replaceChildren(
      heading(section, route),
      problem(error, () => window.dispatchEvent(new Event("hashchange"))),
    );
  } finally {
    if (!signal.aborted) pane.removeAttribute("aria-busy");
  }
  return shown.items;
}

function heading(section, route, items) {
  return h("header", { class: "list-head" }, h("h1", null, section.title(route, items)), section.controls?.(route));
}

function draw(section, route, page) {
  const list = h(
    "ul",
    { class: "rows" },
    page.items.map((item) => h("li", null, section.row(item, route))),
  );
  const more = h("button", { type: "button", class: "button more" }, "Show more");
  let cursor = page.next;
  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      const next = await section.load(route, cursor);
      const rows = next.items.map((item) => h("li", null, section.row(item, route)));
      shown.items.push(...next.items);
      list.append(...rows);
      rows[0]?.firstElementChild.focus();
      cursor = next.next;
      more.hidden = !cursor;
      announce(`${next.items.length} more.`);
    } catch (error) {
      toast(error.message);
    } finally {
      more.disabled = false;
    }
  });
  more.hidden = !cursor;
  const body = page.items.length ? [list, more] : [nothing(...section.empty(route))];
  pane.replaceChildren(heading(section, route, page.items), ...body);
  announce(
    section.announced?.(route, page.items) ??
      `${section.title(route)}: ${count(page.items.length, "entry", "entries")}.`,
  );
}

/** Mark the selected row. */
export function mark(id) {
  for (const row of rows()) {
    if (row.dataset.id === id) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

/** Focus the next or previous row. From elsewhere, start at the selected row, or at the first. */
export function move(step) {
  const all = rows();
  const focused = all.indexOf(document.activeElement);
  const selected = all.findIndex((row) => row.hasAttribute("aria-current"));
  const from = focused >= 0 ? focused : selected;
  const next = focused < 0 && selected < 0 ? 0 : Math.min(Math.max(from + step, 0), all.length - 1);
  all[next]?.focus();
  all[next]?.scrollIntoView({ block: "nearest" });
}

/** Focus the selected row again. */
export function back() {
  (rows().find((row) => row.hasAttribute("aria-current")) ?? rows()[0])?.focus();
}

const rows = () => [...pane.querySelectorAll(".row")];
