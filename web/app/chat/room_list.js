// The rooms of the account, beside the one that is open; and whether chat is connected.

import { href } from "../routes.js";
import { avatar, h, icon } from "../ui.js";
import { isDirect, isPrivate, titleOf } from "./rooms.js";

const CONNECTION = {
  live: "Connected",
  connecting: "Connecting …",
  waiting: "No connection",
  stopped: "Not connected",
};

/** A round picture for a room: of the other account, or its first letter. */
export function roomPicture(room, size = "") {
  const picture = avatar(titleOf(room), size);
  if (!isDirect(room)) picture.classList.add("square");
  return picture;
}

function stateLine(client) {
  const text = h("span", { role: "status" });
  const now = h("button", { type: "button", class: "small", hidden: true, onclick: () => client.connection.retryNow() }, "Try now");
  const node = h("p", { class: "connection" }, h("span", { class: "dot", "aria-hidden": "true" }), text, now);
  const draw = () => {
    const { state, polling } = client.connection;
    node.dataset.state = polling ? "polling" : state;
    now.hidden = state !== "waiting" || polling;
    const said = polling ? "Connected, with some delay" : CONNECTION[state];
    // Said again it would be read out again.
    if (text.textContent !== said) text.textContent = said;
  };
  draw();
  return { node, draw };
}

function row(client, room, current) {
  const title = titleOf(room);
  const online = isDirect(room) && client.presence.get(room.id)?.names.has(room.peer);
  const typing = client.typing.get(room.id);
  const kind = isPrivate(room) ? icon("lock") : null;
  const under = typing ? h("span", { class: "writes" }, "writing …") : isDirect(room) ? (online ? "online" : "") : room.description;
  return h(
    "li",
    {},
    h(
      "a",
      { href: href("room", { room: room.id }), "aria-current": current ? "page" : null, class: room.unread ? "has-unread" : null },
      h("span", { class: online ? "picture online" : "picture" }, roomPicture(room, "small")),
      h("span", { class: "room-words" }, h("span", { class: "room-name" }, title, kind), under ? h("span", { class: "room-under" }, under) : null),
      room.unread ? h("span", { class: "unread", "aria-label": `${room.unread} unread` }, room.unread > 99 ? "99+" : String(room.unread)) : null,
    ),
  );
}

/** The column. actions: {newRoom, newDirect}. draw(current room or null) shows it as it is now. */
export function roomList(client, actions) {
  const state = stateLine(client);
  const list = h("ul", { class: "plain room-list", "aria-label": "Your rooms" });
  const empty = h("p", { class: "empty" }, "You are in no room yet. Open one, or look at the public ones.");
  const words = h("input", { type: "search", name: "q", maxlength: 200, placeholder: "Search messages", "aria-label": "Search messages", autocomplete: "off" });
  const form = h("form", { role: "search", "aria-label": "Search all rooms", class: "find-form" }, words);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (words.value.trim()) actions.find(words.value.trim());
  });
  const node = h(
    "section",
    { class: "rooms", "aria-label": "Rooms" },
    h("div", { class: "headline" }, h("h2", {}, "Rooms"), state.node),
    form,
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", class: "small", onclick: actions.newRoom }, icon("plus"), "Room"),
      h("button", { type: "button", class: "small", onclick: actions.newDirect }, icon("plus"), "Message"),
      h("a", { class: "button small", href: href("discover") }, "Public rooms"),
    ),
    list,
    empty,
  );
  let drawn = "";
  return {
    node,
    drawState: state.draw,
    draw(current) {
      const rooms = client.rooms.sorted();
      empty.hidden = rooms.length > 0;
      const shape = JSON.stringify(rooms.map((room) => [room, room.id === current, client.typing.has(room.id), client.presence.get(room.id)?.names.has(room.peer)]));
      if (shape === drawn) return;
      drawn = shape;
      const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      list.replaceChildren(...rooms.map((room) => row(client, room, room.id === current)));
      if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    },
  };
}
