// What a person sees: asks the worker, shows its answers. Text enters the page as text, never as markup.

const SHOWN = 10;
const worker = new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" });
const waiting = new Map();
let asked = 0;
const find = (id) => document.getElementById(id);

worker.onmessage = ({ data: { id, progress, answer, fault } }) => {
  const { resolve, reject, tell } = waiting.get(id);
  if (progress) return tell(progress);
  waiting.delete(id);
  return fault === undefined ? resolve(answer) : reject(new Error(fault));
};
worker.onerror = (event) => show(`the worker stopped: ${event.message}`, true);

/** Ask the worker for one operation; tell(progress) is called on the way. */
function ask(operation, values = {}, tell = () => {}) {
  const id = ++asked;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject, tell });
    worker.postMessage({ id, operation, ...values });
  });
}

function show(text, isFault = false) {
  find("status").textContent = text;
  find("status").classList.toggle("fault", isFault);
}

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

async function index(lines) {
  const [bar, search] = [find("progress"), find("search")];
  search.disabled = true;
  bar.hidden = false;
  const { count, ms } = await ask("index", { lines }, ({ done, total }) => {
    [bar.max, bar.value] = [total, done];
    show(`Reading ${done} of ${total} sentences …`);
  });
  bar.hidden = true;
  search.disabled = false;
  find("hits").replaceChildren();
  const taken = ms === null ? "" : `, in ${(ms / 1000).toFixed(1)} s`;
  show(`${count} sentences ready${taken}. Nothing was sent anywhere.`);
}

async function search(query) {
  const { hits, ms } = await ask("search", { query, count: SHOWN });
  // Bars run from the worst to the best of what is shown; the number beside each is the score itself.
  const [best, worst] = [hits[0]?.score ?? 0, Math.min(0, hits.at(-1)?.score ?? 0)];
  const rows = hits.map(({ text, score }) => {
    const bar = element("span", "bar");
    bar.style.setProperty("--part", best > worst ? (score - worst) / (best - worst) : 0);
    return element("li", "hit", element("span", "text", text), element("span", "score", score.toFixed(3)), bar);
  });
  find("hits").replaceChildren(...rows);
  show(`The ${hits.length} nearest sentences, in ${ms.toFixed(0)} ms.`);
}

async function check() {
  const out = find("verdict");
  out.textContent = "Replaying …";
  const { cases, pairs, images, gap, cosine, failures } = await ask("check");
  const skipped = images ? ` ${images} images were not replayed.` : "";
  const numbers = `largest difference ${gap.toExponential(1)}, least cosine ${cosine.toFixed(7)}`;
  const figures = `${cases} cases, ${pairs} pairs, ${numbers}.`;
  out.textContent = `${failures.length ? "failed" : "passed"}: ${figures}${skipped} ${failures.slice(0, 3).join("; ")}`;
  out.classList.toggle("fault", failures.length > 0);
}

/** Run a task for a control: disabled meanwhile, a failure is said. */
function on(id, event, control, task) {
  find(id).addEventListener(event, async (happened) => {
    happened.preventDefault();
    find(control).setAttribute("aria-busy", "true");
    try {
      await task();
    } catch (error) {
      show(error.message, true);
    }
    find(control).removeAttribute("aria-busy");
  });
}

on("form", "submit", "hits", async () => {
  if (find("query").value.trim()) await search(find("query").value);
});
on("own", "submit", "own", () => index(find("lines").value.split("\n").filter((line) => line.trim())));
on("check", "click", "verdict", check);

try {
  const wanted = new URLSearchParams(location.search).get("precision");
  const opened = await ask("open", { wanted });
  const kind = opened.convert === "embed" ? `${opened.size} dimensions` : "cross-encoder";
  const threads = opened.threads > 1 ? `${opened.threads} threads` : "one thread";
  find("model").textContent = [opened.model, opened.precision, kind, threads].join(" · ");
  find("check").disabled = false;
  const lines = (await (await fetch("texts.txt")).text()).split("\n").filter((line) => line.trim());
  find("lines").value = lines.join("\n");
  await index(lines);
} catch (error) {
  show(error.message, true);
}
