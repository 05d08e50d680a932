// Texts, one a line: the probability of every label.
import { post } from "./api.js";
import { axis, bar, count, h, lines, number } from "./dom.js";
import { OPINIONS } from "./examples.js";
import { limited, makePanel, textField } from "./panel.js";

const MOST_TEXTS = 50;
const MOST_LABELS = 12;

/** In the model's order, so that texts can be compared; of very many labels only the likeliest. */
function chosen(values, names) {
  const all = values.map((value, index) => ({ value, name: names[index] ?? `label ${index}` }));
  return all.length > MOST_LABELS ? all.sort((a, b) => b.value - a.value).slice(0, MOST_LABELS) : all;
}

function answerOf(text, item, names) {
  const rows = chosen(item.probs, names);
  const { place } = axis(rows.map((row) => row.value), 1);
  const most = Math.max(...item.probs);
  return h("table", { class: "ranked classes" },
    h("caption", {}, h("span", { class: "text" }, text),
      rows.length < item.probs.length ? h("span", { class: "hint" }, ` likeliest ${rows.length} of ${item.probs.length} labels`) : null),
    h("thead", { class: "unseen" }, h("tr", {}, ["Label", "Probability", "Bar"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", { class: row.value === most && rows.length > 1 ? "best" : null },
      h("th", { scope: "row" }, row.name),
      h("td", { class: "value" }, number(row.value)),
      h("td", { class: "graph" }, bar(place(0), place(row.value)))))));
}

export function classifyPanel() {
  const texts = textField("classify-texts", "Texts", OPINIONS.join("\n"), 5, "one a line");

  async function run(model, signal) {
    const given = limited(lines(texts.area.value), MOST_TEXTS, "texts");
    const answer = await post("classify", { model: model.id, input: given }, signal);
    const labels = answer.data[0].probs.length;
    return {
      summary: `${count(given.length, "text")}, ${count(labels, "label")}.`,
      content: answer.data.map((item) => answerOf(given[item.index], item, model.details.labels)),
    };
  }

  return makePanel({ id: "classify", title: "Classify", action: "Classify", fields: [texts.node], run });
}
