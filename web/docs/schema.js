// JSON Schemas for readers: a table of members, each opening into what it consists of.
import { h, highlighted, prose } from "./dom.js";

const MAX_OPEN_DEPTH = 1;

/** Follows "$ref"; keeps what stands beside it. */
export function resolve(spec, schema) {
  let found = schema ?? {};
  for (let i = 0; found.$ref && i < 8; i++) {
    const { $ref, ...beside } = found;
    const target = $ref.split("/").slice(1).reduce((at, key) => at?.[key.replace(/~1/g, "/").replace(/~0/g, "~")], spec);
    found = { ...target, ...beside };
  }
  return found;
}

function refName(schema) {
  return schema?.$ref?.split("/").pop();
}

const isNull = (schema) => schema.type === "null";

/** { schema, nullable } without the null of anyOf [x, null] or type [x, "null"]. */
function withoutNull(spec, schema) {
  const found = resolve(spec, schema);
  if (Array.isArray(found.type) && found.type.includes("null")) {
    const types = found.type.filter((type) => type !== "null");
    return { schema: { ...found, type: types.length === 1 ? types[0] : types }, nullable: true };
  }
  if (found.anyOf?.some(isNull)) {
    const others = found.anyOf.filter((one) => !isNull(one));
    if (others.length === 1) return { schema: { ...resolve(spec, others[0]), ...without(found, "anyOf") }, nullable: true, name: refName(others[0]) };
  }
  return { schema: found, nullable: false };
}

function without(object, key) {
  const { [key]: _, ...rest } = object;
  return rest;
}

/** "string (date-time) or null", "array of Article" */
export function typeName(spec, schema) {
  const { schema: found, nullable, name } = withoutNull(spec, schema);
  const named = name ?? refName(schema);
  let text;
  if (found.type === "array") text = `array of ${typeName(spec, found.items)}`;
  else if (found.type === "object" && found.additionalProperties && !found.properties) text = `map of ${typeName(spec, found.additionalProperties)}`;
  else if (named) text = named;
  else if (found.anyOf && !found.type) text = found.anyOf.map((one) => typeName(spec, one)).join(" or ");
  else if (found.enum && found.type === "string" && found.enum.length <= 3) text = found.enum.map((value) => JSON.stringify(value)).join(" | ");
  else text = [found.type ?? "any"].flat().join(" or ");
  if (found.format) text += ` (${found.format})`;
  else if (found.contentEncoding) text += ` (${found.contentEncoding})`;
  return nullable ? `${text} or null` : text;
}

const WORDS = {
  minLength: (n) => `at least ${n} character${n === 1 ? "" : "s"}`,
  maxLength: (n) => `at most ${n} character${n === 1 ? "" : "s"}`,
  minimum: (n) => `≥ ${n}`,
  maximum: (n) => `≤ ${n}`,
  exclusiveMinimum: (n) => `> ${n}`,
  exclusiveMaximum: (n) => `< ${n}`,
  minItems: (n) => `at least ${n} item${n === 1 ? "" : "s"}`,
  maxItems: (n) => `at most ${n} item${n === 1 ? "" : "s"}`,
  minProperties: (n) => `at least ${n} entries`,
  maxProperties: (n) => `at most ${n} entries`,
  uniqueItems: () => "no doubles",
  const: (value) => `always ${JSON.stringify(value)}`,
};

/** The rules of a value, in words. */
export function rules(spec, schema) {
  const { schema: found } = withoutNull(spec, schema);
  const words = Object.entries(WORDS).filter(([key]) => found[key] !== undefined).map(([key, say]) => say(found[key]));
  if (found.pattern === "\\S") words.push("not blank");
  else if (found.pattern && !/64$/.test(found.format ?? "")) words.push(h("span", {}, "matches ", h("code", {}, found.pattern)));
  if (found.enum && (found.type !== "string" || found.enum.length > 3)) words.push(h("span", {}, "one of ", found.enum.flatMap((value, i) => [i ? ", " : "", h("code", {}, String(value))])));
  if (found.not?.enum) words.push(`none of ${found.not.enum.join(", ")}`);
  if (found.items) words.push(...rules(spec, found.items).map((rule) => h("span", {}, "each ", rule)));
  for (const one of found.allOf ?? []) words.push(...rules(spec, one));
  return words;
}

export function ruleList(spec, schema) {
  const words = rules(spec, schema);
  return words.length ? h("ul", { class: "rules" }, words.map((word) => h("li", {}, word))) : null;
}

/** What opens below a member: its own members, or those of its items. */
function inside(spec, schema) {
  const { schema: found } = withoutNull(spec, schema);
  if (found.properties && Object.keys(found.properties).length) return found;
  if (found.items) return inside(spec, found.items);
  if (typeof found.additionalProperties === "object") return inside(spec, found.additionalProperties);
  return null;
}

function member(spec, name, schema, required, depth, around, sent) {
  const found = resolve(spec, schema);
  const below = inside(spec, schema);
  const again = below && around.includes(below.description + Object.keys(below.properties).join());
  const head = [
    h("code", { class: "member" }, name),
    h("span", { class: "type" }, typeName(spec, schema)),
    required ? h("span", { class: "required" }, "required") : null,
    found.deprecated ? h("span", { class: "deprecated" }, "deprecated") : null,
  ];
  const body = [
    prose(found.description),
    ruleList(spec, schema),
    found.examples ? h("p", { class: "example" }, "Example: ", h("code", {}, JSON.stringify(found.examples[0]))) : null,
  ];
  if (!below || again) return h("li", {}, h("div", { class: "head" }, head), body);
  const details = h("details", { open: depth < MAX_OPEN_DEPTH }, h("summary", {}, h("span", { class: "head" }, head)));
  const fill = () => {
    if (details.open && !details.querySelector(":scope > ul.members")) details.append(members(spec, below, depth + 1, around, sent));
  };
  details.append(...body.flat().filter(Boolean));
  details.addEventListener("toggle", fill);
  fill();
  return h("li", {}, details);
}

function members(spec, schema, depth, around, sent) {
  const within = [...around, schema.description + Object.keys(schema.properties).join()];
  const required = new Set(schema.required);
  return h("ul", { class: "members" }, Object.entries(schema.properties).map(([name, one]) => member(spec, name, one, sent && required.has(name), depth, within, sent)));
}

/** A schema as a list that opens; lazily, so that types within themselves end. What is required is said
 * of what is sent: in an answer it is there without anyone's doing. */
export function schemaView(spec, schema, sent) {
  const found = resolve(spec, schema);
  const below = inside(spec, schema);
  return h(
    "div",
    { class: "schema" },
    h("p", { class: "type" }, typeName(spec, schema)),
    refName(schema) ? null : prose(found.description),
    below ? members(spec, below, 0, [], sent) : ruleList(spec, schema),
  );
}

export function exampleView(value) {
  return h("pre", { class: "json", tabindex: "0" }, h("code", {}, highlighted(JSON.stringify(value, null, 2))));
}
