// The page: routing by the address, the search box, and the keyboard.

import { correct, forget, pin } from "./actions.js";
import { api, token } from "./api.js";
import { help, isOpen, signIn } from "./dialogs.js";
import { h, icon, problem, toast } from "./dom.js";
import { back, mark, move, showList } from "./list.js";
import { brain, memories, search } from "./memories.js";
import { runs } from "./runs.js";
import { sessions, threads } from "./sessions.js";

const SECTIONS = { memories, search, sessions, threads, runs, brain };
const NARROW = matchMedia("(max-width: 760px)");
const detail = document.getElementById("detail");
const query = document.getElementById("query");

let controller = new AbortController();
let last = { section: null, id: null };

/** Parse the address: `#/section/id?query`. */
function route() {
  const [path, text = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [section, id] = path.split("/");
  const asked = new URLSearchParams(text);
  const known = Object.hasOwn(SECTIONS, section) && (section !== "search" || asked.get("q"));
  return { section: known ? section : "memories", id: decoded(id), query: asked, text: text && `?${text}` };
}

/** Decode a part of the address; null if it is not valid. */
function decoded(part) {
  try {
    return part ? decodeURIComponent(part) : null;
  } catch {
    return null;
  }
}

/** Show the view of the address. Earlier requests that are still open are aborted. */
async function render({ fresh = false, focus = null } = {}) {
  controller.abort();
  const { signal } = (controller = new AbortController());
  const now = route();
  const section = SECTIONS[now.section];
  if (document.activeElement !== query) query.value = now.section === "search" ? now.query.get("q") : "";
  showWhere(now);
  detail.setAttribute("aria-busy", "true");
  try {
    const content = await contentOf(section, now, signal, fresh);
    if (signal.aborted) return;
    put(content, section, now, focus);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    if (error.status === 401) return void askToSignIn(error);
    put(
      problem(error, () => render({ fresh: true })),
      section,
      now,
      focus,
    );
  } finally {
    if (!signal.aborted) detail.removeAttribute("aria-busy");
  }
}

/** Return the right pane's content. It is loaded together with the list, unless it needs the list. */
async function contentOf(section, now, signal, fresh) {
  const list = showList(section, now, signal, { fresh });
  if (!now.id) return section.placeholder(now, await list);
  if (section.needsList) return section.detail(now, await list, signal);
  const [content] = await Promise.all([section.detail(now, [], signal), list]);
  return content;
}

/** Mark the section in the header, and choose the column that a narrow window shows. */
function showWhere(now) {
  document.body.dataset.pane = now.id ? "detail" : "list";
  for (const link of document.querySelectorAll("#sections a")) {
    const here =
      link.dataset.section === { search: "memories", threads: "sessions" }[now.section] ||
      link.dataset.section === now.section;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function put(content, section, now, focus) {
  mark(now.id);
  const up =
    now.id &&
    h(
      "a",
      { class: "back", href: `#/${now.section === "threads" ? "sessions" : now.section}${now.text}` },
      icon("back"),
      section.title(now),
    );
  detail.replaceChildren(...[up, content].filter(Boolean));
  document.title = [content.querySelector?.("h2")?.textContent.slice(0, 60), "Memory inspector"]
    .filter(Boolean)
    .join(" · ");
  const moved = last.section !== now.section || last.id !== now.id;
  if (moved) detail.scrollTop = 0;
  if (moved && NARROW.matches) scrollTo(0, 0);
  if (focus) detail.querySelector(focus)?.focus();
  else if (moved && now.id && last.section) detail.querySelector("h2")?.focus({ preventScroll: true });
  last = now;
}

async function askToSignIn(error) {
  const reason = token.get()
    ? error.message
    : "Each user sees only their own memory. Sign in with an access token to see yours.";
  token.set(null);
  showAccount();
  if (await signIn(reason)) {
    showAccount();
    render({ fresh: true });
  } else if (!isOpen()) detail.replaceChildren(problem(error, () => render({ fresh: true })));
}

function showAccount() {
  document.getElementById("account").hidden = !token.get();
}

// --- changes made on this page ---

window.addEventListener("memory-changed", ({ detail: { gone, focus } }) => {
  const now = route();
  if (gone) {
    history.replaceState(null, "", `#/${now.section}${now.text}`);
    render({ fresh: true }).then(back);
  } else render({ fresh: true, focus });
});
window.addEventListener("hashchange", () => render());

document.getElementById("sections").addEventListener("click", ({ target }) => {
  if (target.closest("a")?.hash === location.hash) render({ fresh: true }); // a click on the current section refreshes it
});

// --- the search box ---

let waiting;
let rendered = null; // the latest search, done or not

function searchNow() {
  clearTimeout(waiting);
  const asked = query.value.trim();
  const address = asked ? `#/search?q=${encodeURIComponent(asked)}` : "#/memories";
  if (address === location.hash) return;
  history.replaceState(null, "", address);
  rendered = render();
}

/** Move the focus from the search box to the results. */
async function toResults() {
  searchNow();
  await rendered;
  move(1);
}

query.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(searchNow, 250);
});
document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  toResults();
});

// --- the keyboard ---

const COMMANDS = {
  "/": () => {
    query.focus();
    query.select();
  },
  j: () => move(1),
  k: () => move(-1),
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  e: correct,
  p: pin,
  Delete: forget,
  Backspace: forget, // Apple's keyboards have no Delete key
  "?": help,
};
const MOVES = ["ArrowDown", "ArrowUp"];

function escape() {
  const form = detail.querySelector("form.edit");
  if (form) form.dispatchEvent(new Event("close-edit"));
  else if (NARROW.matches && route().id) detail.querySelector(".back").click();
  else back();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isOpen()) return;
  const typing = event.target.closest("input, textarea, select, pre, [tabindex='0']");
  if (event.key === "Escape") return escape();
  if (event.target === query && event.key === "ArrowDown") return void toResults();
  if (typing) return;
  if (MOVES.includes(event.key) && detail.contains(event.target)) return; // arrow keys scroll there
  const command = COMMANDS[event.key];
  if (!command) return;
  event.preventDefault();
  command();
});

// --- the rest of the header ---

const THEMES = { auto: "light", light: "dark", dark: "auto" };

document.getElementById("theme").addEventListener("click", () => {
  const theme = THEMES[document.documentElement.dataset.theme];
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("memory-theme", theme);
  toast(theme === "auto" ? "Theme: same as the system" : `Theme: ${theme}`);
});
document.getElementById("help").addEventListener("click", help);
document.getElementById("skip").addEventListener("click", () => detail.focus());
document.getElementById("account").addEventListener("click", () => {
  token.set(null);
  showAccount();
  location.reload();
});

showAccount();
render();
