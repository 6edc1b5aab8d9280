// Lists of articles: all, the feed, by tag, found by words, of a profile; and one's own drafts.

import { withQuery } from "../api.js";
import { api, me } from "../context.js";
import { counted } from "../format.js";
import { pieces } from "../highlight.js";
import { go } from "../navigation.js";
import { href } from "../routes.js";
import { act, avatar, h, icon, pagedList, person, time } from "../ui.js";

const PAGE = 20;
/** Tags beside the lists; the rest opens. */
const TAGS = 30;

// ---- one article in a list ----

const marked = (html) => pieces(html).map((piece) => (piece.hit ? h("mark", {}, piece.text) : piece.text));

export function tagLinks(tags) {
  if (tags.length === 0) return null;
  return h("ul", { class: "tags", "aria-label": "Tags" }, tags.map((tag) => h("li", {}, h("a", { href: href("tag", { tag }) }, tag))));
}

export function needsSignIn() {
  if (me()) return false;
  go(href("sign-in", {}, { return: location.pathname + location.search }));
  return true;
}

/** Shows and changes whether the caller likes an article. */
export function favoriteButton(article) {
  const count = h("span", {});
  const button = h("button", { type: "button", class: "favorite" }, icon("heart"), count);
  const draw = () => {
    count.textContent = article.favoritesCount.toLocaleString("en");
    button.setAttribute("aria-pressed", String(article.favorited));
    button.setAttribute("aria-label", `Favorite “${article.title}”, ${counted(article.favoritesCount, "favorite")}`);
  };
  draw();
  button.addEventListener("click", () => {
    if (needsSignIn()) return;
    act(button, async () => {
      const path = `/api/articles/${encodeURIComponent(article.slug)}/favorite`;
      const { data } = await api(article.favorited ? "DELETE" : "POST", path);
      article.favorited = data.article.favorited;
      article.favoritesCount = data.article.favoritesCount;
      draw();
    });
  });
  return button;
}

function card(article) {
  const found = article.highlight;
  return h(
    "li",
    { class: "article-card" },
    h("div", { class: "byline" }, person(article.author.username), time(article.createdAt), favoriteButton(article)),
    h("h2", {}, h("a", { href: href("article", { slug: article.slug }) }, found ? marked(found.title) : article.title)),
    h("p", { class: "about" }, found ? marked(found.description) : article.description),
    found?.excerpt ? h("p", { class: "excerpt" }, marked(found.excerpt)) : null,
    tagLinks(article.tagList),
  );
}

async function articleList(path, query, label, empty, signal) {
  let total;
  const load = async (token) => {
    const { data } = await api("GET", withQuery(path, { ...query, pageSize: PAGE, pageToken: token }), { signal });
    total = data.articlesCount;
    return { items: data.articles, next: data.nextPageToken };
  };
  const node = await pagedList(load, card, { empty, label });
  return { node, total };
}

// ---- the lists ----

async function tagCloud(signal) {
  const { data } = await api("GET", "/api/tags", { signal });
  if (data.tags.length === 0) return null;
  const rest = data.tags.slice(TAGS);
  return h(
    "aside",
    { class: "aside", "aria-label": "Tags" },
    h("h2", {}, "Tags"),
    tagLinks(data.tags.slice(0, TAGS)),
    rest.length ? h("details", {}, h("summary", {}, `${counted(rest.length, "more tag")}`), tagLinks(rest)) : null,
  );
}

function tabs(current) {
  const tab = (name, text) => h("a", { href: href(name), "aria-current": name === current ? "page" : null }, text);
  return me() ? h("nav", { class: "tabs", "aria-label": "Lists" }, tab("home", "All articles"), tab("feed", "Your feed")) : null;
}

async function listPage({ title, head, path, query = {}, empty, signal, current }) {
  const [list, tags] = await Promise.all([articleList(path, query, title, empty, signal), tagCloud(signal)]);
  const counts = list.total > 0 ? h("p", { class: "soft" }, counted(list.total, "article")) : null;
  const node = h("div", { class: "columns" }, h("div", {}, h("h1", {}, head), tabs(current), counts, list.node), tags);
  return { title, node };
}

export const home = ({ signal }) =>
  listPage({ title: "Articles", head: "Articles", path: "/api/articles", empty: "There are no articles yet. Write the first one!", signal, current: "home" });

