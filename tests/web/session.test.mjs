import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, createApi, Unreachable } from "../../web/app/api.js";
import { lifetimeOf, Session } from "../../web/app/session.js";
import { Clock, settle } from "./clock.mjs";

const LIFETIME_S = 900;
const GRACE_MS = 10000;

/** What auth does with refresh tokens, and one browser's storage, lock and channel for any number of tabs. */
class World {
  constructor() {
    this.clock = new Clock();
    this.sessions = [];
    this.kept = undefined;
    this.tabs = [];
    this.refreshes = 0;
    this.reused = 0;
    this.down = false;
    this.logins = 0;
    this.busy = 0; // that many sign-ins are refused
    this.reason = "OVERLOADED";
    this.wait = "1";
    this.queue = Promise.resolve();
    this.serial = 0;
    this.locks = {
      request: (_, work) => {
        const turn = this.queue.then(work);
        this.queue = turn.catch(() => {});
        return turn;
      },
    };
  }

  token(session) {
    const claims = { iat: 1000, exp: 1000 + LIFETIME_S, sid: session.id, jti: ++this.serial };
    return `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.${session.id}-${session.generation}`;
  }

  granted(session) {
    const user = { username: session.username, email: "x@example.com", bio: null, image: null, token: this.token(session) };
    return Response.json({ user, refreshToken: `rt-${session.id}-${session.generation}` });
  }

  fetch = async (path, { method, headers, body }) => {
    await settle();
    if (this.down) throw new TypeError("no network");
    const refused = Response.json({ title: "Unauthorized", errors: { token: ["is invalid"] } }, { status: 401 });
    const asked = body && JSON.parse(body);
    if (path === "/api/users/login") {
      this.logins++;
      if (this.busy > 0) {
        this.busy--;
        return Response.json({ title: "Too Many Requests", reason: this.reason }, { status: 429, headers: { "Retry-After": this.wait } });
      }
      const session = { id: this.sessions.length, username: asked.user.email.split("@")[0], generation: 1, rotated: -Infinity, over: false };
      this.sessions.push(session);
      return this.granted(session);
    }
    if (path === "/api/session:refresh") {
      this.refreshes++;
      const [, id, generation] = asked.refreshToken.split("-").map(Number);
      const session = this.sessions[id];
      if (session.over) return refused;
      if (generation === session.generation) {
        session.generation++;
        session.rotated = this.clock.now();
        return this.granted(session);
      }
      if (generation === session.generation - 1 && this.clock.now() - session.rotated < GRACE_MS) return this.granted(session);
      this.reused++;
      session.over = true;
      return refused;
    }
    const [, , signature] = (headers.Authorization ?? "").split(".");
    const session = this.sessions[signature?.split("-")[0]];
    if (!session || session.over) return refused;
    if (path === "/api/session" && method === "DELETE") {
      session.over = true;
      return new Response(null, { status: 204 });
    }
    return Response.json({ user: { username: session.username } });
  };

  tab() {
    const channel = {
      postMessage: (data) => {
        for (const other of this.tabs) {
          if (other.channel !== channel) setImmediate(() => other.channel.onmessage({ data: structuredClone(data) }));
        }
      },
    };
    const store = {
      get: async () => structuredClone(this.kept),
      set: async (value) => (this.kept = structuredClone(value)),
      clear: async () => (this.kept = undefined),
    };
    const session = new Session({ fetch: this.fetch, store, locks: this.locks, channel, clock: this.clock });
    const heard = [];
    session.listen((change) => heard.push(change));
    const tab = { session, channel, heard, api: createApi({ fetch: this.fetch, session }) };
    this.tabs.push(tab);
    return tab;
  }

  async started() {
    const tab = this.tab();
    const start = tab.session.start();
    await this.clock.pass(200);
    await start;
    return tab;
  }
}

const signIn = (tab, name = "ada") => tab.session.signIn({ email: `${name}@example.com`, password: "correct horse battery" });

test("sign in, renew in time, sign out", async () => {
  const world = new World();
  const tab = await world.started();
  assert.equal(await tab.session.token(), "");
  await signIn(tab);
  assert.equal(tab.session.status, "in");
  assert.equal(tab.session.account.username, "ada");
  const first = await tab.session.token();
  await world.clock.pass(LIFETIME_S * 1000);
  assert.notEqual(await tab.session.token(), first);
  // Those who hold the token elsewhere hear of the next one.
  assert.equal(tab.heard.at(-1).why, "renewed");
  await world.clock.pass(24 * 3600 * 1000);
  assert.equal(world.reused, 0);
  assert.equal(tab.session.status, "in");
  assert.equal(await tab.session.signOut(), true);
  assert.equal(tab.session.status, "out");
  assert.equal(world.kept, undefined);
  assert.ok(world.sessions[0].over);
  assert.equal(world.clock.timers.size, 0);
});

/** These go by, in small steps: a request takes some turns of the loop and no time. */
async function seconds(world, count) {
  await settle();
  await settle();
  for (let step = 0; step < 100; step++) await world.clock.pass((count * 1000) / 100);
}

