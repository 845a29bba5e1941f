// Lists of memories: the latest, the results of a search, and the brain.

import { api } from "./api.js";
import { count, dotted, h, icon, kind, linkTo, nothing, when } from "./dom.js";
import { showMemory } from "./memory.js";
import { because, legend, stacked } from "./score.js";
import { TYPES } from "./types.js"; // made by the server from the types that it knows


function row(memory, href, ...more) {
  return h(
    "a",
    { class: "row", href, "data-id": memory.id },
    h("span", { class: "row-text" }, memory.content),
    ...more,
    dotted(kind(memory.type), memory.agent, when(memory.updated_at), memory.pinned && pinned()),
  );
}

const pinned = () => h("span", { class: "pinned" }, icon("pin"), "pinned");

function filter(route) {
  const choose = (event) =>
    (location.hash = event.target.value ? `#/memories?type=${event.target.value}` : "#/memories");
  const option = (value, text) => h("option", { value, selected: value === (route.query.get("type") ?? "") }, text);
  return h(
    "label",
    { class: "filter" },
    h("span", { class: "hidden" }, "Type"),
    h(
      "select",
      { onchange: choose },
      option("", "All types"),
      TYPES.map((type) => option(type, `${type}s`)),
    ),
  );
}

export const memories = {
  title: () => "Memories",
  key: (route) => route.query.get("type") ?? "",
  controls: filter,
  load: (route, cursor, signal) =>
    api.get("memories", { signal, query: { cursor, limit: 30, types: route.query.get("type") } }),
  row: (memory, route) => row(memory, linkTo("memories", memory.id, route.text)),
  empty: (route) =>
    route.query.get("type")
      ? ["None of this type", h("p", null, "Other types may have some.")]
      : [
          "No memories yet",
          h("p", null, "Talk to an agent of this deployment. The memories it writes appear here."),
        ],
  detail: showMemory,
  placeholder: () =>
    nothing(
      "Memories, newest first",
      h("p", null, "Choose a memory to see its origin, its earlier versions and its relationships."),
      h(
        "p",
        null,
        h("kbd", null, "/"),
        " searches, ",
        h("kbd", null, "j"),
        " and ",
        h("kbd", null, "k"),
        " move, ",
        h("kbd", null, "?"),
        " shows all keys.",
      ),
    ),
};

export const search = {
  title: (_, items) => (items ? count(items.length, "recalled memory", "recalled memories") : "Recall"),
  key: (route) => route.query.get("q") ?? "",
  load: async (route, _, signal) =>
    api.get("recall", { signal, query: { query: route.query.get("q"), limit: 20, explain: true } }),
  row: (memory, route) =>
    row(
      memory,
      linkTo("search", memory.id, route.text),
      h(
        "span",
        { class: "row-score" },
        stacked(memory.explanation),
        h("span", { class: "number" }, (memory.score ?? 0).toFixed(2)),
      ),
    ),
  empty: () => ["Nothing is recalled", h("p", null, "An agent would find no memory for this query.")],
  announced: (route, items) =>
    `${count(items.length, "memory", "memories")} recalled for ${route.query.get("q")}.${items.length ? ` First: ${items[0].content}. ${because(items[0].explanation)}` : ""}`,
  detail: showMemory,
  needsList: true, // for the score
  placeholder: (route, items) =>
    nothing(
      `Memories that an agent recalls for “${route.query.get("q")}”`,
      h("p", null, "The best come first. The length of a bar is the score, and its pieces are the parts of the score."),
      items.length > 0 && h("p", null, `First: ${because(items[0].explanation)}`),
      legend(true),
    ),
};

export const brain = {
  title: () => "Brain",
  load: (route, cursor, signal) => api.get("brain", { signal, query: { cursor, limit: 50 } }),
  row: (memory) =>
    h(
      "a",
      { class: "row", href: linkTo("brain", memory.id), "data-id": memory.id },
      h("code", { class: "slug" }, memory.slug),
      h("span", { class: "row-text" }, memory.content),
      dotted(when(memory.updated_at), ...memory.tags),
    ),
  empty: () => [
    "The brain is empty",
    h("p", null, "Memories with a name, such as user_full_name, appear here."),
  ],
  detail: showMemory,
  placeholder: () =>
    nothing(
      "Memories with a name",
      h("p", null, "Saving under the same name replaces the memory. Earlier versions stay in its history."),
    ),
};
