// What the chosen model is, and how it runs.
import { count, h } from "./dom.js";

function rows(model) {
  const about = model.details;
  const labels = about.labels.length > 6 ? [...about.labels.slice(0, 6), "…"] : about.labels;
  return [
    ["Name", model.id],
    ["Source", about.source === model.id ? null : about.source],
    ["Architecture", about.architecture],
    ["Tasks", model.tasks.join(", ")],
    ["Pooling", about.pooling.join(" + ")],
    ["Activation", about.activation === "identity" ? null : about.activation],
    ["Vector size", about.embedding_size?.toLocaleString("en")],
    ["Shorter sizes", about.is_matryoshka ? about.matryoshka_dimensions.join(", ") || "any" : null],
    ["Similarity", about.embedding_size ? about.similarity : null],
    ["Labels", about.num_labels ? [about.num_labels, labels.length ? ` (${labels.join(", ")})` : ""].join("") : null],
    ["Prompts", Object.keys(about.prompts).join(", ")],
    ["Default prompt", about.default_prompt_name],
    ["Longest text", count(model.max_model_len, "token")],
    ["Licence", about.licence],
    ["Device", about.device],
    ["Precision", about.precision],
    ["Threads", about.threads],
  ];
}

/** A long class name may break before a capital, where a reader would break it. */
function broken(text) {
  return text.split(/(?<=[a-z0-9])(?=[A-Z])/).flatMap((word, index) => (index ? [h("wbr"), word] : [word]));
}

export function showCard(place, model, versions) {
  const server = Object.entries(versions).map(([name, value]) => `${name} ${value}`).join(", ");
  const known = [...rows(model), ["Server", server]].filter(([, value]) => value !== null && value !== undefined && value !== "");
  place.replaceChildren(
    h("dl", { class: "facts" }, known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, broken(String(value)))))),
  );
}
