// The live connection of chat: one WebSocket, what is subscribed on it, and what is sent. No DOM.
//
//   stopped ──start──► connecting ──welcome──► live
//                          ▲  └──fails──┐        │ closed
//                          │            ▼        ▼
//                          └──time── waiting ◄───┘
//
// For each room it keeps the number of the last event that was given on; after a break it asks for what came after
// that, so that the listener gets each event once and in order, whatever happens to the connection. Where WebSockets
// do not get through at all, the same is read by polling (`polling` is then true) until one does.

import { Outbox } from "./outbox.js";

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30000;
/** A connection that lived so long was no failure. */
const STABLE_MS = 10000;
const WELCOME_MS = 10000;
/** Without an answer for so long, the connection counts as lost. */
const ANSWER_MS = 15000;
const POLL_MS = 3000;
/** Failures in a row, none of which got as far as a connection, after which polling begins. */
const POLL_AFTER = 2;
const MAX_ATTEMPTS = 8;

/** gRPC codes after which the same may go well: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, UNAVAILABLE. */
const PASSING = new Set([4, 8, 10, 14]);
const UNAUTHENTICATED = 16;
/** What a message may be (live.proto, ConnectResponse). */
const KINDS = ["welcome", "ack", "error", "event", "live", "reset", "read", "typing", "presence", "resumed", "gone"];
/** Close codes that only say: connect again (gateway/README.md). */
const AGAIN = new Set([1000, 1001, 1012]);

/** The server has refused an action. */
export class Refused extends Error {
  constructor({ code, reason, message, violations }) {
    super(violations?.[0]?.description || message || "The server has refused it.");
    this.name = "Refused";
    this.code = code;
    this.reason = reason ?? "";
  }
}

export class Connection {
  /**
   * open(token) gives a socket: {send(text), close(), onmessage, onclose} as WebSocket has them; token(refused) a token
   * other than the refused one, "" when nobody is signed in; rest: {events(room, after), act(action), positions()},
   * the same things over HTTP, and probe(), a call that renews a refused token; clock: {now, setTimeout, clearTimeout};
   * random() 0 to 1. heard: {state(), event(room, event), live(room), read, typing, presence, reset(room), gone(room, reason),
   * signedOut()}, none of which is waited for.
   */
  constructor({ open, token, rest, clock, random = Math.random, heard }) {
    Object.assign(this, { openSocket: open, token, rest, clock, random, heard });
    this.state = "stopped";
    this.polling = false;
    this.retryAt = 0;
    this.failures = 0;
    this.neverOpen = 0;
    /** room -> {seq: last event given on, or null before the first answer; live} */
    this.rooms = new Map();
    this.outbox = new Outbox();
    this.socket = null;
    this.attempt = 0;
    this.timers = new Map();
    this.lastHeard = 0;
    /** The token of this connection; one that was refused; whether it may have been. */
    this.used = "";
    this.refused = null;
    this.suspect = false;
    this.serial = 0;
  }

  // ---- what others call ----

  start() {
    if (this.state === "stopped") this.connect();
  }

  /** Ends it; what waits to be sent is refused. */
  stop() {
    this.attempt++;
    this.drop();
    for (const name of [...this.timers.keys()]) this.clear(name);
    this.polling = false;
    this.rooms.clear();
    this.outbox.clear(new Refused({ message: "You are signed out." }));
    this.become("stopped");
  }

  /** Gives on everything after `seq`, and then what happens. */
  subscribe(room, seq) {
    const known = this.rooms.get(room);
    if (known && known.seq !== null && known.seq >= seq) return;
    this.rooms.set(room, { seq, live: false, asked: null });
    if (this.state === "live") this.sendSubscribe(room);
  }

  unsubscribe(room) {
    if (this.rooms.delete(room) && this.state === "live") this.transmit({ unsubscribe: { room } });
  }

  /** Does something in a room, once, as soon as it can: {kind: "send", room, clientId, text}. Its answer, or Refused. */
  act(action) {
    const answer = this.outbox.add(action);
    this.flush();
    return answer;
  }

  /** {typing: {room}} or {read: {room, seq}}; lost, and false, when there is no connection. */
  tell(message) {
    if (this.state !== "live") return false;
    this.transmit({ id: `told-${++this.serial}`, ...message });
    return true;
  }

  renew(accessToken) {
    if (this.state !== "live" || accessToken === this.used) return;
    this.used = accessToken;
    this.transmit({ id: `renew-${++this.serial}`, renew: { accessToken } });
  }

