// Markdown to a tree. No DOM: render.js makes elements of it, so that what somebody wrote is never parsed as HTML.
//
// A node is a string or [tag, attributes, children]. Known are: headings, paragraphs, lists, quotations, rules,
// fenced code, `code`, *emphasis*, **strong**, ~~deleted~~, [links](url), <https://…>, bare https://… and
// backslash escapes. Pictures become links: the page loads nothing from elsewhere. HTML is text.
//
// Time grows with the length of the text alone, whatever it is; the tree's depth and size have limits, beyond
// which marks are left as text.

const MAX_DEPTH = 6;
const MAX_INLINE_DEPTH = 16;
const MAX_NODES = 20000;
const MAX_URL = 2048;

/** The address of a link, or null for what none may have (javascript:, data: …). */
export function safeUrl(url) {
  const text = url.trim();
  if (text === "" || text.length > MAX_URL || /[\u0000-\u0020\\]/.test(text)) return null;
  if (/^(?:https?:\/\/[^/?#]|mailto:[^?])/i.test(text)) return text;
  // Within this site. Two slashes would be another host's.
  if (/^(?:\/(?!\/)|#)/.test(text)) return text;
  return null;
}

// ---- inline ----

const PUNCTUATION = /[!-/:-@[-`{-~]/;
const BARE_URL = /https?:\/\/[^\s<>"'`]{1,2000}/y;
const ANGLE_URL = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
/** What follows the text of a link: (url) or (url "title"); one level of parentheses within the URL. */
const DESTINATION = /\(\s{0,8}(?:<([^<>\n]{0,2048})>|((?:[^\s()<>]|\([^\s()]{0,256}\)){0,2048}))(?:\s{1,8}(?:"[^"\n]{0,256}"|'[^'\n]{0,256}'))?\s{0,8}\)/y;

function matchAt(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** A bare URL ends before punctuation that belongs to the sentence, and before a parenthesis that it did not open. */
function trimmedUrl(url) {
  let end = url.length;
  let open = 0;
  for (const character of url) open += character === "(" ? 1 : character === ")" ? -1 : 0;
  for (; end > 0; end--) {
    const last = url[end - 1];
    if (last === ")" && open < 0) open++;
    else if (!/[.,;:!?*_~]/.test(last)) break;
  }
  return url.slice(0, end);
}

const isSpace = (character) => character === "" || /\s/.test(character);
const isWord = (character) => /[\p{L}\p{N}]/u.test(character);

class Inline {
  constructor(text, budget, breaks) {
    this.text = text;
    this.budget = budget;
    this.breaks = breaks;
    /** What is open: {mark, children}; the first is the whole. */
    this.stack = [{ mark: "", children: [] }];
    this.open = new Map();
    this.noCloser = new Map();
    this.plain = "";
  }

  get top() {
    return this.stack[this.stack.length - 1];
  }

  flush() {
    if (this.plain === "") return;
    this.top.children.push(this.plain);
    this.plain = "";
  }

  push(tag, attributes, children) {
    this.flush();
    if (this.budget.left-- > 0) this.top.children.push([tag, attributes, children]);
    else this.top.children.push(...children);
  }

  begin(mark) {
    this.flush();
    this.stack.push({ mark, children: [] });
    this.open.set(mark, (this.open.get(mark) ?? 0) + 1);
  }

  /** Takes the top off; what was open there is text after all. */
  drop() {
    this.flush();
    const { mark, children } = this.stack.pop();
    this.open.set(mark, this.open.get(mark) - 1);
    this.top.children.push(mark, ...children);
  }

  /** Closes the innermost `mark`; what is open within it is text. Its children, or null when none is open. */
  close(mark) {
    if (!this.open.get(mark)) return null;
    while (this.top.mark !== mark) this.drop();
    this.flush();
    this.open.set(mark, this.open.get(mark) - 1);
    return this.stack.pop().children;
  }

  /** The tree. Each step takes at least one character, and looks ahead no further than a limit. */
  parse() {
    let at = 0;
    while (at < this.text.length) at = this.step(at);
    while (this.stack.length > 1) this.drop();
    this.flush();
    return this.top.children;
  }

  step(at) {
    const { text } = this;
    const character = text[at];
    switch (character) {
      case "\\":
        if (at + 1 < text.length && PUNCTUATION.test(text[at + 1])) return this.take(text[at + 1], at + 2);
        return this.take(character, at + 1);
      case "`":
        return this.code(at);
      case "\n":
        return this.lineEnd(at);
      case "<": {
        const found = matchAt(ANGLE_URL, text, at);
        return found ? this.link(found[1], [found[1].replace(/^mailto:/, "")], at + found[0].length) : this.take("<", at + 1);
      }
      case "h": {
        const found = !isWord(text[at - 1] ?? "") && matchAt(BARE_URL, text, at);
        if (!found || this.open.get("[")) return this.take(character, at + 1);
        const url = trimmedUrl(found[0]);
        return this.link(url, [url], at + url.length);
      }
      case "!":
        if (text[at + 1] === "[") return this.bracket("![", at + 2);
        return this.take(character, at + 1);
      case "[":
        return this.bracket("[", at + 1);
      case "]":
        return this.linkEnd(at);
      case "*":
      case "_":
      case "~":
        return this.emphasis(character, at);
      default:
        return this.take(character, at + 1);
    }
  }

  take(characters, next) {
    this.plain += characters;
    return next;
  }

  code(at) {
    const { text } = this;
    let length = 1;
    while (text[at + length] === "`") length++;
    const run = "`".repeat(length);
    // Looked for once for each length when there is none.
    if (!this.noCloser.get(length)) {
      for (let end = text.indexOf(run, at + length); end >= 0; ) {
        let after = end + length;
        while (text[after] === "`") after++;
        if (after - end === length) {
          const inside = text.slice(at + length, end).replaceAll("\n", " ");
          const padded = inside.length > 2 && inside.startsWith(" ") && inside.endsWith(" ") && inside.trim() !== "";
          this.push("code", {}, [padded ? inside.slice(1, -1) : inside]);
          return after;
        }
        end = text.indexOf(run, after);
      }
      this.noCloser.set(length, true);
    }
    return this.take(run, at + length);
  }

  lineEnd(at) {
    const hard = this.breaks || /(?: {2}|\\)$/.test(this.plain.slice(-2));
    this.plain = this.plain.replace(/(?: {1,8}|\\)$/, "");
    if (hard) this.push("br", {}, []);
    else this.plain += "\n";
    return at + 1;
  }

  bracket(mark, next) {
    if (this.stack.length > MAX_INLINE_DEPTH) return this.take(mark, next);
    this.begin(mark);
    return next;
  }

  linkEnd(at) {
    const link = this.open.get("[") ?? 0;
    const picture = this.open.get("![") ?? 0;
    if (link + picture === 0) return this.take("]", at + 1);
    let mark = "[";
    for (let i = this.stack.length - 1; i > 0; i--) {
      if (this.stack[i].mark === "[" || this.stack[i].mark === "![") {
        mark = this.stack[i].mark;
        break;
      }
    }
    const found = matchAt(DESTINATION, this.text, at + 1);
    const url = found && safeUrl(found[1] ?? found[2]);
    // Links do not hold links: of "[a [b](c)](d)" the inner one is the link.
    const nested = mark === "[" && this.hasLink;
    const children = this.close(mark);
    if (!url || nested) {
      this.plain = `${mark}`;
      this.flush();
      this.top.children.push(...children);
      this.hasLink = nested && (this.open.get("[") ?? 0) > 0;
      return this.take("]", at + 1);
    }
    if (mark === "![") return this.picture(url, children, at + 1 + found[0].length);
    this.link(url, children, at + 1 + found[0].length);
    this.hasLink = (this.open.get("[") ?? 0) > 0;
    return at + 1 + found[0].length;
  }

  picture(url, children, next) {
    this.push("a", { href: url, picture: true }, children.length ? children : ["picture"]);
    return next;
  }

  link(url, children, next) {
    const safe = safeUrl(url);
    if (safe) this.push("a", { href: safe }, children.length ? children : [safe]);
    else {
      this.flush();
      this.top.children.push(...children);
    }
    return next;
  }

  emphasis(character, at) {
    const { text } = this;
    let length = 1;
    while (text[at + length] === character && length < 3) length++;
    const before = text[at - 1] ?? "";
    const after = text[at + length] ?? "";
    const next = at + length;
    const run = character.repeat(length);
    if (character === "~" && length !== 2) return this.take(run, next);
    const within = character === "_" && isWord(before) && isWord(after);
    const closes = !isSpace(before) && !within && !(character === "_" && isWord(after));
    const opens = !isSpace(after) && !within && !(character === "_" && isWord(before));
    if (closes && this.closeEmphasis(character, length)) return next;
    if (!opens || this.stack.length > MAX_INLINE_DEPTH) return this.take(run, next);
    if (length === 3) this.begin(character.repeat(2));
    this.begin(length === 3 ? character : run);
    return next;
  }

  closeEmphasis(character, length) {
    const tags = { 1: "em", 2: character === "~" ? "del" : "strong" };
    const lengths = length === 3 ? [1, 2] : [length];
    if (!lengths.every((one) => this.open.get(character.repeat(one)))) return false;
    for (const one of lengths) {
      const children = this.close(character.repeat(one));
      // Closing the one may have dropped the other.
      if (children === null) this.plain += character.repeat(one);
      else this.push(tags[one], {}, children);
    }
    return true;
  }
}

function inline(text, budget, breaks = false) {
  return new Inline(text, budget, breaks).parse();
}

// ---- blocks ----

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]{0,32})[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(\s+|$)/;

function isRule(line) {
  return line.length < 200 && RULE.test(line);
}

function isHeading(line) {
  return line.length < 1000 ? HEADING.exec(line) : null;
}

function startsBlock(line) {
  return line.trim() === "" || FENCE.test(line) || isHeading(line) || isRule(line) || QUOTE.test(line) || ITEM.test(line);
}

function element(budget, tag, attributes, children) {
  return budget.left-- > 0 ? [tag, attributes, children] : ["p", {}, children.flatMap(textsOf)];
}

function textsOf(node) {
  return typeof node === "string" ? [node] : node[2].flatMap(textsOf);
}

function fencedCode(lines, from, opening, budget) {
  const [, fence, language] = opening;
  const inside = [];
  let at = from + 1;
  for (; at < lines.length; at++) {
    const line = lines[at].trim();
    if (line.length >= fence.length && line === fence[0].repeat(line.length)) break;
    inside.push(lines[at]);
  }
  const attributes = language ? { language } : {};
  return [element(budget, "pre", attributes, [inside.join("\n")]), Math.min(at + 1, lines.length)];
}

function quotation(lines, from, depth, budget) {
  const inside = [];
  let at = from;
  for (; at < lines.length; at++) {
    if (QUOTE.test(lines[at])) inside.push(lines[at].replace(QUOTE, ""));
    else if (inside.at(-1)?.trim() && !startsBlock(lines[at])) inside.push(lines[at]);
    else break;
  }
  return [element(budget, "blockquote", {}, blocks(inside, depth + 1, budget)), at];
}

const kindOf = (marker) => (marker.length === 1 ? marker : marker.at(-1));

function list(lines, from, depth, budget) {
  const [, , marker] = ITEM.exec(lines[from]);
  const ordered = marker.length > 1;
  const items = [];
  let loose = false;
  let at = from;
  while (at < lines.length) {
    const found = ITEM.exec(lines[at]);
    if (!found || kindOf(found[2]) !== kindOf(marker) || isRule(lines[at])) break;
    const width = found[1].length + found[2].length + Math.min(Math.max(found[3].length, 1), 4);
    const indent = new RegExp(`^\\s{1,${width}}`);
    const inside = [lines[at].slice(found[0].length)];
    for (at++; at < lines.length; at++) {
      const line = lines[at];
      const blank = line.trim() === "";
      if (blank || line.startsWith(" ".repeat(Math.min(width, 2)))) inside.push(line.replace(indent, ""));
      else if (inside.at(-1).trim() !== "" && !startsBlock(line)) inside.push(line);
      else break;
    }
    let blanks = 0;
    while (inside.length > 1 && inside.at(-1).trim() === "") {
      inside.pop();
      blanks++;
    }
    loose ||= (blanks > 0 && at < lines.length && ITEM.test(lines[at])) || inside.some((line) => line.trim() === "");
    items.push(inside);
  }
  const children = items.map((inside) => {
    const content = blocks(inside, depth + 1, budget);
    const tight = loose ? content : content.flatMap((node) => (node[0] === "p" ? node[2] : [node]));
    return element(budget, "li", {}, tight);
  });
  const start = ordered ? Number.parseInt(marker, 10) : 1;
  return [element(budget, ordered ? "ol" : "ul", start === 1 ? {} : { start }, children), at];
}

function paragraph(lines, from, budget) {
  let at = from + 1;
  // The first line is no other block, or there is no more room for one.
  while (at < lines.length && !startsBlock(lines[at])) at++;
  const text = lines.slice(from, at).map((line) => line.trimStart()).join("\n").trimEnd();
  return [element(budget, "p", {}, inline(text, budget)), at];
}

function block(lines, from, depth, budget) {
  const line = lines[from];
  const fence = FENCE.exec(line);
  if (fence) return fencedCode(lines, from, fence, budget);
  const heading = isHeading(line);
  if (heading) return [element(budget, `h${Math.min(heading[1].length + 1, 6)}`, {}, inline(heading[2] ?? "", budget)), from + 1];
  if (isRule(line)) return [element(budget, "hr", {}, []), from + 1];
  if (depth < MAX_DEPTH && QUOTE.test(line)) return quotation(lines, from, depth, budget);
  if (depth < MAX_DEPTH && ITEM.test(line)) return list(lines, from, depth, budget);
  return paragraph(lines, from, budget);
}

function blocks(lines, depth, budget) {
  const nodes = [];
  for (let at = 0; at < lines.length; ) {
    if (lines[at].trim() === "") {
      at++;
      continue;
    }
    if (budget.left <= 0) {
      nodes.push(["p", {}, [lines.slice(at).join("\n")]]);
      break;
    }
    const [node, next] = block(lines, at, depth, budget);
    nodes.push(node);
    at = next;
  }
  return nodes;
}

const linesOf = (text) => text.replace(/\r\n?/g, "\n").replaceAll("\t", "    ").split("\n");

/** The nodes of an article or a comment. Its headings begin with h2: the page has a title already. */
export function parse(text) {
  return blocks(linesOf(text), 0, { left: MAX_NODES });
}

/** The nodes of a chat message: inline marks and fenced code; a line's end is one. */
export function parseMessage(text) {
  const lines = linesOf(text);
  const budget = { left: MAX_NODES };
  const nodes = [];
  for (let at = 0; at < lines.length; ) {
    const fence = FENCE.exec(lines[at]);
    if (fence) {
      const [node, next] = fencedCode(lines, at, fence, budget);
      nodes.push(node);
      at = next;
      continue;
    }
    const from = at;
    while (at < lines.length && !FENCE.test(lines[at])) at++;
    const run = lines.slice(from, at).join("\n").trim();
    if (run) nodes.push(element(budget, "p", {}, inline(run, budget, true)));
  }
  return nodes;
}
