// The last request: where its time went, its tokens, and the same as a curl command.
import { key } from "./api.js";
import { h, vary } from "./dom.js";

const PARTS = [
  ["tokenize", "Tokenize"],
  ["queue", "Queue"],
  ["forward", "Forward"],
  ["rest", "Other"],
];

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The key itself stays out: a command is pasted into places where a key must not be. */
export function asCurl({ path, body }) {
  const words = [`curl ${quoted(new URL(path, document.baseURI).href)}`, `-H ${quoted("Content-Type: application/json")}`];
  if (key()) words.push('-H "Authorization: Bearer $API_KEY"');
  return [...words, `-d ${quoted(body)}`].join(" \\\n  ");
}

const milliseconds = (value) => `${value.toFixed(value < 10 ? 2 : 1)} ms`;

function timeline(times) {
  const whole = PARTS.reduce((total, [name]) => total + times[name], 0) || 1;
  return h("div", { class: "timeline", "aria-hidden": "true" },
    PARTS.map(([name]) => vary(h("span", { class: name }), "--share", times[name] / whole)));
}

/** With what is left of the total, or nothing where the answer carried no times. */
function complete(times) {
  const { tokenize, queue, forward, total } = times;
  if ([tokenize, queue, forward, total].includes(undefined)) return null;
  return { ...times, rest: Math.max(0, total - tokenize - queue - forward) };
}

function fact(name, value, mark) {
  return h("div", {}, h("dt", {}, mark ? h("span", { class: `mark ${mark}`, "aria-hidden": "true" }) : null, name), h("dd", {}, value));
}

async function copy(text, area, said) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    area.focus(); // no clipboard without HTTPS: the command is selected instead
    area.select();
    said.textContent = "Selected; press Ctrl+C.";
    return;
  }
  said.textContent = "Copied.";
}

export function showRequest(place, exchange) {
  const { status, tokens, roundTrip, path } = exchange;
  const times = complete(exchange.times);
  const command = asCurl(exchange);
  const area = h("textarea", { readonly: true, rows: 4, spellcheck: "false", id: "curl", "aria-label": "The request as a curl command" });
  area.value = command;
  const said = h("span", { class: "hint", role: "status" });
  place.replaceChildren(
    h("p", { class: "route" }, `POST /${path} `, h("strong", {}, String(status))),
    times ? timeline(times) : h("p", { class: "hint" }, "The answer carried no times."),
    h("dl", { class: "facts times" },
      times ? PARTS.map(([name, title]) => fact(title, milliseconds(times[name]), name)) : null,
      times ? fact("Server total", milliseconds(times.total)) : null,
      fact("Round trip", milliseconds(roundTrip)),
      tokens === undefined ? null : fact("Tokens", tokens.toLocaleString("en"))),
    area,
    h("div", { class: "row" },
      h("button", { type: "button", class: "quiet", click: () => copy(command, area, said) }, "Copy as curl"), said),
  );
}
