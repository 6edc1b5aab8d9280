// Times and counts as people read them. No DOM.

const STEPS = [
  ["year", 365.25 * 86400],
  ["month", 30.44 * 86400],
  ["week", 7 * 86400],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** "3 hours ago"; "now" within the minute. */
export function ago(time, now = Date.now()) {
  const seconds = (Date.parse(time) - now) / 1000;
  for (const [unit, length] of STEPS) {
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return "now";
}

const day = new Intl.DateTimeFormat("en", { dateStyle: "long" });
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const full = new Intl.DateTimeFormat("en", { dateStyle: "long", timeStyle: "short" });

export const fullTime = (time) => full.format(new Date(time));
export const clockTime = (time) => clock.format(new Date(time));

/** "Today", "Yesterday", "March 3, 2026", in the reader's zone. */
export function dayName(time, now = Date.now()) {
  const name = day.format(new Date(time));
  if (name === day.format(new Date(now))) return "Today";
  if (name === day.format(new Date(now - 86400000))) return "Yesterday";
  return name;
}

/** "1 comment", "2 comments" */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** "ada", "ada and zeno", "ada, zeno and 2 others" */
export function names(list, count = list.length) {
  const others = count - list.length;
  if (others > 0) return `${list.join(", ")} and ${counted(others, "other")}`;
  if (list.length < 2) return list.join("");
  return `${list.slice(0, -1).join(", ")} and ${list.at(-1)}`;
}

/** "Firefox on Linux" of a User-Agent; what is unknown stays as it is, shortened. */
export function deviceName(agent) {
  if (!agent) return "Unknown program";
  const programs = [["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]];
  const systems = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS X", "macOS"], ["CrOS", "ChromeOS"], ["Linux", "Linux"]];
  const program = programs.find(([mark]) => agent.includes(mark))?.[1];
  const system = systems.find(([mark]) => agent.includes(mark))?.[1];
  if (program && system) return `${program} on ${system}`;
  return agent.length > 60 ? `${agent.slice(0, 60)}…` : agent;
}
