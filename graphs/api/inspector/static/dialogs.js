// Dialogs: confirmation, sign-in and keyboard shortcuts.

import { token } from "./api.js";
import { h } from "./dom.js";

/** Show a dialog and resolve with the value of the button that closed it; "" if it was dismissed. */
function shown(title, content, buttons, onsubmit) {
  return new Promise((resolve) => {
    const heading = h("h2", { id: "dialog-title" }, title);
    const form = h("form", { method: "dialog" }, heading, content, h("div", { class: "actions" }, buttons));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close(onsubmit ? onsubmit() : (event.submitter?.value ?? ""));
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close(""));
    // The browser gives the focus back when it closes. This event comes later, when the focus may
    // be elsewhere.
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

const button = (text, value, properties) =>
  h("button", { type: "submit", class: "button", value, ...properties }, text);

/** Return true while a dialog is open. It then handles the keys. */
export const isOpen = () => Boolean(document.querySelector("dialog[open]"));

/** Ask the user to choose one of some actions by its name; "" if they choose none. */
export function chosen(title, content, actions) {
  return shown(title, content, [
    button("Cancel", "", { autofocus: true }),
    ...actions.map((action) => button(action, action, { class: "button danger-solid" })),
  ]);
}

/** Ask for an access token. Resolves with true when it is entered, with false if the user cancels. */
export async function signIn(reason) {
  if (isOpen()) return false;
  const field = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    autofocus: true,
  });
  const answer = await shown(
    "Sign in",
    [
      h("p", null, reason),
      h("div", { class: "field" }, h("label", { for: "token" }, "Access token"), field),
      h("p", { class: "quiet-text" }, "It is kept until this tab closes, and is sent only to this server."),
    ],
    [button("Sign in", "yes", { class: "button primary" })],
    () => (field.value.trim() ? "yes" : ""),
  );
  if (answer !== "yes") return false;
  token.set(field.value.trim().replace(/^bearer\s+/i, ""));
  return true;
}

const KEYS = [
  ["/", "search"],
  ["j", "next in the list"],
  ["k", "previous in the list"],
  ["Enter", "open"],
  ["e", "correct"],
  ["p", "pin or unpin"],
  ["Delete", "forget"],
  ["Esc", "close, or back to the list"],
  ["?", "this help"],
];

/** Show the keyboard shortcuts. */
export function help() {
  return shown(
    "Keyboard",
    [
      h(
        "dl",
        { class: "keys" },
        KEYS.map(([key, what]) => h("div", null, h("dt", null, h("kbd", null, key)), h("dd", null, what))),
      ),
    ],
    [button("Close", "", { autofocus: true })],
  );
}
