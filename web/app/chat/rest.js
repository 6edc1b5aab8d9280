// Chat over HTTP: rooms, history, members; and what goes over the live connection, for when there is none. No DOM.

import { ApiError, withQuery } from "../api.js";
import { roomOf } from "./rooms.js";

export const PAGE = 50;
const ALL = 100;
/** The most rooms of an account, in pages. */
const MAX_PAGES = 5;

const roomPath = (room, rest = "") => `/api/chat/rooms/${encodeURIComponent(room)}${rest}`;

export function createRest(api) {
  const one = async (method, path, body) => (await api(method, path, body === undefined ? {} : { body })).data;
  const rooms = async (path) => {
    const found = [];
    let pageToken;
    for (let page = 0; page < MAX_PAGES; page++) {
      const data = await one("GET", withQuery(path, { pageSize: ALL, pageToken }));
      found.push(...data.rooms.map(roomOf));
      pageToken = data.nextPageToken;
      if (!pageToken) break;
    }
    return found;
  };
  const room = async (answer) => roomOf((await answer).room);
  const member = (id, username, rest = "") => roomPath(id, `/members/${encodeURIComponent(username)}${rest}`);

  return {
    mine: () => rooms("/api/chat/rooms/mine"),
    /** A page of all public rooms. */
    async discover(pageToken) {
      const data = await one("GET", withQuery("/api/chat/rooms", { pageSize: PAGE, pageToken }));
      return { items: data.rooms.map(roomOf), next: data.nextPageToken };
    },
    get: (id) => room(one("GET", roomPath(id))),
    create: (fields) => room(one("POST", "/api/chat/rooms", { room: fields })),
    direct: (username) => room(one("PUT", `/api/chat/direct/${encodeURIComponent(username)}`)),
    update: (id, changes) => room(one("PATCH", roomPath(id), { changes })),
    destroy: (id) => one("DELETE", roomPath(id)),
    join: (id) => room(one("POST", roomPath(id, "/join"))),
    leave: (id) => one("POST", roomPath(id, "/leave")),
    async members(id, pageToken) {
      const data = await one("GET", withQuery(roomPath(id, "/members"), { pageSize: PAGE, pageToken }));
      return { items: data.members, next: data.nextPageToken };
    },
    invite: (id, username) => one("PUT", member(id, username)),
    expel: (id, username) => one("DELETE", member(id, username)),
    setRole: (id, username, role) => one("PUT", member(id, username, "/role"), { role }),
    history: (id, beforeSeq) => one("GET", withQuery(roomPath(id, "/messages"), { pageSize: PAGE, beforeSeq })),
    /** Messages from a number on: to show one that was found. */
    from: (id, seq) => one("GET", withQuery(roomPath(id, "/messages"), { pageSize: 1, afterSeq: seq - 1 })),
    async search(query, inRoom, pageToken) {
      const data = await one("GET", withQuery("/api/chat/search", { query, room: inRoom, pageToken }));
      return { items: data.messages, next: data.nextPageToken };
    },
    presence: (id) => one("GET", roomPath(id, "/presence")),
    markRead: (id, seq) => one("PUT", roomPath(id, "/read"), { seq: String(seq) }),

    // ---- as connection.js wants it ----

    probe: () => one("GET", "/api/user"),
    async positions() {
      return new Map((await rooms("/api/chat/rooms/mine")).map((each) => [each.id, each.lastSeq]));
    },
    events: (id, after) => one("GET", withQuery(roomPath(id, "/log"), { pageSize: ALL, afterSeq: after })),
    async act(action) {
      try {
        return await done(action, one);
      } catch (error) {
        throw asStatus(error);
      }
    },
  };
}

async function done({ kind, room, clientId, ...fields }, one) {
  const message = roomPath(room, `/messages/${fields.seq}`);
  switch (kind) {
    case "send": {
      const data = await one("POST", roomPath(room, "/messages"), { message: { text: fields.text, clientId, replyTo: fields.replyTo } });
      return { room, seq: Number(data.message.seq) };
    }
    case "edit":
      await one("PATCH", message, { text: fields.text, clientId });
      break;
    case "delete":
      await one("DELETE", withQuery(message, { clientId }));
      break;
    case "react":
      await one(fields.remove ? "DELETE" : "PUT", withQuery(`${message}/reactions/${encodeURIComponent(fields.emoji)}`, { clientId }));
      break;
    default:
      throw new Error(`no such action: ${kind}`);
  }
  return { room, seq: Number(fields.seq) };
}

/** HTTP's word for it as the live connection says it: a gRPC code, 14 when it may go well the next time. */
function asStatus(error) {
  const passing = !(error instanceof ApiError) || error.status >= 500;
  const code = passing ? 14 : error.status === 429 ? 8 : error.status === 409 ? 10 : 9;
  const field = error instanceof ApiError ? Object.values(error.fields)[0]?.[0] : "";
  return { code, reason: error.reason ?? "", message: field || error.message, retryAfterMs: (error.retryAfter ?? 0) * 1000 };
}
