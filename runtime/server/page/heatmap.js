// A table whose cells are coloured by their number. It is a grid for the keyboard and a table for a screen reader.
import { h, number, short, vary } from "./dom.js";

const MOST_WITH_NUMBERS = 12;
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export function legend(low, high, kind = "ramp") {
  return h("div", { class: "legend" }, h("span", {}, number(low)), h("span", { class: kind, "aria-hidden": "true" }), h("span", {}, number(high)));
}

function cellsOf(values, row, range, isCompact) {
  const share = (value) => (range.high > range.low ? (value - range.low) / (range.high - range.low) : 1);
  return values[row].map((value, column) => {
    const shown = isCompact ? h("span", { class: "unseen" }, number(value)) : value.toFixed(2).replace("-0.00", "0.00");
    const cell = h("td", { class: "shade", tabindex: row + column === 0 ? "0" : "-1", "data-value": number(value) }, shown);
    return vary(cell, "--v", Math.min(1, Math.max(0, share(value))).toFixed(4));
  });
}

export function heatmap(texts, values, range, caption) {
  const isCompact = texts.length > MOST_WITH_NUMBERS;
  const readout = h("p", { class: "readout" }, "Point at a cell, or move with the arrow keys.");
  const cells = texts.map((_, row) => cellsOf(values, row, range, isCompact));
  const heads = texts.map((text, index) => h("th", { scope: "col", title: text }, String(index + 1)));
  const sides = texts.map((text, index) =>
    h("th", { scope: "row", title: text }, h("span", { class: "place" }, String(index + 1)), h("span", { class: "text" }, short(text, 120))));
  const table = h("table", { class: isCompact ? "heat compact" : "heat", role: "grid" },
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, h("td", { class: "corner" }), heads)),
    h("tbody", {}, texts.map((_, row) => h("tr", {}, sides[row], cells[row]))));
  let lit = [0, 0];

  function show(row, column) {
    heads[lit[1]].classList.remove("lit");
    sides[lit[0]].classList.remove("lit");
    heads[column].classList.add("lit");
    sides[row].classList.add("lit");
    lit = [row, column];
    readout.replaceChildren(h("strong", {}, number(values[row][column])),
      ` ${row + 1} × ${column + 1}: “${short(texts[row])}” and “${short(texts[column])}”`);
  }

  function placeOf(event) {
    const cell = event.target.closest("td.shade");
    return cell ? [cell.parentNode.rowIndex - 1, cell.cellIndex - 1] : null;
  }

  function focus(row, column) {
    cells[lit[0]][lit[1]].tabIndex = -1;
    cells[row][column].tabIndex = 0;
    cells[row][column].focus();
  }

  table.addEventListener("pointerover", (event) => {
    const place = placeOf(event);
    if (place && !table.contains(document.activeElement)) show(...place);
  });
  table.addEventListener("focusin", (event) => {
    const place = placeOf(event);
    if (!place) return;
    table.querySelectorAll('td.shade[tabindex="0"]').forEach((cell) => { cell.tabIndex = -1; });
    event.target.tabIndex = 0;
    show(...place);
  });
  table.addEventListener("keydown", (event) => {
    const place = placeOf(event);
    if (!place || event.ctrlKey || event.metaKey || event.altKey) return;
    let [row, column] = place;
    const last = texts.length - 1;
    if (event.key in MOVES) {
      row = Math.min(last, Math.max(0, row + MOVES[event.key][0]));
      column = Math.min(last, Math.max(0, column + MOVES[event.key][1]));
    } else if (event.key === "Home") column = 0;
    else if (event.key === "End") column = last;
    else return;
    event.preventDefault();
    focus(row, column);
  });
  return [h("div", { class: "scroll" }, table), h("div", { class: "under" }, legend(range.low, range.high), readout)];
}
