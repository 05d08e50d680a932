// Before the first paint, so that a chosen theme does not flash the other one. Without a choice the system's holds.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("pool-export-theme");
  } catch {
    // Storage is off: the system's theme it is.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
