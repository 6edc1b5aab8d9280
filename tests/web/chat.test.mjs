import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection, Refused } from "../../web/app/chat/connection.js";
import { Outbox } from "../../web/app/chat/outbox.js";
import { Rooms, roomOf } from "../../web/app/chat/rooms.js";
import { Timeline } from "../../web/app/chat/timeline.js";
import { Clock } from "./clock.mjs";

const author = (username) => ({ username, image: null });
const message = (seq, username, text, more = {}) => ({
  room: "7", seq: String(seq), author: author(username), text, createdAt: `2026-01-01T00:00:${String(seq % 60).padStart(2, "0")}Z`, reactions: [], ...more,
});
const said = (seq, username, text, more) => ({
  seq: String(seq), kind: "EVENT_KIND_MESSAGE", createdAt: "2026-01-01T00:00:00Z", actor: author(username), message: message(seq, username, text, more),
});

/**
 * A room's log and its WebSocket end, which drops, holds back and repeats as it is told. What is acknowledged is in the
 * log; a client_id is taken once.
 */
class Server {
  constructor() {
    this.clock = new Clock();
    this.log = [];
    this.byClientId = new Map();
    this.sockets = [];
    this.opens = true;
    this.tokens = [];
    this.refuse = null;
    this.http = true;
    this.muteAcks = false;
    this.deaf = false;
    this.subscriptions = 0;
  }

  open = (token) => {
    const socket = {
      subscribed: new Set(),
      closed: false,
      close: () => this.end(socket, 1006, false),
      send: (text) => this.hear(socket, JSON.parse(text)),
    };
    this.sockets.push(socket);
    this.tokens.push(token);
    this.clock.setTimeout(() => {
      if (!this.opens) this.end(socket, 1006);
      else this.say(socket, { welcome: { account: "ada", expiresAt: "2026-01-01T00:15:00Z" } });
    }, 5);
    return socket;
  };

  get socket() {
    return this.sockets.at(-1);
  }

  say(socket, message) {
    if (!socket.closed) socket.onmessage({ data: JSON.stringify(message) });
  }

  end(socket, code, tell = true) {
    if (socket.closed) return;
    socket.closed = true;
    if (tell) socket.onclose({ code });
  }

  append(username, text, clientId) {
    if (clientId && this.byClientId.has(clientId)) return this.byClientId.get(clientId);
    const event = said(this.log.length + 1, username, text);
    this.log.push(event);
    if (clientId) this.byClientId.set(clientId, event.seq);
    for (const socket of this.sockets) if (socket.subscribed.has("7")) this.say(socket, { event: { room: "7", event } });
    return event.seq;
  }

  hear(socket, message) {
    const { id } = message;
    if (message.subscribe) this.subscriptions++;
    if (this.deaf) return;
    if (message.subscribe) {
      const after = Number(message.subscribe.afterSeq ?? this.log.length);
      this.say(socket, { ack: { id, room: "7", seq: String(this.log.length) } });
      for (const event of this.log.slice(after)) this.say(socket, { event: { room: "7", event } });
      this.say(socket, { live: { room: "7", seq: String(this.log.length) } });
      socket.subscribed.add("7");
    } else if (message.send) {
      if (this.refuse) {
        const error = this.refuse(message.send);
        if (error) return this.say(socket, { error: { id, room: "7", ...error } });
      }
      const seq = this.append("ada", message.send.text, message.send.clientId);
      if (!this.muteAcks) this.say(socket, { ack: { id, room: "7", seq } });
    } else if (message.renew) this.renewed = message.renew.accessToken;
  }

  rest = {
    probe: async () => {
      this.probes = (this.probes ?? 0) + 1;
    },
    positions: async () => {
      if (!this.http) throw new TypeError("no network");
      return new Map([["7", this.log.length]]);
    },
    events: async (_, after) => ({ events: this.log.slice(after, after + 2) }),
    act: async ({ text, clientId }) => ({ room: "7", seq: Number(this.append("ada", text, clientId)) }),
  };

