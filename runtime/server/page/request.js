// The last request: where its time went, its tokens, and the same as a curl command.
import { key } from "./api.js";
import { h, vary } from "./dom.js";

const PARTS = [
  ["tokenize", "Tokenize"],
  ["queue", "Queue"],
  ["forward", "Forward"],
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
  const rest = Math.max(0, times.total - times.tokenize - times.queue - times.forward);
  const shares = [...PARTS.map(([name]) => [name, times[name]]), ["rest", rest]];
  const whole = shares.reduce((total, [, value]) => total + value, 0) || 1;
  return h("div", { class: "timeline", "aria-hidden": "true" },
    shares.map(([name, value]) => vary(h("span", { class: name }), "--share", value / whole)));
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
  const { times, status, tokens, roundTrip, path } = exchange;
  const isTimed = PARTS.every(([name]) => name in times) && "total" in times;
  const command = asCurl(exchange);
  const area = h("textarea", { readonly: true, rows: 4, spellcheck: "false", id: "curl", "aria-label": "The request as a curl command" });
  area.value = command;
  const said = h("span", { class: "hint", role: "status" });
  place.replaceChildren(
    h("p", { class: "route" }, `POST /${path} `, h("strong", {}, String(status))),
    isTimed ? timeline(times) : h("p", { class: "hint" }, "The answer carried no times."),
    h("dl", { class: "facts times" },
      isTimed ? PARTS.map(([name, title]) => fact(title, milliseconds(times[name]), name)) : null,
      isTimed ? fact("Server total", milliseconds(times.total), "rest") : null,
      fact("Round trip", milliseconds(roundTrip)),
      tokens === undefined ? null : fact("Tokens", tokens.toLocaleString("en"))),
    area,
    h("div", { class: "row" },
      h("button", { type: "button", class: "quiet", click: () => copy(command, area, said) }, "Copy as curl"), said),
  );
}