  /** The page is put aside, perhaps to come back: nobody is there meanwhile. */
  pause() {
    if (this.socket) this.lose(this.socket, 1001);
  }

  /** The network is back, or somebody does not want to wait. */
  retryNow() {
    if (this.state === "waiting") this.connect();
  }

  /** The machine may have slept: is the other side still there? */
  check() {
    this.retryNow();
    if (this.state !== "live" || this.clock.now() - this.lastHeard < ANSWER_MS || this.rooms.size === 0) return;
    // To subscribe again from where one is changes nothing, and is answered.
    this.sendSubscribe(this.rooms.keys().next().value);
    this.expectAnswer();
  }

  // ---- states ----

  become(state) {
    if (state === this.state) return;
    this.state = state;
    this.heard.state();
  }

  at(name, delay, f) {
    this.clear(name);
    this.timers.set(
      name,
      this.clock.setTimeout(() => {
        this.timers.delete(name);
        f();
      }, delay),
    );
  }

  clear(name) {
    this.clock.clearTimeout(this.timers.get(name));
    this.timers.delete(name);
  }

  async connect() {
    const attempt = ++this.attempt;
    this.clear("retry");
    this.become("connecting");
    let token;
    try {
      if (this.suspect) await this.rest.probe();
      token = await this.token(this.refused);
    } catch {
      // No answer: as any connection that fails.
      if (attempt === this.attempt) this.wait(false);
      return;
    }
    if (attempt !== this.attempt) return;
    this.refused = null;
    this.suspect = false;
    if (!token) {
      this.stop();
      this.heard.signedOut();
      return;
    }
    this.used = token;
    const socket = this.openSocket(token);
    this.socket = socket;
    this.at("welcome", WELCOME_MS, () => this.lose(socket, 1006));
    socket.onmessage = (event) => this.socket === socket && this.receive(event.data);
    socket.onclose = (event) => this.lose(socket, event.code);
  }

  /** The socket is gone, or as good as that. */
  lose(socket, code) {
    if (this.socket !== socket) return;
    const wasLive = this.state === "live";
    this.drop();
    this.outbox.recall();
    for (const room of this.rooms.values()) room.live = false;
    if (code === 4000 + UNAUTHENTICATED) this.refused = this.used;
    // A handshake that fails says nothing of why; the token may be the reason.
    else if (!wasLive) this.suspect = true;
    if (!wasLive) this.neverOpen++;
    this.wait(wasLive && AGAIN.has(code));
  }

  drop() {
    for (const name of ["welcome", "stable", "answer"]) this.clear(name);
    const { socket } = this;
    this.socket = null;
    socket?.close();
  }

  wait(soon) {
    const longest = Math.min(FIRST_DELAY_MS * 2 ** Math.min(this.failures, 10), LONGEST_DELAY_MS);
    // Many clients lose their connections at once, and must not all come back at once.
    const delay = soon && this.failures === 0 ? this.random() * FIRST_DELAY_MS : longest * (0.5 + this.random() / 2);
    this.failures++;
    this.retryAt = this.clock.now() + delay;
    this.at("retry", delay, () => this.connect());
    if (this.neverOpen >= POLL_AFTER) this.poll();
    this.become("waiting");
  }

  // ---- what comes ----

  receive(text) {
    this.lastHeard = this.clock.now();
    this.clear("answer");
    const message = JSON.parse(text);
    const kind = KINDS.find((known) => known in message);
    const what = message[kind];
    switch (kind) {
      case "welcome":
        this.welcomed();
        break;
      case "ack":
        this.acknowledged(what);
        break;
      case "error":
        this.failed(what);
        break;
      case "event":
        this.event(what.room, what.event);
        break;
      case "live":
        this.caughtUp(what);
        break;
      case "reset":
        // The listener reads the history and subscribes anew.
        if (this.rooms.delete(what.room)) this.heard.reset(what.room);
        break;
      case "gone":
        if (this.rooms.delete(what.room)) this.heard.gone(what.room, what.reason);
        break;
      case "resumed":
        // What was asked and not answered may not have got there; rooms whose subscription was go on.
        for (const [room, known] of this.rooms) if (known.asked) this.sendSubscribe(room);
        this.outbox.recall();
        this.flush();
        break;
      case "read":
      case "typing":
      case "presence":
        this.heard[kind](what.room, what);
        break;
      default:
      // Something newer than this page.
    }
    if (this.outbox.sentSince() !== null) this.expectAnswer();
  }

  welcomed() {
    this.clear("welcome");
    this.clear("poll");
    this.polling = false;
    this.neverOpen = 0;
    this.at("stable", STABLE_MS, () => {
      this.failures = 0;
    });
    this.become("live");
    for (const room of this.rooms.keys()) this.sendSubscribe(room);
    this.flush();
  }

