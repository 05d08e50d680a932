// Texts, one a line: how similar each is to each, and which are nearest.
import { post, Refusal } from "./api.js";
import { axis, bar, count, h, lines, number } from "./dom.js";
import { SENTENCES } from "./examples.js";
import { heatmap } from "./heatmap.js";
import { limited, makePanel, textField } from "./panel.js";
import { matrix, nearestPairs } from "./similarity.js";

const MOST_TEXTS = 48;
const MOST_PAIRS = 8;

/** Cosines are shown on one scale, so that two maps can be compared; anything else fills its own range. */
function rangeOf(rows, name) {
  const low = rows.reduce((least, row) => Math.min(least, ...row), Infinity);
  const high = rows.reduce((most, row) => Math.max(most, ...row), -Infinity);
  return name === "cosine" ? { low: Math.min(0, low), high: 1 } : { low, high };
}

function pairList(pairs, texts) {
  const shown = pairs.slice(0, MOST_PAIRS);
  const { place } = axis(shown.map((pair) => pair.value), shown[0].value > 0 ? 1 : 0);
  return h("table", { class: "ranked" },
    h("caption", {}, "Nearest pairs", pairs.length > shown.length ? h("span", { class: "hint" }, ` ${shown.length} of ${pairs.length}`) : null),
    h("thead", { class: "unseen" }, h("tr", {}, ["Similarity", "Bar", "Texts"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, shown.map((pair) => h("tr", {},
      h("td", { class: "value" }, number(pair.value)),
      h("td", { class: "graph" }, bar(place(0), place(pair.value))),
      h("td", { class: "texts" }, [pair.first, pair.second].map((index) =>
        h("span", {}, h("span", { class: "place" }, String(index + 1)), texts[index])))))));
}

export function embedPanel() {
  const texts = textField("embed-texts", "Texts", SENTENCES.join("\n"), 7, "one a line");
  const size = h("select", { id: "embed-size" });
  const sizes = h("span", { class: "option" }, h("label", { for: "embed-size" }, "Vector size"), size);
  const free = h("input", { id: "embed-free", type: "number", min: "1", placeholder: "full" });
  const freely = h("span", { class: "option" }, h("label", { for: "embed-free" }, "Vector size"), free);

  function fit(model) {
    const about = model.details;
    const known = about.matryoshka_dimensions;
    const usual = about.dimensions ?? about.embedding_size;
    const others = [...known].sort((a, b) => b - a).filter((value) => value !== usual);
    size.replaceChildren(h("option", { value: "" }, `${usual} (default)`), ...others.map((value) => h("option", { value }, String(value))));
    sizes.hidden = others.length === 0;
    free.value = "";
    free.max = about.embedding_size;
    freely.hidden = !about.is_matryoshka || known.length > 0;
  }

  async function run(model, signal) {
    const given = limited(lines(texts.area.value), MOST_TEXTS, "texts");
    if (given.length < 2) throw new Refusal("Give at least two texts, one a line.");
    const dimensions = size.value || free.value;
    const body = { model: model.id, input: given, ...(dimensions ? { dimensions: Number(dimensions) } : {}) };
    const answer = await post("v1/embeddings", body, signal);
    const vectors = answer.data.map((item) => item.embedding);
    const name = model.details.similarity;
    const rows = matrix(vectors, name);
    const pairs = nearestPairs(rows);
    const [best] = pairs;
    return {
      summary: `${count(given.length, "text")} as vectors of ${count(vectors[0].length, "number")}; nearest by ${name}: ${best.first + 1} and ${best.second + 1}, ${number(best.value)}.`,
      content: [...heatmap(given, rows, rangeOf(rows, name), `Similarity (${name}) of each text with each`), pairList(pairs, given)],
    };
  }

  return makePanel({ id: "embed", title: "Similarity", action: "Compare", fields: [texts.node], options: [sizes, freely], run, fit });
}
