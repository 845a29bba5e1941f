// Elements of the page. Text is inserted only as text, never as markup: a memory may contain anything.

const SVG = "http://www.w3.org/2000/svg";

/** Create an element. Properties are attributes, `on…` are listeners; false, null and undefined are skipped. */
export function h(tag, properties, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** Create an SVG element. */
export function s(tag, properties, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const icon = (name) => s("svg", { class: "icon", "aria-hidden": "true" }, s("use", { href: `#i-${name}` }));

/** Set a custom property for CSS. The page's policy forbids `style` attributes. */
export function styled(element, name, value) {
  element.style.setProperty(name, value);
  return element;
}

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });
const ABSOLUTE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const UNITS = [
  ["year", 31557600],
  ["month", 2629800],
  ["week", 604800],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

/** A time as its age, with date and time as the title. */
export function when(moment) {
  if (!moment) return "";
  const date = new Date(moment);
  return h("time", { datetime: moment, title: ABSOLUTE.format(date) }, ago(date));
}

export const exactly = (moment) => ABSOLUTE.format(new Date(moment));

function ago(date) {
  const seconds = (date - Date.now()) / 1000;
  for (const [unit, length] of UNITS)
    if (Math.abs(seconds) >= length) return RELATIVE.format(Math.round(seconds / length), unit);
  return seconds > 0 ? "soon" : "just now";
}

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export const shortened = (text, length) => (text.length > length ? `${text.slice(0, length - 1).trimEnd()}…` : text);

/** The address of an item in a section. */
export const linkTo = (section, id, query = "") => `#/${section}/${encodeURIComponent(id)}${query}`;

/** The type of a memory, with its colour. */
export const kind = (type) => h("span", { class: "kind", "data-type": type ?? "other" }, type ?? "memory");

/** Parts separated by dots; empty ones are skipped. */
export const dotted = (...parts) =>
  h(
    "p",
    { class: "meta" },
    parts.filter(Boolean).map((part) => h("span", null, part)),
  );

/** A part of the view, under a heading. */
export const part = (title, ...children) => h("section", { class: "part" }, h("h3", null, title), ...children);

/** A placeholder for an empty view. */
export const nothing = (title, ...children) =>
  h("div", { class: "nothing" }, h("p", { class: "nothing-title" }, title), ...children);

/** An error, with a button to try again. */
export const problem = (error, again) =>
  h(
    "div",
    { class: "nothing", role: "alert" },
    h("p", { class: "nothing-title" }, "This could not be loaded"),
    h("p", null, error.message),
    again && h("button", { type: "button", class: "button", onclick: again }, "Try again"),
  );

/** Collapsed JSON. */
export const raw = (title, value) => h("details", { class: "raw" }, h("summary", null, title), json(value));

export const json = (value) => h("pre", { tabindex: "0" }, JSON.stringify(value, null, 2));

/** Announce a text to screen readers. */
export function announce(text) {
  document.getElementById("status").textContent = text;
}

let toastTimer;

/** Show a message for four seconds, and announce it. */
export function toast(text) {
  const element = document.getElementById("toast");
  element.textContent = text;
  element.hidden = false;
  announce(text);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (element.hidden = true), 4000);
}
