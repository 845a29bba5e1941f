// The lines of a session: its runs as a tree, what each wrote, undo and redo.

import { api } from "./api.js";
import { chosen } from "./dialogs.js";
import { count, dotted, exactly, h, kind, linkTo, part, shortened, toast, when } from "./dom.js";
import { marked } from "./history.js";

const MOST = 200; // runs that are drawn
const STATUS = { kept: null, left: "left", undone: "undone" };
const WHY = { set_aside: "set aside", forgotten: "forgotten", replaced: "replaced later" };
const OUTCOME = {
  removed: "removed",
  restored: "an earlier value again",
  brought_back: "back again",
  left: "stays: it was written again later",
  refused: "stays: you may not write there today",
  lost: "removed; the value before it is not known",
};

/** Load a session's runs, for `lines`. */
export const loadRuns = (session, signal) =>
  api.get("runs", { signal, query: { session_id: session, limit: MOST } });

/** The runs of a session as a tree. `said` are the messages that are known, by run. */
export function lines({ items, next }, said) {
  const runs = items.toReversed(); // the first one first
  if (!runs.length) return null;
  const known = new Map(runs.map((run) => [run.run_id, run]));
  const before = (run) => known.get(run.resumes) ?? known.get(run.parent_run);
  const after = Map.groupBy(runs, before);
  const onHead = new Set();
  for (let run = runs.find((each) => each.is_head); run && !onHead.has(run); run = before(run)) onHead.add(run);
  const weight = (run) => (onHead.has(run) ? 2 : run.status === "kept" ? 1 : 0);
  const heaviest = (some = []) => some.toSorted((one, other) => weight(other) - weight(one));

  /** A line from its first run to its end. The other branches from a run are below it. */
  function line(first, label) {
    const entries = [];
    for (let run = first; run; ) {
      const [going, ...others] = heaviest(after.get(run));
      entries.push(entry(run, said, others.map((other) => line(other, "Branch"))));
      run = going;
    }
    return h("ol", { class: "line", "aria-label": label }, entries);
  }

  return part(
    "Runs",
    h(
      "p",
      { class: "quiet-text" },
      "Each run, and what it wrote to the memory. An edit or a fork begins a branch. What the branch with the head says counts.",
    ),
    heaviest(after.get(undefined)).map((first, n) => line(first, n ? "Branch from the beginning" : "Runs")),
    next && h("p", { class: "quiet-text" }, `Only the latest ${MOST} are shown.`),
  );
}

function entry(run, said, branches) {
  const label = said.get(run.run_id);
  const wrote = Boolean(run.wrote_at || run.memories);
  return h(
    "li",
    { class: [run.is_head && "now", run.status !== "kept" && "gone"].filter(Boolean).join(" ") || null },
    h("p", { class: "version-text" }, label ? shortened(label, 120) : `Run of ${exactly(run.began_at)}`),
    dotted(
      run.is_head && h("strong", null, "head"),
      STATUS[run.status] && h("strong", null, STATUS[run.status]),
      h("a", { href: linkTo("runs", run.run_id) }, "run"),
      run.agent,
      when(run.began_at),
      run.as_of && h("span", null, "reads the memory of ", exactly(run.as_of)),
      !wrote && "wrote nothing",
    ),
    wrote && writings(run),
    wrote && h("div", { class: "actions" }, change(run)),
    branches,
  );
}

/** What a run wrote, which is loaded when it is unfolded. */
function writings(run) {
  const place = h("div", null);
  const folded = h(
    "details",
    { class: "raw" },
    h("summary", null, run.status === "kept" ? `Wrote ${count(run.memories, "memory", "memories")}` : "What it wrote"),
    place,
  );
  folded.addEventListener("toggle", async () => {
    if (!folded.open || place.childElementCount) return;
    place.setAttribute("aria-busy", "true");
    try {
      const did = await api.get(`runs/${encodeURIComponent(run.run_id)}`);
      place.replaceChildren(
        h("ul", { class: "rows cards" }, did.written.map(standing), did.set_aside.map(aside)),
        did.written.length + did.set_aside.length ? "" : h("p", { class: "quiet-text" }, "Nothing that is still known."),
      );
    } catch (error) {
      place.replaceChildren(h("p", null, error.message));
    } finally {
      place.removeAttribute("aria-busy");
    }
  });
  return folded;
}

const standing = (memory) =>
  h(
    "li",
    null,
    h("a", { href: linkTo("memories", memory.id) }, memory.content),
    dotted(kind(memory.type), when(memory.updated_at)),
  );

const aside = (version) =>
  h(
    "li",
    { class: "gone" },
    h("p", null, version.content ?? version.key),
    dotted(kind(version.type), when(version.written_at), WHY[version.why]),
  );

function change(run) {
  const way = run.status === "kept" ? "undo" : "redo";
  const name = way === "undo" ? "Undo" : "Redo";
  return h(
    "button",
    {
      type: "button",
      class: "button",
      "data-run": run.run_id,
      "aria-label": `${name} the run of ${exactly(run.began_at)}`,
      onclick: ({ currentTarget }) => settle(run, way, name, currentTarget),
    },
    name,
  );
}

/** Undo or redo a run, once the user has seen what that changes. */
async function settle(run, way, name, button) {
  const path = `runs/${encodeURIComponent(run.run_id)}/${way}`;
  button.disabled = true;
  try {
    const { changes } = await api.post(path, { dry_run: true });
    button.disabled = false;
    button.focus();
    const action = await chosen(`${name} this run?`, [diff(changes)], [`${name} the run`]);
    if (!action) return;
    await api.post(path);
    toast(way === "undo" ? "Undone: what it wrote is set aside." : "What it wrote counts again.");
    const focus = `[data-run="${CSS.escape(run.run_id)}"]`;
    window.dispatchEvent(new CustomEvent("memory-changed", { detail: { focus } }));
  } catch (error) {
    button.disabled = false;
    toast(error.message);
  }
}

/** What an undo or a redo changes: the texts before and after. */
function diff(changes) {
  const moved = changes.filter((each) => !["left", "refused"].includes(each.outcome));
  const stays = changes.filter((each) => !moved.includes(each));
  const entries = [...moved, ...stays].map((each) =>
    h(
      "li",
      null,
      each.before === each.after
        ? h("p", { class: "version-text" }, each.after ?? each.key)
        : marked(each.before ?? "", each.after ?? ""),
      dotted(OUTCOME[each.outcome]),
    ),
  );
  return h(
    "div",
    { class: "changes" },
    h(
      "p",
      null,
      moved.length ? `${count(moved.length, "memory changes", "memories change")}:` : "No memory changes.",
    ),
    entries.length > 0 && h("ul", { class: "scroll-down", tabindex: "0", "aria-label": "Changes" }, entries),
  );
}
