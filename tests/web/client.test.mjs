import assert from "node:assert/strict";
import { test } from "node:test";
import { ChatClient } from "../../web/app/chat/client.js";
import { contentOf, differences, EMPTY, Keys, sameContent, tagsOf, Unsaved } from "../../web/app/editing.js";
import { Clock } from "./clock.mjs";

const author = (username) => ({ username, image: null });

/** A client with one room, and the other end of its socket. */
async function joined(more = {}) {
  const clock = new Clock();
  const sent = [];
  let socket;
  const room = { id: "7", name: "Poikile", description: "", kind: "ROOM_KIND_PUBLIC", role: "ROLE_MEMBER", memberCount: 2, activeAt: "2026-01-01T00:00:00Z", lastSeq: 3, readSeq: 1, unread: 2, peer: null };
  const rest = {
    marks: [],
    mine: async () => [{ ...room }],
    get: async () => ({ ...room, unread: 1 }),
    history: async () => ({ messages: [], lastSeq: "3" }),
    markRead: async (id, seq) => rest.marks.push([id, seq]),
    presence: async () => rest.there,
    there: { online: 1, accounts: [author("ada")] },
    probe: async () => {},
    positions: async () => new Map(),
    ...more,
  };
  const open = () => {
    socket = { send: (text) => sent.push(JSON.parse(text)), close: () => {} };
    return socket;
  };
  const client = new ChatClient({ me: "ada", rest, open, token: async () => "t", clock });
  const told = [];
  client.listen((type, detail) => told.push([type, detail.room]));
  await client.start();
  await clock.pass(10);
  const say = (message) => socket.onmessage({ data: JSON.stringify(message) });
  say({ welcome: { expiresAt: "2026-01-01T00:15:00Z" } });
  return { client, clock, sent, told, rest, say, lose: () => socket.onclose({ code: 1006 }) };
}

const actions = (sent, kind) => sent.filter((message) => message[kind]).map((message) => message[kind]);

test("who types is shown, and no longer than they do", async () => {
  const { client, clock, say, told } = await joined();
  say({ typing: { room: "7", accounts: [author("zeno"), author("ada")], count: 2 } });
  assert.deepEqual(client.typing.get("7").names, ["zeno"]);
  assert.equal(client.typing.get("7").count, 1);
  await clock.pass(4000);
  say({ typing: { room: "7", accounts: [author("zeno"), author("chrysippus")], count: 5 } });
  await clock.pass(4000);
  assert.deepEqual([client.typing.get("7").names, client.typing.get("7").count], [["zeno", "chrysippus"], 5]);
  // Whoever has said it types no more.
  say({ event: { room: "7", event: { seq: "4", kind: "EVENT_KIND_MESSAGE", createdAt: "2026-01-01T00:00:00Z", message: { seq: "4", author: author("zeno"), text: "x", createdAt: "2026-01-01T00:00:00Z" } } }, seq: "4" });
  assert.deepEqual([client.typing.get("7").names, client.typing.get("7").count], [["chrysippus"], 4]);
  // It is said when it is over; and it is, should that be lost.
  await clock.pass(20000);
  assert.ok(client.typing.has("7"));
  await clock.pass(40000);
  assert.equal(client.typing.has("7"), false);
  say({ typing: { room: "7", accounts: [author("zeno")], count: 1 } });
  say({ typing: { room: "7", accounts: [author("ada")], count: 1 } });
  assert.equal(client.typing.has("7"), false);
  assert.ok(told.filter(([type]) => type === "typing").length >= 4);
  client.stop();
});

test("typing is said every three seconds at most, and not without a connection", async () => {
  const { client, clock, sent, lose } = await joined();
  for (let i = 0; i < 20; i++) {
    client.types("7");
    await clock.pass(400);
  }
  assert.equal(actions(sent, "typing").length, 3);
  lose();
  client.types("7");
  assert.equal(actions(sent, "typing").length, 3);
  client.stop();
});

test("presence comes and goes, and is unknown without a connection", async () => {
  const { client, say, lose } = await joined();
  say({ presence: { room: "7", online: 2, came: [author("zeno"), author("ada")], went: [] } });
  say({ presence: { room: "7", online: 1, came: [], went: [author("zeno")] } });
  assert.deepEqual([client.presence.get("7").online, [...client.presence.get("7").names]], [1, ["ada"]]);
  lose();
  assert.equal(client.presence.has("7"), false);
  client.stop();
});

