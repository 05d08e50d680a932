// One text, coloured token by token: labels of a token classifier, or rewards.
import { post, Refusal } from "./api.js";
import { count, h, number, vary } from "./dom.js";
import { PASSAGE } from "./examples.js";
import { legend } from "./heatmap.js";
import { limited, makePanel, textField } from "./panel.js";
import { readable } from "./spelling.js";

const MOST_TOKENS = 1000;
const MOST_COLUMNS = 24;
const STRONGEST = "strongest";

/** Tokens and their rows, side by side; a head that answers step tokens alone has rows for those. */
export function paired(ids, strings, rows, stepTag) {
  const places = ids.map((_, index) => index);
  const answered = rows.length === ids.length ? places : places.filter((index) => ids[index] === stepTag);
  if (answered.length !== rows.length) {
    throw new Refusal(`The model answered ${rows.length} rows for ${ids.length} tokens; this page cannot tell which is whose.`);
  }
  const rowAt = new Map(answered.map((place, index) => [place, rows[index]]));
  return places.map((place) => ({ text: strings[place], row: rowAt.get(place) ?? null }));
}

function strongest(row) {
  return row.reduce((best, value, index) => (value > row[best] ? index : best), 0);
}

/** What one token shows: its number, and the name of its label where every token may have another. */
function shownOf(row, column, names) {
  const index = column === STRONGEST ? strongest(row) : Number(column);
  return { value: row[index], name: column === STRONGEST ? names[index] : null };
}

function chips(tokens, column, names) {
  const shown = tokens.map(({ text, row }) => ({ text, ...(row ? shownOf(row, column, names) : { value: null, name: null }) }));
  const values = shown.map((item) => item.value).filter((value) => value !== null);
  const far = Math.max(...values.map(Math.abs));
  const isShare = values.every((value) => value >= 0 && value <= 1);
  const most = isShare ? 1 : far || 1;
  const list = h("ol", { class: "tokens", "aria-label": "Tokens with their values" }, shown.map(({ text, value, name }) => {
    const chip = h("li", { class: value === null ? "shade none" : value < 0 ? "shade minus" : "shade" },
      h("span", { class: "token" }, text), name ? h("span", { class: "name" }, name) : null,
      h("span", { class: "value" }, value === null ? "–" : number(value)));
    return vary(chip, "--v", value === null ? 0 : (Math.abs(value) / most).toFixed(4));
  }));
  return [list, isShare ? legend(0, 1) : legend(-most, most, "ramp two")];
}

function tableOf(tokens, names) {
  const heads = ["#", "Token", ...names.slice(0, MOST_COLUMNS)];
  return h("details", {},
    h("summary", {}, names.length > MOST_COLUMNS ? `Values as a table (first ${MOST_COLUMNS} of ${names.length} columns)` : "Values as a table"),
    h("div", { class: "scroll" }, h("table", { class: "plain" },
      h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, tokens.map(({ text, row }, index) => h("tr", {},
        h("td", { class: "place" }, String(index + 1)), h("th", { scope: "row" }, text),
        (row ?? []).slice(0, MOST_COLUMNS).map((value) => h("td", { class: "value" }, number(value)))))))));
}

function chooser(names, isLabelled, redraw) {
  const choices = [...(isLabelled ? [[STRONGEST, "strongest label"]] : []), ...names.map((name, index) => [String(index), name])];
  const select = h("select", { id: "tokens-column", change: () => redraw(select.value) },
    choices.map(([value, name]) => h("option", { value }, name)));
  return h("div", { class: "row" }, h("span", { class: "option" }, h("label", { for: "tokens-column" }, "Colour by"), select));
}

function drawn(tokens, names, isLabelled) {
  const place = h("div", {});
  const redraw = (column) => place.replaceChildren(...chips(tokens, column, names));
  redraw(isLabelled ? STRONGEST : "0");
  return [names.length > 1 ? chooser(names, isLabelled, redraw) : null, place, tableOf(tokens, names)].filter((node) => node !== null);
}

export function tokensPanel() {
  const text = textField("tokens-text", "Text", PASSAGE, 4);

  async function run(model, signal) {
    const [given] = limited([text.area.value.trim()].filter((found) => found !== ""), 1, "texts");
    const about = model.details;
    const split = await post("tokenize", { model: model.id, prompt: given, return_token_strs: true }, signal);
    if (split.count > MOST_TOKENS) throw new Refusal(`${split.count} tokens are more than this page shows (${MOST_TOKENS}); the API takes more.`);
    const answer = await post("pooling", { model: model.id, input: given, task: "token_classify" }, signal);
    const tokens = paired(split.tokens, readable(split.token_strs), answer.data[0].data, about.step_tag_id);
    const width = answer.data[0].data[0]?.length ?? 0;
    const isLabelled = about.convert === "classify" && width > 1;
    const names = Array.from({ length: width }, (_, index) =>
      about.labels[index] ?? (about.convert === "reward" && width === 1 ? "reward" : `column ${index}`));
    return { summary: `${count(tokens.length, "token")}, ${count(width, "value")} each.`, content: drawn(tokens, names, isLabelled) };
  }

  return makePanel({ id: "tokens", title: "Tokens", action: "Show tokens", fields: [text.node], run });
}
