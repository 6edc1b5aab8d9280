// From an address to a view: links, history, focus, titles, and where the page was scrolled to.
//
// A view is an async function ({params, query, signal}) -> {title, node, update?, leave?}. update(route) takes over
// another address of the same module's, instead of a new view; leave() ends what it began.

import { Unreachable } from "./api.js";
import { changes, session } from "./context.js";
import { drawFrame } from "./frame.js";
import { href, isOurs, match } from "./routes.js";
import { announce, closeDialogs, explain, h } from "./ui.js";

const article = () => import("./views/article.js");
const articles = () => import("./views/articles.js");
const editor = () => import("./views/editor.js");
const access = () => import("./views/access.js");
const settings = () => import("./views/settings.js");
const chat = () => import("./views/chat.js");

/** Module and name of each route's view; `member` views want a sign-in first. */
const VIEWS = {
  home: [articles, "home"],
  feed: [articles, "feed", "member"],
  search: [articles, "search"],
  tag: [articles, "tag"],
  article: [article, "article"],
  edit: [editor, "edit", "member"],
  write: [editor, "write", "member"],
  draft: [editor, "draft", "member"],
  drafts: [articles, "drafts", "member"],
  profile: [articles, "profile"],
  favorites: [articles, "profile"],
  chat: [chat, "chat", "member"],
  room: [chat, "chat", "member"],
  discover: [chat, "chat", "member"],
  find: [chat, "chat", "member"],
  settings: [settings, "settings", "member"],
  sessions: [settings, "sessions", "member"],
  "sign-in": [access, "signIn"],
  "sign-up": [access, "signUp"],
};
/** Views of the last addresses, for Back: lists as long as they had become. */
const KEPT = 8;
const kept = new Map();

const main = document.getElementById("main");
let shown = null;
let load = null;
let key = "";

const newKey = () => Math.random().toString(36).slice(2);

// ---- showing ----

function missing() {
  return { title: "Not found", node: h("div", { class: "column" }, h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "/" }, "To the articles"))) };
}

function failure(error, route) {
  const gone = error.status === 404;
  return {
    title: gone ? "Not found" : "It did not work",
    failed: true,
    node: h(
      "div",
      { class: "column" },
      h("h1", {}, gone ? "This is not here (any more)" : "This page could not be loaded"),
      h("p", {}, gone ? h("a", { href: "/" }, "To the articles") : explain(error)),
      gone ? null : h("button", { type: "button", onclick: () => show(route) }, "Try again"),
    ),
  };
}

async function viewOf(route, signal) {
  const [module, name, member] = VIEWS[route.name] ?? [];
  if (!module) return missing();
  if (member && session.status === "out") {
    const back = location.pathname + location.search;
    history.replaceState({ key }, "", href("sign-in", {}, { return: back }));
    return viewOf(match(location.pathname, location.search), signal);
  }
  try {
    const loaded = await module().catch((error) => {
      throw new Unreachable(error);
    });
    return await loaded[name]({ ...route, signal });
  } catch (error) {
    if (signal.aborted) throw error;
    return failure(error, route);
  }
}

const isChat = (name) => VIEWS[name]?.[0] === chat;

function keep() {
  if (!shown || shown.view.failed || shown.view.leave) return;
  kept.delete(shown.key);
  kept.set(shown.key, { ...shown, scroll: window.scrollY });
  while (kept.size > KEPT) kept.delete(kept.keys().next().value);
}

function put(route, view, scroll) {
  closeDialogs();
  shown?.view.leave?.();
  shown = { route, view, key };
  document.title = view.title === "Stoa" ? "Stoa" : `${view.title} · Stoa`;
  document.body.dataset.view = isChat(route.name) ? "chat" : route.name;
  document.getElementById("search-words").value = route.name === "search" ? (route.query.q ?? "") : "";
  main.replaceChildren(view.node);
  drawFrame(session);
  window.scrollTo(0, scroll);
}

/**
 * Focus goes to the new content, so that the keyboard goes on there and a screen reader begins to read; after a load
 * of the whole page only to a field that waits to be filled.
 */
function focusContent(view, whole) {
  const target = view.node.querySelector("[data-focus]") ?? view.node.querySelector("h1") ?? main;
  const control = target.matches("input, textarea");
  if (whole && !control) return;
  if (!control) target.setAttribute("tabindex", "-1");
  target.focus({ preventScroll: true });
}

async function show(route, { focus = true, whole = false, from = null } = {}) {
  load?.abort();
  load = new AbortController();
  const { signal } = load;
  main.removeAttribute("aria-busy");
  keep();
  if (from) {
    put(from.route, from.view, from.scroll);
    return;
  }
  if (session.status !== "out" && shown?.view.update && isChat(route.name) && isChat(shown.route.name)) {
    shown.route = route;
    shown.key = key;
    await shown.view.update(route);
    drawFrame(session);
    return;
  }
  main.setAttribute("aria-busy", "true");
  try {
    const view = await viewOf(route, signal);
    if (signal.aborted) {
      view.leave?.();
      return;
    }
    put(match(location.pathname, location.search), view, 0);
    if (focus) focusContent(view, whole);
    announce(view.title);
    const anchor = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (anchor) anchor.scrollIntoView();
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    if (!signal.aborted) main.removeAttribute("aria-busy");
  }
}

/** The title of the view that is shown, when it changes by itself. */
export function retitle(title) {
  document.title = `${title} · Stoa`;
}

// ---- going ----

export function go(path, { replace = false } = {}) {
  if (replace) history.replaceState({ key }, "", path);
  else {
    keep();
    key = newKey();
    history.pushState({ key }, "", path);
  }
  return show(match(location.pathname, location.search));
}

/** Shows the same address anew, for somebody else. Forms in which somebody writes stay as they are. */
export function again(why) {
  kept.clear();
  const route = match(location.pathname, location.search);
  const [, , member] = VIEWS[route.name] ?? [];
  // Whoever has just signed in or out by the form is taken on by the form.
  if (route.name === "sign-in" || route.name === "sign-up") return;
  if (shown?.view.holds?.() && why !== "signed-out") return;
  if (member && session.status === "out" && why === "signed-out") go("/");
  else show(route, { focus: false });
}

function onClick(event) {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const url = new URL(link.href);
  if (link.target || link.download || url.origin !== location.origin || !isOurs(url.pathname)) return;
  if (url.pathname === location.pathname && url.search === location.search && url.hash) return;
  event.preventDefault();
  go(url.pathname + url.search + url.hash);
}

export function startNavigation() {
  history.scrollRestoration = "manual";
  key = history.state?.key ?? newKey();
  history.replaceState({ key }, "");
  changes.addEventListener("change", () => kept.clear());
  document.addEventListener("click", onClick);
  window.addEventListener("popstate", (event) => {
    keep();
    key = event.state?.key ?? newKey();
    // A place on the page that is shown, such as what "Skip to the content" goes to: the browser has gone there.
    if (!event.state) {
      history.replaceState({ key }, "");
      if (shown) shown.key = key;
      return;
    }
    show(match(location.pathname, location.search), { from: kept.get(key) ?? null });
  });
  return show(match(location.pathname, location.search), { whole: true });
}
