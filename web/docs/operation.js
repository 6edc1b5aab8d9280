// One operation, and the list of all.
import { h, prose } from "./dom.js";
import { exampleView, resolve, ruleList, schemaView, typeName } from "./schema.js";
import { tryForm } from "./try.js";

const METHODS = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/** [{ path, method, operation }] in the order of the document. */
export function operationsOf(spec) {
  const found = [];
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS) if (item[method]) found.push({ path, method: method.toUpperCase(), operation: item[method] });
    for (const [key, operation] of Object.entries(item["x-additionalOperations"] ?? {})) found.push({ path, method: key.split(" ")[0], operation });
  }
  return found;
}

export const badge = (method) => h("span", { class: `method ${method.toLowerCase()}` }, method);

function access(operation) {
  const needs = operation.security ?? [];
  if (!needs.some((one) => "bearer" in one)) return null;
  const optional = needs.some((one) => Object.keys(one).length === 0);
  return h("span", { class: "lock" }, optional ? "token optional" : "needs a token");
}

function parametersView(spec, operation) {
  const parameters = (operation.parameters ?? []).map((one) => resolve(spec, one));
  if (!parameters.length) return null;
  const rows = parameters.map((one) =>
    h(
      "li",
      {},
      h("div", { class: "head" }, h("code", { class: "member" }, one.name), h("span", { class: "type" }, typeName(spec, one.schema)), h("span", { class: "where" }, one.in), one.required ? h("span", { class: "required" }, "required") : null, one.deprecated ? h("span", { class: "deprecated" }, "deprecated") : null),
      prose(one.description),
      ruleList(spec, one.schema),
    ),
  );
  return [h("h4", {}, "Parameters"), h("ul", { class: "members" }, rows)];
}

function contentView(spec, content, sent) {
  return Object.entries(content ?? {}).map(([type, media]) => [
    h("p", { class: "media" }, h("code", {}, type)),
    media.schema ? schemaView(spec, media.schema, sent) : h("p", {}, "Any bytes."),
    media.example !== undefined ? h("details", {}, h("summary", {}, "Example"), exampleView(media.example)) : null,
  ]);
}

function responseView(spec, code, response) {
  const found = resolve(spec, response);
  const headers = Object.entries(found.headers ?? {}).map(([name, header]) => h("li", {}, h("div", { class: "head" }, h("code", { class: "member" }, name), h("span", { class: "type" }, "header")), prose(header.description)));
  const summary = h("summary", {}, h("strong", { class: "code" }, code), " ", h("span", {}, (found.description ?? "").split("\n")[0]));
  const more = (found.description ?? "").split("\n").slice(1).join("\n");
  const body = [prose(more), headers.length ? h("ul", { class: "members" }, headers) : null, contentView(spec, found.content, false)];
  if (!body.flat(Infinity).some(Boolean)) return h("div", { class: "response plain" }, summary.childNodes.length ? [...summary.childNodes] : null);
  return h("details", { class: "response", open: code.startsWith("2") }, summary, body);
}

function socketView(spec, messages) {
  if (!messages) return null;
  return [h("h4", {}, "Messages that you send"), schemaView(spec, messages.send, true), h("h4", {}, "Messages that you get"), schemaView(spec, messages.receive, false)];
}

function bodyOf(spec, server, { path, method, operation }, getToken) {
  // The summary is the first sentence, and is above already.
  const first = `${operation.summary}.`;
  const description = operation.description?.startsWith(first) ? operation.description.slice(first.length) : operation.description;
  return [
    prose(description),
    h("p", { class: "rpc" }, "gRPC: ", h("code", {}, operation["x-grpc-method"] ?? "")),
    h(
      "div",
      { class: "columns" },
      h(
        "div",
        {},
        parametersView(spec, operation),
        operation.requestBody ? [h("h4", {}, "Body"), contentView(spec, operation.requestBody.content, true)] : null,
        socketView(spec, operation["x-websocket"]),
        h("h4", {}, "Answers"),
        Object.entries(operation.responses).map(([code, response]) => responseView(spec, code, response)),
      ),
      h("div", {}, h("h4", {}, "Try it"), tryForm(spec, server, path, method, operation, getToken)),
    ),
  ];
}

/** A closed box that is filled when it is opened for the first time. */
export function operationView(spec, server, entry, getToken) {
  const { path, method, operation } = entry;
  const details = h(
    "details",
    { class: "operation", id: operation.operationId },
    h("summary", {}, badge(method), h("code", { class: "path" }, path), h("span", { class: "summary" }, operation.summary ?? ""), operation.deprecated ? h("span", { class: "deprecated" }, "deprecated") : null, access(operation)),
  );
  details.addEventListener("toggle", () => {
    if (details.open && !details.querySelector(":scope > .inside")) details.append(h("div", { class: "inside" }, bodyOf(spec, server, entry, getToken)));
  });
  return details;
}
