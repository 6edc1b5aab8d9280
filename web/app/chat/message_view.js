// Messages as elements.

import { clockTime, fullTime, names } from "../format.js";
import { renderMessage } from "../render.js";
import { href } from "../routes.js";
import { avatar, h, icon, iconButton } from "../ui.js";

const QUOTE_LENGTH = 140;
/** A message so soon after one of the same author needs no new head. */
const TOGETHER_MS = 5 * 60000;

export const shortened = (text, length = QUOTE_LENGTH) => (text.length > length ? `${text.slice(0, length)}…` : text);

/** Whether a message belongs under the head of the one before. */
export function follows(message, before) {
  return (
    before !== undefined &&
    before.author === message.author &&
    message.replyTo === null &&
    Date.parse(message.createdAt) - Date.parse(before.createdAt) < TOGETHER_MS
  );
}

function quoteOf(timeline, seq, room) {
  const quoted = timeline.bySeq.get(seq);
  const text = !quoted ? "An earlier message" : quoted.deletedAt ? "Deleted message" : shortened(quoted.text);
  return h("a", { class: "quote", href: href("room", { room }, { at: String(seq) }) }, icon("reply"), quoted?.author ? h("strong", {}, quoted.author) : null, h("span", {}, text));
}

function reactions(message, onReact) {
  if (message.reactions.length === 0) return null;
  const chips = message.reactions.map(({ emoji, count, mine }) =>
    h(
      "li",
      {},
      h("button", { type: "button", tabindex: "-1", class: "reaction", "aria-pressed": String(mine), "aria-label": `${emoji}, ${count}${mine ? ", yours among them" : ""}`, onclick: () => onReact(message, emoji, mine) }, emoji, h("span", {}, String(count))),
    ),
  );
  return h("ul", { class: "reactions", "aria-label": "Reactions" }, chips);
}

/** One message; context: {timeline, room, together, onReact, seenBy}. */
export function messageRow(message, { timeline, room, together, onReact, seenBy }) {
  const author = message.author ?? "Deleted account";
  const gone = message.deletedAt !== null;
  const head = together
    ? h("span", { class: "unseen" }, `${author}, ${clockTime(message.createdAt)}: `)
    : h(
        "div",
        { class: "message-head" },
        message.author ? h("a", { class: "message-author", tabindex: "-1", href: href("profile", { username: author }) }, author) : h("span", { class: "message-author" }, author),
        h("time", { datetime: message.createdAt, title: fullTime(message.createdAt) }, clockTime(message.createdAt)),
      );
  return h(
    "li",
    { class: together ? "message together" : "message", "data-seq": String(message.seq), tabindex: "-1" },
    together ? h("time", { class: "side-time", "aria-hidden": "true", datetime: message.createdAt }, clockTime(message.createdAt)) : avatar(author, "small"),
    h(
      "div",
      { class: "message-body" },
      head,
      message.replyTo !== null ? quoteOf(timeline, message.replyTo, room) : null,
      gone ? h("p", { class: "message-gone" }, "Message deleted") : h("div", { class: "message-text" }, renderMessage(message.text)),
      !gone && message.editedAt ? h("span", { class: "edited", title: fullTime(message.editedAt) }, "(edited)") : null,
      gone ? null : reactions(message, onReact),
      seenBy.length > 0 ? h("p", { class: "seen" }, `Seen by ${names(seenBy.slice(0, 3), seenBy.length)}`) : null,
    ),
  );
}

/** What is written and not yet there; on: {resend, discard}. */
export function pendingRow(one, { timeline, room, on }) {
  const failed = one.state === "failed";
  const state = failed
    ? h(
        "p",
        { class: "fault" },
        `Not sent: ${one.error} `,
        h("button", { type: "button", class: "small", onclick: () => on.resend(one) }, "Send again"),
        " ",
        h("button", { type: "button", class: "small", onclick: () => on.discard(one) }, "Discard"),
      )
    : h("p", { class: "sending" }, one.state === "sent" ? "Sent" : "Sending …");
  return h(
    "li",
    { class: failed ? "message pending failed" : "message pending" },
    avatar(one.author, "small"),
    h(
      "div",
      { class: "message-body" },
      h("div", { class: "message-head" }, h("span", { class: "message-author" }, one.author)),
      one.replyTo !== null ? quoteOf(timeline, one.replyTo, room) : null,
      h("div", { class: "message-text" }, renderMessage(one.text)),
      state,
    ),
  );
}

const QUICK = ["👍", "❤️", "😄"];

/** What can be done with a message; on: {react, moreReactions, reply, edit?, remove?}. */
export function toolbar(message, on) {
  const quick = QUICK.map((emoji) =>
    h("button", { type: "button", class: "icon-button emoji", "aria-label": `React with ${emoji}`, onclick: () => on.react(message, emoji, false) }, emoji),
  );
  return h(
    "div",
    { class: "tools", role: "group", "aria-label": "What to do with this message" },
    quick,
    iconButton("smile", "Other reaction", { onclick: () => on.moreReactions(message) }),
    iconButton("reply", "Reply", { onclick: () => on.reply(message) }),
    on.edit ? iconButton("edit", "Edit", { onclick: () => on.edit(message) }) : null,
    on.remove ? iconButton("trash", "Delete", { onclick: () => on.remove(message) }) : null,
  );
}
