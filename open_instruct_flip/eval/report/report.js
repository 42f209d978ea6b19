"use strict";
// Judged texts are foreign: they only ever become text nodes.
const DATA = JSON.parse(document.getElementById("data").textContent);
const PAGE = 60;
const MARKS = { right: "✓", wrong: "✗", tied: "=", unreadable: "?", failed: "!", unlabelled: "·" };
const ARTICLES = new Set(["a", "an", "the"]);
const GAIN_OF_FULL_SHADE = 3;
const COLUMN = Object.fromEntries(DATA.columns.map((name, place) => [name, place]));
const $ = id => document.getElementById(id);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter(child => child !== null));
  return element;
}

function unpack([benchmark, subset, id, turns, responses, right, judged]) {
  const verdicts = judged.map(([voice, outcome, choice, rows]) => ({ voice, outcome, choice, rows }));
  return { benchmark, subset, id, turns, responses, right, verdicts, instruction: turns[turns.length - 1][1] };
}
const ITEMS = DATA.items.map(unpack);

// --- Which items are shown -------------------------------------------------------------------------------------------

function haystack(item) {
  if (item.text === undefined) {
    const told = item.verdicts.flatMap(verdict => verdict.rows.flatMap(row => row.filter(value => typeof value === "string")));
    const turns = item.turns.map(turn => turn[1]);
    item.text = [item.benchmark, item.subset, item.id, ...turns, ...item.responses, ...told].join("\n").toLowerCase();
  }
  return item.text;
}

const disagree = item => new Set(item.verdicts.map(verdict => verdict.choice).filter(choice => choice !== null)).size > 1;

// The kinds that are ticked widen the selection; the words, the subset and the judge narrow it.
function selector() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [voice, subset] = [$("judge").value, $("subset").value];
  const kinds = [...document.querySelectorAll("[data-kind]:checked")].map(box => box.dataset.kind);
  const is = (verdicts, outcomes) => verdicts.some(verdict => outcomes.includes(verdict.outcome));
  return item => {
    if (subset && subset !== JSON.stringify([item.benchmark, item.subset])) return false;
    const verdicts = voice ? item.verdicts.filter(verdict => verdict.voice === Number(voice)) : item.verdicts;
    if (voice && !verdicts.length) return false;
    const wanted = !kinds.length || kinds.some(kind =>
      kind === "wrong" ? is(verdicts, ["wrong", "tied"])
        : kind === "unreadable" ? is(verdicts, ["unreadable", "failed"])
          : disagree(item));
    return wanted && words.every(word => haystack(item).includes(word));
  };
}

// --- Words that two instructions share, as token F1 counts them ------------------------------------------------------

