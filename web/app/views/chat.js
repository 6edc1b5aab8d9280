// Chat: the rooms, and beside them the one that is open, the public ones, or what was found.

import { chatClient } from "../chat/here.js";
import { askDirect, askNewRoom } from "../chat/dialogs.js";
import { roomList, roomPicture } from "../chat/room_list.js";
import { roomView } from "../chat/room_view.js";
import { isMember, titleOf } from "../chat/rooms.js";
import { shortened } from "../chat/message_view.js";
import { counted } from "../format.js";
import { go, retitle } from "../navigation.js";
import { href } from "../routes.js";
import { closeDialogs, explain, h, icon, pagedList, time, toast } from "../ui.js";

const paneHead = (title) =>
  h("header", { class: "room-head" }, h("a", { class: "icon-button button back", href: href("chat"), "aria-label": "All rooms", title: "All rooms" }, icon("back")), h("h2", {}, title));

function still(node, title) {
  return { node, title, changed() {}, leave() {} };
}

const nothingOpen = () => still(h("div", { class: "room-pane nothing" }, h("p", { class: "empty" }, "Choose a room, or open one.")), "Chat");

async function discover(client) {
  const row = (room) =>
    h(
      "li",
      {},
      h(
        "a",
        { class: "found-room", href: href("room", { room: room.id }) },
        roomPicture(room),
        h("span", { class: "room-words" }, h("span", { class: "room-name" }, titleOf(room)), room.description ? h("span", { class: "room-under" }, room.description) : null),
        h("span", { class: "soft" }, isMember(room) ? "joined" : counted(room.memberCount, "member")),
      ),
    );
  const list = await pagedList((token) => client.rest.discover(token), row, { empty: "There are no public rooms yet.", label: "Public rooms" });
  return still(h("div", { class: "room-pane" }, paneHead("Public rooms"), h("div", { class: "scroll padded" }, list)), "Public rooms");
}

async function find(client, { q = "", room = "" }) {
  const within = room ? await client.room(room) : null;
  const words = h("input", { type: "search", name: "q", value: q, maxlength: 200, "aria-label": "Words to look for", autocomplete: "off", "data-focus": "" });
  const form = h("form", { role: "search", "aria-label": "Search messages", class: "find-form line" }, words, h("button", { type: "submit" }, "Search"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const query = words.value.trim();
    if (query) go(href("find", {}, room ? { q: query, room } : { q: query }), { replace: true });
  });
  const row = (message) => {
    const of = client.rooms.get(String(message.room));
    return h(
      "li",
      {},
      h(
        "a",
        { class: "hit", href: href("room", { room: message.room }, { at: message.seq }) },
        h("span", { class: "byline" }, h("strong", {}, message.author?.username ?? "Deleted account"), of ? `in ${titleOf(of)}` : null, time(message.createdAt)),
        h("span", { class: "hit-text" }, shortened(message.text, 300)),
      ),
    );
  };
  const list = q ? await pagedList((token) => client.rest.search(q, room || undefined, token), row, { empty: "Nothing found. Whole words are compared; “a phrase”, or and -not are understood.", label: "Messages" }) : null;
  const title = within ? `Search in ${titleOf(within)}` : "Search messages";
  return still(h("div", { class: "room-pane" }, paneHead(title), h("div", { class: "scroll padded" }, form, list)), title);
}

export async function chat(route) {
  const client = await chatClient();
  const heading = h("h1", { class: "unseen" }, "Chat");
  const node = h("div", { class: "chat" }, heading);
  let pane = null;
  let shown = null;
  let turn = 0;

  const openNew = (ask) => async () => {
    const room = await ask(client);
    if (room) await go(href("room", { room: room.id }));
  };
  const side = roomList(client, {
    newRoom: openNew(askNewRoom),
    newDirect: openNew(askDirect),
    find: (q) => go(href("find", {}, { q })),
  });

  const build = (next) => {
    if (next.name === "discover") return discover(client);
    if (next.name === "find") return find(client, next.query);
    if (next.name === "room") return roomView(client, next.params.room, { replaced: () => update(shown) });
    return nothingOpen();
  };
  const failed = (error) => still(h("div", { class: "room-pane" }, paneHead("Chat"), h("p", { class: "empty" }, error.status === 404 ? "There is no such room for you." : explain(error))), "Chat");

  const title = () => {
    const { unread } = client.rooms;
    retitle(`${unread ? `(${unread}) ` : ""}${pane.title}`);
  };
  async function update(next) {
    const mine = ++turn;
    const same = shown?.name === "room" && next.name === "room" && shown.params.room === next.params.room && next !== shown;
    shown = next;
    if (!same) {
      const built = await Promise.resolve(build(next)).catch(failed);
      // Somebody has gone on meanwhile.
      if (mine !== turn) {
        built.leave();
        return;
      }
      pane?.leave();
      pane = built;
      node.replaceChildren(heading, side.node, pane.node);
      node.dataset.pane = next.name;
      const target = pane.node.querySelector("[data-focus]") ?? pane.node.querySelector("h2");
      if (target && next.name !== "chat") {
        if (!target.matches("input, textarea")) target.setAttribute("tabindex", "-1");
        target.focus({ preventScroll: true });
      }
    }
    side.draw(next.params.room ?? null);
    title();
    if (next.name === "room" && next.query.at) requestAnimationFrame(() => pane.show?.(Number(next.query.at)));
  }

  const stop = client.listen((type, detail) => {
    if (type === "state") side.drawState();
    if (type === "gone" && shown?.params.room === detail.room) {
      closeDialogs();
      toast("You are no longer in this room.");
      go(href("chat"), { replace: true });
      return;
    }
    if (type === "trouble") toast(explain(detail.error), "bad");
    if (type === "rooms" || type === "typing" || type === "presence" || type === "state") side.draw(shown?.params.room ?? null);
    pane?.changed(type, detail);
    if (type === "rooms" && pane) title();
  });

  await update(route);
  return {
    title: pane.title,
    node,
    update,
    leave() {
      stop();
      pane?.leave();
    },
  };
}
