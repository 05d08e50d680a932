// The one way to the server: errors as its own sentences, the key, and what the last request was.

const KEY = "pool-export-key";
const SPANS = ["tokenize", "queue", "forward", "total"];

/** Something to tell the reader; `status` is HTTP's, 0 where no answer came. */
export class Refusal extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

let memory = "";

export function key() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return memory;
  }
}

export function keepKey(value) {
  memory = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // Storage is off: the key is asked for again after a reload.
  }
}

export function timings(header) {
  const found = {};
  for (const part of (header ?? "").split(",")) {
    const [name, ...fields] = part.split(";").map((word) => word.trim());
    const duration = fields.find((field) => field.startsWith("dur="));
    if (SPANS.includes(name) && duration) found[name] = Number(duration.slice(4));
  }
  return found;
}

export async function get(path) {
  return (await send(path, {})).answer;
}

/** POST a JSON body; every such request is announced as the event `exchange`. */
export async function post(path, body, signal) {
  const started = performance.now();
  const text = JSON.stringify(body);
  const { answer, response } = await send(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: text,
    signal,
  }, (found) => announce(path, text, started, found));
  announce(path, text, started, response, answer);
  return answer;
}

async function send(path, options, refused = () => {}) {
  const headers = { ...options.headers, ...(key() ? { Authorization: `Bearer ${key()}` } : {}) };
  let response;
  let text;
  try {
    response = await fetch(new URL(path, document.baseURI), { ...options, headers });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer; is it still running?");
  }
  const answer = parsed(text);
  if (!response.ok) {
    refused(response);
    throw new Refusal(sentence(answer) ?? `The server answered ${response.status} ${response.statusText}`, response.status);
  }
  if (answer === undefined) throw new Refusal(`${path} did not answer JSON`, response.status);
  return { answer, response };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function sentence(answer) {
  const found = answer?.error?.message ?? answer?.message ?? answer?.error ?? answer?.detail;
  return typeof found === "string" ? found : undefined;
}

function announce(path, body, started, response, answer) {
  const detail = {
    path,
    body,
    status: response.status,
    times: timings(response.headers.get("server-timing")),
    roundTrip: performance.now() - started,
    tokens: answer?.usage?.total_tokens,
  };
  document.dispatchEvent(new CustomEvent("exchange", { detail }));
}
