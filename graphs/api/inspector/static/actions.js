// Correct, forget and pin. Each names the version on the screen: if the memory was changed since,
// nothing is written, and the user sees the current version.

import { api } from "./api.js";
import { chosen } from "./dialogs.js";
import { h, icon, shortened, toast } from "./dom.js";
import { marked } from "./history.js";

const known = new WeakMap(); // by article on the screen: {article, memory, etag}

const CHANGED = "The memory was changed by someone else, so nothing was overwritten.";

/** Register the memory of an article for the actions. */
export const attach = (article, memory, etag) => known.set(article, { article, memory, etag });

const onScreen = () => known.get(document.querySelector("#detail article"));

/** The buttons of a memory. */
export function actions(memory) {
  const button = (name, text, key, onclick, more) =>
    h("button", { type: "button", class: "button", onclick, "aria-keyshortcuts": key, ...more }, icon(name), text);
  return h(
    "div",
    { class: "actions" },
    memory.type !== "turn" && button("edit", "Correct", "e", correct),
    button("pin", memory.pinned ? "Unpin" : "Pin", "p", pin, { "aria-pressed": String(memory.pinned) }),
    button("forget", "Forget", "Delete", forget, { class: "button danger" }),
  );
}

const reload = (detail) => window.dispatchEvent(new CustomEvent("memory-changed", { detail }));

/** Pin or unpin the memory on the screen. */
export async function pin() {
  const shown = onScreen();
  if (!shown) return;
  const pinned = !shown.memory.pinned;
  try {
    await api.revise(shown.memory.id, shown.etag, { pinned });
    toast(pinned ? "Pinned: it neither decays nor expires." : "No longer pinned.");
  } catch (error) {
    toast(error.status === 412 ? `${CHANGED} This is the current version.` : error.message);
  }
  reload({ focus: '[aria-keyshortcuts="p"]' });
}

/** Forget the memory on the screen, after a confirmation. */
export async function forget() {
  const shown = onScreen();
  if (!shown) return;
  const { memory, etag } = shown;
  const action = await chosen(
    "Forget this memory?",
    [
      h("blockquote", null, h("p", null, shortened(memory.content, 280))),
      h("p", null, "No agent will recall it. Its last version stays in the history, which only you can see."),
      h("p", null, "Erased for good, it goes with its history, and nothing brings it back."),
    ],
    ["Erase for good", "Forget"],
  );
  if (!action) return;
  const forGood = action === "Erase for good";
  try {
    await api.forget(memory.id, etag, forGood);
    toast(forGood ? "Erased for good." : "Forgotten.");
    reload({ gone: true });
  } catch (error) {
    toast(error.status === 412 ? `${CHANGED} This is the current version.` : error.message);
    reload({});
  }
}

/** Edit the memory on the screen, in place. */
export function correct() {
  const shown = onScreen();
  if (!shown || shown.memory.type === "turn" || shown.article.querySelector("form.edit")) return;
  const { article, memory } = shown;
  let etag = shown.etag;
  const text = h("textarea", { id: "edit-content", rows: "4", required: true, maxlength: "20000" });
  text.value = memory.content;
  const tags = h("input", { id: "edit-tags", type: "text", value: memory.tags.join(", "), autocomplete: "off" });
  const importance = h("input", {
    id: "edit-importance",
    type: "range",
    min: "0",
    max: "1",
    step: "0.05",
    value: memory.importance ?? 0.5,
  });
  const share = h("output", { for: "edit-importance" });
  const asShown = importance.value; // rounded to steps, so it may differ from the memory's own
  const tell = () => (share.textContent = `${Math.round(importance.value * 100)} %`);
  importance.addEventListener("input", tell);
  tell();
  const notice = h("div", { class: "notice", role: "alert", hidden: true });
  const save = h("button", { type: "submit", class: "button primary" }, "Save");
  const field = (control, ...label) => h("div", { class: "field" }, h("label", { for: control.id }, label), control);
  const form = h(
    "form",
    { class: "edit", "aria-label": "Correct this memory" },
    field(text, "Correct text"),
    h(
      "div",
      { class: "fields" },
      field(tags, "Tags, separated by commas"),
      field(importance, "Importance ", share),
    ),
    notice,
    h(
      "div",
      { class: "actions" },
      save,
      h("button", { type: "button", class: "button", onclick: () => close() }, "Cancel"),
    ),
  );
  const header = article.querySelector("header"),
    buttons = article.querySelector(".actions");

  function close() {
    form.remove();
    header.hidden = buttons.hidden = false;
    buttons.querySelector("button").focus();
  }

  function changes() {
    const change = {};
    const given = tags.value
      .split(",")
      .map((tag) => tag.trim())
      .filter(Boolean);
    if (text.value !== memory.content) change.content = text.value;
    if (given.join() !== memory.tags.join()) change.tags = given;
    if (importance.value !== asShown) change.importance = Number(importance.value);
    return change;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const change = changes();
    if (!Object.keys(change).length) return close();
    save.disabled = true;
    try {
      await api.revise(memory.id, etag, change);
      toast("Corrected. The earlier version stays in the history.");
      reload({ focus: "h2" });
    } catch (error) {
      save.disabled = false;
      if (error.status !== 412) return say(h("p", null, error.message));
      const now = await api.memory(memory.id).catch(() => null);
      if (!now) return say(h("p", null, "The memory was forgotten in the meantime."));
      etag = now.etag;
      save.textContent = "Overwrite with mine";
      say(
        h("p", null, CHANGED, " These are the differences between the current version and yours:"),
        marked(now.body.content, text.value),
        h(
          "button",
          { type: "button", class: "button", onclick: () => reload({ focus: "h2" }) },
          "Keep the current version",
        ),
      );
    }
  });

  function say(...what) {
    notice.hidden = false;
    notice.replaceChildren(...what);
  }

  header.hidden = buttons.hidden = true;
  header.after(form);
  form.addEventListener("close-edit", close);
  text.focus();
  text.setSelectionRange(text.value.length, text.value.length);
}
