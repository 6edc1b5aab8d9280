// The try-it-out form of one operation.
import { h, highlighted, pretty } from "./dom.js";
import { resolve, typeName } from "./schema.js";
import { buildUrl, connect, curl, request } from "./send.js";

const MAX_ITEMS = 500; // of a stream, shown

let serial = 0;

function field(spec, parameter) {
  const id = `field-${++serial}`;
  const schema = resolve(spec, parameter.schema);
  const options = schema.enum ?? (schema.type === "boolean" ? ["true", "false"] : null);
  const attributes = { id, name: parameter.name, required: parameter.required };
  let input;
  if (options && schema.type !== "array") {
    input = h("select", attributes, parameter.required ? null : h("option", { value: "" }, "not set"), options.map((value) => h("option", { value }, String(value))));
  } else if (schema.type === "array") {
    input = h("textarea", { ...attributes, rows: 2, placeholder: "one a line", spellcheck: "false" });
  } else {
    input = h("input", { ...attributes, type: "text", spellcheck: "false", placeholder: typeName(spec, parameter.schema), inputmode: schema.type === "integer" || /64$/.test(schema.format ?? "") ? "numeric" : undefined });
  }
  if (parameter.required && parameter.example !== undefined && !options) input.value = String(parameter.example);
  return { parameter, input, row: h("div", { class: "field" }, h("label", { for: id }, h("code", {}, parameter.name), parameter.required ? " *" : "", h("small", {}, ` ${parameter.in}`)), input) };
}

function editor(operation) {
  const media = operation.requestBody?.content?.["application/json"];
  const raw = operation.requestBody && !media;
  if (!media && !raw) return null;
  const id = `field-${++serial}`;
  const input = h("textarea", { id, class: "editor", spellcheck: "false", rows: 4 });
  const fault = h("p", { class: "fault", id: `${id}-fault`, role: "alert" });
  input.value = media?.example !== undefined ? JSON.stringify(media.example, null, 2) : media ? "{}" : "";
  input.rows = Math.min(24, input.value.split("\n").length + 1);
  input.setAttribute("aria-describedby", fault.id);
  const check = () => {
    let problem = "";
    if (media && input.value.trim()) {
      try {
        JSON.parse(input.value);
      } catch (error) {
        problem = `Not JSON: ${error.message}`;
      }
    }
    fault.textContent = problem;
    input.setAttribute("aria-invalid", String(Boolean(problem)));
  };
  input.addEventListener("input", check);
  const format = media && h("button", { type: "button", onclick: () => (input.value = pretty(input.value)) }, "Format");
  const label = h("label", { for: id }, "Body", h("small", {}, media ? " application/json" : " any content"));
  return { input, media, row: h("div", { class: "field wide" }, h("div", { class: "label-row" }, label, format), input, fault) };
}

function headersView(headers) {
  const rows = [...headers].map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)));
  return h("details", {}, h("summary", {}, `${rows.length} headers`), h("table", {}, h("tbody", {}, rows)));
}

/** Where the answer appears. */
function output() {
  const status = h("p", { class: "status", role: "status" });
  const rest = h("div", {});
  const box = h("section", { class: "answer", "aria-label": "Answer", hidden: true }, status, rest);
  let list;
  let count = 0;
  return {
    box,
    say(text, kind = "") {
      box.hidden = false;
      status.className = `status ${kind}`;
      status.textContent = text;
    },
    begin(command) {
      list = undefined;
      count = 0;
      rest.replaceChildren(h("pre", { class: "command", tabindex: "0" }, h("code", {}, command)));
    },
    add(node) {
      rest.append(node);
    },
    item(item, kind = "") {
      if (!list) rest.append((list = h("ol", { class: "items", role: "log", "aria-label": "Stream" })));
      const about = item.comment !== undefined ? `: ${item.comment}` : [item.event && `event ${item.event}`, item.id && `id ${item.id}`].filter(Boolean).join(", ");
      const body = item.data === undefined ? null : h("code", {}, highlighted(item.data));
      list.append(h("li", { class: item.event === "error" ? "bad" : kind }, about ? h("small", {}, `${about} `) : null, body));
      if (++count > MAX_ITEMS) list.firstChild.remove();
      list.scrollTop = list.scrollHeight;
    },
  };
}

