import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const read = (path) => readFileSync(new URL(`../../web/${path}`, import.meta.url), "utf8");

/** "#abc" -> [r, g, b], 0 to 1 */
function rgb(hex) {
  const digits = hex.length === 4 ? [...hex.slice(1)].map((digit) => digit + digit) : hex.slice(1).match(/../g);
  return digits.map((pair) => Number.parseInt(pair, 16) / 255);
}

function hsl(hue, saturation, lightness) {
  const a = saturation * Math.min(lightness, 1 - lightness);
  return [0, 8, 4].map((n) => {
    const k = (n + hue / 30) % 12;
    return lightness - a * Math.max(-1, Math.min(k - 3, 9 - k, 1));
  });
}

/** WCAG 2.2, "contrast ratio" */
function contrast(one, other) {
  const [dark, light] = [one, other]
    .map((colour) => colour.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)))
    .map(([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b)
    .sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

/** Names to [light, dark]. */
const pairs = (css) => Object.fromEntries([...css.matchAll(/--([a-z-]+): light-dark\((#\w+), (#\w+)\);/g)].map(([, name, ...both]) => [name, both.map(rgb)]));
const colours = { ...pairs(read("docs/palette.css")), ...pairs(read("app/app.css")) };

for (const [theme, name] of ["light", "dark"].entries()) {
  test(`text can be read in the ${name} theme`, () => {
    for (const text of ["text", "soft", "link", "good", "bad", "warn", "other"]) {
      for (const ground of ["page", "raised", "hover"]) {
        const ratio = contrast(colours[text][theme], colours[ground][theme]);
        assert.ok(ratio >= 4.5, `${text} on ${ground}: ${ratio.toFixed(2)}`);
      }
    }
    for (const ground of ["link", "good", "bad", "warn", "other"]) assert.ok(contrast(colours["on-colour"][theme], colours[ground][theme]) >= 4.5, ground);
    assert.ok(contrast(colours.text[theme], colours.mark[theme]) >= 4.5);
  });
}

test("letters can be read on the colour of each account", () => {
  const css = read("app/app.css");
  const [, ...numbers] = /background: light-dark\(hsl\(var\(--hue\) (\d+)% (\d+)%\), hsl\(var\(--hue\) (\d+)% (\d+)%\)\);\s*color: light-dark\(hsl\(var\(--hue\) (\d+)% (\d+)%\), hsl\(var\(--hue\) (\d+)% (\d+)%\)\);/.exec(css);
  const [a, b, c, d, e, f, g, h] = numbers.map((number) => Number(number) / 100);
  const hues = [...css.matchAll(/--hue: (\d+);/g)].map(([, hue]) => Number(hue));
  assert.equal(hues.length, 8);
  for (const hue of hues) {
    assert.ok(contrast(hsl(hue, a, b), hsl(hue, e, f)) >= 4.5, `light ${hue}`);
    assert.ok(contrast(hsl(hue, c, d), hsl(hue, g, h)) >= 4.5, `dark ${hue}`);
  }
});
