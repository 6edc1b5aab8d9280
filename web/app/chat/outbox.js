// What this client wants done in rooms and has no answer to yet. No DOM.
//
// One action of a room is on its way at a time, so that messages come in the order in which they were written,
// also when one of them has to be sent again. Each has a client_id: the server does it once, however often it is sent.
//
//   add ─► waiting ──take──► sent ──settle, refuse──► gone
//              ▲               │
//              └── recall, later

/** More than somebody writes without an answer. */
const LIMIT = 100;

export class Outbox {
  constructor() {
    /** room -> entries, the oldest first: {action, state, attempts, since, notBefore, resolve, reject} */
    this.queues = new Map();
    this.byId = new Map();
  }

  /** action: {kind, room, clientId, …}. What the server answers, or its error. */
  add(action) {
    if (this.byId.size >= LIMIT) return Promise.reject(new Error("Too much is waiting to be sent."));
    return new Promise((resolve, reject) => {
      const entry = { action, state: "waiting", attempts: 0, since: 0, notBefore: 0, resolve, reject };
      this.byId.set(action.clientId, entry);
      if (!this.queues.has(action.room)) this.queues.set(action.room, []);
      this.queues.get(action.room).push(entry);
    });
  }

  /** The actions that may go now; they count as sent. */
  take(now) {
    const ready = [];
    for (const [first] of this.queues.values()) {
      if (first.state !== "waiting" || first.notBefore > now) continue;
      first.state = "sent";
      first.since = now;
      first.attempts++;
      ready.push(first.action);
    }
    return ready;
  }

  /** When take() has something again, or null. */
  nextTime() {
    const times = [...this.queues.values()].map(([first]) => first).filter((first) => first.state === "waiting").map((first) => first.notBefore);
    return times.length ? Math.min(...times) : null;
  }

  /** When the oldest that is on its way was sent, or null. */
  sentSince() {
    const times = [...this.byId.values()].filter((entry) => entry.state === "sent").map((entry) => entry.since);
    return times.length ? Math.min(...times) : null;
  }

  settle(id, answer) {
    this.remove(id)?.resolve(answer);
  }

  refuse(id, error) {
    this.remove(id)?.reject(error);
  }

  /** To be sent again, not before a time. How often it was sent. */
  later(id, notBefore) {
    const entry = this.byId.get(id);
    if (!entry) return 0;
    entry.state = "waiting";
    entry.notBefore = notBefore;
    return entry.attempts;
  }

  /** The connection is another one: what was on its way may be lost. */
  recall() {
    for (const entry of this.byId.values()) entry.state = "waiting";
  }

  has(id) {
    return this.byId.has(id);
  }

  get size() {
    return this.byId.size;
  }

  clear(error) {
    for (const id of [...this.byId.keys()]) this.refuse(id, error);
  }

  remove(id) {
    const entry = this.byId.get(id);
    if (!entry) return null;
    this.byId.delete(id);
    const queue = this.queues.get(entry.action.room);
    queue.splice(queue.indexOf(entry), 1);
    if (queue.length === 0) this.queues.delete(entry.action.room);
    return entry;
  }
}
