// The page's addresses. No DOM. The gateway serves the page for the first segments that stand here
// (nginx.conf.in; tests/web/routes.test.mjs compares them).

/** Name and pattern; a segment with a colon is a parameter. */
export const ROUTES = [
  ["home", "/"],
  ["feed", "/feed"],
  ["search", "/search"],
  ["tag", "/tags/:tag"],
  ["article", "/articles/:slug"],
  ["edit", "/articles/:slug/edit"],
  ["write", "/write"],
  ["drafts", "/drafts"],
  ["draft", "/drafts/:id"],
  ["profile", "/people/:username"],
  ["favorites", "/people/:username/favorites"],
  ["chat", "/chat"],
  ["discover", "/chat/rooms"],
  ["find", "/chat/search"],
  ["room", "/chat/:room"],
  ["settings", "/settings"],
  ["sessions", "/settings/sessions"],
  ["sign-in", "/sign-in"],
  ["sign-up", "/sign-up"],
];

function segmentsOf(path) {
  return path.split("/").filter((segment) => segment !== "");
}

function decoded(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}

function matches(pattern, segments) {
  const parts = segmentsOf(pattern);
  if (parts.length !== segments.length) return null;
  const params = {};
  for (const [i, part] of parts.entries()) {
    if (!part.startsWith(":")) {
      if (part !== segments[i]) return null;
      continue;
    }
    const value = decoded(segments[i]);
    if (value === null) return null;
    params[part.slice(1)] = value;
  }
  return params;
}

/** {name, params, query} of a path with its query string; name "missing" for what is no address of the page's. */
export function match(path, search = "") {
  const query = Object.fromEntries(new URLSearchParams(search));
  const segments = segmentsOf(path);
  for (const [name, pattern] of ROUTES) {
    const params = matches(pattern, segments);
    if (params) return { name, params, query };
  }
  return { name: "missing", params: {}, query };
}

/** href("article", {slug: "a/b"}) -> "/articles/a%2Fb"; query is optional. */
export function href(name, params = {}, query = {}) {
  const [, pattern] = ROUTES.find(([known]) => known === name);
  const path = `/${segmentsOf(pattern)
    .map((part) => (part.startsWith(":") ? encodeURIComponent(params[part.slice(1)]) : part))
    .join("/")}`;
  const search = new URLSearchParams(query).toString();
  return search ? `${path}?${search}` : path;
}

/** Whether a path is the page's to show, rather than the server's (/docs/, /openapi.json). */
export function isOurs(path) {
  return match(path).name !== "missing";
}

/** Where to go after a sign-in: only to an address of the page's own. */
export function safeReturn(path) {
  if (!path?.startsWith("/") || path.startsWith("//") || path.includes("\\")) return "/";
  const [pathname] = path.split(/[?#]/);
  return isOurs(pathname) ? path : "/";
}
