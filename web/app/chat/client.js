// Chat as the views see it: rooms, timelines, who writes, who is there, who has read; and what one can do. It holds the
// connection and puts what comes where it belongs. No DOM.

import { ApiError, Unreachable } from "../api.js";
import { newId } from "../ids.js";
import { Connection } from "./connection.js";
import { PAGE } from "./rest.js";
import { isDirect, Rooms } from "./rooms.js";
import { Timeline } from "./timeline.js";

/** Timelines that stay loaded. */
const KEPT = 6;
/** Direct rooms in whose list entry it shows that the other one is there: those where something happened last. */
const WATCHED = 20;
/** Rooms that one was invited to are found so often, and when the connection comes back. */
const REFRESH_MS = 60000;
/** The server says when it is over; this is for when that gets lost. */
const TYPING_MS = 60000;
const SAY_TYPING_MS = 3000;
const READ_MS = 700;

export class ChatClient {
  /** me: the account's username; rest: rest.js; the others as Connection has them. */
  constructor({ me, rest, open, token, clock }) {
    Object.assign(this, { me, rest, clock });
    this.rooms = new Rooms(me);
    this.timelines = new Map();
    /** room -> {names, count, until} */
    this.typing = new Map();
    /** room -> {online, names: Set} */
    this.presence = new Map();
    /** room -> Map username -> seq */
    this.reads = new Map();
    this.listeners = new Set();
    this.readTimers = new Map();
    /** room -> read mark that was set without a connection */
    this.untold = new Map();
    /** Rooms of which it is to be known who is there; what changed while that is being asked. */
    this.watched = new Set();
    this.asked = new Map();
    this.saidTyping = new Map();
    this.connection = new Connection({
      open,
      token,
      rest,
      clock,
      heard: {
        state: () => this.stateChanged(),
        live: (room) => this.watched.has(room) && this.ask(room),
        event: (room, event) => this.happened(room, event),
        read: (room, { account, seq }) => this.somebodyRead(room, account.username, Number(seq)),
        typing: (room, what) => this.somebodyTypes(room, what),
        presence: (room, what) => this.present(room, what),
        reset: (room) => this.reload(room).catch((error) => this.tell("trouble", { error })),
        gone: (room) => this.lost(room),
        signedOut: () => {},
      },
    });
  }

  // ---- life ----

  async start() {
    await this.refresh();
    this.connection.start();
    this.again();
  }

  stop() {
    this.clock.clearTimeout(this.refreshTimer);
    for (const timer of this.readTimers.values()) this.clock.clearTimeout(timer);
    this.connection.stop();
    this.listeners.clear();
  }

  /** f(type, detail): "state", "rooms", "room" {room, change}, "typing", "presence", "read" {room}, "gone" {room}, "trouble" {error} */
  listen(f) {
    this.listeners.add(f);
    return () => this.listeners.delete(f);
  }

  tell(type, detail = {}) {
    for (const listener of this.listeners) listener(type, detail);
  }

  again() {
    this.clock.clearTimeout(this.refreshTimer);
    this.refreshTimer = this.clock.setTimeout(async () => {
      await this.refresh().catch(() => {
        // The connection says that there is none.
      });
      this.again();
    }, REFRESH_MS);
  }

  /** The rooms as the server has them: new ones are subscribed. */
  async refresh() {
    const listed = await this.rest.mine();
    const ids = new Set(listed.map((room) => room.id));
    for (const room of listed) this.admit(room);
    for (const id of [...this.rooms.byId.keys()]) if (!ids.has(id)) this.lost(id);
    for (const room of this.rooms.sorted().filter(isDirect).slice(0, WATCHED)) this.watch(room.id);
    this.tell("rooms");
  }

  admit(room) {
    const { lastSeq } = room;
    const known = this.rooms.get(room.id) !== undefined;
    const admitted = this.rooms.put(room);
    if (!known) this.connection.subscribe(room.id, lastSeq);
    return admitted;
  }

  // ---- rooms ----

  /** A room of the account's, or one that it may look at, to join. */
  async room(id) {
    return this.rooms.get(id) ?? this.rest.get(id);
  }

  async join(id) {
    const room = this.admit(await this.rest.join(id));
    this.tell("rooms");
    return room;
  }

  async create(fields) {
    const room = this.admit(await this.rest.create(fields));
    this.tell("rooms");
    return room;
  }

  async direct(username) {
    const room = this.admit(await this.rest.direct(username));
    this.tell("rooms");
    return room;
  }

