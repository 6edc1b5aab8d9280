// The rooms that somebody is in, and how much of each is unread. No DOM.

export function roomOf(raw) {
  return {
    id: String(raw.id),
    name: raw.name,
    description: raw.description,
    kind: raw.kind,
    role: raw.role,
    memberCount: raw.memberCount,
    activeAt: raw.activeAt,
    lastSeq: Number(raw.lastSeq),
    readSeq: Number(raw.readSeq),
    unread: Number(raw.unreadCount),
    peer: raw.peer?.username ?? null,
  };
}

export const isDirect = (room) => room.kind === "ROOM_KIND_DIRECT";
export const isPrivate = (room) => room.kind === "ROOM_KIND_PRIVATE";
export const isMember = (room) => room.role !== "ROLE_UNSPECIFIED";
export const isOwner = (room) => room.role === "ROLE_OWNER";
/** Invites, removes, changes the name, deletes messages of others. */
export const moderates = (room) => !isDirect(room) && (isOwner(room) || room.role === "ROLE_MODERATOR");
/** What a room is called on the page. */
export const titleOf = (room) => (isDirect(room) ? (room.peer ?? "Deleted account") : room.name);

export class Rooms {
  constructor(me) {
    this.me = me;
    this.byId = new Map();
  }

  /** As the server lists them. A room that is known already keeps what has happened in it since. */
  put(room) {
    const known = this.byId.get(room.id);
    // What is read here and not yet told there.
    if (known && known.readSeq > room.readSeq && known.lastSeq === room.lastSeq) Object.assign(room, { readSeq: known.readSeq, unread: known.unread });
    if (known && known.lastSeq > room.lastSeq) Object.assign(room, { lastSeq: known.lastSeq, activeAt: known.activeAt, unread: known.unread, readSeq: known.readSeq });
    if (known) Object.assign(known, room);
    else this.byId.set(room.id, room);
    return known ?? room;
  }

  remove(id) {
    return this.byId.delete(id);
  }

  get(id) {
    return this.byId.get(id);
  }

  /** Where something happened last comes first. */
  sorted() {
    return [...this.byId.values()].sort((a, b) => Date.parse(b.activeAt) - Date.parse(a.activeAt) || Number(b.id) - Number(a.id));
  }

  get unread() {
    return [...this.byId.values()].reduce((sum, room) => sum + room.unread, 0);
  }

  /** An event of a room's log. "left" when the account is no member any more, "stale" when the room has to be read anew. */
  apply(id, event) {
    const room = this.byId.get(id);
    const seq = Number(event.seq);
    if (!room || seq <= room.lastSeq) return "";
    room.lastSeq = seq;
    room.activeAt = event.createdAt;
    const own = event.member?.account?.username === this.me;
    switch (event.kind) {
      case "EVENT_KIND_MESSAGE":
        if (event.message.author?.username !== this.me && seq > room.readSeq) room.unread++;
        return "";
      case "EVENT_KIND_MEMBER_JOINED":
        room.memberCount++;
        return "";
      case "EVENT_KIND_MEMBER_LEFT":
      case "EVENT_KIND_MEMBER_REMOVED":
        room.memberCount--;
        return own ? "left" : "";
      case "EVENT_KIND_MEMBER_ROLE_CHANGED":
        if (own) room.role = event.member.role;
        return "";
      case "EVENT_KIND_ROOM_UPDATED":
        return "stale";
      default:
        return "";
    }
  }

  /** The account has read up to seq, here or elsewhere. "stale" when only the server knows what is unread after that. */
  read(id, seq) {
    const room = this.byId.get(id);
    if (!room || seq <= room.readSeq) return "";
    room.readSeq = seq;
    if (seq >= room.lastSeq) {
      room.unread = 0;
      return "";
    }
    return room.unread > 0 ? "stale" : "";
  }
}
