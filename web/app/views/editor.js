// Writing: a new article, a draft, or a change of an article.

import { ApiError } from "../api.js";
import { api, me } from "../context.js";
import { contentOf, differences, EMPTY, Keys, sameContent, tagsOf, Unsaved } from "../editing.js";
import { newId } from "../ids.js";
import { go } from "../navigation.js";
import { renderArticle } from "../render.js";
import { href } from "../routes.js";
import { act, confirmed, field, form, h, toast } from "../ui.js";

const WORDS = { title: "Title", description: "Summary", body: "Text", tagList: "Tags" };

/** The fields, and what is in them. */
function fieldsOf(content) {
  const known = {
    title: field("Title", { name: "title", maxlength: 256, value: content.title, class: "title-input" }),
    description: field("Summary", { name: "description", maxlength: 1024, value: content.description }, "What it is about, in a line."),
    body: field("Text", { name: "body", rows: 18, maxlength: 262144, value: content.body, class: "writing", spellcheck: "true" }, "Markdown: # heading, *emphasis*, **strong**, `code`, - list, > quotation, [link](https://…)."),
    tagList: field("Tags", { name: "tagList", value: content.tagList.join(", ") }, "Separated by commas."),
  };
  const read = () => ({
    title: known.title.input.value,
    description: known.description.input.value,
    body: known.body.input.value,
    tagList: tagsOf(known.tagList.input.value),
  });
  const write = (next) => {
    for (const name of Object.keys(EMPTY)) known[name].input.value = name === "tagList" ? next.tagList.join(", ") : next[name];
  };
  return { known, read, write };
}

/** The text as readers will see it, in place of the field. */
function previewOf(known) {
  const shown = h("div", { class: "preview", hidden: true, tabindex: "0", role: "region", "aria-label": "Preview" });
  const button = h("button", { type: "button", "aria-pressed": "false" }, "Preview");
  button.addEventListener("click", () => {
    const on = shown.hidden;
    shown.hidden = !on;
    known.body.input.hidden = on;
    button.setAttribute("aria-pressed", String(on));
    if (on) shown.replaceChildren(known.body.input.value.trim() ? renderArticle(known.body.input.value) : h("p", { class: "soft" }, "There is no text yet."));
  });
  known.body.input.after(shown);
  return button;
}

/**
 * thing: {heading, name, content, etag, load(), save(content, options), actions(editor), legend}. What save gives is the
 * next state of it.
 */
function editor(thing) {
  const unsaved = new Unsaved(sessionStorage, `${me()} ${thing.name}`);
  const kept = unsaved.read();
  const restored = kept && !sameContent(kept.content, thing.content) ? kept : null;
  let etag = restored ? restored.etag : thing.etag;
  let base = thing.content;
  const { known, read, write } = fieldsOf(restored ? restored.content : base);
  const keys = new Keys(newId);
  const conflict = h("div", { class: "conflict", role: "alert", hidden: true });
  const state = h("p", { class: "soft", role: "status" });
  const changed = () => !sameContent(read(), base);

  const remember = () => {
    if (!changed()) unsaved.clear();
    else if (!unsaved.write(read(), etag)) state.textContent = "This is too long to be kept in the tab: save it before you leave.";
  };
  const took = (next, tag) => {
    base = contentOf(next);
    etag = tag;
    unsaved.clear();
    conflict.hidden = true;
  };

  /** Somebody changed it meanwhile: theirs is shown beside what is written here, and nothing is lost. */
  const showConflict = async (again) => {
    const theirs = await thing.load();
    const names = differences(read(), theirs.content);
    const keep = h("button", { type: "button", class: "primary" }, "Save mine over it");
    keep.addEventListener("click", () => {
      etag = theirs.etag;
      remember();
      node.dispatchEvent(new CustomEvent("resave", { detail: again }));
    });
    const take = h("button", { type: "button" }, "Take theirs, drop mine");
    take.addEventListener("click", async () => {
      if (!(await confirmed("Drop what you have written?", "Drop mine"))) return;
      write(theirs.content);
      took(theirs.content, theirs.etag);
      known.title.input.focus();
    });
    conflict.replaceChildren(
      h("h2", {}, "It was changed elsewhere meanwhile"),
      h("p", {}, "Your text is still in the form below. This is what the other change made of it:"),
      h("dl", {}, names.map((name) => [h("dt", {}, WORDS[name]), h("dd", {}, h("pre", { tabindex: "0" }, name === "tagList" ? theirs.content.tagList.join(", ") : theirs.content[name]))])),
      h("div", { class: "buttons" }, keep, take),
    );
    conflict.hidden = false;
    conflict.scrollIntoView({ block: "nearest" });
  };

  /** Saves what is written; what then is to be done gets the state that it has now. */
  const save = async (work, then) => {
    try {
      const next = await work(read(), { etag, keys, took, changed });
      if (next.thing) took(next.thing, next.etag);
      else unsaved.clear();
      await then?.(next);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 412) throw error;
      await showConflict(() => save(work, then));
    }
  };

  const preview = previewOf(known);
  const buttons = h("div", { class: "buttons" }, thing.buttons.map((one) => h("button", { type: "submit", name: one.name, class: one.kind ?? "" }, one.text)), preview, thing.extra?.());
  const submit = async (event) => {
    if (typeof event.detail === "function") return event.detail();
    const pressed = thing.buttons.find((one) => one.name === event.submitter?.name) ?? thing.buttons[0];
    return save(pressed.work, (next) => pressed.then?.(next, state));
  };
  const node = form(known, buttons, submit, { class: "editor" });
  // The button of the conflict sends the form as its own button did.
  node.addEventListener("resave", (event) => node.dispatchEvent(new CustomEvent("submit", { cancelable: true, detail: event.detail })));
  node.addEventListener("input", remember);
  node.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "s") {
      event.preventDefault();
      node.requestSubmit(buttons.querySelector("[name=save]"));
    }
    // Enter in a line would press the first button, and publish by accident.
    if (event.key === "Enter" && event.target.tagName === "INPUT") event.preventDefault();
  });
  if (restored) {
    const discard = h("button", { type: "button", class: "small" }, "Discard it");
    discard.addEventListener("click", () => {
      write(base);
      etag = thing.etag;
      unsaved.clear();
      discard.parentElement.remove();
      known.title.input.focus();
    });
    state.append(h("span", { class: "note" }, "What you had written here and not saved is back. ", discard));
  }
  known.title.input.dataset.focus = "";
  return {
    title: thing.heading,
    node: h("div", { class: "column wide" }, h("h1", {}, thing.heading), state, conflict, node),
    holds: changed,
  };
}