function statusKind(status) {
  return status < 300 ? "good" : status < 400 ? "" : "bad";
}

/** The form. getToken() gives the bearer token, or an empty string. */
export function tryForm(spec, server, path, method, operation, getToken) {
  const parameters = (operation.parameters ?? []).map((parameter) => resolve(spec, parameter));
  const fields = parameters.map((parameter) => field(spec, parameter));
  const body = editor(operation);
  const accepts = operation["x-websocket"] ? [] : Object.keys(Object.entries(operation.responses).find(([code]) => code.startsWith("2"))?.[1].content ?? {});
  const accept = accepts.length > 1 ? h("select", { id: `field-${++serial}` }, accepts.map((type) => h("option", {}, type))) : null;
  const send = h("button", { type: "submit", class: "primary" }, operation["x-websocket"] ? "Connect" : "Send");
  const stop = h("button", { type: "button", hidden: true }, operation["x-websocket"] ? "Close" : "Stop");
  const out = output();

  const url = () => buildUrl(server, path, parameters, new Map(fields.map((one) => [one.parameter, one.input.value])));

  const headers = () => {
    const found = {};
    const type = accept?.value ?? accepts[0];
    if (type && type !== "*/*") found.Accept = type;
    if (body?.media && body.input.value.trim()) found["Content-Type"] = "application/json";
    if (getToken() && operation.security?.some((one) => "bearer" in one)) found.Authorization = `Bearer ${getToken()}`;
    for (const one of fields) if (one.parameter.in === "header" && one.input.value) found[one.parameter.name] = one.input.value;
    return found;
  };

  const busy = (on) => {
    send.disabled = on;
    stop.hidden = !on;
  };

  const http = async () => {
    const abort = new AbortController();
    const sent = body?.input.value.trim() ? body.input.value : undefined;
    const target = url();
    const found = headers();
    const shown = found.Authorization ? { ...found, Authorization: "Bearer $TOKEN" } : found;
    let line = "";
    stop.onclick = () => abort.abort();
    busy(true);
    out.begin(curl(method, target, shown, sent));
    out.say("Waiting for an answer …");
    try {
      await request(method, target, found, sent, abort.signal, {
        head(response, ms) {
          line = `${response.status} ${response.statusText}`;
          out.say(`${line} · ${Math.round(ms)} ms`, statusKind(response.status));
          out.add(headersView(response.headers));
        },
        item: (item) => out.item(item),
        end: () => out.say(`${line} · the stream has ended`, "good"),
        body: (text) => out.add(text ? h("pre", { class: "json", tabindex: "0" }, h("code", {}, highlighted(pretty(text)))) : h("p", {}, "No body.")),
      });
    } catch (error) {
      out.say(abort.signal.aborted ? `${line || "No answer"} · stopped` : `${line || "No answer"}: ${error.message}`, abort.signal.aborted ? "" : "bad");
    }
    busy(false);
  };

  const websocket = () => {
    const id = `field-${++serial}`;
    const message = h("textarea", { id, rows: 3, spellcheck: "false", class: "editor" });
    message.value = "{}";
    const sender = h("button", { type: "button", disabled: true }, "Send message");
    const socket = connect(url(), getToken(), {
      open() {
        out.say("Open", "good");
        sender.disabled = false;
      },
      item: (item) => out.item(item),
      close(code, reason) {
        out.say(`Closed: ${code}${reason ? ` ${reason}` : ""}`, code === 1000 ? "" : "bad");
        sender.disabled = true;
        busy(false);
      },
    });
    busy(true);
    out.begin(`new WebSocket(${JSON.stringify(socket.url)})`);
    out.say("Connecting …");
    out.add(h("div", { class: "field wide" }, h("label", { for: id }, "Message"), message, sender));
    sender.onclick = () => {
      socket.send(message.value);
      out.item({ data: message.value }, "sent");
    };
    stop.onclick = () => socket.close(1000);
  };

  const form = h(
    "form",
    { class: "try", autocomplete: "off" },
    fields.map((one) => one.row),
    accept ? h("div", { class: "field" }, h("label", { for: accept.id }, "Answer as"), accept) : null,
    body?.row,
    h("div", { class: "buttons" }, send, stop),
    out.box,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (operation["x-websocket"]) websocket();
    else void http();
  });
  return form;
}
