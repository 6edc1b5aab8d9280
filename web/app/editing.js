// What somebody writes in the editor, kept in the tab until it is saved; and what a change by somebody else means.
// No DOM.

/** What an article or a draft has that can be written. */
export function contentOf(thing) {
  return { title: thing.title, description: thing.description, body: thing.body ?? "", tagList: thing.tagList };
}

export const EMPTY = { title: "", description: "", body: "", tagList: [] };

export function sameContent(a, b) {
  return JSON.stringify(contentOf(a)) === JSON.stringify(contentOf(b));
}

/** "b, a ,, b" -> ["a", "b"], as the server keeps them. */
export function tagsOf(text) {
  return [...new Set(text.split(",").map((tag) => tag.trim()))].filter((tag) => tag !== "").sort();
}

/** Names of what two states differ in. */
export function differences(mine, theirs) {
  return Object.keys(EMPTY).filter((name) => JSON.stringify(mine[name]) !== JSON.stringify(theirs[name]));
}

/**
 * Text that is not saved, in storage (sessionStorage) under a name of the thing that is edited: {content, etag},
 * etag being the state that it began with.
 */
export class Unsaved {
  constructor(storage, name) {
    this.storage = storage;
    this.name = `unsaved ${name}`;
  }

  read() {
    const kept = this.storage.getItem(this.name);
    return kept ? JSON.parse(kept) : null;
  }

  /** False when there is no room for it. */
  write(content, etag) {
    try {
      this.storage.setItem(this.name, JSON.stringify({ content, etag }));
      return true;
    } catch {
      return false;
    }
  }

  clear() {
    this.storage.removeItem(this.name);
  }
}

/** A key for each content: the same one while the same is sent again, another when something has changed. */
export class Keys {
  constructor(newId) {
    this.newId = newId;
    this.last = { content: null, key: "" };
  }

  of(content) {
    const text = JSON.stringify(content);
    if (this.last.content !== text) this.last = { content: text, key: this.newId() };
    return this.last.key;
  }
}
