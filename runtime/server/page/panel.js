// What the panels have in common: a form, one running request, and its outcome or the server's sentence in place.
import { Refusal } from "./api.js";
import { h } from "./dom.js";

const MOST_CHARACTERS = 200_000;

export function limited(items, most, what) {
  if (items.length === 0) throw new Refusal(`Give at least one of the ${what}.`);
  if (items.length > most) throw new Refusal(`${items.length} ${what} are more than this page shows at once (${most}); the API takes more.`);
  const size = items.reduce((total, item) => total + item.length, 0);
  if (size > MOST_CHARACTERS) {
    throw new Refusal(`${size.toLocaleString("en")} characters are more than this page sends (${MOST_CHARACTERS.toLocaleString("en")}); the API takes more.`);
  }
  return items;
}

/** A labelled text area; `value` is the example it begins with. */
export function textField(id, label, value, rows, hint) {
  const area = h("textarea", { id, rows, spellcheck: "false", "aria-describedby": hint ? `${id}-hint` : null });
  area.value = value;
  const node = h("div", { class: "field" },
    h("div", { class: "label" }, h("label", { for: id }, label), hint ? h("span", { class: "hint", id: `${id}-hint` }, hint) : null), area);
  return { node, area };
}

/**
 * A panel of the page.
 *
 * `run(model, signal)` sends the requests and gives `{ summary, content }`, or throws a Refusal; `fit(model)` sets the
 * options that a model has.
 */
export function makePanel({ id, title, action, fields, options = [], run, fit = () => {} }) {
  const button = h("button", { type: "submit", class: "primary" }, action);
  const status = h("p", { class: "status", role: "status" });
  const fault = h("p", { class: "fault", role: "alert", hidden: true });
  const result = h("div", { class: "result" });
  const form = h("form", { novalidate: true }, fields,
    h("div", { class: "row" }, button, options, h("span", { class: "hint keys" }, "Ctrl + Enter")));
  const node = h("section", { id: `panel-${id}`, role: "tabpanel", "aria-labelledby": `tab-${id}`, tabindex: "-1", hidden: true },
    form, h("div", { class: "outcome" }, status, fault), result);
  let model = null;
  let running = null;

  function clear() {
    running?.abort();
    running = null;
    fault.hidden = true;
    fault.textContent = "";
    status.textContent = "";
    result.removeAttribute("aria-busy");
    button.removeAttribute("aria-disabled");
  }

  async function submit() {
    clear();
    const mine = new AbortController();
    running = mine;
    status.textContent = "Running…";
    result.setAttribute("aria-busy", "true");
    button.setAttribute("aria-disabled", "true");
    try {
      const { summary, content } = await run(model, mine.signal);
      if (running !== mine) return;
      clear();
      result.replaceChildren(...content);
      status.textContent = summary;
    } catch (error) {
      if (running !== mine) return;
      clear();
      result.replaceChildren();
      if (!(error instanceof Refusal)) throw error;
      fault.textContent = error.message;
      fault.hidden = false;
      if (error.status === 401) document.dispatchEvent(new CustomEvent("locked", { detail: submit }));
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    submit();
  });

  return {
    id,
    title,
    node,
    use(chosen) {
      clear();
      result.replaceChildren();
      model = chosen;
      fit(chosen);
    },
  };
}