test("who is there is asked once a room is followed, and what changes meanwhile is on top of that", async () => {
  let answer;
  const { client, clock, say, lose } = await joined({ presence: () => new Promise((resolve) => (answer = resolve)) });
  await client.open("7");
  assert.equal(answer, undefined);
  say({ live: { room: "7", seq: "3" }, seq: "3" });
  say({ presence: { room: "7", online: 2, came: [author("chrysippus")], went: [author("zeno")] } });
  assert.equal(client.presence.has("7"), false);
  answer({ online: 2, accounts: [author("ada"), author("zeno")] });
  await clock.pass(10);
  assert.deepEqual([client.presence.get("7").online, [...client.presence.get("7").names]], [2, ["ada", "chrysippus"]]);
  lose();
  await clock.pass(2000);
  answer = undefined;
  say({ welcome: { expiresAt: "2026-01-01T00:15:00Z" } });
  say({ live: { room: "7", seq: "3" }, seq: "3" });
  assert.ok(answer);
  client.stop();
});

test("read marks: others' are shown, one's own are told once in a while and never lost", async () => {
  const { client, clock, sent, say, lose, rest } = await joined();
  say({ read: { room: "7", account: author("zeno"), seq: "3" } });
  say({ read: { room: "7", account: author("zeno"), seq: "2" } });
  assert.equal(client.reads.get("7").get("zeno"), 3);

  client.read("7", 2);
  client.read("7", 3);
  assert.deepEqual(actions(sent, "read"), [{ room: "7", seq: "2" }]);
  await clock.pass(1000);
  assert.deepEqual(actions(sent, "read"), [{ room: "7", seq: "2" }, { room: "7", seq: "3" }]);
  assert.equal(client.rooms.get("7").unread, 0);

  await clock.pass(1000);
  client.rooms.get("7").lastSeq = 4;
  lose();
  client.read("7", 4);
  assert.equal(actions(sent, "read").length, 2);
  await clock.pass(2000);
  say({ welcome: { expiresAt: "2026-01-01T00:15:00Z" } });
  assert.deepEqual(actions(sent, "read").at(-1), { room: "7", seq: "4" });
  assert.deepEqual(rest.marks, []);
  client.stop();
});

test("what is read in another window is asked for when only the server knows what remains", async () => {
  const { client, clock, say } = await joined();
  say({ read: { room: "7", account: author("ada"), seq: "2" } });
  await clock.pass(10);
  assert.equal(client.rooms.get("7").unread, 1);
  client.stop();
});

test("a room that is gone takes everything of it along", async () => {
  const { client, say, told } = await joined();
  await client.open("7");
  say({ gone: { room: "7", reason: "GONE_REASON_REMOVED" } });
  assert.equal(client.rooms.get("7"), undefined);
  assert.equal(client.timelines.size, 0);
  assert.ok(told.some(([type, room]) => type === "gone" && room === "7"));
  client.stop();
});

test("too far behind: the history is read anew, and it goes on from there", async () => {
  const { client, clock, sent, say, told } = await joined();
  await client.open("7");
  say({ reset: { room: "7", lastSeq: "900" } });
  await clock.pass(10);
  assert.deepEqual(actions(sent, "subscribe").at(-1), { room: "7", afterSeq: "3" });
  assert.ok(told.some(([type]) => type === "room"));
  client.stop();
});

// ---- the editor ----

class Storage {
  constructor(room = Infinity) {
    this.room = room;
    this.items = new Map();
  }

  getItem(name) {
    return this.items.get(name) ?? null;
  }

  setItem(name, value) {
    if (value.length > this.room) throw new Error("QuotaExceededError");
    this.items.set(name, value);
  }

  removeItem(name) {
    this.items.delete(name);
  }
}

test("text that is not saved is kept, and its lack of room is said", () => {
  const unsaved = new Unsaved(new Storage(), "x");
  assert.equal(unsaved.read(), null);
  assert.ok(unsaved.write({ ...EMPTY, body: "b" }, '"1"'));
  assert.deepEqual(unsaved.read(), { content: { ...EMPTY, body: "b" }, etag: '"1"' });
  unsaved.clear();
  assert.equal(unsaved.read(), null);
  assert.equal(new Unsaved(new Storage(5), "x").write(EMPTY, null), false);
});

test("tags, contents and keys", () => {
  assert.deepEqual(tagsOf(" b, a,, b "), ["a", "b"]);
  assert.ok(sameContent({ ...EMPTY, slug: "x" }, EMPTY));
  assert.deepEqual(differences({ ...EMPTY, title: "a" }, { ...EMPTY, tagList: ["x"] }), ["title", "tagList"]);
  assert.deepEqual(contentOf({ title: "t", description: "d", tagList: [] }), { title: "t", description: "d", body: "", tagList: [] });
  let made = 0;
  const keys = new Keys(() => `k${++made}`);
  assert.deepEqual([keys.of({ a: 1 }), keys.of({ a: 1 }), keys.of({ a: 2 }), keys.of({ a: 1 })], ["k1", "k1", "k2", "k3"]);
});
