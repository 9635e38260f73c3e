// The chat: which conversation is open, what goes to the endpoint, and what the buttons do.
import { make } from "./chat-markdown.js";
import * as kept from "./chat-kept.js";
import { Growing, turnsOf, typedResults } from "./chat-turns.js";
import { answer, importedModels, whenReady } from "./chat-wire.js";

const $ = (id) => document.getElementById(id);
let open = fresh();
let running = null;
let ownModel = "";

// --- the key -----------------------------------------------------------------------------------------------------------

// `tenet serve` prints a link with the key behind the #, which no browser sends. It goes into this tab's storage, and out of
// the address before anything else is done.
function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    sessionStorage.setItem("tenet-key", given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  $("key").value = sessionStorage.getItem("tenet-key") ?? "";
  $("settings").open = !$("key").value;
}
takeKey();
addEventListener("hashchange", () => { takeKey(); listModels(); }); // the link again, in a tab that has the page open

$("key").addEventListener("change", () => { sessionStorage.setItem("tenet-key", $("key").value); listModels(); });

// --- models ------------------------------------------------------------------------------------------------------------

async function listModels() {
  const names = ownModel ? [ownModel, ...(await importedModels($("key").value))] : [];
  const chosen = $("models").value;
  $("models").replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  $("models").hidden = names.length < 2;
  $("model").hidden = names.length > 1;
}

async function start() {
  $("send").disabled = true;
  ownModel = await whenReady((message) => { $("model").textContent = message; });
  $("model").textContent = ownModel;
  $("send").disabled = false;
  await listModels();
}

// --- conversations -----------------------------------------------------------------------------------------------------

function fresh() {
  return { id: `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`, at: Date.now(), turns: [], system: "", tools: "" };
}

const title = (one) => (one.turns.find((turn) => typeof turn.content === "string")?.content ?? "").trim().slice(0, 60) || "Empty";

async function keepOpen() {
  Object.assign(open, { at: Date.now(), system: $("system").value, tools: $("tools").value });
  try { await kept.keep(open); await list(); } catch (error) { $("where").textContent = `Not kept: ${error?.message ?? error}`; }
}

async function list() {
  let found = [];
  try { found = await kept.all(); } catch (error) { $("where").textContent = `Not kept: ${error?.message ?? error}`; }
  $("list").replaceChildren(...found.map((one) => {
    const row = make("div", "", one.id === open.id ? "chosen" : "");
    const [name, drop] = [make("button", title(one), "quiet name"), make("button", "×", "quiet")];
    name.addEventListener("click", () => (one.id === open.id ? shut() : show(one)));
    drop.setAttribute("aria-label", `Delete ${title(one)}`);
    twice(drop, "Delete?", async () => {
      await kept.forget(one.id);
      if (one.id === open.id) show(fresh());
      else list();
    });
    row.append(name, drop);
    return row;
  }));
  $("forget").hidden = !found.length;
}

// A button that asks back before it does what cannot be undone.
function twice(element, question, work) {
  const before = element.textContent;
  element.addEventListener("click", () => {
    if (element.textContent === question) { work(); element.textContent = before; return; }
    element.textContent = question;
    setTimeout(() => { element.textContent = before; }, 3000);
  });
}

function show(conversation) {
  running?.abort();
  open = conversation;
  [$("system").value, $("tools").value] = [open.system, open.tools];
  shut();
  draw();
  list();
}

function draw() {
  $("turns").replaceChildren(...turnsOf(open, { retry, edit, draw }));
  $("turns").scrollTop = $("turns").scrollHeight;
  const answers = open.turns.flatMap((turn) => turn.figures ?? []);
  const sum = (name) => answers.reduce((so, one) => so + one[name], 0).toLocaleString("en");
  $("figures").textContent = answers.length ? `this conversation: ${sum("input")} tokens in, ${sum("output")} out` : "";
}

// --- asking ------------------------------------------------------------------------------------------------------------

function requestBody(conversation) {
  const messages = conversation.turns.map(({ role, content }) => ({ role, content }));
  const body = { model: $("models").value || ownModel, max_tokens: Number($("max").value) || 256, temperature: Number($("temperature").value) || 0, messages };
  if ($("system").value.trim()) body.system = $("system").value;
  if ($("tools").value.trim()) {
    try { body.tools = JSON.parse($("tools").value); } catch (error) { throw new Error(`Tools: ${error.message}`); }
  }
  return body;
}

// Ask for the answer to the last turn.
async function ask() {
  const conversation = open; // another one may be opened meanwhile; the answer belongs to this one
  const asked = conversation.turns.at(-1);
  delete asked.failed;
  draw();
  keepOpen();
  const growing = new Growing();
  const mine = (running = new AbortController());
  let problem = "";
  $("stop").hidden = false; $("send").hidden = true;
  try {
    const body = requestBody(conversation);
    for await (const event of answer($("key").value, body, mine.signal)) {
      if (!growing.article.isConnected && open === conversation) $("turns").append(growing.article);
      growing.take(event);
    }
    sessionStorage.setItem("tenet-key", $("key").value);
    $("settings").open = false;
  } catch (error) {
    problem = error.name === "AbortError" ? "stopped" : error.message;
  }
  const turn = growing.turn(problem);
  if (turn) conversation.turns.push(turn);
  else asked.failed = problem || "The answer is empty.";
  if (running === mine) {
    running = null;
    $("stop").hidden = true; $("send").hidden = false;
  }
  if (open === conversation) { draw(); await keepOpen(); } else { await kept.keep(conversation).then(list, () => {}); }
}

// What is typed answers the calls of the last turn where it made any: each by its card, or all by the message.
function turnOf(text) {
  const last = open.turns.at(-1);
  const calls = last?.role === "assistant" ? last.content.filter((block) => block.type === "tool_use") : [];
  if (!calls.length) return text;
  const typed = typedResults();
  return calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: typed.get(call.id) ?? text }));
}

function say(text) {
  if (running || !ownModel) return;
  if (open.turns.at(-1)?.role === "user") open.turns.pop(); // it was never answered, and two in a row cannot be sent
  open.turns.push({ role: "user", content: turnOf(text) });
  ask();
}

function retry(at) {
  if (running || !ownModel) return;
  open.turns.length = at;
  ask();
}

function edit(at, text) {
  if (running || !ownModel) return;
  open.turns.length = at;
  say(text);
}

// --- buttons -----------------------------------------------------------------------------------------------------------

const shut = () => { document.body.classList.remove("listed"); $("menu").setAttribute("aria-expanded", "false"); };

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if ((!text && !typedResults().size) || running) return;
  $("text").value = "";
  say(text);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("form").requestSubmit();
});
addEventListener("keydown", (event) => { if (event.key === "Escape") running ? running.abort() : shut(); });
$("stop").addEventListener("click", () => running?.abort());
$("new").addEventListener("click", () => show(fresh()));
$("menu").addEventListener("click", () => $("menu").setAttribute("aria-expanded", String(document.body.classList.toggle("listed"))));
$("page").addEventListener("click", (event) => { if (event.target !== $("menu")) shut(); });
twice($("forget"), "Delete all of them?", async () => { await kept.forgetAll(); show(fresh()); });

list();
start();
