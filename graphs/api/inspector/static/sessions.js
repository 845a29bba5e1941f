// Sessions and their turns, from the memory. Threads, from the LangGraph API.

import { api } from "./api.js";
import { count, dotted, exactly, h, json, linkTo, nothing, part, toast, when } from "./dom.js";
import { lines, loadRuns } from "./lines.js";

export const sessions = {
  title: () => "Sessions",
  load: (route, cursor, signal) => api.get("sessions", { signal, query: { cursor, limit: 40 } }),
  row: (session) =>
    h(
      "a",
      { class: "row", href: linkTo("sessions", session.id), "data-id": session.id },
      h("span", { class: "row-text" }, session.title ?? `Session ${session.id.slice(0, 8)}`),
      dotted(session.agent, count(session.turns, "turn"), when(session.last_activity_at)),
    ),
  empty: () => ["No session yet", h("p", null, "A conversation with an agent of this deployment is a session.")],
  detail: showSession,
  placeholder: () =>
    nothing("Conversations", h("p", null, "Choose one to read its turns, and to see the run that stored each.")),
};

async function showSession(route, _, signal) {
  const path = `sessions/${encodeURIComponent(route.id)}`;
  const [session, page, runs] = await Promise.all([
    api.get(path, { signal }),
    api.get(`${path}/turns`, { signal, query: { limit: 60 } }),
    loadRuns(route.id, signal),
  ]);
  const said = new Map(page.items.filter((turn) => turn.role === "user").map((turn) => [turn.run_id, turn.content]));
  const turns = h("ol", { class: "turns" }, page.items.map(turn).reverse());
  const earlier = h("button", { type: "button", class: "button more", hidden: !page.next }, "Show earlier turns");
  const thread = page.items.find((said) => said.thread_id)?.thread_id;
  let cursor = page.next;
  earlier.addEventListener("click", async () => {
    try {
      const next = await api.get(`${path}/turns`, { query: { cursor, limit: 60 } });
      turns.prepend(...next.items.map(turn).reverse());
      cursor = next.next;
      earlier.hidden = !cursor;
    } catch (error) {
      toast(error.message);
    }
  });
  return h(
    "article",
    null,
    h(
      "header",
      null,
      h("h2", { tabindex: "-1" }, session.title ?? "Session"),
      dotted(
        session.agent,
        count(session.turns, "turn"),
        session.created_at && h("span", null, "began ", exactly(session.created_at)),
      ),
      dotted(h("code", null, session.id), thread && h("a", { href: linkTo("threads", thread) }, "thread")),
    ),
    earlier,
    page.items.length ? turns : h("p", { class: "quiet-text" }, "It has no stored turns."),
    lines(runs, said),
  );
}

function turn(said) {
  return h(
    "li",
    { class: `turn ${said.role}` },
    h("p", null, said.content),
    h(
      "footer",
      { class: "meta" },
      h("span", null, said.role),
      h("span", null, when(said.created_at)),
      said.id && h("a", { href: linkTo("memories", said.id) }, "memory"),
      said.run_id && h("a", { href: linkTo("runs", said.run_id) }, "run"),
    ),
  );
}

export const threads = {
  ...sessions,
  key: () => "",
  detail: async (route, _, signal) => {
    const thread = await api.thread(route.id, { signal });
    return h(
      "article",
      null,
      h(
        "header",
        null,
        h("h2", { tabindex: "-1" }, "Thread"),
        dotted(
          h("code", null, thread.thread_id),
          thread.status,
          h("span", null, "updated ", when(thread.updated_at)),
          h("a", { href: linkTo("sessions", thread.thread_id) }, "its session"),
        ),
      ),
      part("From the LangGraph API", json(thread)),
    );
  },
};
