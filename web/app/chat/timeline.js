// What has been said in one room, as far as it is loaded: messages by their numbers, without hole or double, and below them
// what this client has written and the server has not yet acknowledged. No DOM.

/** How much stays loaded of what is not looked at. */
const KEPT = 300;
const MOST = 600;

/** A message as the API has it, with numbers as numbers. */
export function messageOf(raw) {
  return {
    seq: Number(raw.seq),
    author: raw.author?.username ?? null,
    text: raw.text,
    createdAt: raw.createdAt,
    editedAt: raw.editedAt ?? null,
    deletedAt: raw.deletedAt ?? null,
    replyTo: raw.replyTo === undefined ? null : Number(raw.replyTo),
    clientId: raw.clientId ?? null,
    reactions: (raw.reactions ?? []).map(({ emoji, count, mine }) => ({ emoji, count, mine })),
  };
}

export class Timeline {
  constructor(room, me) {
    this.room = room;
    this.me = me;
    this.messages = [];
    this.bySeq = new Map();
    this.pending = [];
    /** The number up to which all that has happened shows; null before anything is loaded. */
    this.seq = null;
    /** Whether the first message of the room is loaded. */
    this.complete = false;
    this.early = [];
  }

  // ---- history ----

  /** The latest messages; everything loaded before is forgotten. */
  load({ messages, lastSeq }, pageSize) {
    this.messages = messages.map(messageOf);
    this.bySeq = new Map(this.messages.map((message) => [message.seq, message]));
    this.seq = Number(lastSeq);
    this.complete = messages.length < pageSize;
    this.pending = this.pending.filter((one) => !this.messages.some((message) => this.isOf(message, one)));
    // What came while the history was on its way: older parts show in it already.
    for (const event of this.early.splice(0)) this.apply(event);
  }

  /** Messages before the first one; how many. */
  prepend({ messages }, pageSize) {
    const first = this.messages[0]?.seq ?? Infinity;
    const older = messages.map(messageOf).filter((message) => message.seq < first);
    this.messages.unshift(...older);
    for (const message of older) this.bySeq.set(message.seq, message);
    this.complete = messages.length < pageSize;
    return older.length;
  }

  /** Forgets the oldest, when much is loaded; whether it did. */
  trim() {
    if (this.messages.length <= MOST) return false;
    for (const message of this.messages.splice(0, this.messages.length - KEPT)) this.bySeq.delete(message.seq);
    this.complete = false;
    return true;
  }

  // ---- what happens ----

  /**
   * An event of the room's log, each number once and in order. What changes to see: {kind: "new" | "changed" | "notice" |
   * "none", message?, event}.
   */
  apply(event) {
    if (this.seq === null) {
      this.early.push(event);
      return { kind: "none", event };
    }
    const seq = Number(event.seq);
    if (seq <= this.seq) return { kind: "none", event };
    this.seq = seq;
    switch (event.kind) {
      case "EVENT_KIND_MESSAGE":
        return this.added(event);
      case "EVENT_KIND_MESSAGE_EDITED":
      case "EVENT_KIND_MESSAGE_DELETED":
        return this.replaced(event);
      case "EVENT_KIND_REACTION_ADDED":
      case "EVENT_KIND_REACTION_REMOVED":
        return this.reacted(event);
      default:
        return { kind: "notice", event };
    }
  }

  added(event) {
    const message = messageOf(event.message);
    this.messages.push(message);
    this.bySeq.set(message.seq, message);
    const own = this.pending.findIndex((one) => this.isOf(message, one));
    const [settled] = own >= 0 ? this.pending.splice(own, 1) : [];
    return { kind: "new", message, settled, event };
  }

  replaced(event) {
    // Without a message when that is kept no longer.
    const message = event.message && this.bySeq.get(Number(event.message.seq));
    if (!message) return { kind: "none", event };
    const next = messageOf(event.message);
    // Many see the same event: whether a reaction is one's own it does not say.
    const mine = new Set(message.reactions.filter((one) => one.mine).map((one) => one.emoji));
    for (const reaction of next.reactions) reaction.mine ||= mine.has(reaction.emoji);
    Object.assign(message, next, { clientId: message.clientId });
    return { kind: "changed", message, event };
  }

  reacted(event) {
    const message = this.bySeq.get(Number(event.messageSeq));
    if (!message) return { kind: "none", event };
    const { emoji, count } = event.reaction;
    const known = message.reactions.find((one) => one.emoji === emoji);
    const own = event.actor?.username === this.me;
    const added = event.kind === "EVENT_KIND_REACTION_ADDED";
    const mine = own ? added : (known?.mine ?? false);
    if (count === 0) message.reactions = message.reactions.filter((one) => one !== known);
    else if (known) Object.assign(known, { count, mine });
    else message.reactions.push({ emoji, count, mine });
    return { kind: "changed", message, event };
  }

  // ---- what is on its way ----

  write({ clientId, text, replyTo = null, createdAt }) {
    const one = { clientId, text, replyTo, createdAt, author: this.me, state: "sending", seq: null, error: "" };
    this.pending.push(one);
    return one;
  }

  /** The server has it, as this number. Whether it is to be seen as a message already. */
  acknowledged(clientId, seq) {
    const one = this.pending.find((other) => other.clientId === clientId);
    if (!one) return;
    one.state = "sent";
    one.seq = seq;
    if (this.bySeq.has(seq)) this.drop(clientId);
  }

  failed(clientId, error) {
    const one = this.pending.find((other) => other.clientId === clientId);
    if (one) Object.assign(one, { state: "failed", error });
  }

  drop(clientId) {
    this.pending = this.pending.filter((one) => one.clientId !== clientId);
  }

  /** Whether a message is what was written here: by its id or number, or, before the answer, by what it says. */
  isOf(message, one) {
    if (message.author !== this.me) return false;
    if (message.clientId) return message.clientId === one.clientId;
    if (one.seq !== null) return message.seq === one.seq;
    return one.state === "sending" && message.text === one.text && message.replyTo === one.replyTo;
  }

  /** The latest message of one's own that can be changed, or null. */
  lastOwn() {
    return this.messages.findLast((message) => message.author === this.me && !message.deletedAt) ?? null;
  }
}
