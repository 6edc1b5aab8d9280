// One's own account: profile, password, deletion; and the sessions in which it is signed in.

import { patiently, withQuery } from "../api.js";
import { api, clock, session } from "../context.js";
import { deviceName } from "../format.js";
import { go } from "../navigation.js";
import { href } from "../routes.js";
import { act, confirmed, dialog, field, form, h, pagedList, time, toast } from "../ui.js";

function tabs(current) {
  const tab = (name, text) => h("a", { href: href(name), "aria-current": name === current ? "page" : null }, text);
  return h("nav", { class: "tabs", "aria-label": "Settings" }, tab("settings", "Account"), tab("sessions", "Sessions"));
}

const submitButton = (text) => h("div", { class: "buttons" }, h("button", { class: "primary", type: "submit" }, text));

/** Sends what differs, with the current password where that is asked for. */
async function change(changes, onWait, currentPassword) {
  const body = { user: changes, ...(currentPassword ? { currentPassword } : {}) };
  const { data } = await patiently(() => api("PUT", "/api/user", { body }), clock, onWait);
  session.update(data.user);
}

function profileForm(account) {
  const known = {
    username: field("Username", { name: "username", maxlength: 64, value: account.username, autocomplete: "off" }),
    email: field("E-mail address", { type: "email", name: "email", maxlength: 254, value: account.email, autocomplete: "email" }),
    bio: field("About you", { rows: 4, name: "bio", maxlength: 4096, value: account.bio ?? "" }),
    image: field("Picture (URL)", { type: "url", name: "image", maxlength: 2048, value: account.image ?? "" }, "Other programs show it. This page does not: it loads nothing from elsewhere."),
  };
  const submit = async (_, onWait) => {
    const changes = {};
    for (const [name, one] of Object.entries(known)) {
      if (one.input.value !== (session.account[name] ?? "")) changes[name] = one.input.value;
    }
    if (Object.keys(changes).length === 0) return;
    await change(changes, onWait);
    toast("Saved.", "good");
  };
  return form(known, submitButton("Save"), submit);
}

function passwordForm() {
  const known = {
    currentPassword: field("Current password", { type: "password", name: "currentPassword", maxlength: 256, autocomplete: "current-password" }, "Not needed within 15 minutes of signing in."),
    password: field("New password", { type: "password", name: "password", maxlength: 256, autocomplete: "new-password" }, "At least 8 characters. All other sessions end."),
  };
  const submit = async (_, onWait) => {
    await change({ password: known.password.input.value }, onWait, known.currentPassword.input.value);
    for (const one of Object.values(known)) one.input.value = "";
    toast("The password is changed. Other sessions have ended.", "good");
  };
  return form(known, submitButton("Change password"), submit);
}

async function deleteAccount() {
  await dialog("Delete your account?", (close) => {
    const known = { currentPassword: field("Current password", { type: "password", name: "currentPassword", maxlength: 256, autocomplete: "current-password" }) };
    const submit = async (_, onWait) => {
      const currentPassword = known.currentPassword.input.value;
      const body = currentPassword ? { currentPassword } : {};
      await patiently(() => api("DELETE", "/api/user", { body }), clock, onWait);
      close();
      await session.signOut();
      toast("Your account is deleted.");
    };
    const buttons = h("div", { class: "buttons" }, h("button", { type: "submit", class: "danger" }, "Delete for ever"), h("button", { type: "button", onclick: () => close() }, "Cancel"));
    return h("div", {}, h("p", {}, "Your articles, comments and messages go with it. This cannot be undone."), form(known, buttons, submit));
  });
}

export async function settings() {
  const node = h(
    "div",
    { class: "column narrow-column" },
    h("h1", {}, "Settings"),
    tabs("settings"),
    h("section", { class: "card" }, h("h2", {}, "Profile"), profileForm(session.account)),
    h("section", { class: "card" }, h("h2", {}, "Password"), passwordForm()),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Delete the account"),
      h("p", {}, "It takes everything with it that belongs to the account."),
      h("button", { type: "button", class: "quiet-danger", onclick: deleteAccount }, "Delete the account …"),
    ),
  );
  return { title: "Settings", node, holds: () => true };
}

function sessionRow(one) {
  const row = h("li", { class: "session" });
  const end = h("button", { type: "button" }, "End");
  end.addEventListener("click", async () => {
    if (await act(end, () => api("DELETE", `/api/sessions/${one.id}`))) row.remove();
  });
  row.append(
    h("div", {}, h("strong", { title: one.device }, deviceName(one.device)), one.current ? h("span", { class: "badge" }, "this one") : null),
    h("div", { class: "soft" }, one.address ? `${one.address} · ` : "", "used ", time(one.lastUsedAt), " · signed in ", time(one.createdAt)),
    one.current ? "" : end,
  );
  return row;
}

export async function sessions({ signal }) {
  const load = async (token) => {
    const { data } = await api("GET", withQuery("/api/sessions", { pageToken: token }), { signal });
    return { items: data.sessions, next: data.nextPageToken };
  };
  const others = h("button", { type: "button", class: "quiet-danger" }, "End all others");
  others.addEventListener("click", async () => {
    if (!(await confirmed("End all other sessions?", "End them", "Everywhere else you will have to sign in again."))) return;
    if (await act(others, () => api("POST", "/api/sessions:endOthers", { body: {} }))) await go(href("sessions"), { replace: true });
  });
  const node = h(
    "div",
    { class: "column narrow-column" },
    h("h1", {}, "Settings"),
    tabs("sessions"),
    h("p", {}, "Where you are signed in. A session that you do not know: end it, and change your password."),
    await pagedList(load, sessionRow, { empty: "None.", label: "Sessions" }),
    h("div", { class: "buttons" }, others),
  );
  return { title: "Sessions", node };
}
