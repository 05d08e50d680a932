// A query and documents: the documents by their score.
import { post, Refusal } from "./api.js";
import { axis, bar, count, h, lines, number } from "./dom.js";
import { DOCUMENTS, QUERY } from "./examples.js";
import { limited, makePanel, textField } from "./panel.js";

const MOST_DOCUMENTS = 200;

export function rankPanel() {
  const query = textField("rank-query", "Query", QUERY, 2);
  const documents = textField("rank-documents", "Documents", DOCUMENTS.join("\n"), 6, "one a line");

  async function run(model, signal) {
    const asked = query.area.value.trim();
    if (!asked) throw new Refusal("Give a query.");
    const given = limited(lines(documents.area.value), MOST_DOCUMENTS, "documents");
    const answer = await post("rerank", { model: model.id, query: asked, documents: given }, signal);
    const scores = answer.results.map((item) => item.relevance_score);
    const { place } = axis(scores, scores.some((score) => score > 0) ? 1 : 0);
    const table = h("table", { class: "ranked" },
      h("caption", {}, "Documents by score"),
      h("thead", { class: "unseen" }, h("tr", {}, ["Rank", "Score", "Bar", "Document"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, answer.results.map((item, rank) => h("tr", {},
        h("td", { class: "place" }, String(rank + 1)),
        h("td", { class: "value" }, number(item.relevance_score)),
        h("td", { class: "graph" }, bar(place(0), place(item.relevance_score))),
        h("td", { class: "text" }, given[item.index])))));
    return { summary: `${count(given.length, "document")} ranked; the best has ${number(scores[0])}.`, content: [table] };
  }

  return makePanel({ id: "rank", title: "Rank", action: "Rank", fields: [query.node, documents.node], run });
}
