// The graph of relationships around a memory. The layout is computed once and is deterministic.

import { api } from "./api.js";
import { count, h, kind, linkTo, problem, s, shortened } from "./dom.js";

const ROUNDS = 200;
const HOPS = [1, 2, 3];

/** The graph of a memory, with a choice of its depth, and the same edges as a table. */
export function graph(id, found, hops = 2) {
  const holder = h("div", { class: "graph" });
  const show = (related) => holder.replaceChildren(...drawn(id, related, choice));
  const choice = h(
    "fieldset",
    { class: "hops" },
    h("legend", { class: "hidden" }, "Depth"),
    HOPS.map((n) =>
      h(
        "label",
        null,
        h("input", {
          type: "radio",
          name: "hops",
          value: n,
          checked: n === hops,
          onchange: async () => {
            try {
              show(await api.about(id, "graph", { query: { hops: n, limit: 40 } }));
              holder.querySelector(`input[value="${n}"]`)?.focus();
            } catch (error) {
              holder.append(problem(error));
            }
          },
        }),
        h("span", null, count(n, "step")),
      ),
    ),
  );
  show(found);
  return holder;
}

function drawn(id, { nodes, edges }, choice) {
  if (!edges.length) return [h("p", { class: "quiet-text" }, "It has no relationships.")];
  const by = new Map(nodes.map((node) => [node.id, node]));
  const known = edges.filter((edge) => by.has(edge.source) && by.has(edge.target));
  const figure = h("div", { class: "drawing" });
  const draw = (width) => figure.replaceChildren(picture(id, by, known, width));
  new ResizeObserver(([entry]) => draw(Math.max(Math.round(entry.contentRect.width), 280))).observe(figure);
  draw(720);
  return [choice, figure, asTable(by, known)];
}

/** Lay out the memories: on rings by distance first, then by forces (edges attract, nodes repel). */
function placed(id, by, edges) {
  const at = new Map([[id, { id, depth: 0, x: 0, y: 0 }]]);
  for (let depth = 1, ring = [id]; ring.length; depth++) {
    const next = new Set(
      edges.flatMap(({ source, target }) =>
        [ring.includes(source) && target, ring.includes(target) && source].filter((end) => end && !at.has(end)),
      ),
    );
    ring = [...next];
    ring.forEach((end, n) => {
      const angle = ((n + (depth - 1) * 0.4) / ring.length) * 2 * Math.PI;
      at.set(end, { id: end, depth, x: Math.cos(angle) * depth, y: Math.sin(angle) * depth });
    });
  }
  const nodes = [...at.values()];
  for (let round = 0; round < ROUNDS; round++)
    settle(
      nodes,
      edges.map(({ source, target }) => [at.get(source), at.get(target)]),
      0.25 * (1 - round / ROUNDS),
    );
  return at;
}

/** One step of Fruchterman and Reingold's method: nodes repel, edges attract, no node moves more than `most`. */
function settle(nodes, springs, most) {
  for (const node of nodes) node.fx = node.fy = 0;
  const push = (a, b, force) => {
    const x = a.x - b.x || 0.01,
      y = a.y - b.y || 0.01,
      distance = Math.hypot(x, y);
    const f = force(distance) / distance;
    a.fx += x * f;
    a.fy += y * f;
    b.fx -= x * f;
    b.fy -= y * f;
  };
  nodes.forEach((a, n) => nodes.slice(n + 1).forEach((b) => push(a, b, (distance) => 1 / distance)));
  for (const [a, b] of springs) push(a, b, (distance) => -distance * distance);
  for (const node of nodes.slice(1)) {
    const force = Math.hypot(node.fx, node.fy) || 1,
      step = Math.min(force, most) / force;
    node.x += node.fx * step;
    node.y += node.fy * step;
  }
}

/** Scale the layout to a width in pixels, and return the height that it needs. */
function fitted(nodes, width) {
  const narrow = width < 500;
  const side = narrow ? 62 : 96,
    top = 26,
    bottom = 50;
  const span = (name) => [Math.min(...nodes.map((node) => node[name])), Math.max(...nodes.map((node) => node[name]))];
  const [left, right] = span("x"),
    [high, low] = span("y");
  const sx = Math.min((width - 2 * side) / (right - left || 1), 210),
    sy = Math.min(410 / (low - high || 1), 130);
  const height = Math.max((low - high) * sy + top + bottom, 150);
  for (const node of nodes) {
    node.x = width / 2 + (node.x - (left + right) / 2) * sx;
    node.y = top + (height - top - bottom) / 2 + (node.y - (high + low) / 2) * sy;
  }
  return Math.round(height);
}