  client(token = async () => "t1") {
    const got = [];
    const calls = [];
    const heard = new Proxy({}, { get: (_, name) => (...values) => (name === "event" ? got.push(Number(values[1].seq)) : !["state", "live"].includes(name) && calls.push([name, ...values])) });
    const connection = new Connection({ open: this.open, token, rest: this.rest, clock: this.clock, random: () => 0.5, heard });
    return { connection, got, calls };
  }
}

const upTo = (count) => Array.from({ length: count }, (_, i) => i + 1);
const send = (connection, text) => connection.act({ kind: "send", room: "7", clientId: text, text });

test("live: what came before, then what comes", async () => {
  const server = new Server();
  upTo(3).forEach((n) => server.append("zeno", `m${n}`));
  const { connection, got } = server.client();
  connection.subscribe("7", 1);
  connection.start();
  await server.clock.pass(100);
  assert.equal(connection.state, "live");
  server.append("zeno", "m4");
  assert.deepEqual(got, [2, 3, 4]);
  connection.subscribe("7", 2);
  assert.deepEqual(got, [2, 3, 4]);
});

test("after a break nothing is missing and nothing comes twice", async () => {
  const server = new Server();
  const { connection, got } = server.client();
  connection.subscribe("7", 0);
  connection.start();
  for (let round = 0; round < 30; round++) {
    await server.clock.pass(round * 37);
    server.append("zeno", "x");
    if (round % 3 === 0) server.end(server.socket, [1001, 1006, 1012][round % 9 / 3]);
    if (round % 7 === 0) server.say(server.socket, { event: { room: "7", event: server.log.at(-1) } });
    server.append("zeno", "y");
  }
  await server.clock.pass(60000);
  assert.deepEqual(got, upTo(60));
});

test("a hole is not given on: it is asked for", async () => {
  const server = new Server();
  const { connection, got } = server.client();
  connection.subscribe("7", 0);
  connection.start();
  await server.clock.pass(100);
  server.socket.subscribed.clear();
  server.append("zeno", "lost");
  server.socket.subscribed.add("7");
  server.append("zeno", "seen");
  assert.deepEqual(got, [1, 2]);
});

test("messages go in their order, once each, through any breaks", async () => {
  const server = new Server();
  const { connection } = server.client();
  connection.subscribe("7", 0);
  connection.start();
  const answers = [];
  for (let n = 0; n < 20; n++) {
    answers.push(send(connection, `m${n}`));
    server.muteAcks = n % 4 === 1;
    if (n % 4 === 3) server.end(server.socket, 1006);
    await server.clock.pass(n % 5 === 0 ? 4000 : 3);
  }
  server.muteAcks = false;
  await server.clock.pass(120000);
  const seqs = (await Promise.all(answers)).map((answer) => answer.seq);
  assert.deepEqual(seqs, upTo(20));
  assert.deepEqual(server.log.map((event) => event.message.text), Array.from({ length: 20 }, (_, n) => `m${n}`));
});

test("an answer that does not come ends the connection", async () => {
  const server = new Server();
  const { connection } = server.client();
  connection.start();
  await server.clock.pass(100);
  server.muteAcks = true;
  const answer = send(connection, "a");
  await server.clock.pass(14000);
  assert.equal(server.sockets.length, 1);
  server.muteAcks = false;
  await server.clock.pass(5000);
  assert.equal(server.sockets.length, 2);
  assert.equal((await answer).seq, 1);
  assert.equal(server.log.length, 1);
});

