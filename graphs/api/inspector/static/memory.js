// One memory: its text, why it was recalled, its history, its origin, and its relationships.

import { actions, attach } from "./actions.js";
import { api } from "./api.js";
import { count, dotted, exactly, h, icon, kind, linkTo, nothing, part, raw, styled, when } from "./dom.js";
import { graph } from "./graph.js";
import { percent, timeline } from "./history.js";
import { because, legend, table } from "./score.js";

/** Replace a failed request by a default, so that the memory is shown all the same. */
const quietly = (promise, otherwise) =>
  promise.catch((error) => {
    if (error.name === "AbortError" || error.status === 401) throw error;
    return otherwise;
  });

/** Show a route's memory. All parts are loaded together, so that the layout does not move. */
export async function showMemory(route, items, signal) {
  const [found, history, origin, related] = await Promise.all([
    api.memory(route.id, { signal }).catch((error) => {
      if (error.status !== 404) throw error;
      return null;
    }),
    quietly(api.about(route.id, "history", { signal, query: { limit: 50 } }), { items: [], next: null }),
    quietly(api.about(route.id, "origin", { signal }), null),
    quietly(api.about(route.id, "graph", { signal, query: { hops: 2, limit: 40 } }), { nodes: [], edges: [] }),
  ]);
  if (!found) return forgotten(history);
  const memory = found.body;
  const article = h(
    "article",
    { class: "memory" },
    h(
      "header",
      null,
      h("h2", { class: "content", tabindex: "-1" }, memory.content),
      dotted(
        kind(memory.type),
        memory.agent && `written by ${memory.agent}`,
        h("span", null, "changed ", when(memory.updated_at)),
        memory.pinned && h("span", { class: "pinned" }, icon("pin"), "pinned"),
        memory.expires_at && !memory.pinned && h("span", null, "expires ", when(memory.expires_at)),
        memory.importance !== null &&
          h(
            "span",
            { class: "importance" },
            "importance ",
            styled(h("span", { class: "share", "aria-hidden": "true" }), "--share", memory.importance),
            percent(memory.importance),
          ),
      ),
      memory.tags.length > 0 &&
        h(
          "ul",
          { class: "tags", "aria-label": "Tags" },
          memory.tags.map((tag) => h("li", { class: "tag" }, tag)),
        ),
    ),
    actions(memory),
    h(
      "div",
      { class: "column" },
      why(route, items),
      part("Life", timeline(memory, history.items, history.next)),
      part("Origin", source(memory, origin)),
    ),
    h(
      "div",
      { class: "column" },
      part("Relationships", graph(memory.id, related)),
      part("Details", details(memory), raw("As JSON", memory)),
    ),
  );
  attach(article, memory, found.etag);
  return article;
}

function forgotten(history) {
  if (!history.items.length)
    return nothing("There is no such memory", h("p", null, "It may have been forgotten, or it belongs to another user."));
  return h(
    "article",
    { class: "memory" },
    h(
      "header",
      null,
      h("h2", { class: "content gone", tabindex: "-1" }, "This memory was forgotten"),
      dotted("No agent recalls it. Its earlier versions stay in the history."),
    ),
    part("Life", timeline(null, history.items, history.next)),
  );
}

function why(route, items) {
  const at = items.findIndex((item) => item.id === route.id);
  if (route.section !== "search" || at < 0) return null;
  const { explanation, score } = items[at];
  if (!explanation || score === null) return null;
  return part(
    "Why it was recalled",
    h("p", { class: "because" }, because(explanation)),
    dotted(`${at + 1} of ${count(items.length, "memory", "memories")} for “${route.query.get("q")}”`),
    table(explanation, score),
    legend(),
  );
}

function details(memory) {
  const rows = [
    ["First stored", exactly(memory.created_at)],
    ["Expires", memory.pinned ? "no: it is pinned" : memory.expires_at ? exactly(memory.expires_at) : null],
    ["Namespace", h("code", null, memory.namespace.join(" / "))],
    ["Key", h("code", null, memory.key)],
  ];
  return pairs(rows);
}

const pairs = (rows) =>
  h(
    "dl",
    { class: "facts" },
    rows.filter(([, value]) => value).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );

function source(memory, origin) {
  const session = origin?.session_id ?? memory.session_id;
  const link = (section, id) => id && h("a", { href: linkTo(section, id) }, h("code", null, id));
  const rows = [
    ["Agent", origin?.agent ?? memory.agent],
    ["Session", link("sessions", session)],
    ["Run", link("runs", origin?.run_id)],
    ["Thread", link("threads", origin?.thread_id)],
    ["Checkpoint", origin?.checkpoint_id && h("code", null, origin.checkpoint_id)],
  ];
  const turns = origin?.turns ?? [];
  return [
    rows.some(([, value]) => value)
      ? pairs(rows)
      : h("p", { class: "quiet-text" }, "Its origin is not known."),
    turns.length > 0 &&
      h(
        "div",
        { class: "turns" },
        turns.map((turn) =>
          h(
            "blockquote",
            { class: `turn ${turn.role}` },
            h("p", null, turn.content),
            h(
              "footer",
              { class: "meta" },
              h("span", null, turn.role),
              turn.id && turn.id !== memory.id && h("a", { href: linkTo("memories", turn.id) }, "turn"),
            ),
          ),
        ),
      ),
  ].filter(Boolean);
}