  acknowledged({ id, room, seq }) {
    if (id?.startsWith("subscribe-")) {
      const known = this.rooms.get(room);
      if (known?.asked === id) known.asked = null;
      if (known && known.seq === null) known.seq = Number(seq);
      return;
    }
    this.outbox.settle(id, { room, seq: Number(seq) });
    this.flush();
  }

  failed(error) {
    const { id, room } = error;
    const delay = Number(error.retryAfterMs) || FIRST_DELAY_MS * 2;
    if (this.outbox.has(id)) {
      this.actionFailed(id, error, delay);
    } else if ((!id || id.startsWith("subscribe-")) && this.rooms.has(room)) {
      // Without an id: a room that is followed could not be read. To ask again shows what is the matter.
      if (!id || PASSING.has(error.code)) this.at(`subscribe ${room}`, delay, () => this.rooms.has(room) && this.state === "live" && this.sendSubscribe(room));
      else if (this.rooms.delete(room)) this.heard.gone(room, error.reason);
    }
  }

  actionFailed(id, error, delay) {
    const attempts = PASSING.has(error.code) ? this.outbox.later(id, this.clock.now() + delay) : MAX_ATTEMPTS;
    if (attempts >= MAX_ATTEMPTS) this.outbox.refuse(id, new Refused(error));
    this.flush();
  }

  event(room, event) {
    const known = this.rooms.get(room);
    if (!known) return;
    const seq = Number(event.seq);
    if (known.seq !== null && seq <= known.seq) return;
    if (known.seq !== null && seq > known.seq + 1) {
      // A hole: it must not be, and is not given on.
      if (this.state === "live") this.sendSubscribe(room);
      return;
    }
    known.seq = seq;
    this.heard.event(room, event);
  }

  caughtUp({ room, seq }) {
    const known = this.rooms.get(room);
    if (!known) return;
    known.live = true;
    known.seq = Math.max(known.seq ?? 0, Number(seq));
    this.heard.live(room);
  }

  // ---- what goes ----

  transmit(message) {
    this.socket.send(JSON.stringify(message));
  }

  sendSubscribe(room) {
    const known = this.rooms.get(room);
    const { seq } = known;
    known.asked = `subscribe-${++this.serial}`;
    this.transmit({ id: known.asked, subscribe: seq === null ? { room } : { room, afterSeq: String(seq) } });
  }

  /** Sends what may go, over the socket, or over HTTP while polling. */
  flush() {
    if (this.state === "live") {
      for (const action of this.outbox.take(this.clock.now())) {
        const { kind, ...fields } = action;
        this.transmit({ id: action.clientId, [kind]: fields });
        this.expectAnswer();
      }
    } else if (this.polling) {
      for (const action of this.outbox.take(this.clock.now())) this.actOverHttp(action);
    }
    const next = this.outbox.nextTime();
    if (next !== null && (this.state === "live" || this.polling)) this.at("flush", Math.max(0, next - this.clock.now()), () => this.flush());
  }

  expectAnswer() {
    const { socket } = this;
    if (!this.timers.has("answer")) this.at("answer", ANSWER_MS, () => this.lose(socket, 1006));
  }

  // ---- without WebSockets ----

  poll() {
    if (this.polling) return;
    this.polling = true;
    this.heard.state();
    this.pollOnce();
  }

  async pollOnce() {
    try {
      this.flush();
      const positions = await this.rest.positions();
      for (const [room, known] of [...this.rooms]) {
        if (!positions.has(room)) continue;
        if (known.seq === null) known.seq = positions.get(room);
        while (this.polling && this.rooms.get(room) === known && known.seq < positions.get(room)) {
          const { events } = await this.rest.events(room, known.seq);
          if (events.length === 0) break;
          for (const event of events) this.event(room, event);
        }
      }
    } catch {
      // Neither this way: the connection is tried again anyhow, and this with it.
      if (this.polling) {
        this.polling = false;
        this.heard.state();
      }
      return;
    }
    if (this.polling) this.at("poll", POLL_MS, () => this.pollOnce());
  }

  async actOverHttp(action) {
    try {
      this.outbox.settle(action.clientId, await this.rest.act(action));
      if (this.polling) this.at("poll", 0, () => this.pollOnce());
    } catch (error) {
      this.actionFailed(action.clientId, error, error.retryAfterMs || FIRST_DELAY_MS * 2);
      return;
    }
    this.flush();
  }
}
