"use strict";
// Draws a figure of a page from its specification and some rows; the page decides which rows.
const figures = (() => {
  const parsed = id => JSON.parse(document.getElementById(id).textContent);
  const specs = parsed("specs"), views = {}, turns = {};

  const sized = (spec, name, width) => {
    if (!spec.facet) return {...spec, width: Math.min(560, Math.max(180, width - 80))};
    const names = ["horizon", "size"].includes(name) ? 150 : 0, columns = width < 720 ? 1 : 2;
    spec.spec.width = Math.max(170, Math.floor(width / columns) - 72 - names);
    return {...spec, columns};
  };

  const draw = async (figure, rows) => {
    const canvas = figure.querySelector(".canvas"), name = figure.dataset.figure, {spec, needs} = specs[name];
    const turn = turns[name] = (turns[name] ?? 0) + 1;
    const some = rows.filter(row => row[needs] !== null && row[needs] !== undefined);
    figure.classList.toggle("empty", !some.length);
    views[name]?.finalize();
    delete views[name];
    if (!some.length) { canvas.textContent = "No row that is shown has this."; return; }
    const own = sized(structuredClone(spec), name, canvas.clientWidth);
    own.datasets = {[own.data.name]: some};
    const made = await vegaEmbed(canvas, own, {actions: false, renderer: "svg", tooltip: {theme: "custom"}, logLevel: 1});
    if (turn !== turns[name]) { made.finalize(); return; } // a later call has drawn meanwhile
    views[name] = made;
    if (!canvas.querySelector(".mark-symbol path, .mark-line path, .mark-text.role-mark text")) {
      figure.classList.add("empty");
      canvas.textContent = "The rows that are shown differ in nothing that this figure is about.";
      return;
    }
    canvas.querySelector("svg")?.setAttribute("aria-hidden", "true");
    figure.dataset.drawn = some.length;
  };
  return {parsed, draw};
})();