  async update(id, changes) {
    this.rooms.put(await this.rest.update(id, changes));
    this.tell("rooms");
  }

  async leave(id) {
    await this.rest.leave(id);
    this.lost(id);
  }

  async destroy(id) {
    await this.rest.destroy(id);
    this.lost(id);
  }

  // ---- history ----

  /** The timeline of a room of the account's, with its latest messages. */
  async open(id) {
    let timeline = this.timelines.get(id);
    this.timelines.delete(id);
    if (!timeline) timeline = new Timeline(id, this.me);
    // The one that was used last is the last to go.
    this.timelines.set(id, timeline);
    this.watch(id);
    for (const [other, one] of this.timelines) {
      if (this.timelines.size <= KEPT) break;
      if (one.pending.length === 0 && other !== id) this.timelines.delete(other);
    }
    if (timeline.seq === null) timeline.load(await this.rest.history(id), PAGE);
    return timeline;
  }

  async older(timeline) {
    return timeline.prepend(await this.rest.history(timeline.room, timeline.messages[0]?.seq), PAGE);
  }

  /** After too long an absence the log is not given on: what is now is read anew, and from there it goes on. */
  async reload(id) {
    const timeline = this.timelines.get(id);
    const history = await this.rest.history(id);
    if (timeline) timeline.load(history, PAGE);
    this.rooms.put(await this.rest.get(id));
    this.connection.subscribe(id, Number(history.lastSeq));
    this.tell("room", { room: id, change: { kind: "reloaded" } });
    this.tell("rooms");
  }

  // ---- doing ----

  send(timeline, text, replyTo) {
    const one = timeline.write({ clientId: newId(), text, replyTo, createdAt: new Date(this.clock.now()).toISOString() });
    this.transmit(timeline, one);
    return one;
  }

  /** Once more what has failed; it is the same message still. */
  resend(timeline, one) {
    one.state = "sending";
    this.transmit(timeline, one);
    this.tell("room", { room: timeline.room, change: { kind: "pending" } });
  }

  async transmit(timeline, { clientId, text, replyTo }) {
    const action = { kind: "send", room: timeline.room, clientId, text };
    if (replyTo !== null) action.replyTo = String(replyTo);
    this.saidTyping.delete(timeline.room);
    try {
      const { seq } = await this.connection.act(action);
      timeline.acknowledged(clientId, seq);
    } catch (error) {
      timeline.failed(clientId, error.message);
    }
    this.tell("room", { room: timeline.room, change: { kind: "pending" } });
  }

  edit(room, seq, text) {
    return this.connection.act({ kind: "edit", room, clientId: newId(), seq: String(seq), text });
  }

  remove(room, seq) {
    return this.connection.act({ kind: "delete", room, clientId: newId(), seq: String(seq) });
  }

  react(room, seq, emoji, remove) {
    return this.connection.act({ kind: "react", room, clientId: newId(), seq: String(seq), emoji, remove });
  }

  /** Whether something is written that the server does not have. */
  unsent() {
    return this.connection.outbox.size > 0 || [...this.timelines.values()].some((timeline) => timeline.pending.some((one) => one.state !== "sent"));
  }

  /** Somebody types here; said no more often than is of use. */
  types(room) {
    const now = this.clock.now();
    if (now - (this.saidTyping.get(room) ?? -Infinity) < SAY_TYPING_MS) return;
    if (this.connection.tell({ typing: { room } })) this.saidTyping.set(room, now);
  }

  /** Everything up to seq has been seen. Told at once; what follows soon after that, as one. */
  read(id, seq) {
    const room = this.rooms.get(id);
    if (!room || seq <= room.readSeq) return;
    this.rooms.read(id, seq);
    this.tell("rooms");
    if (!this.readTimers.has(id)) this.tellRead(id, seq);
  }

  tellRead(id, seq) {
    if (!this.connection.tell({ read: { room: id, seq: String(seq) } })) this.untold.set(id, seq);
    const again = () => {
      this.readTimers.delete(id);
      const { readSeq } = this.rooms.get(id) ?? {};
      if (readSeq > seq) this.tellRead(id, readSeq);
    };
    this.readTimers.set(id, this.clock.setTimeout(again, READ_MS));
  }

  tellUntold() {
    for (const [id, seq] of this.untold) {
      this.untold.delete(id);
      if (this.connection.tell({ read: { room: id, seq: String(seq) } })) continue;
      // Without WebSockets; and kept for the next time when that fails as well.
      this.rest.markRead(id, seq).catch(() => this.untold.set(id, Math.max(seq, this.untold.get(id) ?? 0)));
    }
  }

