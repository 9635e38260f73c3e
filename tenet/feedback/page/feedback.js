// Two answers, one verdict. Everything that people or models wrote is set as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const KEYS = { 1: "first", 2: "second", t: "tie", b: "bad", s: "skip" };
const RETRY = 2000;

let token = "";
let annotator = "";
let item = null;
let busy = false;
let clock = null;

// Token and name stand behind the # of the link; they move to this tab's storage, so that no history shows them.
function readLink() {
  const link = new URLSearchParams(location.hash.slice(1));
  for (const key of ["token", "annotator"]) if (link.has(key)) sessionStorage.setItem(`tenet-${key}`, link.get(key));
  history.replaceState(null, "", location.pathname);
  token = sessionStorage.getItem("tenet-token") || "";
  annotator = sessionStorage.getItem("tenet-annotator") || "";
}

// Seconds that the item was on the screen; time in which the tab is hidden does not count.
class Clock {
  constructor() { this.spent = 0; this.since = document.hidden ? null : performance.now(); }
  turn() {
    if (document.hidden && this.since !== null) { this.spent += performance.now() - this.since; this.since = null; }
    if (!document.hidden && this.since === null) this.since = performance.now();
  }
  seconds() { return (this.spent + (this.since === null ? 0 : performance.now() - this.since)) / 1000; }
}

class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

async function once(path, body) {
  const response = await fetch(`api/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify({ annotator, ...body }),
  });
  const found = await response.json();
  if (!response.ok) throw new Refused(found.message, response.status);
  return found;
}

// A verdict that may not have arrived is sent again until it has: the server takes the same one twice without harm.
async function ask(path, body, again) {
  for (;;) {
    try {
      const found = await once(path, body);
      problem("");
      return found;
    } catch (error) {
      if (error instanceof Refused || !again) throw error;
      problem("The server does not answer, so this is not saved yet. Trying again; if it was stopped, start the same command.");
      await new Promise((resume) => setTimeout(resume, RETRY));
    }
  }
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function add(parent, tag, text, name) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (name) element.className = name;
  parent.append(element);
  return element;
}

// Plain text with its fenced code in boxes and its `code` marked; nothing else of Markdown is read.
function write(parent, text) {
  parent.replaceChildren();
  if (!text.trim()) { add(parent, "span", "(empty answer)", "empty"); return; }
  const parts = text.split(/^```[^\n`]*\n([\s\S]*?)(?:^```[ \t]*$|(?![\s\S]))\n?/m);
  parts.forEach((part, number) => {
    if (number % 2) add(parent, "pre", part.replace(/\n$/, ""));
    // The box has a margin of its own, so the lines before and after it need no blank one.
    else part.replace(number ? /^\n+/ : /^/, "").replace(number < parts.length - 1 ? /\n+$/ : /$/, "").split(/`([^`\n]+)`/).forEach((piece, place) => {
      if (place % 2) add(parent, "code", piece);
      else if (piece) parent.append(piece);
    });
  });
}

function showPrompt(turns) {
  $("prompt").replaceChildren();
  for (const turn of turns) {
    const box = add($("prompt"), "div", "", "turn");
    add(box, "h2", turn.role === "user" && turns.length === 1 ? "Prompt" : turn.role);
    write(add(box, "div", ""), turn.text);
  }
}

function show(found) {
  item = found.item;
  const { judged, skipped, left } = found.progress;
  $("bar").max = Math.max(1, judged + skipped + left);
  $("bar").value = judged + skipped;
  $("count").textContent = `${judged} judged, ${skipped ? `${skipped} skipped, ` : ""}${left} left`;
  for (const button of document.querySelectorAll(".undo")) button.disabled = judged + skipped === 0;
  $("work").hidden = $("bar-of-verdicts").hidden = !item;
  $("done").hidden = Boolean(item);
  if (!item) {
    $("done-text").textContent = judged ? `${judged} judged. Thank you, ${annotator}.` : "Others have judged what there was, or are about to.";
    return;
  }
  showPrompt(item.prompt);
  item.answers.forEach((text, place) => write($(`answer-${place + 1}`), text));
  $("reason").value = "";
  if (document.activeElement && document.activeElement !== document.body) document.activeElement.blur();
  window.scrollTo(0, 0);
  clock = new Clock();
}

// One thing at a time: a second key before the next pair is there would judge a pair that nobody has read.
async function alone(work) {
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    problem(error.message);
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
    document.querySelectorAll("article.picked").forEach((box) => box.classList.remove("picked"));
  }
}

const judge = (pick) => alone(async () => {
  if (!item) return;
  $("guidelines").open = false;
  const seconds = clock.seconds();
  if (pick === "first" || pick === "second") $(pick === "first" ? "answer-1" : "answer-2").parentElement.classList.add("picked");
  try {
    show(await ask("judgement", { item: item.id, verdict: pick, reason: $("reason").value, seconds }, true));
  } catch (error) {
    // Judged in another window, or taken back there: what is to be judged now, the server knows.
    if (error.status === 409) show(await ask("next", {}, true));
    throw error;
  }
});

const undo = () => alone(async () => {
  show(await ask("undo", {}, false));
});

const begin = () => alone(async () => {
  const found = await ask("next", {}, true);
  $("sign-in").hidden = true;
  $("who").textContent = annotator;
  write($("guidelines-text"), found.guidelines);
  $("guidelines").hidden = !found.guidelines;
  $("guidelines").open = found.progress.judged + found.progress.skipped === 0;  // read once, then out of the way
  $("progress").hidden = false;
  show(found);
});

document.addEventListener("visibilitychange", () => clock && clock.turn());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target instanceof HTMLInputElement) {
    if (event.target === $("reason") && (event.key === "Escape" || event.key === "Enter")) event.target.blur();
    return;
  }
  const key = event.key.toLowerCase();
  if (key === "u" && $("sign-in").hidden && annotator) undo();
  else if (key === "r" && item) { event.preventDefault(); $("reason").focus(); }
  else if (Object.hasOwn(KEYS, key)) judge(KEYS[key]);
});
for (const button of document.querySelectorAll("[data-pick]")) button.addEventListener("click", () => judge(button.dataset.pick));
for (const button of document.querySelectorAll(".undo")) button.addEventListener("click", undo);
$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  annotator = $("name").value.trim();
  sessionStorage.setItem("tenet-annotator", annotator);
  if (annotator) begin();
});

readLink();
if (!token) problem("The link is not complete: open it as `tenet feedback` printed it, with all that stands behind #.");
else if (annotator) begin();
else { $("sign-in").hidden = false; $("name").focus(); }
