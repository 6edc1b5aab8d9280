// The tree of markdown.js as elements.

import { h } from "../docs/dom.js";
import { parse, parseMessage } from "./markdown.js";

const DIRECTED = new Set(["p", "h2", "h3", "h4", "h5", "h6", "li"]);

function element(node) {
  if (typeof node === "string") return node;
  const [tag, attributes, children] = node;
  const inside = children.map(element);
  if (tag === "a") return link(attributes, inside);
  if (tag === "pre") return h("pre", { tabindex: "0" }, h("code", attributes.language ? { "data-language": attributes.language } : {}, inside));
  if (tag === "ol" && attributes.start !== undefined) return h("ol", { start: String(attributes.start) }, inside);
  // Each paragraph reads in its own direction.
  return h(tag, DIRECTED.has(tag) ? { dir: "auto" } : {}, inside);
}

function link({ href, picture }, inside) {
  const elsewhere = !/^[/#]/.test(href);
  const attributes = elsewhere ? { href, rel: "nofollow ugc noopener noreferrer", target: "_blank" } : { href };
  return h("a", attributes, picture ? ["Picture: ", inside] : inside);
}

export const renderArticle = (text) => h("div", { class: "prose" }, parse(text).map(element));
export const renderMessage = (text) => parseMessage(text).map(element);
