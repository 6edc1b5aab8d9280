// Making elements. Text is always set as text, never parsed as HTML: the document is data.

/** h("a", {href: "#x", class: "y", onclick: f}, "text", node, [more]) */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null));
  return element;
}

/** `code` and **bold** within a line. */
function inline(line) {
  return line.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.length > 2 && part.startsWith("`")) return h("code", {}, part.slice(1, -1));
    if (part.length > 4 && part.startsWith("**")) return h("strong", {}, part.slice(2, -2));
    return part;
  });
}

/** The little Markdown that comments have: paragraphs, lists, `code`, **bold**. */
export function prose(text) {
  const blocks = (text ?? "").split(/\n\s*\n/).filter((block) => block.trim());
  return blocks.map((block) => {
    const lines = block.split("\n");
    if (!lines.every((line) => /^\s*([-*] |\s{2})/.test(line))) return h("p", {}, inline(lines.join(" ")));
    const items = [];
    for (const line of lines) {
      if (/^\s*[-*] /.test(line)) items.push(line.replace(/^\s*[-*] /, ""));
      else items[items.length - 1] += ` ${line.trim()}`;
    }
    return h("ul", {}, items.map((item) => h("li", {}, inline(item))));
  });
}

/** JSON text as coloured spans. */
export function highlighted(text) {
  const token = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(token)) {
    const kind = match[2] !== undefined ? "key" : match[1] !== undefined ? "text" : match[3] ? "word" : "number";
    nodes.push(text.slice(from, match.index), h("span", { class: `json-${kind}` }, match[1] ?? match[0]), match[2] ?? "");
    from = match.index + match[0].length;
  }
  nodes.push(text.slice(from));
  return nodes;
}

export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