// ---- the three ----

const articlePath = (slug) => `/api/articles/${encodeURIComponent(slug)}`;
const openArticle = ({ thing }) => go(href("article", { slug: thing.slug }), { replace: true });

async function loadArticle(slug, signal) {
  const { data, etag } = await api("GET", articlePath(slug), { signal });
  return { content: contentOf(data.article), etag, thing: data.article };
}

async function loadDraft(id, signal) {
  const { data, etag } = await api("GET", `/api/drafts/${id}`, { signal });
  return { content: contentOf(data.draft), etag, thing: data.draft };
}

export async function write() {
  const publish = async (content, { keys }) => {
    const { data, etag } = await api("POST", "/api/articles", { body: { article: content }, idempotencyKey: keys.of(content) });
    return { thing: data.article, etag };
  };
  const keepDraft = async (content, { keys }) => {
    const { data } = await api("POST", "/api/drafts", { body: { draft: content }, idempotencyKey: keys.of({ draft: content }) });
    return { draft: data.draft };
  };
  const openDraft = async ({ draft }) => {
    toast("Saved as a draft.", "good");
    await go(href("draft", { id: draft.id }), { replace: true });
  };
  return editor({
    heading: "Write",
    name: "new",
    content: EMPTY,
    etag: null,
    buttons: [
      { name: "publish", text: "Publish", kind: "primary", work: publish, then: openArticle },
      { name: "save", text: "Save as draft", work: keepDraft, then: openDraft },
    ],
  });
}

export async function edit({ params, signal }) {
  const loaded = await loadArticle(params.slug, signal);
  if (loaded.thing.author.username !== me()) throw new ApiError(403, { detail: "Only its author changes an article." }, 0);
  const put = async (content, { etag }) => {
    const { data, etag: tag } = await api("PUT", articlePath(params.slug), { body: { article: content }, ifMatch: etag });
    return { thing: data.article, etag: tag };
  };
  return editor({
    heading: "Edit",
    name: `article ${params.slug}`,
    ...loaded,
    load: () => loadArticle(params.slug),
    buttons: [{ name: "save", text: "Save", kind: "primary", work: put, then: openArticle }],
    extra: () => h("a", { class: "button", href: href("article", { slug: params.slug }) }, "Cancel"),
  });
}

export async function draft({ params, signal }) {
  const path = `/api/drafts/${encodeURIComponent(params.id)}`;
  const loaded = await loadDraft(encodeURIComponent(params.id), signal);
  const put = async (content, { etag }) => {
    const { data, etag: tag } = await api("PUT", path, { body: { draft: content }, ifMatch: etag });
    return { thing: data.draft, etag: tag };
  };
  const publish = async (content, options) => {
    let tag = options.etag;
    // After a lost answer there is nothing to save, and perhaps no draft any more: the same key gets the first answer.
    if (options.changed()) {
      const saved = await put(content, options);
      tag = saved.etag;
      options.took(saved.thing, tag);
    }
    const { data, etag } = await api("POST", `${path}:publish`, { ifMatch: tag, idempotencyKey: options.keys.of({ publish: tag }) });
    return { thing: data.article, etag };
  };
  const remove = h("button", { type: "button", class: "quiet-danger" }, "Delete");
  remove.addEventListener("click", async () => {
    if (!(await confirmed("Delete this draft?", "Delete", "This cannot be undone."))) return;
    if (await act(remove, () => api("DELETE", path))) await go(href("drafts"), { replace: true });
  });
  return editor({
    heading: "Draft",
    name: `draft ${params.id}`,
    ...loaded,
    load: () => loadDraft(encodeURIComponent(params.id)),
    buttons: [
      { name: "save", text: "Save", kind: "", work: put, then: (_, state) => state.replaceChildren(`Saved at ${new Date().toLocaleTimeString("en")}.`) },
      { name: "publish", text: "Publish", kind: "primary", work: publish, then: openArticle },
    ],
    extra: () => remove,
  });
}
