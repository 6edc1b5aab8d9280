// Who is signed in. No DOM: storage, lock, channel, network and clock are given to it.
//
// The access token is in memory alone. The refresh token is in a store that all tabs share, and is exchanged
// for the next one under a lock of all tabs, so that none of them ever uses one that another has used up: the
// server takes that for theft and ends the session. What one tab gets it tells the others.
//
//   out ──signIn──► in ──signOut, or the server says that it has ended──► out
//   start ─► waiting (there is a refresh token, and no answer yet) ─► in or out

import { ApiError, patiently, request, Unreachable } from "./api.js";

const LOCK = "stoa-session";
/** A token that has less than this to live is not used any more. */
const MARGIN_MS = 20000;
/** How long other tabs have to say that they have a token. */
const ASK_MS = 150;
const RETRY_MS = [1000, 2000, 5000, 10000, 20000];

/** Milliseconds that a token lives from its issue on: the clock here may be wrong, so no other time of it counts. */
export function lifetimeOf(token) {
  try {
    const claims = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    const lifetime = (claims.exp - claims.iat) * 1000;
    return lifetime > 0 ? lifetime : 0;
  } catch {
    return 0;
  }
}

function accountOf(user) {
  return { username: user.username, email: user.email, bio: user.bio ?? null, image: user.image ?? null };
}

export class Session {
  /**
   * store: {get, set, clear}, asynchronous, of {refreshToken, username}; locks: {request(name, work)}, of all tabs;
   * channel: a BroadcastChannel; clock: {now, setTimeout, clearTimeout}.
   */
  constructor({ fetch, store, locks, channel, clock }) {
    this.fetch = fetch;
    this.store = store;
    this.locks = locks;
    this.channel = channel;
    this.clock = clock;
    this.status = "out";
    this.account = null;
    this.access = null;
    this.expires = 0;
    this.renewal = null;
    this.timer = null;
    this.failures = 0;
    this.listeners = new Set();
    this.answered = null;
    channel.onmessage = (event) => this.hear(event.data);
  }

  /**
   * f({status, account, why}) at every change. why: "signed-out", "ended" (by the server), "other" (another account),
   * "renewed" (another token, and nothing else).
   */
  listen(f) {
    this.listeners.add(f);
    return () => this.listeners.delete(f);
  }

  /** Finds out who is signed in; ends with "waiting" when nobody can say. */
  async start() {
    if (!(await this.store.get())) return;
    this.become("waiting");
    await new Promise((resolve) => {
      this.answered = resolve;
      this.channel.postMessage({ type: "ask" });
      this.clock.setTimeout(resolve, ASK_MS);
    });
    this.answered = null;
    await this.renew(null).catch((error) => this.tolerate(error));
  }

  /** A token that will do, "" when nobody is signed in. While waiting: Unreachable. */
  async token() {
    if (this.access && this.expires - this.clock.now() > MARGIN_MS) return this.access;
    if (this.status === "out") return "";
    return this.renew(this.access);
  }

  /** A token other than `refused`, "" when the session has ended, or Unreachable. */
  renew(refused) {
    this.renewal ??= this.alone(() => this.exchange(refused)).finally(() => {
      this.renewal = null;
    });
    return this.renewal;
  }

  /** onWait(): the server is busy, and is asked again. */
  async signIn(credentials, onWait) {
    return this.begin("/api/users/login", credentials, onWait);
  }

  async signUp(account, onWait) {
    return this.begin("/api/users", account, onWait);
  }

  /** Ends the session at the server as well; false when that could not be reached. */
  async signOut() {
    const token = await this.token().catch(() => this.access);
    const told = await request(this.fetch, "DELETE", "/api/session", { token }).then(
      () => true,
      // A session that has ended already is what was wanted.
      (error) => error instanceof ApiError && error.status === 401,
    );
    await this.alone(() => this.store.clear());
    this.leave("signed-out");
    this.channel.postMessage({ type: "out" });
    return told;
  }

  /** The account as an answer of the server has it. */
  update(user) {
    this.account = accountOf(user);
    this.tell("");
    this.share();
  }

  // ---- inside ----

  alone(work) {
    return this.locks.request(LOCK, work);
  }

  async begin(path, user, onWait) {
    const { data } = await patiently(() => request(this.fetch, "POST", path, { body: { user } }), this.clock, onWait);
    await this.alone(() => this.keep(data));
    this.adopt(data.user);
    this.share();
    return this.account;
  }

  keep({ user, refreshToken }) {
    return this.store.set({ refreshToken, username: user.username });
  }

  async exchange(refused) {
    // Another tab may have told us the next one while we waited for the lock.
    if (this.access && this.access !== refused && this.expires - this.clock.now() > MARGIN_MS) return this.access;
    for (;;) {
      const kept = await this.store.get();
      if (!kept) {
        this.leave("ended");
        return "";
      }
      try {
        const { data } = await request(this.fetch, "POST", "/api/session:refresh", {
          body: { refreshToken: kept.refreshToken },
        });
        await this.keep(data);
        this.failures = 0;
        this.adopt(data.user);
        this.share();
        return this.access;
      } catch (error) {
        // 401: ended; 422: nothing that could ever be one. Everything else passes.
        if (!(error instanceof ApiError) || (error.status !== 401 && error.status !== 422)) {
          throw error instanceof ApiError ? new Unreachable(error) : error;
        }
        // A tab that was suspended for longer than a lease may have lost it.
        const now = await this.store.get();
        if (now && now.refreshToken !== kept.refreshToken) continue;
        await this.store.clear();
        this.leave("ended");
        this.channel.postMessage({ type: "out" });
        return "";
      }
    }
  }

  adopt(user, lifetime = lifetimeOf(user.token)) {
    const other = this.account !== null && this.account.username !== user.username && this.access !== null;
    this.access = user.token;
    this.expires = this.clock.now() + lifetime;
    this.account = accountOf(user);
    this.schedule(Math.max(1000, (lifetime * 2) / 3));
    this.become("in", other ? "other" : this.status === "in" ? "renewed" : "");
  }

  leave(why) {
    this.clock.clearTimeout(this.timer);
    this.access = null;
    this.expires = 0;
    this.account = null;
    this.become("out", why);
  }

  /** Renews in time; tabs differ a little, so that one of them does it for all. */
  schedule(delay) {
    this.clock.clearTimeout(this.timer);
    this.timer = this.clock.setTimeout(() => {
      this.renew(this.access).catch((error) => this.tolerate(error));
    }, delay * (0.9 + Math.random() / 10));
  }

  /** Not the end of anything: the server is asked again. */
  tolerate(error) {
    if (!(error instanceof Unreachable)) throw error;
    this.schedule(RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)]);
  }

  become(status, why = "") {
    const before = this.status;
    this.status = status;
    if (status !== before || why) this.tell(why);
  }

  tell(why) {
    for (const listener of this.listeners) listener({ status: this.status, account: this.account, why });
  }

  share() {
    const user = { ...this.account, token: this.access };
    this.channel.postMessage({ type: "token", user, lifetime: this.expires - this.clock.now() });
  }

  hear(message) {
    if (message.type === "ask" && this.status === "in" && this.expires - this.clock.now() > MARGIN_MS) this.share();
    if (message.type === "token") {
      this.adopt(message.user, message.lifetime);
      this.answered?.();
    }
    if (message.type === "out" && this.status !== "out") this.leave("signed-out");
  }
}
