// Starts the page: who is signed in, the frame, and the view that the address names.

import { bindTheme } from "../docs/theme.js";
import { session } from "./context.js";
import { drawFrame } from "./frame.js";
import { again, go, startNavigation } from "./navigation.js";
import { toast } from "./ui.js";

const SAID = {
  "signed-out": "You are signed out.",
  ended: "Your session has ended. Please sign in again.",
};

bindTheme(document.getElementById("theme"));
document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = new FormData(event.currentTarget).get("q").trim();
  if (words) go(`/search?${new URLSearchParams({ q: words })}`);
});

await session.start();
drawFrame(session);
session.listen(({ status, why }) => {
  if (why === "renewed") return;
  drawFrame(session);
  // Nothing of the one account may stay beside the other.
  if (why === "other") location.reload();
  if (SAID[why]) toast(SAID[why]);
  // What is shown depends on who sees it.
  if (status === "out" || status === "in") again(why);
});
startNavigation();
