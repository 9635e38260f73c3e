// Markdown as elements. marked takes the text apart (marked.esm.js, MIT, its licence beside it); every element is made here
// and every word is set as text, so that nothing a model writes becomes markup: HTML in it is shown as it stands, links lead
// only to the web or to mail, and pictures become links, because a page that loads them would tell others that it was read.
import { lexer } from "./marked.esm.js";

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
const MOST_DEPTH = 30; // a model that repeats ">" without end must not exhaust the stack

export function markdown(text) {
  const fragment = document.createDocumentFragment();
  try { blocks(fragment, lexer(text, { gfm: true, breaks: true }), 0); } catch { fragment.replaceChildren(make("p", text)); }
  return fragment;
}

export function make(tag, text = "", name = "") {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (name) element.className = name;
  return element;
}

// A button that copies; browsers allow it on https and on this machine.
export function copier(text) {
  const button = make("button", "Copy", "quiet");
  button.type = "button";
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { button.textContent = "Not allowed here"; }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

const decoded = (text) => text.replace(/&(?:(amp|lt|gt|quot|apos|nbsp)|#(\d{1,7})|#x([0-9a-f]{1,6}));/gi, (whole, name, ten, sixteen) => {
  const code = ten ? Number(ten) : parseInt(sixteen ?? "", 16);
  return name ? ENTITIES[name.toLowerCase()] : code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
});

function blocks(parent, tokens, depth) {
  if (depth > MOST_DEPTH) throw new RangeError("nested too deeply");
  for (const token of tokens) {
    const made = BLOCKS[token.type]?.(token, depth + 1);
    if (made) parent.append(made);
    else if (token.type !== "space" && token.type !== "def") inline(parent, token.tokens ?? [{ type: "text", text: token.raw }], depth + 1);
  }
  return parent;
}

const BLOCKS = {
  paragraph: (token, depth) => inline(make("p"), token.tokens, depth),
  heading: (token, depth) => inline(make(`h${Math.min(6, token.depth + 1)}`), token.tokens, depth), // h1 is the page's own
  hr: () => make("hr"),
  html: (token) => document.createTextNode(token.raw),
  blockquote: (token, depth) => blocks(make("blockquote"), token.tokens, depth),
  list: (token, depth) => {
    const list = make(token.ordered ? "ol" : "ul");
    if (token.ordered && token.start !== 1) list.start = Number(token.start) || 1;
    for (const item of token.items) list.append(blocks(make("li"), item.tokens, depth));
    return list;
  },
  checkbox: (token) => {
    const box = make("input");
    Object.assign(box, { type: "checkbox", checked: token.checked, disabled: true });
    return box;
  },
  code: (token) => {
    const figure = make("figure", "", "code");
    const caption = make("figcaption", (token.lang ?? "").split(/\s/)[0]);
    const pre = make("pre");
    pre.append(make("code", token.text));
    caption.append(copier(token.text));
    figure.append(caption, pre);
    return figure;
  },
  table: (token, depth) => {
    const [scroll, table, head, body] = ["div", "table", "thead", "tbody"].map((tag) => make(tag));
    const row = (cells, tag) => {
      const line = make("tr");
      for (const cell of cells) {
        const element = inline(make(tag), cell.tokens, depth);
        if (cell.align) element.classList.add(`to-${cell.align}`);
        line.append(element);
      }
      return line;
    };
    head.append(row(token.header, "th"));
    for (const cells of token.rows) body.append(row(cells, "td"));
    table.append(head, body);
    scroll.className = "scroll";
    scroll.append(table);
    return scroll;
  },
};

function inline(parent, tokens, depth) {
  if (depth > MOST_DEPTH) throw new RangeError("nested too deeply");
  for (const token of tokens ?? []) {
    const made = INLINE[token.type]?.(token, depth + 1) ?? BLOCKS[token.type]?.(token, depth + 1);
    if (made) parent.append(made);
    else if (token.tokens?.length) inline(parent, token.tokens, depth + 1);
    else parent.append(token.type === "html" ? token.raw : decoded(token.text ?? token.raw));
  }
  return parent;
}

const INLINE = {
  strong: (token, depth) => inline(make("strong"), token.tokens, depth),
  em: (token, depth) => inline(make("em"), token.tokens, depth),
  del: (token, depth) => inline(make("del"), token.tokens, depth),
  codespan: (token) => make("code", token.text),
  br: () => make("br"),
  link: (token, depth) => linked(token.href, inline(make("a"), token.tokens, depth), token.raw),
  image: (token) => linked(token.href, make("a", token.text || token.href), token.raw),
};

function linked(href, element, raw) {
  let url;
  try { url = new URL(href); } catch { return document.createTextNode(raw); } // relative ones would lead into the endpoint
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return document.createTextNode(raw);
  Object.assign(element, { href: url.href, title: url.href, target: "_blank", rel: "noopener noreferrer nofollow" });
  return element;
}
