// Signing in and signing up.

import { session } from "../context.js";
import { go } from "../navigation.js";
import { href, safeReturn } from "../routes.js";
import { field, form, h } from "../ui.js";

function access(title, known, action, submit, other) {
  const button = h("button", { class: "primary", type: "submit" }, action);
  const node = h("div", { class: "card narrow" }, h("h1", {}, title), form(known, h("div", { class: "buttons" }, button), submit), other);
  Object.values(known)[0].input.dataset.focus = "";
  return { title, node };
}

const carried = (query) => (query.return ? { return: query.return } : {});
const values = (known) => Object.fromEntries(Object.entries(known).map(([name, one]) => [name, one.input.value]));

export async function signIn({ query }) {
  if (session.status === "in") return moveOn(query);
  const known = {
    email: field("E-mail address", { type: "email", autocomplete: "username", name: "email", maxlength: 254, required: true }),
    password: field("Password", { type: "password", autocomplete: "current-password", name: "password", maxlength: 256, required: true }),
  };
  const submit = async (_, onWait) => {
    await session.signIn(values(known), onWait);
    await go(safeReturn(query.return), { replace: true });
  };
  const other = h("p", {}, "New here? ", h("a", { href: href("sign-up", {}, carried(query)) }, "Make an account"), ".");
  return access("Sign in", known, "Sign in", submit, other);
}

export async function signUp({ query }) {
  if (session.status === "in") return moveOn(query);
  const known = {
    username: field("Username", { autocomplete: "nickname", name: "username", maxlength: 64, required: true }, "The name that others see."),
    email: field("E-mail address", { type: "email", autocomplete: "username", name: "email", maxlength: 254, required: true }),
    password: field("Password", { type: "password", autocomplete: "new-password", name: "password", maxlength: 256, required: true }, "At least 8 characters, of any kind."),
  };
  const submit = async (_, onWait) => {
    await session.signUp(values(known), onWait);
    await go(safeReturn(query.return), { replace: true });
  };
  const other = h("p", {}, "You have an account? ", h("a", { href: href("sign-in", {}, carried(query)) }, "Sign in"), ".");
  return access("Sign up", known, "Sign up", submit, other);
}

/** Who is signed in already has nothing to do here. */
function moveOn(query) {
  setTimeout(() => go(safeReturn(query.return), { replace: true }));
  return { title: "Signed in", node: h("p", { class: "column" }, "You are signed in.") };
}
