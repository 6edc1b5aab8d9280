import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { pieces } from "../../web/app/highlight.js";
import { href, match, ROUTES, safeReturn } from "../../web/app/routes.js";
import { request, withQuery } from "../../web/app/api.js";
import { ago, deviceName, names } from "../../web/app/format.js";

test("the gateway serves the page for the first segments of all routes, and no others", () => {
  const configuration = readFileSync(new URL("../../gateway/nginx.conf.in", import.meta.url), "utf8");
  const served = /location ~ \^\/\(\?:([a-z|-]+)\)\(\?:\/\|\$\) \{\s*rewrite \^ \/app\/index\.html last;/.exec(configuration)[1];
  const segments = new Set(ROUTES.map(([, pattern]) => pattern.split("/")[1]).filter((segment) => segment !== ""));
  assert.deepEqual(new Set(served.split("|")), segments);
});

test("what href makes, match finds", () => {
  for (const [name, pattern] of ROUTES) {
    const params = Object.fromEntries([...pattern.matchAll(/:(\w+)/g)].map(([, key]) => [key, "a/b ?#%ü"]));
    const [path, search] = href(name, params, { q: "x y&z" }).split("?");
    assert.deepEqual(match(path, `?${search}`), { name, params, query: { q: "x y&z" } });
  }
  for (const path of ["/nothing", "/articles", "/tags/%E0%A4%A", "/chat/1/2"]) assert.equal(match(path).name, "missing");
});

test("after a sign-in nobody is sent elsewhere", () => {
  for (const path of ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "/docs/", "", undefined]) assert.equal(safeReturn(path), "/");
  assert.equal(safeReturn("/articles/x?y#z"), "/articles/x?y#z");
});

test("highlights are pieces of text", () => {
  assert.deepEqual(pieces("a <mark>b&lt;</mark> &amp;lt; &quot;&#39;"), [
    { text: "a ", hit: false }, { text: "b<", hit: true }, { text: " &lt; \"'", hit: false },
  ]);
  assert.deepEqual(pieces("<img src=x>"), [{ text: "<img src=x>", hit: false }]);
});

test("queries", () => {
  assert.equal(withQuery("/x", { a: "b c&d", e: undefined, f: "", g: 0 }), "/x?a=b%20c%26d&g=0");
  assert.equal(withQuery("/x", {}), "/x");
});

test("what a request sends and what becomes of an answer", async () => {
  let seen;
  const fetch = async (path, options) => {
    seen = { path, ...options };
    return new Response("{}", { headers: { ETag: 'W/"7"' } });
  };
  const { etag } = await request(fetch, "PUT", "/x", { body: { a: 1 }, token: "t", ifMatch: '"6"', idempotencyKey: "k" });
  assert.equal(etag, '"7"');
  assert.equal(seen.body, '{"a":1}');
  assert.deepEqual(seen.headers, { "Content-Type": "application/json", Authorization: "Bearer t", "If-Match": '"6"', "Idempotency-Key": "k" });
  const refuse = async () => new Response("<html>", { status: 503, headers: { "Retry-After": "7" } });
  await assert.rejects(request(refuse, "GET", "/x"), (error) => error.status === 503 && error.retryAfter === 7);
});

test("words", () => {
  assert.equal(names(["a"], 1), "a");
  assert.equal(names(["a", "b"]), "a and b");
  assert.equal(names(["a", "b", "c"], 5), "a, b, c and 2 others");
  assert.equal(ago("2026-01-01T00:00:00Z", Date.parse("2026-01-01T03:10:00Z")), "3 hours ago");
  assert.equal(deviceName("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"), "Firefox on Linux");
});
