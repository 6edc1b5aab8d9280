// What is asked in a dialog: a new room, somebody to write to, a reaction, and a room's members and settings.

import { href } from "../routes.js";
import { act, avatar, confirmed, dialog, field, form, h, pagedList, toast } from "../ui.js";
import { me } from "../context.js";
import { newId } from "../ids.js";
import { isDirect, isOwner, isPrivate, moderates, titleOf } from "./rooms.js";

const ROLES = { ROLE_MEMBER: "Member", ROLE_MODERATOR: "Moderator", ROLE_OWNER: "Owner" };
const EMOJI = ["👍", "❤️", "😄", "🎉", "😮", "😢", "🙏", "👀", "✅", "👎", "🔥", "🤔"];

/** Opens a room; the room, or nothing. */
export function askNewRoom(client) {
  return dialog("New room", (close) => {
    const known = {
      name: field("Name", { name: "name", maxlength: 100, autofocus: true, autocomplete: "off" }),
      description: field("What it is for", { name: "description", maxlength: 1000, rows: 2 }),
    };
    const kinds = [
      ["ROOM_KIND_PUBLIC", "Public: everybody finds it and may join"],
      ["ROOM_KIND_PRIVATE", "Private: only who is invited"],
    ];
    const choice = h(
      "fieldset",
      { class: "choice" },
      h("legend", {}, "Who can find it"),
      kinds.map(([value, text], i) => h("label", {}, h("input", { type: "radio", name: "kind", value, checked: i === 0 }), text)),
    );
    // Sent again after a lost answer it is the same room.
    const clientId = newId();
    const submit = async () => {
      const kind = choice.querySelector(":checked").value;
      close(await client.create({ name: known.name.input.value, description: known.description.input.value, kind, clientId }));
    };
    const node = form(known, h("div", {}, choice, h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Create"))), submit);
    return node;
  });
}

/** Opens the direct room with somebody; the room, or nothing. */
export function askDirect(client) {
  return dialog("New message", (close) => {
    const known = { username: field("To whom", { name: "username", maxlength: 64, autofocus: true, autocomplete: "off" }, "A username.") };
    const submit = async () => close(await client.direct(known.username.input.value.trim()));
    return form(known, h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Write")), submit);
  });
}

/** An emoji, or nothing. */
export function askReaction() {
  return dialog("React", (close) => {
    const known = { emoji: field("Another one", { name: "emoji", maxlength: 32, autocomplete: "off" }) };
    const submit = () => {
      const emoji = known.emoji.input.value.trim();
      if (!emoji || /\s/.test(emoji)) known.emoji.say("One emoji, without blanks.");
      else close(emoji);
    };
    return h(
      "div",
      {},
      h("div", { class: "emoji-grid" }, EMOJI.map((emoji) => h("button", { type: "button", class: "emoji", onclick: () => close(emoji) }, emoji))),
      form(known, h("div", { class: "buttons" }, h("button", { type: "submit" }, "React")), submit),
    );
  });
}

// ---- a room: who is in it, and what can be done ----

function memberRow(client, room, member, again) {
  const username = member.account?.username;
  const own = username === me();
  const online = client.presence.get(room.id)?.names.has(username);
  const owner = isOwner(room) && !isDirect(room);
  const mayRemove = !own && (owner || (moderates(room) && member.role === "ROLE_MEMBER"));
  const role = h(
    "select",
    { "aria-label": `Role of ${username}` },
    Object.entries(ROLES).map(([value, text]) => h("option", { value, selected: value === member.role }, text)),
  );
  role.addEventListener("change", async () => {
    if (await act(role, () => client.rest.setRole(room.id, username, role.value))) {
      toast(`${username}: ${ROLES[role.value]}.`, "good");
      if (own) client.refreshRoom(room.id);
    } else role.value = member.role;
  });
  const remove = h("button", { type: "button", class: "small quiet-danger" }, "Remove");
  remove.addEventListener("click", async () => {
    if (!(await confirmed(`Remove ${username}?`, "Remove", "They see nothing more of the room, and come back only by an invitation."))) return;
    if (await act(remove, () => client.rest.expel(room.id, username))) again();
  });
  return h(
    "li",
    { class: "member" },
    h("span", { class: online ? "picture online" : "picture" }, avatar(username ?? "?", "small")),
    h("div", {}, h("a", { class: "person", href: href("profile", { username }) }, username), online ? h("span", { class: "unseen" }, "online") : null),
    owner ? role : h("span", { class: "soft" }, ROLES[member.role]),
    mayRemove ? remove : null,
  );
}

async function memberList(client, room, again) {
  return pagedList((token) => client.rest.members(room.id, token), (member) => memberRow(client, room, member, again), { empty: "Nobody.", label: "Members", kind: "members" });
}

function inviteForm(client, room, again) {
  const known = { username: field("Invite somebody", { name: "username", maxlength: 64, autocomplete: "off", placeholder: "username" }) };
  const submit = async () => {
    const username = known.username.input.value.trim();
    await client.rest.invite(room.id, username);
    known.username.input.value = "";
    toast(`${username} is a member now.`, "good");
    again();
  };
  return form(known, h("div", { class: "buttons" }, h("button", { type: "submit" }, "Invite")), submit, { class: "line-form" });
}

function changeForm(client, room) {
  const known = {
    name: field("Name", { name: "name", maxlength: 100, value: room.name }),
    description: field("What it is for", { name: "description", maxlength: 1000, rows: 2, value: room.description }),
  };
  const submit = async () => {
    await client.update(room.id, { name: known.name.input.value, description: known.description.input.value });
    toast("Saved.", "good");
  };
  return h("details", {}, h("summary", {}, "Change name and description"), form(known, h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Save")), submit));
}

function endings(client, room, close) {
  const leave = h("button", { type: "button", class: "quiet-danger" }, "Leave the room");
  leave.addEventListener("click", async () => {
    const text = isPrivate(room) ? "You come back only by an invitation." : "";
    if ((await confirmed(`Leave ${titleOf(room)}?`, "Leave", text)) && (await act(leave, () => client.leave(room.id)))) close();
  });
  const destroy = h("button", { type: "button", class: "quiet-danger" }, "Delete the room");
  destroy.addEventListener("click", async () => {
    if ((await confirmed(`Delete ${titleOf(room)}?`, "Delete", "All that was said in it goes with it, for everybody.")) && (await act(destroy, () => client.destroy(room.id)))) close();
  });
  return h("div", { class: "buttons endings" }, leave, isOwner(room) ? destroy : null);
}

export async function showRoom(client, room) {
  const place = h("div", {});
  const again = async () => place.replaceChildren(await memberList(client, room, again));
  await again();
  return dialog(
    titleOf(room),
    (close) =>
      h(
        "div",
        { class: "room-details" },
        room.description ? h("p", { class: "bio" }, room.description) : null,
        isDirect(room) ? null : moderates(room) ? [inviteForm(client, room, again), changeForm(client, room)] : null,
        h("h3", {}, "Members"),
        place,
        isDirect(room) ? null : endings(client, room, close),
      ),
    "side",
  );
}
