// Pieces that all views use. Text is always text: h() sets attributes and appends text nodes.

import { h } from "../docs/dom.js";
import { ApiError, Unreachable } from "./api.js";
import { ago, counted, fullTime } from "./format.js";
import { href } from "./routes.js";

export { h };

// ---- icons and avatars ----

const PATHS = {
  heart: "M12 20.5 4.2 12.8a4.9 4.9 0 0 1 0-7 5 5 0 0 1 7 0l.8.8.8-.8a5 5 0 0 1 7 0 4.9 4.9 0 0 1 0 7z",
  back: "M15 5l-7 7 7 7",
  plus: "M12 5v14M5 12h14",
  send: "M4 12l16-8-6 16-3-6z",
  reply: "M9 6 3 12l6 6M3 12h11a7 7 0 0 1 7 7",
  smile: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM8.5 14.5a4.5 4.5 0 0 0 7 0M9 9.5v.5M15 9.5v.5",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  people: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20a6.5 6.5 0 0 1 13 0M16 4.5a3.5 3.5 0 0 1 0 6.5M18 14a6.5 6.5 0 0 1 3.5 6",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l4.5 4.5",
  close: "M6 6l12 12M18 6 6 18",
  check: "M5 12.5l4.5 4.5L19 7.5",
  down: "M12 5v14M6 13l6 6 6-6",
};
const SVG = "http://www.w3.org/2000/svg";

/** A drawing beside a text that says the same; hidden from those who do not see. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon alone. */
export function iconButton(name, label, attributes = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, ...attributes }, icon(name));
}

const HUES = 8;

/** The first letter of a name on a colour of its own. Pictures are not loaded: see README.md. */
export function avatar(username, size = "") {
  let sum = 0;
  for (const character of username) sum = (sum * 31 + character.codePointAt(0)) % 9973;
  const letter = [...username][0]?.toUpperCase() ?? "?";
  return h("span", { class: `avatar hue${sum % HUES} ${size}`, "aria-hidden": "true" }, letter);
}

export function time(value, text = ago(value)) {
  return h("time", { datetime: value, title: fullTime(value) }, text);
}

export function person(username, size = "small") {
  return h("a", { class: "person", href: href("profile", { username }) }, avatar(username, size), h("span", {}, username));
}

// ---- what is said ----

/** One sentence for people about what went wrong. */
export function explain(error) {
  if (error instanceof Unreachable) return "The server cannot be reached. Check the connection and try again.";
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 429) {
    return error.retryAfter ? `Too many requests. Try again in ${counted(error.retryAfter, "second")}.` : "Too many requests. Try again later.";
  }
  if (error.status >= 500) return "The server has a problem. Try again in a moment.";
  const entries = Object.entries(error.fields);
  if (entries.length === 0) return error.message;
  return `${entries.map(([field, messages]) => `${wordOf(field)} ${messages.join(", ")}`).join("; ")}.`;
}

