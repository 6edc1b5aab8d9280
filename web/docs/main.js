// Loads the document and puts the page together: header, index with filter, operations by tag.
import { h, prose } from "./dom.js";
import { badge, operationsOf, operationView } from "./operation.js";
import { schemaView } from "./schema.js";
import { bindTheme } from "./theme.js";

const $ = (id) => document.getElementById(id);

// ---- what outlives a reload, in this tab ----

function setUpToken() {
  const input = $("token");
  input.value = sessionStorage.getItem("token") ?? "";
  input.addEventListener("input", () => sessionStorage.setItem("token", input.value.trim()));
  $("access").addEventListener("submit", (event) => event.preventDefault());
  $("show-token").addEventListener("click", (event) => {
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    event.currentTarget.setAttribute("aria-pressed", String(!shown));
    event.currentTarget.textContent = shown ? "Show" : "Hide";
  });
  return () => input.value.trim();
}

// ---- the page ----

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName !== "DETAILS") return;
  target.open = true;
  target.scrollIntoView();
  target.querySelector("summary").focus({ preventScroll: true });
}

function group(spec, server, tag, entries, getToken) {
  const section = h("section", { class: "tag", "aria-labelledby": `tag-${tag.name}` }, h("h2", { id: `tag-${tag.name}` }, tag.name), prose(tag.description));
  const links = entries.map((entry) => {
    const view = operationView(spec, server, entry, getToken);
    section.append(view);
    const link = h("a", { href: `#${entry.operation.operationId}` }, badge(entry.method), h("span", {}, entry.operation.summary ?? entry.path));
    const words = [entry.path, entry.method, entry.operation.operationId, entry.operation.summary, tag.name].join(" ").toLowerCase();
    return { words, link, view };
  });
  const list = h("section", {}, h("h2", {}, tag.name), h("ul", {}, links.map((one) => h("li", {}, one.link))));
  return { section, list, links };
}

function setUpFilter(groups) {
  $("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { section, list, links } of groups) {
      for (const one of links) {
        const hidden = !words.every((word) => one.words.includes(word));
        one.link.parentElement.hidden = hidden;
        one.view.hidden = hidden;
      }
      section.hidden = list.hidden = links.every((one) => one.view.hidden);
    }
  });
}

function schemasSection(spec) {
  const section = h("section", { class: "tag" }, h("h2", { id: "schemas" }, "Schemas"));
  for (const name of Object.keys(spec.components?.schemas ?? {}).sort()) {
    const details = h("details", { class: "operation", id: `schema-${name}` }, h("summary", {}, h("code", { class: "path" }, name)));
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(h("div", { class: "inside" }, prose(spec.components.schemas[name].description), schemaView(spec, { $ref: `#/components/schemas/${name}` }, true)));
    });
    section.append(details);
  }
  return section;
}

function show(spec, getToken) {
  const server = spec.servers?.[0]?.url ?? "/";
  const entries = operationsOf(spec);
  const groups = spec.tags.map((tag) => group(spec, server, tag, entries.filter((entry) => entry.operation.tags.includes(tag.name)), getToken));
  document.title = `${spec.info.title} API`;
  $("title").textContent = spec.info.title;
  $("version").textContent = spec.info.version;
  $("index").replaceChildren(...groups.map((one) => one.list), h("p", {}, h("a", { href: "#schemas" }, "Schemas")));
  $("content").replaceChildren(...prose(spec.info.description), ...groups.map((one) => one.section), schemasSection(spec));
  setUpFilter(groups);
  openTarget();
  addEventListener("hashchange", openTarget);
}

async function load() {
  const url = document.querySelector("meta[name=openapi]").content;
  const response = await fetch(url, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  return response.json();
}

bindTheme($("theme"));
const getToken = setUpToken();
try {
  show(await load(), getToken);
} catch (error) {
  $("content").replaceChildren(h("p", { class: "fault", role: "alert" }, `The document cannot be shown: ${error.message}`));
}
