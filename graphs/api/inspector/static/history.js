// The history of a memory: its versions, newest first, with the differences between them.

import { dotted, exactly, h, linkTo, when } from "./dom.js";

const MOST = 250_000; // cells of the table; a larger text counts as changed as a whole

const alike = (one, other) => one.trim() === other.trim();

/** Compare two texts by words: `[sign, text]` with "=" in both, "-" in the first, "+" in the second. */
function difference(before, after) {
  const a = before.match(/\s*\S+/g) ?? [],
    b = after.match(/\s*\S+/g) ?? [];
  const whole = [
    ["-", before],
    ["+", after],
  ];
  if (before === after) return [["=", after]];
  if (a.length * b.length > MOST) return whole;
  const width = b.length + 1;
  const common = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      common[i * width + j] = alike(a[i], b[j])
        ? common[(i + 1) * width + j + 1] + 1
        : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
  const found = [];
  const add = (sign, text) => (found.at(-1)?.[0] === sign ? (found.at(-1)[1] += text) : found.push([sign, text]));
  let i = 0,
    j = 0,
    same = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && alike(a[i], b[j])) {
      same++;
      add("=", b[j++]);
      i++;
    } else if (j >= b.length || (i < a.length && common[(i + 1) * width + j] >= common[i * width + j + 1]))
      add("-", a[i++]);
    else add("+", b[j++]);
  }
  return same * 5 < Math.min(a.length, b.length) ? whole : found;
}

/** A text with marked additions and removals since another. */
export function marked(before, after) {
  const pieces = difference(before, after).filter(([, text]) => text);
  return h(
    "p",
    { class: "version-text" },
    pieces.flatMap(([sign, text], n) => {
      if (sign === "=") return [text];
      const [, space, words] = text.match(/^(\s*)(.*)$/s);
      return [space || (n ? " " : ""), h(sign === "+" ? "ins" : "del", null, words)];
    }),
  );
}

/** Describe the other changes between two versions. */
function otherwise(before, after) {
  const said = [];
  if (before.importance !== after.importance && after.importance !== null && after.importance !== undefined)
    said.push(`importance ${percent(before.importance)} → ${percent(after.importance)}`);
  const had = before.tags ?? [],
    has = after.tags ?? [];
  said.push(...has.filter((tag) => !had.includes(tag)).map((tag) => `tag ${tag} added`));
  said.push(...had.filter((tag) => !has.includes(tag)).map((tag) => `tag ${tag} removed`));
  if (Boolean(before.pinned) !== Boolean(after.pinned)) said.push(after.pinned ? "pinned" : "no longer pinned");
  return said.join(", ");
}

export const percent = (share) => (share === null || share === undefined ? "none" : `${Math.round(share * 100)} %`);

/**
 * The versions as a timeline.
 *
 * `current` is the current version, or null if the memory was forgotten. `versions` are the earlier
 * ones, newest first.
 */
export function timeline(current, versions, more) {
  const past = versions.map((version) => ({
    content: version.content,
    importance: version.value?.importance,
    tags: version.value?.tags,
    pinned: version.value?.pinned,
    from: version.valid_from,
    to: version.valid_to,
    run: version.run_id,
    ended: version.operation,
  }));
  const all = current
    ? [{ ...current, from: versions.length ? versions[0].valid_to : current.created_at }, ...past]
    : past;
  const entries = all.map((version, n) =>
    entry(version, all[n + 1], n === 0 && current !== null, !all[n + 1] && !more),
  );
  return h("ol", { class: "timeline" }, entries, more && h("li", { class: "meta" }, "There are earlier versions."));
}

function entry(version, before, now, first) {
  const other = before && otherwise(before, version);
  const until =
    version.ended === "delete" ? ["forgotten ", when(version.to)] : ["until ", exactly(version.to ?? version.from)];
  return h(
    "li",
    { class: now ? "now" : version.ended === "delete" ? "gone" : null },
    dotted(
      h("strong", null, now ? "Now" : first ? "At first" : "Before"),
      h("span", null, "since ", exactly(version.from)),
      !now && h("span", null, ...until),
      version.run && h("a", { href: linkTo("runs", version.run) }, "run"),
    ),
    before
      ? marked(before.content ?? "", version.content ?? "")
      : h("p", { class: "version-text" }, version.content ?? ""),
    other && h("p", { class: "meta" }, other),
  );
}