const token = word => word.toLowerCase().replace(/[!-/:-@[-`{-~]+/g, "");

function bag(text) {
  const counts = new Map();
  for (const word of text.split(/\s+/).map(token)) {
    if (word && !ARTICLES.has(word)) counts.set(word, (counts.get(word) || 0) + 1);
  }
  return counts;
}

function marked(text, other) {
  const left = bag(other), box = make("div", "text");
  for (const piece of text.split(/(\s+)/)) {
    const count = left.get(token(piece)) || 0;
    if (count) left.set(token(piece), count - 1);
    box.append(count ? make("mark", "", piece) : piece);
  }
  return box;
}

// --- An item ---------------------------------------------------------------------------------------------------------

function chip(verdict) {
  const name = DATA.voices[verdict.voice];
  const element = make("span", `chip ${verdict.outcome}`, `${MARKS[verdict.outcome]} ${name}`);
  element.title = `${name}: ${verdict.outcome}`;
  return element;
}

function folded(title, ...inside) {
  return make("details", "", make("summary", "", title), ...inside);
}

function turns(item) {
  return item.turns.map(([role, text]) =>
    make("section", "turn", make("h4", "", role), make("div", "text", text)));
}

function response(item, index) {
  const right = item.right[index];
  const label = right === null ? null : make("span", right ? "label right" : "label wrong", right ? "right" : "wrong");
  return make("section", "response", make("h4", "", `Response ${index + 1} `, label), make("div", "text long", item.responses[index]));
}

function score(row) {
  const value = row[COLUMN.score];
  return value === null || value === undefined ? row[COLUMN.error] : value.toFixed(3);
}

function scoreTable(item) {
  const heads = ["Judge", ...item.responses.map((_, index) => `Response ${index + 1}`), "Outcome"];
  const body = item.verdicts.map(verdict => {
    const cells = verdict.rows.map((row, index) => make("td", index === verdict.choice ? "chosen" : "", score(row)));
    return make("tr", "top", make("td", "l", DATA.voices[verdict.voice]), ...cells, make("td", "", chipless(verdict)));
  });
  const head = make("thead", "", make("tr", "", ...heads.map((text, place) => make("th", place ? "" : "l", text))));
  return make("div", "scroll", make("table", "", head, make("tbody", "", ...body)));
}

const chipless = verdict => make("span", `outcome ${verdict.outcome}`, `${MARKS[verdict.outcome]} ${verdict.outcome}`);

function inference(item, row, index) {
  const inferred = row[COLUMN.inferred_instruction];
  return make("div", "pair",
    make("section", "", make("h4", "", `Inferred from response ${index + 1}, ${score(row)}`), marked(inferred, item.instruction)),
    make("section", "", make("h4", "", "True instruction"), marked(item.instruction, inferred)));
}

// Gains over what is likely anyway shade green or red; probabilities shade green.
function shaded([texts, hundredths, areGains]) {
  return make("div", "text long", ...texts.map((text, place) => {
    const nats = hundredths[place] / 100;
    const share = areGains ? Math.min(Math.abs(nats) / GAIN_OF_FULL_SHADE, 1) : Math.exp(Math.min(nats, 0));
    const token = make("span", areGains && nats < 0 ? "token less" : "token", text);
    token.style.setProperty("--share", `${Math.round(70 * share)}%`);
    token.title = areGains ? `${nats > 0 ? "+" : ""}${nats.toFixed(2)} nats by what is judged` : `log-probability ${nats.toFixed(2)}`;
    return token;
  }));
}

function likelihood(row, index) {
  return make("section", "read", make("h4", "", `Token by token, for response ${index + 1}: ${score(row)}`), shaded(row[COLUMN.tokens]));
}

function legend(rows) {
  const read = rows.map(row => row[COLUMN.tokens]).find(Boolean);
  if (!read) return [];
  return [make("p", "quiet", read[2] ? "Green: likelier with what is judged in view, red: less likely." : "The greener, the likelier.")];
}

function told(item, verdict) {
  const inside = verdict.rows.flatMap((row, index) => {
    const title = `To response ${index + 1}: ${score(row)}`;
    return [
      row[COLUMN.inferred_instruction] ? inference(item, row, index) : null,
      row[COLUMN.tokens] ? likelihood(row, index) : null,
      row[COLUMN.detail] ? make("p", "fault", `Response ${index + 1}: ${row[COLUMN.detail]}`) : null,
      row[COLUMN.reply] ? folded(`The reply. ${title}`, make("div", "text long", row[COLUMN.reply])) : null,
    ];
  }).filter(part => part !== null);
  return inside.length ? make("section", "told", make("h3", "", DATA.voices[verdict.voice]), ...legend(verdict.rows), ...inside) : null;
}

function details(item) {
  return make("div", "details", ...turns(item),
    make("div", "responses", ...item.responses.map((_, index) => response(item, index))),
    scoreTable(item), ...item.verdicts.map(verdict => told(item, verdict)));
}

// What an item holds is only built when it is opened.
function card(item) {
  const title = make("span", "title", item.instruction.slice(0, 300) || "(empty instruction)");
  const place = make("span", "place", `${item.benchmark} · ${item.subset} · ${item.id}`);
  const head = make("button", "head", place, title, make("span", "chips", ...item.verdicts.map(chip)));
  const element = make("article", "", head);
  head.setAttribute("aria-expanded", "false");
  head.addEventListener("click", () => {
    const open = head.getAttribute("aria-expanded") === "true";
    head.setAttribute("aria-expanded", String(!open));
    if (open) element.lastChild.remove(); else element.append(details(item));
  });
  return element;
}

// --- The list --------------------------------------------------------------------------------------------------------

let found = [], shown = 0;

function more() {
  const next = found.slice(shown, shown + PAGE);
  shown += next.length;
  $("list").append(...next.map(card));
  $("more").hidden = shown >= found.length;
}

function refresh() {
  found = ITEMS.filter(selector());
  shown = 0;
  $("list").replaceChildren();
  $("count").textContent = `${found.length.toLocaleString("en")} of ${ITEMS.length.toLocaleString("en")} items`;
  more();
}

function step(by) {
  const heads = [...document.querySelectorAll(".head")];
  const at = heads.indexOf(document.activeElement);
  if (at + by >= heads.length) more();
  const next = document.querySelectorAll(".head")[at < 0 ? 0 : Math.max(0, at + by)];
  if (next) next.focus();
}

function onKey(event) {
  const typing = event.target.matches("input, select");
  if (event.key === "Escape" && event.target === $("search")) { $("search").value = ""; refresh(); }
  if (typing && event.target.type !== "checkbox" || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = { "/": () => $("search").focus(), j: () => step(1), k: () => step(-1) }[event.key];
  if (action) { event.preventDefault(); action(); }
}

function option(value, text) {
  const element = make("option", "", text);
  element.value = value;
  return element;
}

function start() {
  const subsets = new Map(ITEMS.map(item => [JSON.stringify([item.benchmark, item.subset]), `${item.benchmark} · ${item.subset}`]));
  $("subset").append(...[...subsets].map(([value, text]) => option(value, text)));
  $("judge").append(...DATA.voices.map((name, number) => option(String(number), name)));
  let waiting;
  $("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(refresh, 120); });
  document.querySelectorAll("#filters select, #filters [type=checkbox]").forEach(box => box.addEventListener("change", refresh));
  $("more").addEventListener("click", more);
  new IntersectionObserver(seen => { if (seen[0].isIntersecting && shown < found.length) more(); }, { rootMargin: "600px" }).observe($("end"));
  document.addEventListener("keydown", onKey);
  refresh();
}
start();
