import assert from "node:assert/strict";
import { test } from "node:test";
import { parse, parseMessage, safeUrl } from "../../web/app/markdown.js";

const p = (...children) => ["p", {}, children];
const em = (...children) => ["em", {}, children];
const strong = (...children) => ["strong", {}, children];
const a = (href, ...children) => ["a", { href }, children];

/** Text as inline nodes of its one paragraph. */
function inline(text) {
  const nodes = parse(text);
  assert.equal(nodes.length, 1);
  assert.equal(nodes[0][0], "p");
  return nodes[0][2];
}

function walk(nodes, visit, depth = 0) {
  for (const node of nodes) {
    visit(node, depth);
    if (typeof node !== "string") walk(node[2], visit, depth + 1);
  }
}

function textOf(nodes) {
  return nodes.map((node) => (typeof node === "string" ? node : textOf(node[2]))).join("");
}

test("blocks", () => {
  assert.deepEqual(parse(""), []);
  assert.deepEqual(parse("one\ntwo\n\nthree"), [p("one\ntwo"), p("three")]);
  assert.deepEqual(parse("# A\n## B ##\n####### no"), [["h2", {}, ["A"]], ["h3", {}, ["B"]], p("####### no")]);
  assert.deepEqual(parse("a\n\n---\n\nb"), [p("a"), ["hr", {}, []], p("b")]);
  assert.deepEqual(parse("> a\n> > b\nlazy"), [["blockquote", {}, [p("a"), ["blockquote", {}, [p("b\nlazy")]]]]]);
  assert.deepEqual(parse("a\r\nb\rc"), [p("a\nb\nc")]);
});

test("code", () => {
  assert.deepEqual(parse("```js\na < b\n\n*c*\n```\nd"), [["pre", { language: "js" }, ["a < b\n\n*c*"]], p("d")]);
  assert.deepEqual(parse("~~~\nnever closed"), [["pre", {}, ["never closed"]]]);
  assert.deepEqual(parse("````\n```\n````"), [["pre", {}, ["```"]]]);
  assert.deepEqual(inline("a `b*c*` d"), ["a ", ["code", {}, ["b*c*"]], " d"]);
  assert.deepEqual(inline("`` a ` b ``"), [["code", {}, ["a ` b"]]]);
  assert.deepEqual(inline("a ` b"), ["a ` b"]);
});

test("lists", () => {
  assert.deepEqual(parse("- a\n- b"), [["ul", {}, [["li", {}, ["a"]], ["li", {}, ["b"]]]]]);
  assert.deepEqual(parse("3. a\n4. b"), [["ol", { start: 3 }, [["li", {}, ["a"]], ["li", {}, ["b"]]]]]);
  assert.deepEqual(parse("- a\n  - b\n- c"), [
    ["ul", {}, [["li", {}, ["a", ["ul", {}, [["li", {}, ["b"]]]]]], ["li", {}, ["c"]]]],
  ]);
  assert.deepEqual(parse("- a\n\n- b"), [["ul", {}, [["li", {}, [p("a")]], ["li", {}, [p("b")]]]]]);
  assert.deepEqual(parse("- a\n\nb"), [["ul", {}, [["li", {}, ["a"]]]], p("b")]);
  assert.deepEqual(parse("1. a\n- b").map((node) => node[0]), ["ol", "ul"]);
});

test("emphasis", () => {
  assert.deepEqual(inline("*a* **b** ~~c~~ ***d***"), [em("a"), " ", strong("b"), " ", ["del", {}, ["c"]], " ", strong(em("d"))]);
  assert.deepEqual(inline("**a *b* c**"), [strong("a ", em("b"), " c")]);
  assert.deepEqual(inline("snake_case_name and 2 * 3 * 4"), ["snake_case_name and 2 * 3 * 4"]);
  assert.equal(textOf(inline("*open **and** not closed")), "*open and not closed");
  assert.deepEqual(inline("\\*no\\*"), ["*no*"]);
});

