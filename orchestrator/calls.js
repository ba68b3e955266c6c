"use strict";
// Texts enter the page as text nodes alone: what a model wrote never becomes markup.
const calls = JSON.parse(document.getElementById("data").textContent);
const PAGE_SIZE = 200;
const ALL = "all";

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function outcome(call) {
  if (call.error !== null) return call.error;
  const scored = call.answers.filter((answer) => answer.logprob !== null);
  if (call.kind === "scoring" && scored.length > 0) {
    const best = scored.reduce((a, b) => (b.logprob > a.logprob ? b : a));
    return `${best.logprob.toFixed(2)} nats: ${best.text}`;
  }
  return call.answers.map((answer) => answer.text).join(" | ");
}

function fields(call) {
  const tokens = call.usage && `${call.usage.prompt_tokens} + ${call.usage.completion_tokens}`;
  const list = call.list_size > 1 ? ` (${call.list_size})` : "";
  return [
    new Date(1000 * call.time).toLocaleString("sv").slice(5),  // year first in Swedish
    call.trial,
    call.step ?? "",
    call.role,
    call.kind + list,
    call.duration_s.toFixed(2),
    tokens ?? "",
    outcome(call),
  ];
}

function answersTable(call) {
  const table = element("table");
  const head = table.createTHead().insertRow();
  for (const name of ["text", "log-prob", "tokens"]) head.append(element("th", name));
  const body = table.createTBody();
  for (const answer of call.answers) {
    const row = body.insertRow();
    const logprob = answer.logprob === null ? "" : answer.logprob.toFixed(4);
    for (const cell of [answer.text, logprob, answer.num_tokens ?? ""]) {
      row.append(element("td", cell));
    }
  }
  const wide = element("div", "", "wide");
  wide.append(table);
  return wide;
}

function section(place, title, part) {
  place.append(element("h4", title), part);
}

function showDetails(place, call) {
  for (const message of call.messages) section(place, message.role, element("pre", message.text));
  if (call.kind === "scoring") {
    const targets = call.error === null ? answersTable(call) : element("pre", call.targets.join("\n"));
    section(place, "scored as next turn", targets);
  } else {
    for (const answer of call.answers) {
      section(place, `answer (${answer.finish_reason})`, element("pre", answer.text));
    }
  }
  if (call.error !== null) section(place, "failed", element("pre", call.error, "failed"));
  const together = call.list_size > 1 ? { requests_sent_together: call.list_size } : {};
  const about = { model: call.model, ...call.parameters, ...together, ...call.usage };
  const lines = Object.entries(about).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  section(place, "parameters and usage", element("pre", lines.join("\n")));
}

function listed(call) {
  const details = element("details", "", "call");
  const summary = element("summary");
  const row = element("div", "", call.error === null ? "row" : "row failed");
  for (const text of fields(call)) {
    const cell = element("span", text);
    cell.title = String(text).slice(0, 300);
    row.append(cell);
  }
  summary.append(row);
  details.append(summary);
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    const place = element("div");
    showDetails(place, call);
    details.append(place);
  });
  return details;
}

const filters = {
  trial: (call, wanted) => call.trial === wanted,
  role: (call, wanted) => call.role === wanted,
  kind: (call, wanted) => call.kind === wanted || (wanted === "list" && call.list_size > 1),
  outcome: (call, wanted) => (call.error === null) === (wanted === "answered"),
};
const control = (name) => document.getElementById(name);
const searchable = calls.map((call) =>
  [...call.messages.map((message) => message.text), ...call.targets, outcome(call),
    ...call.answers.map((answer) => answer.text)].join("\n").toLowerCase());
let found = [];
let shown = 0;

function showMore() {
  const next = found.slice(shown, shown + PAGE_SIZE);
  control("calls").append(...next.map(listed));
  shown += next.length;
  control("more").hidden = shown >= found.length;
  control("count").textContent = `${found.length} of ${calls.length} calls, ${shown} listed`;
}

function search() {
  const text = control("text").value.trim().toLowerCase();
  const chosen = Object.entries(filters).filter(([name]) => control(name).value !== ALL);
  found = calls.filter((call, index) =>
    chosen.every(([name, fits]) => fits(call, control(name).value)) &&
    searchable[index].includes(text));
  shown = 0;
  control("calls").replaceChildren();
  showMore();
}

function fill(name, values) {
  for (const value of [ALL, ...values]) control(name).append(new Option(value, value));
  control(name).addEventListener("change", search);
}

const distinct = (name) => [...new Set(calls.map((call) => call[name]))].sort();
fill("trial", distinct("trial"));
fill("role", distinct("role"));
fill("kind", ["generation", "scoring", "list"]);
fill("outcome", ["answered", "failed"]);
control("text").addEventListener("input", search);
document.forms[0].addEventListener("submit", (event) => event.preventDefault());
control("more").addEventListener("click", showMore);
search();
