// Elements and numbers. Data reaches the document as text nodes and attributes only, never as markup.

export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Set a CSS variable; a `style` attribute would be inline style, which the page's policy forbids. */
export function vary(node, name, value) {
  node.style.setProperty(name, String(value));
  return node;
}

/** Four decimals; what they would show as nothing, in powers of ten. */
export function number(value) {
  if (value !== 0 && Math.abs(value) < 5e-5) return value.toExponential(1);
  return Math.abs(value) >= 1e5 ? value.toPrecision(6) : value.toFixed(4).replace(/^-(0\.0+)$/, "$1");
}

export function short(text, most = 60) {
  const points = [...text];
  return points.length > most ? `${points.slice(0, most - 1).join("")}…` : text;
}

export function count(amount, one, many = `${one}s`) {
  return `${amount.toLocaleString("en")} ${amount === 1 ? one : many}`;
}

export function lines(text) {
  return text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "");
}

/** A bar that says nothing which the number beside it does not say. `from` and `to` are shares of its width. */
export function bar(from, to) {
  const fill = h("span", { class: "fill" });
  vary(fill, "--from", Math.min(from, to));
  vary(fill, "--to", Math.max(from, to));
  return h("span", { class: "bar", "aria-hidden": "true" }, fill);
}

/** Where 0 and a value lie on an axis that holds 0 and every value. */
export function axis(values, atLeast = 0) {
  const low = Math.min(0, ...values);
  const high = Math.max(atLeast, 0, ...values);
  const place = (value) => (high > low ? (value - low) / (high - low) : 0);
  return { low, high, place };
}
