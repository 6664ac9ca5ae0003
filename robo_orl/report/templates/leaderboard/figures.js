"use strict";
// Draws a figure of a page from its specification and some rows, and hands out the rows it shows as CSV.
const figures = (() => {
  const unpacked = ({length, columns}) => {
    const names = Object.keys(columns);
    const value = (column, i) => Array.isArray(column[0]) && Array.isArray(column[1]) && column.length === 2
      && column[1].length === length ? column[0][column[1][i]] : column[i];
    return Array.from({length}, (_, i) => Object.fromEntries(names.map(name => [name, value(columns[name], i)])));
  };
  const views = {}, turns = {}, shown = {};
  const unable = canvas => {
    canvas.closest("figure").classList.add("empty");
    canvas.textContent = "This browser cannot unpack what draws this; the numbers are in the CSV files.";
  };

  const sized = (spec, name, width) => {
    if (!spec.facet) return {...spec, width: Math.min(560, Math.max(180, width - 80))};
    const names = ["horizon", "size"].includes(name) ? 150 : 0, columns = width < 720 ? 1 : 2;
    spec.spec.width = Math.max(170, Math.floor(width / columns) - 72 - names);
    return {...spec, columns};
  };

  const draw = async (figure, rows) => {
    const canvas = figure.querySelector(".canvas"), name = figure.dataset.figure;
    const turn = turns[name] = (turns[name] ?? 0) + 1;
    const {spec, needs, fields} = (await sharedReady).figures[name];
    const some = rows.filter(row => row[needs] !== null && row[needs] !== undefined);
    shown[name] = () => csv(some, fields);
    const empty = words => { figure.classList.add("empty"); canvas.textContent = words; };
    figure.classList.toggle("empty", !some.length);
    views[name]?.finalize();
    delete views[name];
    if (!some.length) return empty("No row that is shown has this.");
    try { await vegaReady; } catch { return unable(canvas); }
    if (turn !== turns[name]) return; // a later call draws
    const own = sized(structuredClone(spec), name, canvas.clientWidth);
    own.datasets = {[own.data.name]: some};
    const made = await vegaEmbed(canvas, own, {actions: false, renderer: "svg", tooltip: {theme: "custom"}, logLevel: 1});
    if (turn !== turns[name]) { made.finalize(); return; } // a later call has drawn meanwhile
    views[name] = made;
    if (!canvas.querySelector(".mark-symbol path, .mark-line path, .mark-text.role-mark text"))
      return empty("The rows that are shown differ in nothing that this figure is about.");
    canvas.querySelector("svg")?.setAttribute("aria-hidden", "true");
    figure.dataset.drawn = some.length;
  };

  const cell = value => {
    const text = String(value ?? ""), guarded = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
  };
  const csv = (rows, fields) => [fields, ...rows.map(row => fields.map(field => row[field]))].map(line => line.map(cell).join(",") + "\r\n").join("");
  for (const link of document.querySelectorAll("figure.plot a[download]")) link.addEventListener("click", event => {
    const name = link.closest("figure").dataset.figure;
    if (!shown[name]) return; // not drawn yet: the file with everything
    event.preventDefault();
    const target = document.createElement("a");
    target.href = URL.createObjectURL(new Blob([shown[name]()], {type: "text/csv"}));
    target.download = `${name}.csv`;
    target.click();
    setTimeout(() => URL.revokeObjectURL(target.href), 1000);
  });
  // What the page is about, once its numbers are unpacked; a browser that cannot leaves the tables as they are.
  const start = page => sharedReady.then(page, () => document.querySelectorAll("figure.plot .canvas").forEach(unable));
  return {draw, unpacked, start};
})();
