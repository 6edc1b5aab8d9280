// Calls of the HTTP API. No DOM: what it needs of the browser is given to it.

const TIMEOUT_MS = 20000;

/** An answer that is not a success. */
export class ApiError extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.detail || problem?.title || `The server answered ${status}.`);
    this.name = "ApiError";
    this.status = status;
    this.reason = problem?.reason ?? "";
    /** What is wrong with which field: {title: ["can't be blank"]}. */
    this.fields = problem?.errors ?? {};
    /** Seconds to wait, or 0. */
    this.retryAfter = retryAfter;
  }
}

/** No answer: no network, or too late. Whether the server did it is not known. */
export class Unreachable extends Error {
  constructor(cause) {
    super("The server cannot be reached.", { cause });
    this.name = "Unreachable";
  }
}

async function problemOf(response) {
  const problem = await response.json().catch(() => null);
  return new ApiError(response.status, problem, Number(response.headers.get("Retry-After")) || 0);
}

/** One request; {data, etag} of a success, or ApiError, Unreachable, or the signal's AbortError. */
export async function request(fetch, method, path, { body, token, ifMatch, idempotencyKey, signal } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  if (ifMatch) headers["If-Match"] = ifMatch;
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), TIMEOUT_MS);
  const forward = () => limit.abort();
  signal?.addEventListener("abort", forward);
  try {
    signal?.throwIfAborted();
    const response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: limit.signal,
      // The API sets no cookie and wants none; what a list says is asked anew.
      credentials: "omit",
      cache: "no-store",
    });
    if (!response.ok) throw await problemOf(response);
    const data = response.status === 204 ? null : await response.json();
    return { data, etag: strong(response.headers.get("ETag")) };
  } catch (error) {
    if (error instanceof ApiError) throw error;
    signal?.throwIfAborted();
    throw new Unreachable(error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", forward);
  }
}

/** Compression on the way makes a tag weak, and a weak one matches nothing: the tag is the state's all the same. */
function strong(etag) {
  return etag?.replace(/^W\//, "") ?? null;
}

const TRIES = 6;
const LONGEST_WAIT_S = 5;

/**
 * What ask() gives. A server that is too busy for it (passwords take their time) has done nothing, and says when to come
 * again: it is asked again then, not by all at once, and each time onWait() hears of it. Who has tried too often waits longer
 * than anybody should be kept waiting, and is told so.
 */
export async function patiently(ask, clock, onWait = () => {}) {
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      const busy = error instanceof ApiError && error.status === 429 && error.reason === "OVERLOADED";
      if (!busy || error.retryAfter > LONGEST_WAIT_S || tries === TRIES) throw error;
      onWait();
      await new Promise((resolve) => clock.setTimeout(resolve, (error.retryAfter + Math.random()) * 1000));
    }
  }
}

/** "/api/articles" and {tag: "a b", q: undefined} -> "/api/articles?tag=a%20b" */
export function withQuery(path, query) {
  const parts = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  if (parts.length === 0) return path;
  return `${path}?${parts.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}`;
}

/**
 * api("PUT", "/api/articles/x", {body, ifMatch}) with the session's token. A token that is refused is renewed
 * once; onChange hears of every success that was no reading.
 */
export function createApi({ fetch, session, onChange = () => {} }) {
  return async function api(method, path, options = {}) {
    let token = await session.token();
    let answer;
    try {
      answer = await request(fetch, method, path, { ...options, token });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401 || !token) throw error;
      token = await session.renew(token);
      if (!token) throw error;
      answer = await request(fetch, method, path, { ...options, token });
    }
    if (method !== "GET") onChange();
    return answer;
  };
}
