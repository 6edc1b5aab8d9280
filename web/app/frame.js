// What is around every view: sections, account, and whether the server can be reached.

import { href, match } from "./routes.js";
import { avatar, h } from "./ui.js";

const CHAT = new Set(["chat", "room", "discover", "find"]);
const ARTICLES = new Set(["home", "feed", "search", "tag", "article"]);

function link(route, text, current, attributes = {}) {
  return h("a", { href: href(route), "aria-current": current ? "page" : null, ...attributes }, text);
}

function accountMenu(session, current) {
  const { username } = session.account;
  const menu = h(
    "details",
    { class: "menu" },
    h("summary", { "aria-label": `Account ${username}` }, avatar(username, "small")),
    h(
      "div",
      { class: "menu-list" },
      h("a", { href: href("profile", { username }) }, h("strong", {}, username), h("small", {}, "Your profile")),
      link("drafts", "Drafts", current === "drafts"),
      link("settings", "Settings", current === "settings"),
      link("sessions", "Sessions", current === "sessions"),
      h("button", { type: "button", id: "sign-out", onclick: () => session.signOut() }, "Sign out"),
    ),
  );
  const close = (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  };
  // It closes as a menu does: by Escape, by a click elsewhere, when the focus leaves it, and when something is chosen.
  menu.addEventListener("toggle", () => {
    if (menu.open) document.addEventListener("click", close);
    else document.removeEventListener("click", close);
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
  menu.addEventListener("click", (event) => {
    if (event.target.closest("a")) menu.open = false;
  });
  return menu;
}

/** Draws the bar anew; after a change of address or account. */
export function drawFrame(session) {
  const current = match(location.pathname).name;
  const signedIn = session.status === "in";
  document.getElementById("sections").replaceChildren(
    link("home", "Articles", ARTICLES.has(current)),
    ...(signedIn ? [link("chat", "Chat", CHAT.has(current)), link("write", "Write", current === "write")] : []),
  );
  const nobody = [link("sign-in", "Sign in", current === "sign-in"), link("sign-up", "Sign up", current === "sign-up", { class: "button primary" })];
  document.getElementById("account").replaceChildren(...(signedIn ? [accountMenu(session, current)] : session.status === "out" ? nobody : []));
  const trouble = document.getElementById("trouble");
  trouble.hidden = session.status !== "waiting";
  trouble.textContent = trouble.hidden ? "" : "The server cannot be reached at the moment. You will be signed in again as soon as it can.";
}