test("links", () => {
  assert.deepEqual(inline("[a *b*](https://x.example/y_z)"), [a("https://x.example/y_z", "a ", em("b"))]);
  assert.deepEqual(inline('[a](/b "title")'), [a("/b", "a")]);
  assert.deepEqual(inline("see https://x.example/a_(b), or <https://y.example>."), [
    "see ", a("https://x.example/a_(b)", "https://x.example/a_(b)"), ", or ", a("https://y.example", "https://y.example"), ".",
  ]);
  assert.deepEqual(inline("(https://x.example)"), ["(", a("https://x.example", "https://x.example"), ")"]);
  assert.deepEqual(inline("![a](https://x.example/p.png)"), [["a", { href: "https://x.example/p.png", picture: true }, ["a"]]]);
  assert.equal(textOf(inline("[a [b](https://c.example)](https://d.example)")), "[a b](https://d.example)");
});

test("what no link may be", () => {
  for (const url of [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x",
    "//evil.example", "/\\evil.example", "\\\\evil.example", "blob:https://x/y", "file:///etc/passwd", "https:evil", "https:///", "", "x",
  ]) {
    assert.equal(safeUrl(url), null, url);
    walk(parse(`[a](${url}) [b](<${url}>) <${url}>`), (node) => {
      if (typeof node !== "string" && node[0] === "a") assert.notEqual(node[1].href, url.trim());
    });
  }
  for (const url of ["https://x.example", "http://x.example/?a=b#c", "mailto:a@b.example", "/articles/x", "#part"]) {
    assert.equal(safeUrl(url), url);
  }
});

test("HTML is text", () => {
  const text = "<script>alert(1)</script> <img src=x onerror=alert(1)> &lt;";
  assert.deepEqual(inline(text), [text]);
});

test("only known elements, whatever the text", () => {
  const known = new Set(["p", "h2", "h3", "h4", "h5", "h6", "hr", "pre", "blockquote", "ul", "ol", "li", "code", "em", "strong", "del", "a", "br"]);
  const parts = ["*", "**", "_", "~~", "`", "```", "\n", "\n\n", "> ", "- ", "1. ", "#", " ", "[", "](", ")", "![", "<", ">", "\\", "a", "https://x.example", "javascript:x", "é", "\u202e"];
  let seed = 20;
  const random = (below) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below;
  for (let round = 0; round < 3000; round++) {
    const text = Array.from({ length: 1 + random(40) }, () => parts[random(parts.length)]).join("");
    for (const nodes of [parse(text), parseMessage(text)]) {
      walk(nodes, (node, depth) => {
        assert.ok(depth < 60, text);
        if (typeof node === "string") return;
        assert.ok(known.has(node[0]), text);
        if (node[0] === "a") assert.equal(safeUrl(node[1].href), node[1].href, text);
      });
    }
  }
});

test("nothing is lost of plain words", () => {
  const text = "alpha *beta **gamma [delta](x y) `epsilon _zeta ~~eta ](theta";
  for (const word of ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]) assert.ok(textOf(parse(text)).includes(word));
});

test("the longest texts end, and their trees have limits", () => {
  const length = 262144;
  const texts = ["*", "**a", "[", "![", "[a](", "`", "``` \n", "> ", "- ", "  - ", "\\", "<", "https://", "(", "_a", "~~", "# ", "a\n\n", "*a*", "- a\n", "> a\n\n", "1. "];
  for (const one of texts) {
    const text = one.repeat(Math.ceil(length / one.length)).slice(0, length);
    let elements = 0;
    walk(parse(text), (node, depth) => {
      assert.ok(depth < 60, one);
      if (typeof node !== "string") elements++;
    });
    assert.ok(elements <= 20100, `${one}: ${elements}`);
  }
  // Runs of backticks of every length, none of which has another end.
  const runs = Array.from({ length: 700 }, (_, i) => "`".repeat(i + 1)).join(" ");
  assert.equal(textOf(parse(runs)).length, runs.length);
});

test("messages keep their lines", () => {
  assert.deepEqual(parseMessage("a\nb"), [p("a", ["br", {}, []], "b")]);
  assert.deepEqual(parseMessage("# no *heading*\n- no list"), [p("# no ", em("heading"), ["br", {}, []], "- no list")]);
  assert.deepEqual(parseMessage("x\n```\ny\n```"), [p("x"), ["pre", {}, ["y"]]]);
});