test("what is refused for now is sent again, in its order; what is refused is said", async () => {
  const server = new Server();
  const { connection } = server.client();
  connection.start();
  await server.clock.pass(100);
  let refusals = 2;
  server.refuse = ({ text }) => {
    if (text === "never") return { code: 7, reason: "NOT_A_MEMBER", message: "no member" };
    return text === "a" && refusals-- > 0 ? { code: 8, message: "slowly", retryAfterMs: 3000 } : null;
  };
  const [a, never, b] = [send(connection, "a"), send(connection, "never"), send(connection, "b")];
  const refused = assert.rejects(never, (error) => error instanceof Refused && error.reason === "NOT_A_MEMBER");
  await server.clock.pass(5000);
  assert.equal(server.log.length, 0);
  await server.clock.pass(5000);
  await refused;
  assert.deepEqual([(await a).seq, (await b).seq], [1, 2]);
});

test("another instance takes over: what was not acknowledged goes again", async () => {
  const server = new Server();
  const { connection } = server.client();
  connection.start();
  await server.clock.pass(100);
  server.muteAcks = true;
  const answer = send(connection, "a");
  server.muteAcks = false;
  server.say(server.socket, { resumed: {} });
  assert.equal((await answer).seq, 1);
  assert.equal(server.sockets.length, 1);
  assert.equal(server.log.length, 1);
});

test("waiting grows, has a limit, and ends when somebody asks", async () => {
  const server = new Server();
  server.opens = false;
  server.http = false;
  const { connection } = server.client();
  connection.start();
  await server.clock.pass(1000);
  const early = server.sockets.length;
  await server.clock.pass(10 * 60000);
  const before = server.sockets.length;
  assert.ok(early >= 2 && before < 40, `${early}, ${before}`);
  assert.equal(connection.state, "waiting");
  server.opens = true;
  connection.retryNow();
  await server.clock.pass(100);
  assert.equal(connection.state, "live");
  assert.ok(server.probes > 0);
});

test("without WebSockets the same comes by polling, until there is one", async () => {
  const server = new Server();
  server.opens = false;
  const { connection, got } = server.client();
  connection.subscribe("7", 0);
  connection.start();
  await server.clock.pass(5000);
  assert.ok(connection.polling);
  upTo(5).forEach((n) => server.append("zeno", `m${n}`));
  const answer = send(connection, "mine");
  await server.clock.pass(8000);
  assert.equal((await answer).seq, 6);
  assert.deepEqual(got, upTo(6));
  server.opens = true;
  await server.clock.pass(60000);
  assert.equal(connection.state, "live");
  assert.equal(connection.polling, false);
  server.append("zeno", "m7");
  assert.deepEqual(got, upTo(7));
});

test("a token that the server does not take any more is another one the next time", async () => {
  const server = new Server();
  const asked = [];
  const { connection, calls } = server.client(async (refused) => {
    asked.push(refused);
    return asked.length < 3 ? `t${asked.length}` : "";
  });
  connection.start();
  await server.clock.pass(100);
  connection.renew("t9");
  assert.equal(server.renewed, "t9");
  server.end(server.socket, 4016);
  await server.clock.pass(1000);
  assert.deepEqual(server.tokens, ["t1", "t2"]);
  assert.equal(asked[1], "t9");
  server.end(server.socket, 4016);
  await server.clock.pass(2000);
  assert.equal(connection.state, "stopped");
  assert.deepEqual(calls, [["signedOut"]]);
});

test("a subscription that a lost instance did not answer is asked for again, and one that it did is not", async () => {
  const server = new Server();
  const { connection, got } = server.client();
  connection.start();
  await server.clock.pass(100);
  server.deaf = true;
  connection.subscribe("7", 0);
  server.deaf = false;
  upTo(2).forEach((n) => server.append("zeno", `m${n}`));
  server.say(server.socket, { resumed: {} });
  assert.deepEqual(got, [1, 2]);
  server.say(server.socket, { resumed: {} });
  assert.equal(server.subscriptions, 2);
});

test("reset and gone end a subscription, and say so", async () => {
  const server = new Server();
  const { connection, calls } = server.client();
  connection.subscribe("7", 0);
  connection.start();
  await server.clock.pass(100);
  server.say(server.socket, { reset: { room: "7", lastSeq: "900" } });
  connection.subscribe("7", 900);
  server.say(server.socket, { gone: { room: "7", reason: "REMOVED" } });
  assert.deepEqual(calls, [["reset", "7"], ["gone", "7", "REMOVED"]]);
});

