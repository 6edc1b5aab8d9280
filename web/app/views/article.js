// One article: its text, who likes it, what is said about it.

import { withQuery } from "../api.js";
import { api, me } from "../context.js";
import { newId } from "../ids.js";
import { go } from "../navigation.js";
import { renderArticle } from "../render.js";
import { href } from "../routes.js";
import { act, announce, avatar, confirmed, field, form, h, icon, pagedList, person, time, toast } from "../ui.js";
import { favoriteButton, followButton, tagLinks } from "./articles.js";

const COMMENTS = 50;

function ownButtons(article, etag) {
  const remove = h("button", { type: "button", class: "quiet-danger" }, icon("trash"), "Delete");
  remove.addEventListener("click", async () => {
    if (!(await confirmed("Delete this article?", "Delete", "Its comments go with it. This cannot be undone."))) return;
    const done = await act(remove, () => api("DELETE", `/api/articles/${encodeURIComponent(article.slug)}`, { ifMatch: etag }));
    if (!done) return;
    toast("The article is deleted.", "good");
    await go("/", { replace: true });
  });
  return [h("a", { class: "button", href: href("edit", { slug: article.slug }) }, icon("edit"), "Edit"), remove];
}

function commentRow(slug, comment, gone) {
  const { username } = comment.author;
  const row = h("li", { class: "comment" });
  const remove = h("button", { type: "button", class: "quiet-danger small", "aria-label": "Delete this comment" }, "Delete");
  remove.addEventListener("click", async () => {
    if (!(await confirmed("Delete this comment?", "Delete"))) return;
    if (!(await act(remove, () => api("DELETE", `/api/articles/${encodeURIComponent(slug)}/comments/${comment.id}`)))) return;
    row.remove();
    gone();
  });
  row.append(
    avatar(username, "small"),
    h(
      "div",
      {},
      h("div", { class: "byline" }, h("a", { class: "person", href: href("profile", { username }) }, username), time(comment.createdAt), username === me() ? remove : null),
      renderArticle(comment.body),
    ),
  );
  return row;
}

async function comments(slug, signal) {
  const path = `/api/articles/${encodeURIComponent(slug)}/comments`;
  const heading = h("h2", { id: "comments", tabindex: "-1" }, "Comments");
  const removed = () => heading.focus();
  const load = async (token) => {
    const { data } = await api("GET", withQuery(path, { pageSize: COMMENTS, pageToken: token }), { signal });
    return { items: data.comments, next: data.nextPageToken };
  };
  const list = await pagedList(load, (comment) => commentRow(slug, comment, removed), { empty: "Nobody has said anything yet.", label: "Comments", kind: "comments" });
  return h("section", { class: "discussion", "aria-labelledby": "comments" }, heading, me() ? writing(path, slug, list, removed) : invitation(), list);
}

function invitation() {
  return h("p", {}, h("a", { href: href("sign-in", {}, { return: location.pathname }) }, "Sign in"), " to comment.");
}

function writing(path, slug, list, removed) {
  const known = { body: field("Your comment", { rows: 3, maxlength: 8192, name: "body" }, "Markdown is understood.") };
  // The same comment sent again, after an answer that did not come, is one comment.
  let sent = { body: null, key: "" };
  const submit = async () => {
    const body = known.body.input.value;
    if (sent.body !== body) sent = { body, key: newId() };
    const { data } = await api("POST", path, { body: { comment: { body } }, idempotencyKey: sent.key });
    sent = { body: null, key: "" };
    known.body.input.value = "";
    list.querySelector("ul").prepend(commentRow(slug, data.comment, removed));
    list.querySelector(".empty").hidden = true;
    announce("Your comment is published.");
  };
  return form(known, h("div", { class: "buttons" }, h("button", { class: "primary", type: "submit" }, "Comment")), submit, { class: "comment-form" });
}

export async function article({ params, signal }) {
  const path = `/api/articles/${encodeURIComponent(params.slug)}`;
  const [{ data, etag }, discussion] = await Promise.all([api("GET", path, { signal }), comments(params.slug, signal)]);
  const shown = data.article;
  const own = shown.author.username === me();
  const changed = shown.updatedAt !== shown.createdAt;
  const node = h(
    "div",
    { class: "column reading" },
    h(
      "article",
      {},
      h("h1", {}, shown.title),
      h("p", { class: "lead" }, shown.description),
      h("div", { class: "byline" }, person(shown.author.username), time(shown.createdAt), changed ? h("span", { class: "soft" }, "changed ", time(shown.updatedAt)) : null),
      renderArticle(shown.body ?? ""),
      tagLinks(shown.tagList),
    ),
    h("div", { class: "buttons article-buttons" }, favoriteButton(shown), own ? ownButtons(shown, etag) : followButton(shown.author)),
    discussion,
  );
  return { title: shown.title, node };
}
