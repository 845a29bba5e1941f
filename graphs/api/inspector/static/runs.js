// Runs: the recalls of each, with their receipts, and the memories that it wrote.

import { api } from "./api.js";
import { count, dotted, h, kind, linkTo, nothing, part, when } from "./dom.js";
import { reasons, stacked } from "./score.js";

const OUTSIDE = "outside"; // recalls that no run made, such as those of this page

/** Group receipts by run, newest first. */
function grouped(receipts) {
  const runs = new Map();
  for (const receipt of receipts) {
    const id = receipt.run_id ?? OUTSIDE;
    if (!runs.has(id)) runs.set(id, { id, receipts: [] });
    runs.get(id).receipts.push(receipt);
  }
  const outside = runs.get(OUTSIDE);
  runs.delete(OUTSIDE);
  return [...runs.values(), ...(outside ? [outside] : [])];
}

export const runs = {
  title: () => "Runs",
  load: async (route, _, signal) => ({
    items: grouped((await api.get("recalls", { signal, query: { limit: 200 } })).items),
    next: null,
  }),
  row: (run) => {
    const [latest] = run.receipts;
    const asked = run.id === OUTSIDE ? "Recalls outside of runs" : run.receipts.at(-1).query;
    return h(
      "a",
      { class: "row", href: linkTo("runs", run.id), "data-id": run.id },
      h("span", { class: "row-text" }, asked || "(no query)"),
      dotted(count(run.receipts.length, "recall"), count(latest.chosen.length, "memory", "memories"), when(latest.at)),
    );
  },
  empty: () => [
    "No run has recalled anything yet",
    h("p", null, "Every run of an agent begins with a recall, which leaves a receipt."),
  ],
  detail: showRun,
  needsList: true, // for recalls outside of runs
  placeholder: () =>
    nothing(
      "The recalls and writes of each run",
      h("p", null, "Choose a run to see the memories that it recalled, nearly recalled and wrote."),
    ),
};

async function showRun(route, items, signal) {
  const outside = route.id === OUTSIDE;
  const run = outside
    ? { written: [], recalled: items.find((item) => item.id === OUTSIDE)?.receipts ?? [] }
    : await api.get(`runs/${encodeURIComponent(route.id)}`, { signal });
  const source = run.recalled.find((receipt) => receipt.thread_id) ?? {};
  return h(
    "article",
    null,
    h(
      "header",
      null,
      h("h2", { tabindex: "-1" }, outside ? "Recalls outside of runs" : "Run"),
      outside
        ? dotted("Recalled through the HTTP API, by a tool, or by this page")
        : dotted(
            h("code", null, route.id),
            source.session_id && h("a", { href: linkTo("sessions", source.session_id) }, "session"),
            source.thread_id && h("a", { href: linkTo("threads", source.thread_id) }, "thread"),
          ),
    ),
    part(
      "Recalled",
      run.recalled.length
        ? run.recalled.map(receipt)
        : h("p", { class: "quiet-text" }, "Nothing, or its receipt is no longer stored."),
    ),
    !outside &&
      part(
        "Wrote",
        run.written.length
          ? h(
              "ul",
              { class: "rows cards" },
              run.written.map((memory) => h("li", null, memoryLink(memory))),
            )
          : h("p", { class: "quiet-text" }, "Nothing that is still as this run wrote it."),
      ),
  );
}

const memoryLink = (memory) =>
  h(
    "a",
    { class: "card", href: linkTo("memories", memory.id) },
    h("span", { class: "row-text" }, memory.content),
    dotted(kind(memory.type), when(memory.updated_at)),
  );

function receipt(recall) {
  return h(
    "section",
    { class: "receipt" },
    h("h4", null, "“", recall.query, "”"),
    dotted(
      when(recall.at),
      count(recall.chosen.length, "memory", "memories"),
      recall.nearly.length > 0 && `${recall.nearly.length} nearly`,
      "shown as they are now",
    ),
    chosen("Chosen", recall.chosen),
    recall.nearly.length > 0 &&
      h(
        "details",
        { class: "raw" },
        h("summary", null, "Nearly recalled: the memories that would have come next"),
        chosen("Nearly", recall.nearly),
      ),
  );
}

function chosen(title, entries) {
  return h(
    "ol",
    { class: "chosen", "aria-label": title },
    entries.map((entry) => {
      const parts = Object.keys(entry.parts ?? {}).length > 0;
      return h(
        "li",
        null,
        h(
          "a",
          { href: linkTo("memories", entry.id) },
          entry.content ?? h("span", { class: "gone" }, "forgotten since: ", h("code", null, entry.key)),
        ),
        parts &&
          h(
            "span",
            { class: "row-score" },
            stacked(entry.parts),
            h("span", { class: "number" }, (entry.score ?? 0).toFixed(2)),
          ),
        parts && h("p", { class: "meta sentence" }, reasons(entry.parts)),
      );
    }),
  );
}
