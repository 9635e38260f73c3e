// Turns on the page: what was said, tool calls as cards, and what can be done with each.
import { copier, make, markdown } from "./chat-markdown.js";

const button = (text, work) => {
  const made = make("button", text, "quiet");
  made.type = "button";
  made.addEventListener("click", work);
  return made;
};

const pretty = (json) => { try { return JSON.stringify(JSON.parse(json || "{}"), null, 2); } catch { return json; } };
const spoken = (blocks) => blocks.filter((block) => block.type === "text").map((block) => block.text).join("\n\n");

// How an answer went, in a line.
function figures({ input, output, first, seconds, reason }) {
  const count = output ? `${input} tokens in, ${output} out` : "";
  const rate = output > 1 && seconds > 0 ? `${(output / seconds).toFixed(1)} tok/s` : "";
  return [reason, count, rate, first ? `first token ${Math.round(first)} ms` : ""].filter(Boolean).join(" · ");
}

// A call and, where it is known, what came back; a call that waits has a field for it.
function card(call, result, waits) {
  const section = make("section", "", "call");
  section.dataset.id = call.id;
  section.append(make("h2", call.name, "name"), make("pre", pretty(call.json ?? JSON.stringify(call.input))));
  if (result !== undefined) section.append(make("h3", "Result"), make("pre", result, "result"));
  else if (waits) {
    const field = make("textarea");
    Object.assign(field, { rows: 2, placeholder: "What the tool returns; then Send" });
    field.setAttribute("aria-label", `Result of ${call.name}`);
    section.append(field);
  }
  return section;
}

// Results that were typed into the cards of the last answer, by the calls' ids.
export function typedResults() {
  const fields = [...document.querySelectorAll(".call textarea")];
  return new Map(fields.filter((field) => field.value.trim()).map((field) => [field.closest(".call").dataset.id, field.value]));
}

function userTurn(turn, at, does) {
  const article = make("article", "", "user");
  article.append(make("div", turn.content, "said"));
  const edit = button("Edit", () => {
    const [field, row] = [make("textarea"), make("div", "", "actions")];
    field.value = turn.content;
    field.setAttribute("aria-label", "Edit the message");
    row.append(button("Send", () => field.value.trim() && does.edit(at, field.value.trim())), button("Cancel", does.draw));
    article.replaceChildren(field, row);
    field.rows = Math.min(12, turn.content.split("\n").length + 1);
    field.focus();
  });
  const row = make("div", "", "actions");
  row.append(edit);
  article.append(row);
  return article;
}

function assistantTurn(turn, at, results, last, does) {
  const article = make("article", "", "assistant");
  for (const block of turn.content) {
    if (block.type === "tool_use") article.append(card(block, results.get(block.id), last));
    else article.append(written(block.text));
  }
  const row = make("div", "", "actions");
  row.append(button("Retry", () => does.retry(at)));
  if (spoken(turn.content)) row.append(copier(spoken(turn.content)));
  article.append(make("footer", figures(turn.figures)), row);
  return article;
}

function written(text) {
  const element = make("div", "", "text");
  element.append(markdown(text));
  return element;
}

// Every turn of a conversation. `does` is what its buttons do: retry(turn), edit(turn, text), draw().
export function turnsOf(conversation, does) {
  const { turns } = conversation;
  const results = new Map(turns.flatMap((turn) => (turn.role === "user" && Array.isArray(turn.content) ? turn.content : []))
    .map((block) => [block.tool_use_id, block.content]));
  const made = [];
  turns.forEach((turn, at) => {
    if (turn.role === "assistant") made.push(assistantTurn(turn, at, results, at === turns.length - 1, does));
    else if (!Array.isArray(turn.content)) made.push(userTurn(turn, at, does)); // results stand in the cards
    if (turn.role === "user" && turn.failed) {
      const article = make("article", turn.failed, "error");
      const row = make("div", "", "actions");
      row.append(button("Retry", () => does.retry(at + 1)));
      article.append(row);
      made.push(article);
    }
  });
  return made;
}

// An answer while it comes: takes events, draws once a frame, and says at the end what belongs into the conversation.
export class Growing {
  constructor() {
    this.article = make("article", "", "assistant growing");
    this.blocks = [];
    this.started = performance.now();
    this.first = this.input = this.output = this.frame = 0;
  }

  take(event) {
    const block = this.blocks.at(-1);
    if (event.type === "message_start") {
      this.first = performance.now();
      this.input = event.message.usage.input_tokens + event.message.usage.cache_read_input_tokens;
    }
    if (event.type === "content_block_start") this.blocks.push({ ...event.content_block, text: "", json: "" });
    if (event.type === "content_block_delta" && event.delta.type === "text_delta") block.text += event.delta.text;
    if (event.type === "content_block_delta" && event.delta.type === "input_json_delta") block.json += event.delta.partial_json;
    if (event.type === "message_delta") [this.output, this.reason] = [event.usage.output_tokens, event.delta.stop_reason];
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    const main = this.article.parentElement;
    const atEnd = main && main.scrollHeight - main.scrollTop - main.clientHeight < 80; // who reads further up is left there
    this.article.replaceChildren(...this.blocks.map((block) => (block.type === "tool_use" ? card(block) : written(block.text))));
    if (atEnd) main.scrollTop = main.scrollHeight;
  }

  // The turn; null where nothing was said. A call that was broken off cannot go back, so it is left out.
  turn(problem) {
    cancelAnimationFrame(this.frame);
    const kept = this.blocks.filter((block) => (block.type === "tool_use" ? !problem : block.text));
    const content = kept.map((block) => (block.type === "tool_use"
      ? { type: "tool_use", id: block.id, name: block.name, input: JSON.parse(block.json || "{}") }
      : { type: "text", text: block.text }));
    const first = this.first ? this.first - this.started : 0;
    const seconds = this.first ? (performance.now() - this.first) / 1000 : 0;
    const how = { input: this.input, output: this.output, first, seconds, reason: problem || this.reason };
    return content.length ? { role: "assistant", content, figures: how } : null;
  }
}
