// The one chat client of this tab: begins when chat is first looked at, and ends with the session.

import { api, clock, me, session } from "../context.js";
import { ChatClient } from "./client.js";
import { createRest } from "./rest.js";

const PROTOCOL = "stoa.v1";
const rest = createRest(api);
let client = null;
let starting = null;

function open(token) {
  const { protocol, host } = location;
  return new WebSocket(`${protocol === "https:" ? "wss" : "ws"}://${host}/api/chat/ws`, [PROTOCOL, `bearer.${token}`]);
}

function showUnread() {
  const link = document.querySelector("#sections a[href='/chat']");
  if (!link || !client) return;
  const { unread } = client.rooms;
  link.replaceChildren("Chat", ...(unread ? [badge(unread)] : []));
}

function badge(count) {
  const mark = document.createElement("span");
  mark.className = "unread";
  mark.textContent = count > 99 ? "99+" : String(count);
  mark.setAttribute("aria-label", `${count} unread`);
  return mark;
}

/** The client, started. */
export function chatClient() {
  starting ??= begin().catch((error) => {
    end();
    throw error;
  });
  return starting;
}

async function begin() {
  client = new ChatClient({
    me: me(),
    rest,
    open,
    token: (refused) => (refused ? session.renew(refused) : session.token()),
    clock,
  });
  client.listen((type) => type === "rooms" && showUnread());
  await client.start();
  return client;
}

function end() {
  client?.stop();
  client = null;
  starting = null;
}

session.listen(({ status, why }) => {
  if (status === "out" || why === "other") end();
  else if (client && client.me !== me()) end();
  else client?.connection.renew(session.access);
});
window.addEventListener("online", () => client?.connection.check());
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && client?.connection.check());
// Back and Forward may bring this page back as it was; until then it is not to be seen as online.
window.addEventListener("pagehide", () => client?.connection.pause());
window.addEventListener("pageshow", (event) => event.persisted && client?.connection.check());
window.addEventListener("beforeunload", (event) => {
  if (client?.unsent()) event.preventDefault();
});
// The bar is drawn anew with each address.
new MutationObserver(showUnread).observe(document.getElementById("sections"), { childList: true });
