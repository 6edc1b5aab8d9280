// The one session and the one way to the API of this tab.

import { createApi } from "./api.js";
import { Session } from "./session.js";
import { sessionStore, tabLocks } from "./store.js";

export const clock = {
  now: () => Date.now(),
  setTimeout: (f, delay) => setTimeout(f, delay),
  clearTimeout: (id) => clearTimeout(id),
};

const fetchHere = (path, options) => fetch(path, options);

export const session = new Session({
  fetch: fetchHere,
  store: sessionStore,
  locks: tabLocks,
  channel: new BroadcastChannel("stoa-session"),
  clock,
});

/** Told of every change that a call has made. */
export const changes = new EventTarget();

export const api = createApi({ fetch: fetchHere, session, onChange: () => changes.dispatchEvent(new Event("change")) });

export const me = () => session.account?.username ?? null;