function picture(id, by, edges, width) {
  const at = placed(id, by, edges);
  const height = fitted([...at.values()], width);
  const drawing = s(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Graph of relationships" },
    s(
      "defs",
      null,
      s(
        "marker",
        { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
        s("path", { d: "M0 0.8 7 4 0 7.2Z" }),
      ),
    ),
  );
  const half = width < 500 ? 52 : 84;
  const taken = [...at.values()].map(({ x, y }) => ({ x, y: y + 20, half, tall: 30 })); // by the labels of nodes
  for (const edge of edges) drawing.append(line(at.get(edge.source), at.get(edge.target), edge, taken));
  for (const node of [...at.values()].sort((a, b) => a.depth - b.depth))
    drawing.append(dot(node, by.get(node.id), width));
  return drawing;
}

const RADIUS = 9;

function line(a, b, { type, strength }, taken) {
  const length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  const ux = (b.x - a.x) / length,
    uy = (b.y - a.y) / length;
  const said = roomFor(type.length * 2.9, a, b, taken);
  const [x1, y1, x2, y2] = [
    a.x + ux * (RADIUS + 3),
    a.y + uy * (RADIUS + 3),
    b.x - ux * (RADIUS + 5),
    b.y - uy * (RADIUS + 5),
  ];
  return s(
    "g",
    { class: "edge", "aria-hidden": "true" },
    s("title", null, `${type}, strength ${strength.toFixed(2)}`),
    s("line", { x1, y1, x2, y2, "stroke-width": (0.8 + strength * 1.6).toFixed(2), "marker-end": "url(#arrow)" }),
    s("text", { x: said.x, y: said.y + 4, "text-anchor": "middle" }, type.replaceAll("_", " ")),
  );
}

/** Find a free place for an edge's label, as near to its middle as possible. */
function roomFor(half, a, b, taken) {
  const places = [0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74].map((t) => ({
    x: a.x + (b.x - a.x) * t,
    y: a.y + (b.y - a.y) * t,
    half,
    tall: 8,
  }));
  const free = (place) =>
    taken.every(
      (other) =>
        Math.abs(other.x - place.x) > other.half + half || Math.abs(other.y - place.y) > other.tall + place.tall,
    );
  const found = places.find(free) ?? places[0];
  taken.push(found);
  return found;
}

function dot({ id, x, y, depth }, memory, width) {
  const [first, second] = inTwo(memory.content, width < 500 ? 17 : 27);
  const drawn = [
    s("title", null, memory.content),
    s("circle", { cx: x, cy: y, r: depth ? RADIUS : RADIUS + 3, "data-type": memory.type ?? "other" }),
    s(
      "text",
      { x, y: y + (depth ? 25 : 29), "text-anchor": "middle" },
      s("tspan", null, first),
      second && s("tspan", { x, dy: 14 }, second),
    ),
  ];
  if (!depth) return s("g", { class: "node centre" }, drawn);
  return s(
    "a",
    {
      class: "node",
      href: linkTo("memories", id),
      "aria-label": `${memory.type ?? "memory"}: ${shortened(memory.content, 120)}`,
    },
    drawn,
  );
}

/** Split a text into two lines of at most `most` characters. */
function inTwo(text, most) {
  const words = text.replace(/\s+/g, " ").trim().split(" ");
  let first = words.shift();
  while (words.length && first.length + words[0].length < most) first += ` ${words.shift()}`;
  return [shortened(first, most), words.length ? shortened(words.join(" "), most) : null];
}

function asTable(by, edges) {
  const name = (id) => h("a", { href: linkTo("memories", id) }, shortened(by.get(id).content, 90));
  return h(
    "details",
    { class: "raw" },
    h("summary", null, "The same as a table"),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Relationships as a table" },
      h(
        "table",
        { class: "edges" },
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            ["From", "is", "To", "Strength"].map((title) => h("th", { scope: "col" }, title)),
          ),
        ),
        h(
          "tbody",
          null,
          edges.map((edge) =>
            h(
              "tr",
              null,
              h("td", null, kind(by.get(edge.source).type), " ", name(edge.source)),
              h("td", null, edge.type.replaceAll("_", " ")),
              h("td", null, kind(by.get(edge.target).type), " ", name(edge.target)),
              h("td", { class: "number" }, edge.strength.toFixed(2)),
            ),
          ),
        ),
      ),
    ),
  );
}
