// Talks to POST /anthropic/v1/messages of the same origin. Everything that the model says is set as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const messages = [];
let running = null;
let modelId = "";

$("key").value = sessionStorage.getItem("tenet-key") || "";

// Weights take a while to load; nothing can be asked before their name is known.
async function untilReady() {
  for ($("send").disabled = true; ; await new Promise((again) => setTimeout(again, 1000))) {
    let state;
    try { state = await (await fetch("readyz")).json(); } catch { state = { message: "The endpoint does not answer." }; }
    $("model").textContent = state.model || state.message;
    if (!state.model) continue;
    modelId = state.model;
    $("send").disabled = false;
    return;
  }
}
untilReady();

function show(kind) {
  const article = document.createElement("article");
  article.className = kind;
  $("turns").append(article);
  article.scrollIntoView({ block: "end" });
  return article;
}

function add(parent, tag, name) {
  const element = document.createElement(tag);
  element.className = name;
  parent.append(element);
  return element;
}

function requestBody() {
  const body = { model: modelId, stream: true, max_tokens: Number($("max").value) || 256, temperature: Number($("temperature").value) || 0, messages };
  if ($("system").value.trim()) body.system = $("system").value;
  if ($("tools").value.trim()) body.tools = JSON.parse($("tools").value);
  return body;
}

// Events of a stream, parsed; a piece from the network may end anywhere.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      const data = buffer.slice(0, end).split("\n").find((line) => line.startsWith("data: "));
      buffer = buffer.slice(end + 2);
      if (data) yield JSON.parse(data.slice(6));
    }
  }
}

class Answer {
  constructor() {
    this.article = show("assistant");
    this.blocks = [];
    this.started = performance.now();
    this.first = 0;
    this.input = this.output = 0;
  }

  take(event) {
    if (event.type === "message_start") { this.first = performance.now(); this.input = event.message.usage.input_tokens + event.message.usage.cache_read_input_tokens; }
    if (event.type === "content_block_start") this.begin(event.content_block);
    if (event.type === "content_block_delta") this.grow(event.delta);
    if (event.type === "message_delta") { this.output = event.usage.output_tokens; this.reason = event.delta.stop_reason; }
    if (event.type === "error") throw new Error(`${event.error.type}: ${event.error.message}`);
  }

  begin(block) {
    const element = add(this.article, "div", block.type === "tool_use" ? "tool" : "text");
    this.blocks.push({ ...block, text: "", json: "", element });
  }

  grow(delta) {
    const block = this.blocks.at(-1);
    if (delta.type === "text_delta") block.text += delta.text;
    if (delta.type === "input_json_delta") block.json += delta.partial_json;
    block.element.textContent = block.type === "tool_use" ? `${block.name} ${block.json}` : block.text;
    this.article.scrollIntoView({ block: "end" });
  }

  finish(note) {
    const seconds = (performance.now() - (this.first || this.started)) / 1000;
    const count = this.output ? `${this.input} tokens in, ${this.output} out` : "stopped before the end";
    const rate = this.output > 1 && seconds > 0 ? `, ${(this.output / seconds).toFixed(1)} tok/s` : "";
    const wait = this.first ? `, first token ${Math.round(this.first - this.started)} ms` : "";
    $("figures").textContent = count + rate + wait;
    add(this.article, "footer", "").textContent = `${note || this.reason || ""} · ${count}${rate}${wait}`;
  }

  // What goes back with the next question: text, and tool calls with whatever the model asked for.
  content() {
    return this.blocks
      .filter((b) => b.type === "tool_use" || b.text)
      .map((b) => (b.type === "tool_use" ? { type: "tool_use", id: b.id, name: b.name, input: JSON.parse(b.json || "{}") } : { type: "text", text: b.text }));
  }
}

// A tool call must be answered in the next turn: the text that is typed then is its result.
function turn(text) {
  const last = messages.at(-1);
  const calls = last && Array.isArray(last.content) ? last.content.filter((b) => b.type === "tool_use") : [];
  if (!calls.length) return text;
  return calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: text }));
}

async function ask(text) {
  const before = messages.length;
  messages.push({ role: "user", content: turn(text) });
  show("user").textContent = text;
  let answer = null;
  let note = "";
  running = new AbortController();
  $("stop").hidden = false; $("send").hidden = true;
  try {
    const response = await fetch("anthropic/v1/messages", {
      method: "POST",
      signal: running.signal,
      headers: { "content-type": "application/json", "anthropic-version": "2023-06-01", authorization: `Bearer ${$("key").value}` },
      body: JSON.stringify(requestBody()),
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    sessionStorage.setItem("tenet-key", $("key").value);
    $("settings").open = false;
    answer = new Answer();
    for await (const event of events(response)) answer.take(event);
  } catch (error) {
    if (error.name === "AbortError") note = "stopped";
    else { note = "failed"; show("error").textContent = error.message; }
  }
  if (answer) answer.finish(note);
  // A broken-off tool call cannot go back; then neither does the question.
  const content = answer && !note ? answer.content() : answer ? answer.content().filter((b) => b.type === "text") : [];
  if (content.length) messages.push({ role: "assistant", content });
  else messages.length = before;
  running = null;
  $("stop").hidden = true; $("send").hidden = false;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || running) return;
  $("text").value = "";
  ask(text);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); $("form").requestSubmit(); }
});
$("stop").addEventListener("click", () => running && running.abort());
$("clear").addEventListener("click", () => {
  if (running) running.abort();
  messages.length = 0;
  $("turns").replaceChildren();
  $("figures").textContent = "";
});