test("what was stopped while it waited for a token opens nothing", async () => {
  const server = new Server();
  let give;
  const { connection } = server.client(() => new Promise((resolve) => (give = resolve)));
  connection.start();
  connection.stop();
  give("t1");
  await server.clock.pass(1000);
  assert.equal(server.sockets.length, 0);
  assert.equal(connection.state, "stopped");
});

test("a page that is put aside is not connected, and goes on when it comes back", async () => {
  const server = new Server();
  const { connection, got } = server.client();
  connection.subscribe("7", 0);
  connection.start();
  await server.clock.pass(100);
  connection.pause();
  assert.ok(server.socket.closed);
  server.append("zeno", "meanwhile");
  connection.check();
  await server.clock.pass(100);
  assert.equal(connection.state, "live");
  assert.deepEqual(got, [1]);
});

test("stop leaves nothing behind", async () => {
  const server = new Server();
  const { connection } = server.client();
  connection.subscribe("7", 0);
  connection.start();
  await server.clock.pass(100);
  server.muteAcks = true;
  const answer = assert.rejects(send(connection, "a"), Refused);
  connection.stop();
  await answer;
  assert.equal(connection.timers.size, 0);
  assert.ok(server.socket.closed);
});

test("an outbox has room for so much", async () => {
  const outbox = new Outbox();
  for (let n = 0; n < 100; n++) outbox.add({ kind: "send", room: "7", clientId: `${n}` });
  await assert.rejects(outbox.add({ kind: "send", room: "7", clientId: "x" }));
  assert.deepEqual(outbox.take(0).map((action) => action.clientId), ["0"]);
  assert.deepEqual(outbox.take(0), []);
});

// ---- timeline ----

function loaded(count = 3, pageSize = 50) {
  const timeline = new Timeline("7", "ada");
  timeline.load({ messages: upTo(count).map((n) => message(n, "zeno", `m${n}`)), lastSeq: String(count) }, pageSize);
  return timeline;
}
const seqs = (timeline) => timeline.messages.map((one) => one.seq);

test("events before, within and after the history are seen once", () => {
  const timeline = new Timeline("7", "ada");
  for (const n of [2, 3, 4]) timeline.apply(said(n, "zeno", `m${n}`));
  timeline.load({ messages: upTo(3).map((n) => message(n, "zeno", `m${n}`)), lastSeq: "3" }, 50);
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4]);
  timeline.apply(said(4, "zeno", "m4"));
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4]);
  assert.ok(timeline.complete);
});

test("what is written here is one message, whether the answer or the event comes first", () => {
  const timeline = loaded();
  timeline.write({ clientId: "a", text: "hi" });
  assert.equal(timeline.apply(said(4, "ada", "hi")).kind, "new");
  assert.equal(timeline.pending.length, 0);
  timeline.acknowledged("a", 4);
  timeline.write({ clientId: "b", text: "ho" });
  timeline.acknowledged("b", 5);
  assert.equal(timeline.pending.length, 1);
  timeline.apply(said(5, "ada", "ho"));
  assert.equal(timeline.pending.length, 0);
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4, 5]);
});

test("the same text of another window is not taken for what failed here", () => {
  const timeline = loaded();
  timeline.write({ clientId: "a", text: "hi" });
  timeline.failed("a", "no");
  timeline.apply(said(4, "ada", "hi"));
  assert.equal(timeline.pending.length, 1);
});