const wordOf = (field) => {
  const words = field.replace(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`);
  return words.charAt(0).toUpperCase() + words.slice(1);
};

/** Says something to those who do not see the page. */
export function announce(text) {
  const region = document.getElementById("announcer");
  region.append(h("p", {}, text));
  while (region.childElementCount > 5) region.firstElementChild.remove();
}

const TOAST_MS = 6000;

/** Says something at the edge of the page, for a while. */
export function toast(text, kind = "") {
  const note = h("div", { class: `toast ${kind}` }, h("span", {}, text), iconButton("close", "Dismiss", { onclick: () => note.remove() }));
  const toasts = document.getElementById("toasts");
  toasts.append(note);
  while (toasts.childElementCount > 3) toasts.firstElementChild.remove();
  setTimeout(() => note.remove(), kind === "bad" ? TOAST_MS * 2 : TOAST_MS);
}

// ---- doing ----

/** Runs an action of a button: one at a time, and what goes wrong is said. True when it went well. */
export async function act(button, action) {
  if (button.getAttribute("aria-busy") === "true") return false;
  button.setAttribute("aria-busy", "true");
  try {
    await action();
    return true;
  } catch (error) {
    toast(explain(error), "bad");
    return false;
  } finally {
    button.removeAttribute("aria-busy");
  }
}

let dialogs = 0;

/** A dialog with a title; Escape and the button close it. content(close) gives what is in it. Ends with what close() was given. */
export function dialog(title, content, kind = "") {
  return new Promise((resolve) => {
    const id = `dialog-${++dialogs}`;
    let result;
    const close = (value) => {
      result = value;
      box.close();
    };
    const box = h(
      "dialog",
      { class: `dialog ${kind}`, "aria-labelledby": id },
      h("header", {}, h("h2", { id }, title), iconButton("close", "Close", { onclick: () => close() })),
      content(close),
    );
    box.addEventListener("close", () => {
      box.remove();
      resolve(result);
    });
    // A click beside it.
    box.addEventListener("click", (event) => event.target === box && close());
    document.body.append(box);
    box.showModal();
  });
}

/** What they asked belongs to what was shown. */
export function closeDialogs() {
  for (const box of document.querySelectorAll("dialog[open]")) box.close();
}

/** Whether somebody means it. */
export async function confirmed(question, yes, text = "") {
  const answer = await dialog(question, (close) =>
    h(
      "div",
      {},
      text && h("p", {}, text),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", class: "danger", onclick: () => close(true) }, yes),
        h("button", { type: "button", autofocus: true, onclick: () => close(false) }, "Cancel"),
      ),
    ),
  );
  return answer === true;
}

// ---- forms ----

let fields = 0;

/** A labelled control; attributes are those of the input, or of a textarea when `rows` is given. */
export function field(label, attributes, hint = "") {
  const id = `field-${++fields}`;
  const { value = "", rows, ...rest } = attributes;
  const described = hint ? `${id}-hint ${id}-fault` : `${id}-fault`;
  const shared = { id, dir: "auto", "aria-describedby": described, ...rest };
  const input = rows ? h("textarea", { rows, ...shared }) : h("input", { type: "text", ...shared });
  input.value = value;
  const fault = h("p", { id: `${id}-fault`, class: "fault", hidden: true });
  const node = h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    input,
    hint && h("p", { id: `${id}-hint`, class: "hint" }, hint),
    fault,
  );
  const say = (text) => {
    fault.textContent = text;
    fault.hidden = text === "";
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  input.addEventListener("input", () => say(""));
  return { node, input, say };
}

/**
 * A form that does something: fields by the names that the server has for them, buttons, and a place for what
 * belongs to no field. submit(event, onWait) may throw what the API throws, and calls onWait() when it takes longer because
 * the server is busy.
 */
export function form(known, buttons, submit, attributes = {}) {
  const whole = h("p", { class: "fault", role: "alert", hidden: true });
  const waits = h("p", { class: "hint", role: "status" });
  const node = h("form", { novalidate: true, ...attributes }, Object.values(known).map((one) => one.node), whole, waits, buttons);
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (node.getAttribute("aria-busy") === "true") return;
    node.setAttribute("aria-busy", "true");
    whole.hidden = true;
    for (const one of Object.values(known)) one.say("");
    try {
      await submit(event, () => (waits.textContent = "The server is busy. Trying again …"));
    } catch (error) {
      showFaults(error, known, whole);
    } finally {
      waits.textContent = "";
      node.removeAttribute("aria-busy");
    }
  });
  return node;
}

function showFaults(error, known, whole) {
  const text = explain(error);
  const own = error instanceof ApiError && error.status < 500 && error.status !== 429 ? Object.entries(error.fields) : [];
  const here = own.filter(([name]) => known[name]);
  for (const [name, messages] of here) known[name].say(messages.join(", "));
  if (here.length > 0) known[here[0][0]].input.focus();
  const rest = own.filter(([name]) => !known[name]);
  if (here.length > 0 && rest.length === 0) return;
  whole.textContent = here.length > 0 ? `${rest.map(([name, messages]) => `${wordOf(name)} ${messages.join(", ")}`).join("; ")}.` : text;
  whole.hidden = false;
}

/** A list of pages with a button for the next one. load(token) gives {items, next}; row(item) an element, or null. */
export async function pagedList(load, row, { empty, label, kind = "" }) {
  const list = h("ul", { class: `plain ${kind}`, "aria-label": label });
  const more = h("button", { type: "button", class: "more", hidden: true }, "Show more");
  const nothing = h("p", { class: "empty", hidden: true }, empty);
  let next;
  const page = async () => {
    const answer = await load(next);
    next = answer.next;
    const rows = answer.items.map(row).filter((one) => one);
    list.append(...rows);
    more.hidden = !next;
    nothing.hidden = list.childElementCount > 0;
    return rows[0];
  };
  more.addEventListener("click", () =>
    act(more, async () => {
      const first = await page();
      // Who came here by keyboard goes on where the new ones begin.
      first?.querySelector("a, button")?.focus();
    }),
  );
  await page();
  return h("div", { class: "paged" }, list, nothing, more);
}
