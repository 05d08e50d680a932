// Puts the page together: models, tabs, theme, key, and the hash that keeps what was chosen.
import { get, keepKey } from "./api.js";
import { showCard } from "./card.js";
import { classifyPanel } from "./classify.js";
import { h } from "./dom.js";
import { embedPanel } from "./embed.js";
import { rankPanel } from "./rank.js";
import { showRequest } from "./request.js";
import { tokensPanel } from "./tokens.js";

const at = (id) => document.getElementById(id);

// Task of the model -> panel, in the order of the tabs.
const PANELS = [
  ["embed", embedPanel()],
  ["score", rankPanel()],
  ["classify", classifyPanel()],
  ["token_classify", tokensPanel()],
].map(([task, panel]) => ({ task, ...panel }));

const state = { models: [], versions: {}, model: null, panel: null };

function setHash() {
  const words = new URLSearchParams({ model: state.model.id, ...(state.panel ? { panel: state.panel.id } : {}) });
  history.replaceState(null, "", `#${words}`);
}

function choosePanel(id, { focus = false } = {}) {
  const able = PANELS.filter(({ task }) => state.model.tasks.includes(task));
  state.panel = able.find((panel) => panel.id === id) ?? able[0] ?? null;
  for (const tab of at("tabs").children) {
    const isChosen = tab.id === `tab-${state.panel?.id}`;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    if (isChosen && focus) tab.focus();
  }
  for (const panel of PANELS) panel.node.hidden = panel !== state.panel;
  setHash();
}

function showTabs() {
  const able = PANELS.filter(({ task }) => state.model.tasks.includes(task));
  at("tabs").replaceChildren(...able.map((panel) => h("button", {
    type: "button", role: "tab", id: `tab-${panel.id}`, "aria-controls": `panel-${panel.id}`, click: () => choosePanel(panel.id),
  }, panel.title)));
  at("tabs").hidden = able.length === 0;
  complain(able.length ? "" : `This page has no panel for ${state.model.tasks.join(", ")}; the API answers them at /pooling.`);
}

function chooseModel(name, panel) {
  state.model = state.models.find((model) => model.id === name) ?? state.models[0];
  at("model").value = state.model.id;
  document.title = `${state.model.id} · pool-export`;
  for (const item of PANELS) item.use(state.model);
  showCard(at("card"), state.model, state.versions);
  showTabs();
  choosePanel(panel);
}

function complain(sentence) {
  at("fault").textContent = sentence;
  at("fault").hidden = sentence === "";
}

function chooseFromHash() {
  const words = new URLSearchParams(location.hash.slice(1));
  if (words.get("model") === state.model?.id) choosePanel(words.get("panel"));
  else chooseModel(words.get("model"), words.get("panel"));
}

async function load() {
  try {
    const [models, { version, ...others }] = await Promise.all([get("v1/models"), get("version")]);
    state.models = models.data;
    state.versions = { "pool-export": version, ...others };
  } catch (error) {
    complain(error.message);
    if (error.status === 401) askForKey(load);
    return;
  }
  at("model").replaceChildren(...state.models.map((model) => h("option", { value: model.id }, model.id)));
  chooseFromHash();
}

let afterKey = null;

function askForKey(again) {
  afterKey = again;
  at("key-form").hidden = false;
  at("key").focus();
}

function showTheme() {
  at("theme").textContent = `Theme: ${document.documentElement.dataset.theme ?? "auto"}`;
}

function nextTheme() {
  const root = document.documentElement;
  const next = { auto: "light", light: "dark", dark: null }[root.dataset.theme ?? "auto"];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  try {
    if (next) localStorage.setItem("pool-export-theme", next);
    else localStorage.removeItem("pool-export-theme");
  } catch {
    // Storage is off: the choice holds until the page is left.
  }
  showTheme();
}

function moveTab(event) {
  const tabs = [...at("tabs").children];
  const here = tabs.indexOf(event.target);
  const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (here < 0 || to === undefined) return;
  event.preventDefault();
  choosePanel(tabs[(to + tabs.length) % tabs.length].id.slice("tab-".length), { focus: true });
}

at("panels").append(...PANELS.map((panel) => panel.node));
at("model").addEventListener("change", () => chooseModel(at("model").value, state.panel?.id));
at("tabs").addEventListener("keydown", moveTab);
at("theme").addEventListener("click", nextTheme);
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(at("key").value.trim());
  at("key").value = "";
  at("key-form").hidden = true;
  afterKey?.();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("work").focus();
});
document.addEventListener("exchange", (event) => showRequest(at("request"), event.detail));
document.addEventListener("locked", (event) => askForKey(event.detail));
addEventListener("hashchange", () => state.models.length && chooseFromHash());
showTheme();
load();