  // ---- what comes ----

  stateChanged() {
    const { state, polling } = this.connection;
    if (state === "live" || polling) this.tellUntold();
    if (state === "live" && this.before === "waiting") {
      this.refresh().catch((error) => this.tell("trouble", { error }));
    }
    if (state === "live" || state === "waiting") this.before = state;
    if (state !== "live") {
      this.typing.clear();
      this.presence.clear();
    }
    this.tell("state");
  }

  happened(id, event) {
    const outcome = this.rooms.apply(id, event);
    if (event.kind === "EVENT_KIND_MESSAGE") this.typingEnded(id, event.message.author?.username);
    const change = this.timelines.get(id)?.apply(event) ?? { kind: "none", event };
    this.tell("room", { room: id, change });
    this.tell("rooms");
    if (outcome === "left") this.lost(id);
    if (outcome === "stale") this.refreshRoom(id);
  }

  async refreshRoom(id) {
    try {
      const room = await this.rest.get(id);
      const known = this.rooms.get(id);
      if (!known) return;
      // The server's count is the newer one here.
      Object.assign(known, room.lastSeq >= known.lastSeq ? room : { name: room.name, description: room.description });
      this.tell("rooms");
    } catch (error) {
      this.tell("trouble", { error });
    }
  }

  somebodyRead(id, username, seq) {
    if (username === this.me) {
      if (this.rooms.read(id, seq) === "stale") this.refreshRoom(id);
      this.tell("rooms");
      return;
    }
    if (!this.reads.has(id)) this.reads.set(id, new Map());
    const marks = this.reads.get(id);
    marks.set(username, Math.max(seq, marks.get(username) ?? 0));
    this.tell("read", { room: id });
  }

  somebodyTypes(id, { accounts, count }) {
    const names = accounts.map((account) => account.username).filter((name) => name !== this.me);
    const others = (count || accounts.length) - (accounts.length - names.length);
    if (others <= 0) this.typing.delete(id);
    else this.typing.set(id, { names, count: others, until: this.clock.now() + TYPING_MS });
    this.tell("typing", { room: id });
    this.clock.setTimeout(() => {
      const known = this.typing.get(id);
      if (!known || known.until > this.clock.now()) return;
      this.typing.delete(id);
      this.tell("typing", { room: id });
    }, TYPING_MS);
  }

  typingEnded(id, username) {
    const known = this.typing.get(id);
    if (!known?.names.includes(username)) return;
    known.names = known.names.filter((name) => name !== username);
    known.count--;
    if (known.count <= 0) this.typing.delete(id);
    this.tell("typing", { room: id });
  }

  /** From now on it is known who is there: changes are told, so it begins with a question. */
  watch(id) {
    if (this.watched.has(id)) return;
    this.watched.add(id);
    if (this.connection.rooms.get(id)?.live) this.ask(id);
  }

  async ask(id) {
    if (this.asked.has(id)) return;
    this.asked.set(id, []);
    try {
      const { online, accounts } = await this.rest.presence(id);
      this.presence.set(id, { online, names: new Set(accounts.map((account) => account.username)) });
    } catch (error) {
      // Nobody misses a message by that: what changes is shown all the same.
      if (!(error instanceof ApiError || error instanceof Unreachable)) throw error;
    }
    const meanwhile = this.asked.get(id);
    this.asked.delete(id);
    // The room may be lost by now.
    if (!this.watched.has(id)) {
      this.presence.delete(id);
      return;
    }
    for (const what of meanwhile) this.present(id, what);
    this.tell("presence", { room: id });
  }

  present(id, what) {
    if (this.asked.has(id)) {
      this.asked.get(id).push(what);
      return;
    }
    const { online, came, went } = what;
    if (!this.presence.has(id)) this.presence.set(id, { online: 0, names: new Set() });
    const known = this.presence.get(id);
    known.online = online;
    for (const account of came ?? []) known.names.add(account.username);
    for (const account of went ?? []) known.names.delete(account.username);
    this.tell("presence", { room: id });
  }

  lost(id) {
    this.connection.unsubscribe(id);
    this.timelines.delete(id);
    for (const map of [this.typing, this.presence, this.reads, this.watched]) map.delete(id);
    if (this.rooms.remove(id)) {
      this.tell("gone", { room: id });
      this.tell("rooms");
    }
  }
}
