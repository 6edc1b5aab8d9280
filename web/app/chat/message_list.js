// The messages of one room in a box that scrolls: drawn anew where something has changed, older ones loaded at the top,
// the place kept that somebody looks at. Keyboard: the list is one stop; arrows, Home and End go through it.

import { announce, h, icon } from "../ui.js";
import { dayName } from "../format.js";
import { follows, messageRow, pendingRow, shortened, toolbar } from "./message_view.js";

const NEAR_END = 60;
const NEAR_START = 300;
const SAY_MS = 1000;
/** More than that at once is said as a number. */
const SAY_MOST = 3;

/** on: {older() (how many came, or undefined), seen(seq), react, moreReactions, reply, edit, remove, resend, discard}; may: {edit(message), remove(message)} */
export function messageList(client, timeline, room, on, may) {
  const list = h("ol", { class: "plain messages", "aria-label": "Messages. Arrow keys go through them; R replies, E edits, Delete deletes, Plus reacts." });
  const beginning = h("p", { class: "beginning" });
  const scroll = h("div", { class: "scroll" }, beginning, list);
  const fresh = h("span", {});
  const jump = h("button", { type: "button", class: "jump", hidden: true, "aria-label": "To the latest messages" }, icon("down"), fresh);
  const node = h("div", { class: "message-box" }, scroll, jump);
  const known = new Map();
  const unreadAfter = room.unread > 0 ? room.readSeq : null;
  let current = null;
  let active = null;
  let loading = false;
  let missed = 0;
  let unsaid = [];
  let frame = 0;

  const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_END;
  let stick = true;

  // ---- drawing ----

  const seenBy = (message) => {
    const lastOwn = timeline.lastOwn();
    if (message !== lastOwn) return [];
    return [...(client.reads.get(timeline.room) ?? [])].filter(([, seq]) => seq >= message.seq).map(([name]) => name);
  };

  /** Keys in their order, each with what it looks like and how to make it. */
  const parts = () => {
    const result = [];
    let day = "";
    let before;
    let divided = unreadAfter === null;
    for (const message of timeline.messages) {
      const name = dayName(message.createdAt);
      if (name !== day) {
        day = name;
        before = undefined;
        result.push({ key: `day ${name}`, shape: name, make: () => h("li", { class: "day" }, h("span", {}, name)) });
      }
      if (!divided && message.seq > unreadAfter && message.author !== client.me) {
        divided = true;
        before = undefined;
        result.push({ key: "new", shape: "", make: () => h("li", { class: "day new" }, h("span", {}, "New")) });
      }
      const context = { timeline, room: timeline.room, together: follows(message, before), onReact: on.react, seenBy: seenBy(message) };
      const quoted = message.replyTo === null ? null : timeline.bySeq.get(message.replyTo);
      result.push({ key: `m${message.seq}`, shape: JSON.stringify([message, context.together, context.seenBy, quoted?.text]), make: () => messageRow(message, context) });
      before = message;
    }
    for (const one of timeline.pending) {
      result.push({ key: `p${one.clientId}`, shape: JSON.stringify(one), make: () => pendingRow(one, { timeline, room: timeline.room, on }) });
    }
    return result;
  };

  const reconcile = () => {
    const wanted = parts();
    const keys = new Set(wanted.map((part) => part.key));
    for (const [key, one] of known) {
      if (keys.has(key)) continue;
      one.element.remove();
      known.delete(key);
    }
    let at = list.firstElementChild;
    for (const part of wanted) {
      let one = known.get(part.key);
      if (one && one.shape !== part.shape) {
        const element = part.make();
        const had = one.element.contains(document.activeElement);
        if (one.element === at) at = element;
        one.element.replaceWith(element);
        if (one.element === active) active = null;
        if (one.element === current) setCurrent(element);
        if (had) element.focus({ preventScroll: true });
        one = { shape: part.shape, element };
        known.set(part.key, one);
      } else if (!one) {
        one = { shape: part.shape, element: part.make() };
        known.set(part.key, one);
      }
      if (one.element === at) at = at.nextElementSibling;
      else list.insertBefore(one.element, at);
    }
  };

  /** Draws, and keeps at its place what is looked at: the end, or the first message in sight. */
  const draw = () => {
    const anchor = stick ? null : [...list.children].find((row) => row.getBoundingClientRect().bottom > scroll.getBoundingClientRect().top);
    const before = anchor?.getBoundingClientRect().top;
    reconcile();
    beginning.textContent = timeline.complete ? "This is where the room begins." : "";
    if (stick) scroll.scrollTop = scroll.scrollHeight;
    else if (anchor?.isConnected) scroll.scrollTop += anchor.getBoundingClientRect().top - before;
    // Whoever comes into the list comes to the latest.
    if (!current?.isConnected || !list.contains(document.activeElement)) setCurrent(rows().at(-1) ?? null);
    noteSeen();
  };

  const drawSoon = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  };

  // ---- what is seen ----

  const noteSeen = () => {
    jump.hidden = stick;
    if (!stick) {
      fresh.textContent = missed ? `${missed} new` : "";
      return;
    }
    missed = 0;
    const last = timeline.messages.at(-1);
    if (last && document.visibilityState === "visible" && document.hasFocus()) on.seen(timeline.seq);
  };

  const say = () => {
    const said = unsaid.splice(0);
    if (said.length === 0) return;
    if (said.length > SAY_MOST) announce(`${said.length} new messages`);
    else for (const message of said) announce(`${message.author}: ${shortened(message.text, 200)}`);
  };
  const sayTimer = setInterval(say, SAY_MS);

  const loadOlder = async () => {
    if (loading || timeline.complete || timeline.messages.length === 0) return;
    loading = true;
    beginning.textContent = "Loading …";
    const count = await on.older();
    loading = false;
    draw();
    if (count > 0 && scroll.scrollTop < NEAR_START) loadOlder();
  };

  scroll.addEventListener("scroll", () => {
    stick = atEnd();
    noteSeen();
    if (scroll.scrollTop < NEAR_START) loadOlder();
  });
  jump.addEventListener("click", () => {
    stick = true;
    draw();
  });
  const onFocus = () => noteSeen();
  window.addEventListener("focus", onFocus);
  document.addEventListener("visibilitychange", onFocus);
  // A keyboard that appears, or a window that changes, leaves the end in sight.
  const resized = new ResizeObserver(() => stick && (scroll.scrollTop = scroll.scrollHeight));
  resized.observe(scroll);

  // ---- going through it ----

  const rows = () => [...list.querySelectorAll("li[data-seq]")];
  const messageOf = (row) => timeline.bySeq.get(Number(row?.dataset.seq));

  function setCurrent(row) {
    current?.setAttribute("tabindex", "-1");
    current = row;
    current?.setAttribute("tabindex", "0");
  }

  /** Shows what can be done with a message, or with none (null). */
  function activate(row) {
    if (row === active) return;
    active?.querySelector(".tools")?.remove();
    for (const chip of active?.querySelectorAll(".reaction, .message-author") ?? []) chip.setAttribute("tabindex", "-1");
    active = row;
    const message = row && messageOf(row);
    if (!message || message.deletedAt) return;
    row.append(toolbar(message, { ...on, edit: may.edit(message) ? on.edit : null, remove: may.remove(message) ? on.remove : null }));
    for (const chip of row.querySelectorAll(".reaction, .message-author")) chip.setAttribute("tabindex", "0");
  }

  list.addEventListener("pointerover", (event) => {
    const row = event.target.closest("li[data-seq]");
    if (row && !list.contains(document.activeElement)) activate(row);
    else if (row && event.pointerType === "mouse") activate(row);
  });
  list.addEventListener("focusin", (event) => {
    const row = event.target.closest("li[data-seq]");
    if (!row) return;
    setCurrent(row);
    activate(row);
  });
  list.addEventListener("focusout", (event) => {
    const to = event.relatedTarget;
    // Not for a dialog, which gives the focus back.
    if (!to || list.contains(to) || to.closest("dialog")) return;
    activate(null);
    setCurrent(rows().at(-1) ?? null);
  });
  list.addEventListener("keydown", (event) => {
    const row = event.target.closest("li[data-seq]");
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = rows();
    const at = all.indexOf(row);
    const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      const next = all[Math.max(0, Math.min(to, all.length - 1))];
      next.focus();
      next.scrollIntoView({ block: "nearest" });
      return;
    }
    const message = messageOf(row);
    if (event.target !== row || !message || message.deletedAt) return;
    const key = event.key.toLowerCase();
    if (key === "r") on.reply(message);
    else if (key === "e" && may.edit(message)) on.edit(message);
    else if (key === "delete" && may.remove(message)) on.remove(message);
    else if (key === "+") on.moreReactions(message);
    else return;
    event.preventDefault();
  });

  return {
    node,
    draw,
    drawSoon,
    /** A change of the timeline. */
    changed(change) {
      if (change.kind === "new" && change.message.author !== client.me) {
        unsaid.push(change.message);
        if (!stick) missed++;
      }
      if (change.kind === "new" && stick) timeline.trim();
      drawSoon();
    },
    toEnd() {
      stick = true;
      draw();
    },
    /** Brings a message into sight and puts the focus there. */
    show(seq) {
      const row = list.querySelector(`li[data-seq="${seq}"]`);
      if (!row) return false;
      stick = false;
      row.scrollIntoView({ block: "center" });
      row.classList.add("found");
      setTimeout(() => row.classList.remove("found"), 2500);
      row.focus({ preventScroll: true });
      return true;
    },
    focusLast: () => current?.focus(),
    leave() {
      clearInterval(sayTimer);
      cancelAnimationFrame(frame);
      resized.disconnect();
      window.removeEventListener("focus", onFocus);
      document.removeEventListener("visibilitychange", onFocus);
    },
  };
}
