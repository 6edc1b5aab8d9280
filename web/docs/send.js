// Requests of the try-it-out form, and their answers: whole, streamed, or over a WebSocket.

/** Path and query of an operation with these values. */
export function buildUrl(server, path, parameters, values) {
  const query = new URLSearchParams();
  let filled = path;
  for (const parameter of parameters) {
    const value = values.get(parameter);
    if (parameter.in === "path") {
      const escaped = parameter["x-segments"] ? value.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(value);
      filled = filled.replace(`{${parameter.name}}`, () => escaped);
    } else if (parameter.in === "query" && value !== "") {
      const several = parameter.schema?.type === "array" ? value.split("\n").filter(Boolean) : [value];
      for (const one of several) query.append(parameter.name, one);
    }
  }
  const text = query.toString();
  return new URL(server.replace(/\/$/, "") + filled + (text ? `?${text}` : ""), location.href);
}

/** The same request for a shell. */
export function curl(method, url, headers, body) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = ["curl", ...(method === "GET" ? [] : ["-X", method]), quote(url.href)];
  for (const [name, value] of Object.entries(headers)) parts.push("-H", quote(`${name}: ${value}`));
  if (body !== undefined) parts.push("-d", quote(body));
  if (headers.Accept === "text/event-stream") parts.splice(1, 0, "-N");
  return parts.join(" ");
}

/** The events of a text/event-stream (HTML Standard, section 9.2.6), as they arrive. */
async function* events(chunks) {
  let event = {};
  for await (const line of lines(chunks)) {
    if (line === "") {
      if (event.data !== undefined) yield event;
      event = {};
      continue;
    }
    const colon = line.indexOf(":");
    if (colon === 0) {
      yield { comment: line.slice(1).trim() };
      continue;
    }
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") event.data = event.data === undefined ? value : `${event.data}\n${value}`;
    else if (name === "event" || name === "id") event[name] = value;
  }
}

async function* lines(chunks) {
  let rest = "";
  for await (const chunk of chunks) {
    const parts = (rest + chunk).split(/\r\n|\n/);
    rest = parts.pop();
    yield* parts;
  }
  if (rest) yield rest;
}

async function* textOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** Makes the request. on.head(response, ms), then on.item(item) for each part of a stream, or on.body(text). */
export async function request(method, url, headers, body, signal, on) {
  const begin = performance.now();
  const response = await fetch(url, { method, headers, body, signal, credentials: "omit", cache: "no-store", redirect: "manual" });
  on.head(response, performance.now() - begin);
  const type = (response.headers.get("Content-Type") ?? "").split(";")[0];
  if (type === "text/event-stream") {
    for await (const event of events(textOf(response.body))) on.item(event);
    on.end();
  } else if (type === "application/x-ndjson") {
    for await (const line of lines(textOf(response.body))) if (line) on.item({ data: line });
    on.end();
  } else {
    on.body(await response.text());
  }
}

/** Opens a WebSocket; the token goes where a browser can put it. */
export function connect(url, token, on) {
  const address = new URL(url);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address, token ? ["bearer", token] : []);
  socket.addEventListener("open", () => on.open());
  socket.addEventListener("message", (event) => on.item({ data: typeof event.data === "string" ? event.data : `${event.data.size} bytes` }));
  socket.addEventListener("close", (event) => on.close(event.code, event.reason));
  return socket;
}
