// One room: its head, its messages, and where one writes.

import { counted, names } from "../format.js";
import { href } from "../routes.js";
import { act, confirmed, dialog, explain, h, icon, iconButton, toast } from "../ui.js";
import { composer } from "./composer.js";
import { askReaction, showRoom } from "./dialogs.js";
import { messageList } from "./message_list.js";
import { messageRow } from "./message_view.js";
import { roomPicture } from "./room_list.js";
import { isDirect, isMember, moderates, titleOf } from "./rooms.js";
import { PAGE } from "./rest.js";
import { Timeline } from "./timeline.js";

/** A message that was found is loaded with all after it when it is no further back. */
const REACH = 500;

const backLink = () => h("a", { class: "icon-button button back", href: href("chat"), "aria-label": "All rooms", title: "All rooms" }, icon("back"));

/** A public room that one may join. */
function invitation(client, room, joined) {
  const join = h("button", { type: "button", class: "primary" }, "Join");
  join.addEventListener("click", () =>
    act(join, async () => {
      await client.join(room.id);
      await joined();
    }),
  );
  return h(
    "div",
    { class: "room-pane" },
    h("header", { class: "room-head" }, backLink(), roomPicture(room, "small"), h("h2", {}, titleOf(room))),
    h("div", { class: "invitation" }, room.description ? h("p", {}, room.description) : null, h("p", { class: "soft" }, counted(room.memberCount, "member")), join),
  );
}

function headOf(client, room) {
  const title = h("h2", {});
  const under = h("p", { class: "room-under" });
  const people = iconButton("people", "Members and settings");
  people.addEventListener("click", () => act(people, () => showRoom(client, room)));
  const draw = () => {
    const presence = client.presence.get(room.id);
    const online = presence ? ` · ${presence.online} online` : "";
    title.textContent = titleOf(room);
    under.textContent = isDirect(room) ? (presence?.names.has(room.peer) ? "online" : "") : `${counted(room.memberCount, "member")}${online}`;
  };
  draw();
  const node = h(
    "header",
    { class: "room-head" },
    backLink(),
    roomPicture(room, "small"),
    h("div", { class: "room-words" }, title, under),
    h("a", { class: "icon-button button", href: href("find", {}, { room: room.id }), "aria-label": "Search in this room", title: "Search in this room" }, icon("search")),
    people,
  );
  return { node, draw };
}

/** A message from long ago, with those around it. */
async function showEarlier(client, room, seq) {
  const around = new Timeline(room.id, client.me);
  around.load(await client.rest.history(room.id, seq + PAGE / 2), PAGE);
  const context = { timeline: around, room: room.id, together: false, onReact: () => {}, seenBy: [] };
  const list = h("ol", { class: "plain messages" }, around.messages.map((message) => messageRow(message, context)));
  const shown = dialog("From the history", () => list, "wide");
  const row = list.querySelector(`[data-seq="${seq}"]`);
  row?.classList.add("found");
  row?.scrollIntoView({ block: "center" });
  return shown;
}

/** The room with this id: {node, title, changed(type, detail), show(seq), leave()}. */
export async function roomView(client, id, { replaced }) {
  const room = await client.room(id);
  if (!isMember(room)) return { node: invitation(client, room, replaced), title: titleOf(room), changed() {}, show() {}, leave() {} };

  const timeline = await client.open(id);
  const head = headOf(client, room);
  const typing = h("p", { class: "typing" });
  const trouble = async (work) => {
    try {
      return await work();
    } catch (error) {
      toast(error.name === "Refused" || error.name === "Error" ? error.message : explain(error), "bad");
      return undefined;
    }
  };
  const may = {
    edit: (message) => message.author === client.me,
    remove: (message) => message.author === client.me || moderates(room),
  };
  const react = (message, emoji, remove) => trouble(() => client.react(id, message.seq, emoji, remove));
  const list = messageList(
    client,
    timeline,
    room,
    {
      older: () => trouble(() => client.older(timeline)),
      seen: (seq) => client.read(id, seq),
      react,
      moreReactions: async (message) => {
        const emoji = await askReaction();
        if (emoji) react(message, emoji, false);
      },
      reply: (message) => write.reply(message),
      edit: (message) => write.edit(message),
      remove: async (message) => {
        if (await confirmed("Delete this message?", "Delete")) trouble(() => client.remove(id, message.seq));
      },
      resend: (one) => client.resend(timeline, one),
      discard: (one) => {
        timeline.drop(one.clientId);
        list.draw();
        write.focus();
      },
    },
    may,
  );
  const write = composer(id, titleOf(room), {
    send: (text, replyTo) => {
      client.send(timeline, text, replyTo);
      list.toEnd();
    },
    save: (message, text, again) => {
      if (text === message.text) return;
      client.edit(id, message.seq, text).catch((error) => {
        toast(error.message, "bad");
        again();
      });
    },
    typing: () => client.types(id),
    editLast: () => {
      const last = timeline.lastOwn();
      if (last) write.edit(last);
    },
  });

  const drawTyping = () => {
    const who = client.typing.get(id);
    typing.textContent = !who ? "" : who.names.length ? `${names(who.names, who.count)} ${who.count === 1 ? "is" : "are"} writing …` : `${counted(who.count, "person", "people")} writing …`;
  };
  drawTyping();

  const node = h("div", { class: "room-pane" }, head.node, list.node, typing, write.node);
  requestAnimationFrame(list.draw);
  const drawers = {
    room: (detail) => list.changed(detail.change),
    rooms: head.draw,
    typing: drawTyping,
    presence: head.draw,
    read: list.drawSoon,
    state: () => {
      drawTyping();
      head.draw();
    },
  };
  return {
    node,
    title: titleOf(room),
    changed(type, detail) {
      if (!detail.room || detail.room === id) drawers[type]?.(detail);
    },
    async show(seq) {
      const first = timeline.messages[0]?.seq ?? 0;
      if (first - seq > REACH) return showEarlier(client, room, seq);
      await trouble(async () => {
        while ((timeline.messages[0]?.seq ?? 0) > seq && !timeline.complete) await client.older(timeline);
      });
      list.draw();
      return list.show(seq);
    },
    leave: list.leave,
  };
}