export const feed = ({ signal }) =>
  listPage({
    title: "Your feed",
    head: "Your feed",
    path: "/api/articles/feed",
    empty: "Nothing here yet: follow authors, and their articles appear here.",
    signal,
    current: "feed",
  });

export const tag = ({ params, signal }) =>
  listPage({
    title: `Tag ${params.tag}`,
    head: ["Tag ", h("span", { class: "tag-name" }, params.tag)],
    path: "/api/articles",
    query: { tag: params.tag },
    empty: "No article has this tag.",
    signal,
  });

export async function search({ query, signal }) {
  const words = (query.q ?? "").trim();
  if (!words) return { title: "Search", node: h("div", { class: "column" }, h("h1", {}, "Search"), h("p", {}, "Type what to look for in the field above.")) };
  return listPage({
    title: `Search: ${words}`,
    head: ["Articles with “", words, "”"],
    path: "/api/articles",
    query: { q: words },
    empty: "Nothing found. Words count in any of their forms; “a phrase”, or and -without are understood.",
    signal,
  });
}

// ---- profiles ----

export function followButton(profile) {
  const button = h("button", { type: "button", class: "follow" });
  const draw = () => {
    button.textContent = profile.following ? `Following ${profile.username}` : `Follow ${profile.username}`;
    button.setAttribute("aria-pressed", String(profile.following));
  };
  draw();
  button.addEventListener("click", () => {
    if (needsSignIn()) return;
    act(button, async () => {
      const path = `/api/profiles/${encodeURIComponent(profile.username)}/follow`;
      const { data } = await api(profile.following ? "DELETE" : "POST", path);
      profile.following = data.profile.following;
      draw();
    });
  });
  return button;
}

function directButton(profile) {
  const button = h("button", { type: "button" }, "Message");
  button.addEventListener("click", () =>
    act(button, async () => {
      const { data } = await api("PUT", `/api/chat/direct/${encodeURIComponent(profile.username)}`);
      await go(href("room", { room: data.room.id }));
    }),
  );
  return button;
}

export async function profile({ name, params, signal }) {
  const { data } = await api("GET", `/api/profiles/${encodeURIComponent(params.username)}`, { signal });
  const shown = data.profile;
  const { username } = shown;
  const favorites = name === "favorites";
  const list = await articleList(
    "/api/articles",
    favorites ? { favorited: username } : { author: username },
    favorites ? `Favorites of ${username}` : `Articles by ${username}`,
    favorites ? "No favorites yet." : "No articles yet.",
    signal,
  );
  const tab = (route, text) => h("a", { href: href(route, { username }), "aria-current": route === name ? "page" : null }, text);
  const own = username === me();
  const buttons = own
    ? [h("a", { class: "button", href: href("settings") }, "Edit profile")]
    : [followButton(shown), me() ? directButton(shown) : null];
  const node = h(
    "div",
    { class: "column" },
    h("header", { class: "profile" }, avatar(username, "large"), h("div", {}, h("h1", {}, username), shown.bio ? h("p", { class: "bio" }, shown.bio) : null), h("div", { class: "buttons" }, buttons)),
    h("nav", { class: "tabs", "aria-label": "Lists" }, tab("profile", "Articles"), tab("favorites", "Favorites")),
    list.node,
  );
  return { title: username, node };
}

// ---- drafts ----

function draftRow(draft) {
  return h(
    "li",
    { class: "article-card" },
    h("h2", {}, h("a", { href: href("draft", { id: draft.id }) }, draft.title.trim() || "Without a title")),
    draft.description ? h("p", { class: "about" }, draft.description) : null,
    h("p", { class: "soft" }, "Changed ", time(draft.updatedAt)),
  );
}

export async function drafts({ signal }) {
  const load = async (token) => {
    const { data } = await api("GET", withQuery("/api/drafts", { pageSize: PAGE, pageToken: token }), { signal });
    return { items: data.drafts, next: data.nextPageToken };
  };
  const list = await pagedList(load, draftRow, { empty: "No drafts. What you write and do not publish is kept here; nobody else sees it.", label: "Drafts" });
  const node = h(
    "div",
    { class: "column" },
    h("div", { class: "headline" }, h("h1", {}, "Drafts"), h("a", { class: "button", href: href("write") }, icon("plus"), "New")),
    list,
  );
  return { title: "Drafts", node };
}
