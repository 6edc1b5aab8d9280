// What a search found: the API's text with <mark> and the five escapes (posts.proto, Highlight), as pieces. No DOM.

const ESCAPES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&#x27;": "'", "&apos;": "'" };

function unescaped(text) {
  return text.replace(/&(?:amp|lt|gt|quot|apos|#39|#x27);/g, (escape) => ESCAPES[escape]);
}

/** "a <mark>b</mark>" -> [{text: "a ", hit: false}, {text: "b", hit: true}] */
export function pieces(html) {
  const found = [];
  let hit = false;
  for (const part of html.split(/(<\/?mark>)/)) {
    if (part === "<mark>") hit = true;
    else if (part === "</mark>") hit = false;
    else if (part) found.push({ text: unescaped(part), hit });
  }
  return found;
}
