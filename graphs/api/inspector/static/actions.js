// Correct, forget, pin. Each is about the version that is on the screen: if the memory changed meanwhile, nothing is
// written, and the person sees what it says now.

import { api } from "./api.js";
import { confirmed } from "./dialogs.js";
import { h, icon, shortened, toast } from "./dom.js";
import { marked } from "./history.js";

const known = new WeakMap(); // what each article on the screen is about: {article, memory, etag}

const CHANGED = "It changed meanwhile, and nothing was overwritten.";

/** Have the actions know what an article is about. */
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

/** Pin what is shown, or take the pin out. */
export async function pin() {
  const shown = onScreen();
  if (!shown) return;
  const pinned = !shown.memory.pinned;
  try {
    await api.revise(shown.memory.id, shown.etag, { pinned });
    toast(pinned ? "Pinned: it neither fades nor expires." : "No longer pinned.");
  } catch (error) {
    toast(error.status === 412 ? `${CHANGED} This is how it is now.` : error.message);
  }
  reload({ focus: '[aria-keyshortcuts="p"]' });
}

/** Forget what is shown, if the person means it. */
export async function forget() {
  const shown = onScreen();
  if (!shown) return;
  const { memory, etag } = shown;
  const sure = await confirmed(
    "Forget this memory?",
    [
      h("blockquote", null, h("p", null, shortened(memory.content, 280))),
      h("p", null, "No agent will recall it. Its last version stays in the history, which only you can see."),
    ],
    "Forget",
  );
  if (!sure) return;
  try {
    await api.forget(memory.id, etag);
    toast("Forgotten.");
    reload({ gone: true });
  } catch (error) {
    toast(error.status === 412 ? `${CHANGED} This is how it is now.` : error.message);
    reload({});
  }
}

/** Correct what is shown, in its place. */
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
  const asShown = importance.value; // in steps, between which the memory's own may be
  const tell = () => (share.textContent = `${Math.round(importance.value * 100)} %`);
  importance.addEventListener("input", tell);
  tell();
  const notice = h("div", { class: "notice", role: "alert", hidden: true });
  const save = h("button", { type: "submit", class: "button primary" }, "Save");
  const field = (control, ...label) => h("div", { class: "field" }, h("label", { for: control.id }, label), control);
  const form = h(
    "form",
    { class: "edit", "aria-label": "Correct this memory" },
    field(text, "What is true"),
    h(
      "div",
      { class: "fields" },
      field(tags, "Tags, with commas between them"),
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
      toast("Corrected. What it said before stays in its history.");
      reload({ focus: "h2" });
    } catch (error) {
      save.disabled = false;
      if (error.status !== 412) return say(h("p", null, error.message));
      const now = await api.memory(memory.id).catch(() => null);
      if (!now) return say(h("p", null, "It was forgotten meanwhile."));
      etag = now.etag;
      save.textContent = "Save mine over it";
      say(
        h("p", null, CHANGED, " What it says now, and what yours would make of it:"),
        marked(now.body.content, text.value),
        h(
          "button",
          { type: "button", class: "button", onclick: () => reload({ focus: "h2" }) },
          "Keep what it says now",
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
