// Where a message is written: a new one, an answer, or another text for an old one.

import { h, icon, iconButton } from "../ui.js";
import { shortened } from "./message_view.js";

const MAX = 4096;
const HIGHEST = 200;

/** Texts that were not sent, by room, while others are looked at. */
const unsent = new Map();

/** on: {send(text, replyTo), save(message, text), typing(), editLast(), back()} */
export function composer(room, title, on) {
  const input = h("textarea", { rows: 1, dir: "auto", maxlength: MAX, placeholder: `Message to ${title}`, "aria-label": `Message to ${title}`, enterkeyhint: "send" });
  // Who has a keyboard writes at once; on a phone it would cover half of what is to be read.
  if (matchMedia("(hover: hover) and (pointer: fine)").matches) input.dataset.focus = "";
  const send = h("button", { type: "submit", class: "primary send", "aria-label": "Send", title: "Send (Enter)" }, icon("send"));
  const about = h("span", {});
  const context = h("div", { class: "writing-about", hidden: true }, about, iconButton("close", "Cancel (Escape)", { onclick: () => cancel() }));
  const node = h("form", { class: "composer" }, context, h("div", { class: "composer-line" }, input, send));
  let target = null;

  const fit = () => {
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight + 2, HIGHEST)}px`;
  };
  const write = (text) => {
    input.value = text;
    fit();
  };
  const begin = (kind, message) => {
    target = { kind, message };
    about.replaceChildren(kind === "edit" ? "Editing your message" : h("span", {}, "Reply to ", h("strong", {}, message.author ?? ""), `: ${shortened(message.text, 80)}`));
    context.hidden = false;
    if (kind === "edit") write(message.text);
    input.focus();
    input.setSelectionRange(input.value.length, input.value.length);
  };
  const cancel = () => {
    if (target?.kind === "edit") write("");
    target = null;
    context.hidden = true;
    input.focus();
  };

  node.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value;
    if (text.trim() === "") return;
    const was = target;
    write("");
    unsent.delete(room);
    target = null;
    context.hidden = true;
    if (was?.kind === "edit") on.save(was.message, text, () => begin("edit", { ...was.message, text }));
    else on.send(text, was?.message.seq ?? null);
    input.focus();
  });
  input.addEventListener("input", () => {
    fit();
    if (target?.kind !== "edit") unsent.set(room, input.value);
    if (input.value.trim()) on.typing();
  });
  input.addEventListener("keydown", (event) => {
    // While an input method is composing, Enter is its own.
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      node.requestSubmit();
    } else if (event.key === "Escape" && target) {
      event.preventDefault();
      cancel();
    } else if (event.key === "ArrowUp" && input.value === "") {
      event.preventDefault();
      on.editLast();
    }
  });
  requestAnimationFrame(() => write(unsent.get(room) ?? ""));
  return { node, reply: (message) => begin("reply", message), edit: (message) => begin("edit", message), focus: () => input.focus() };
}