test("a server that is busy is asked again, when it says so", async () => {
  const world = new World();
  const tab = await world.started();
  world.busy = 3;
  let waits = 0;
  const signing = tab.session.signIn({ email: "ada@example.com", password: "correct horse battery" }, () => waits++);
  await seconds(world, 0.999);
  assert.deepEqual([world.logins, waits, tab.session.status], [1, 1, "out"]);
  await seconds(world, 10);
  await signing;
  assert.deepEqual([world.logins, waits, tab.session.status], [4, 3, "in"]);
});

test("a server that stays busy is not asked for ever", async () => {
  const world = new World();
  const tab = await world.started();
  world.busy = Infinity;
  const signing = assert.rejects(signIn(tab), (error) => error.status === 429);
  await seconds(world, 60);
  await signing;
  assert.equal(world.logins, 6);
  assert.equal(world.clock.timers.size, 0);
});

test("who has tried too often, or has to wait for long, is told at once", async () => {
  for (const refusal of [{ reason: "TOO_MANY_ATTEMPTS" }, { wait: "30" }]) {
    const world = Object.assign(new World(), { busy: 1, ...refusal });
    const tab = await world.started();
    await assert.rejects(signIn(tab), (error) => error.status === 429);
    assert.equal(world.logins, 1);
  }
});

test("a new tab takes the token that another one has", async () => {
  const world = new World();
  await signIn(await world.started());
  const second = await world.started();
  assert.equal(second.session.status, "in");
  assert.equal(world.refreshes, 0);
});

test("a reload alone exchanges the refresh token", async () => {
  const world = new World();
  await signIn(await world.started());
  world.tabs = [];
  const again = await world.started();
  assert.equal(again.session.status, "in");
  assert.equal(world.refreshes, 1);
});

async function manyTabs(world, count) {
  await signIn(await world.started());
  world.tabs = [];
  const tabs = Array.from({ length: count }, () => world.tab());
  const starts = tabs.map((tab) => tab.session.start());
  await world.clock.pass(200);
  await Promise.all(starts);
  return tabs;
}

test("many tabs never use a refresh token up twice", async () => {
  const world = new World();
  const tabs = await manyTabs(world, 8);
  for (let day = 0; day < 3; day++) {
    await world.clock.pass(24 * 3600 * 1000);
    // All at once, each with the same token that is too old.
    const stale = tabs.map((tab) => tab.session.access);
    await Promise.all(tabs.map((tab, i) => tab.session.renew(stale[i])));
  }
  assert.equal(world.reused, 0);
  for (const tab of tabs) assert.equal(tab.session.status, "in");
  assert.ok(world.refreshes < 3 * 24 * 10, `${world.refreshes} refreshes`);
});

test("a sign-out and a sign-in are seen in the other tabs", async () => {
  const world = new World();
  const [one, two] = [await world.started(), await world.started()];
  await signIn(one);
  await settle();
  assert.equal(two.session.account.username, "ada");
  await two.session.signOut();
  await settle();
  assert.equal(one.session.status, "out");
  assert.equal(one.heard.at(-1).why, "signed-out");
  await signIn(one, "zeno");
  await settle();
  assert.equal(two.session.account.username, "zeno");
});

test("another account in another tab is said", async () => {
  const world = new World();
  const [one, two] = [await world.started(), await world.started()];
  await signIn(one);
  await settle();
  await signIn(two, "zeno");
  await settle();
  assert.equal(one.heard.at(-1).why, "other");
});

test("a session that was ended elsewhere is over here", async () => {
  const world = new World();
  const tab = await world.started();
  await signIn(tab);
  world.sessions[0].over = true;
  await assert.rejects(tab.api("GET", "/api/user"), (error) => error instanceof ApiError && error.status === 401);
  assert.equal(tab.session.status, "out");
  assert.equal(tab.heard.at(-1).why, "ended");
  assert.equal(world.kept, undefined);
});

test("a refused token is renewed once, and the call goes on", async () => {
  const world = new World();
  const tab = await world.started();
  await signIn(tab);
  tab.session.access = "h.e30.";
  const { data } = await tab.api("GET", "/api/user");
  assert.equal(data.user.username, "ada");
  assert.equal(world.refreshes, 1);
});

test("no network ends no session", async () => {
  const world = new World();
  await signIn(await world.started());
  world.tabs = [];
  world.down = true;
  const tab = await world.started();
  assert.equal(tab.session.status, "waiting");
  await assert.rejects(tab.api("GET", "/api/user"), Unreachable);
  await world.clock.pass(60000);
  assert.equal(tab.session.status, "waiting");
  world.down = false;
  await world.clock.pass(30000);
  assert.equal(tab.session.status, "in");
});

test("a sign-out without network forgets the token here", async () => {
  const world = new World();
  const tab = await world.started();
  await signIn(tab);
  world.down = true;
  assert.equal(await tab.session.signOut(), false);
  assert.equal(world.kept, undefined);
  assert.equal(tab.session.status, "out");
});

test("how long a token lives is read from its own times", () => {
  const token = (claims) => `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;
  assert.equal(lifetimeOf(token({ iat: 5, exp: 905 })), 900000);
  assert.equal(lifetimeOf(token({ exp: 905 })), 0);
  assert.equal(lifetimeOf("no token"), 0);
});
