// Where the refresh token lives: IndexedDB, of this origin. All tabs see a write as soon as it is done, which
// localStorage does not promise between processes.

import { newId } from "./ids.js";

const DATABASE = "stoa";
const KEPT = "session";

function open() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(KEPT);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

/** work(store) in a transaction of its own; the result of the request that it gives, once all is stored. */
async function run(mode, work) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(KEPT, mode, { durability: "strict" });
      const asked = work(transaction.objectStore(KEPT));
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/** A store as session.js wants it. */
export const sessionStore = {
  get: () => run("readonly", (store) => store.get(KEPT)),
  set: (value) => run("readwrite", (store) => store.put(value, KEPT)),
  clear: () => run("readwrite", (store) => store.delete(KEPT)),
};

// ---- a lock of all tabs ----

/** Longer than a request may take. A tab that dies with the lock is waited for so long. */
const LEASE_MS = 30000;

async function take(name, owner) {
  let taken = false;
  await run("readwrite", (store) => {
    const asked = store.get(name);
    asked.onsuccess = () => {
      taken = !asked.result || asked.result.until < Date.now();
      if (taken) store.put({ owner, until: Date.now() + LEASE_MS }, name);
    };
    return asked;
  });
  return taken;
}

function release(name, owner) {
  return run("readwrite", (store) => {
    const asked = store.get(name);
    asked.onsuccess = () => {
      if (asked.result?.owner === owner) store.delete(name);
    };
    return asked;
  });
}

/** In place of navigator.locks where there is none: on pages that come over plain HTTP from another host. */
const leases = {
  async request(name, work) {
    const owner = newId();
    while (!(await take(`lock ${name}`, owner))) await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 50));
    try {
      return await work();
    } finally {
      await release(`lock ${name}`, owner);
    }
  },
};

export const tabLocks = navigator.locks ?? leases;