test("edits, deletions and reactions change what is there", () => {
  const timeline = loaded();
  const event = (seq, kind, more) => ({ seq: String(seq), kind: `EVENT_KIND_${kind}`, createdAt: "2026-01-01T00:00:00Z", ...more });
  const reaction = { emoji: "👍", count: 1, mine: false };
  timeline.apply(event(4, "REACTION_ADDED", { actor: author("ada"), messageSeq: "2", reaction }));
  assert.deepEqual(timeline.bySeq.get(2).reactions, [{ emoji: "👍", count: 1, mine: true }]);
  timeline.apply(event(5, "MESSAGE_EDITED", { message: message(2, "zeno", "new", { editedAt: "2026-01-01T00:01:00Z", reactions: [reaction] }) }));
  assert.equal(timeline.bySeq.get(2).text, "new");
  assert.ok(timeline.bySeq.get(2).reactions[0].mine);
  timeline.apply(event(6, "REACTION_REMOVED", { actor: author("ada"), messageSeq: "2", reaction: { ...reaction, count: 0 } }));
  assert.deepEqual(timeline.bySeq.get(2).reactions, []);
  timeline.apply(event(7, "MESSAGE_DELETED", { message: message(3, "zeno", "", { deletedAt: "2026-01-01T00:01:00Z" }) }));
  assert.ok(timeline.bySeq.get(3).deletedAt);
  // Of what is kept no longer only the number is said.
  assert.equal(timeline.apply(event(8, "MESSAGE_EDITED", { messageSeq: "1" })).kind, "none");
  assert.equal(timeline.apply(event(9, "MESSAGE_DELETED", { messageSeq: "1" })).kind, "none");
  assert.equal(timeline.apply(event(10, "MEMBER_JOINED", { member: { account: author("x") } })).kind, "notice");
  assert.deepEqual(seqs(timeline), [1, 2, 3]);
});

test("history backwards, and forgetting", () => {
  const timeline = new Timeline("7", "ada");
  timeline.load({ messages: [51, 52].map((n) => message(n, "zeno", "x")), lastSeq: "52" }, 2);
  assert.equal(timeline.complete, false);
  assert.equal(timeline.prepend({ messages: [49, 50, 51].map((n) => message(n, "zeno", "x")) }, 3), 2);
  assert.deepEqual(seqs(timeline), [49, 50, 51, 52]);
  for (let n = 53; n < 800; n++) timeline.apply(said(n, "zeno", "x"));
  assert.ok(timeline.trim());
  assert.equal(timeline.messages.length, 300);
  assert.equal(timeline.bySeq.size, 300);
});

// ---- rooms ----

const room = (id, more = {}) =>
  roomOf({ id, name: `r${id}`, description: "", kind: "ROOM_KIND_PUBLIC", role: "ROLE_MEMBER", memberCount: 2, activeAt: "2026-01-01T00:00:00Z", lastSeq: "3", readSeq: "3", unreadCount: "0", ...more });

test("unread is what others say and is not read", () => {
  const rooms = new Rooms("ada");
  rooms.put(room("7"));
  rooms.put(room("8", { activeAt: "2026-01-02T00:00:00Z" }));
  assert.deepEqual(rooms.sorted().map((one) => one.id), ["8", "7"]);
  rooms.apply("7", { ...said(4, "zeno", "x"), createdAt: "2026-01-03T00:00:00Z" });
  rooms.apply("7", said(5, "ada", "y"));
  rooms.apply("7", said(5, "ada", "y"));
  assert.equal(rooms.unread, 1);
  rooms.apply("7", said(6, "zeno", "z"));
  assert.equal(rooms.read("7", 4), "stale");
  assert.equal(rooms.read("7", 6), "");
  assert.equal(rooms.unread, 0);
  assert.equal(rooms.apply("7", { seq: "7", kind: "EVENT_KIND_MEMBER_REMOVED", createdAt: "2026-01-03T00:00:00Z", member: { account: author("ada") } }), "left");
});

test("a list that is older than what has happened changes nothing back", () => {
  const rooms = new Rooms("ada");
  rooms.put(room("7"));
  rooms.apply("7", said(4, "zeno", "x"));
  rooms.put(room("7", { name: "new" }));
  assert.deepEqual([rooms.get("7").unread, rooms.get("7").lastSeq, rooms.get("7").name], [1, 4, "new"]);
});
