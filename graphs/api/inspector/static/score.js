// The parts of a score: bars, numbers, and a sentence that says why a memory was recalled.

import { h, styled } from "./dom.js";

/** The parts of a score in the order of the bars: name, group, meaning, and the words of a sentence. */
const PARTS = {
  similarity: [
    "Meaning",
    "relevance",
    "Similarity of the vectors of the memory and the query.",
    "its meaning is close to the query",
  ],
  keywords: [
    "Text",
    "relevance",
    "Words that it shares with the query; rare words count more.",
    "it contains words of the query",
  ],
  context: [
    "Context",
    "relevance",
    "The turns just before and after it fit the query.",
    "the turns around it fit the query",
  ],
  length: ["Substance", "relevance", "It says more than a few words.", "it has substance"],
  label: ["Label", "relevance", "The query names its label, such as the speaker.", "the query names its label"],
  recency: ["Recency", "recency", "The time since its last change; the value halves with every half-life.", "it is recent"],
  importance: ["Importance", "importance", "The importance that it was stored with.", "it is important"],
};

const number = (value) => (value > 0 && value < 0.005 ? "<0.01" : value.toFixed(2).replace("-", "−"));

/** Return the parts that are not zero: `[name, value]`, in the order of the bars. */
function partsOf(explanation) {
  return Object.keys(PARTS)
    .filter((name) => Math.abs(explanation?.[name] ?? 0) > 1e-6) // a dissimilar text has a negative part
    .map((name) => [name, explanation[name]]);
}

/** One bar: its length is the score, up to 1, and its pieces are the parts. */
export function stacked(explanation) {
  const parts = partsOf(explanation);
  const spoken = parts.map(([name, value]) => `${PARTS[name][0]} ${number(value)}`).join(", ");
  return h(
    "div",
    { class: "stacked", role: "img", "aria-label": spoken || "No score" },
    parts
      .filter(([, value]) => value > 0)
      .map(([name, value]) =>
        styled(h("span", { "data-part": name, title: `${PARTS[name][0]} ${number(value)}` }), "--share", value),
      ),
  );
}

/** The reason in words: the largest parts of the score. */
export const because = (explanation) => {
  const said = reasons(explanation);
  return said ? `Recalled because ${said}.` : "It does not fit the query and only fills the rest of the list.";
};

/** The largest parts in words; empty if no part is positive. */
export function reasons(explanation) {
  const parts = partsOf(explanation)
    .filter(([, value]) => value > 0)
    .sort((a, b) => b[1] - a[1]);
  const total = parts.reduce((sum, [, value]) => sum + value, 0);
  const most = parts.filter(([, value], n) => n === 0 || value >= total * 0.15).slice(0, 3);
  const said = most.map(([name, value]) => `${PARTS[name][3]} (${Math.round((value / total) * 100)} %)`);
  const last = said.pop() ?? "";
  return said.length ? `${said.join(", ")} and ${last}` : last;
}

/** The whole score: a table of bars with numbers, which add up. */
export function table(explanation, score) {
  const parts = partsOf(explanation);
  const most = Math.max(...parts.map(([, value]) => value), 0.01);
  const relevance = parts.filter(([name]) => PARTS[name][1] === "relevance").reduce((sum, [, value]) => sum + value, 0);
  const row = ([name, value]) =>
    h(
      "tr",
      { class: PARTS[name][1] === "relevance" ? "within" : null },
      h("th", { scope: "row", title: PARTS[name][2] }, PARTS[name][0]),
      h("td", { class: "bar" }, styled(h("span", { "data-part": name }), "--share", value / most)),
      h("td", { class: "number", "data-value": value }, number(value)),
    );
  const sum = (name, value, kind) =>
    h("tr", { class: kind }, h("th", { scope: "row" }, name), h("td"), h("td", { class: "number" }, number(value)));
  const inside = (group) => parts.filter(([name]) => (PARTS[name][1] === "relevance") === group);
  return h(
    "table",
    { class: "score" },
    h("caption", { class: "hidden" }, "The parts of the score"),
    h(
      "thead",
      { class: "hidden" },
      h(
        "tr",
        null,
        ["Part", "Bar", "Value"].map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    h("tbody", null, sum("Relevance", relevance, "group"), inside(true).map(row), inside(false).map(row)),
    h("tfoot", null, sum("Score", score, "total")),
  );
}

/** A legend of the parts. */
export function legend(open = false) {
  return h(
    "details",
    { class: "legend", open },
    h("summary", null, "Meaning of the parts"),
    h(
      "dl",
      null,
      Object.entries(PARTS).map(([name, [title, , meaning]]) =>
        h("div", null, h("dt", { "data-part": name }, title), h("dd", null, meaning)),
      ),
    ),
  );
}
