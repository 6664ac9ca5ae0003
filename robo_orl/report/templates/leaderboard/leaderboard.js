"use strict";
// Filters, the endpoint that rows are ordered by, and the figures; all of their state stands in the address.
figures.start(shared => {
  const form = document.getElementById("filters"), {draw, unpacked} = figures;
  const rows = unpacked(shared.rows);
  const profiles = unpacked(shared.profiles).flatMap(({shares, ...row}) =>
    shares.map((share, i) => ({...row, tau: shared.levels[i], share})));
  const names = [...form.elements].map(e => e.name).filter(Boolean);
  const columns = ["suite", "task", "regime", "size", "topology", "family", "tier"];
  const chosen = () => Object.fromEntries(names.map(name => [name, form.elements[name].value]));
  const fits = (row, state) => columns.every(name => !state[name] || row[name] === undefined || row[name] === state[name])
    && (!state.policy || row.policy.toLowerCase().includes(state.policy.trim().toLowerCase()));

  const remember = state => {
    const query = new URLSearchParams();
    for (const name of names) if (state[name] !== defaults[name]) query.set(name, state[name]);
    const address = location.pathname + (query.size ? `?${query}` : "") + location.hash;
    try { history.replaceState(null, "", address); } catch { /* a browser that keeps file addresses as they are */ }
  };
  const recall = () => {
    for (const [name, value] of new URLSearchParams(location.search)) {
      const field = names.includes(name) ? form.elements[name] : null;
      if (field && (field.tagName === "INPUT" || [...field.options].some(o => o.value === value))) field.value = value;
    }
  };

  const places = (row, by) => {
    if (row.dataset.places) return JSON.parse(row.dataset.places)[by]; // of an overall ranking
    const own = rows[row.dataset.row];
    return ["place", "best", "worst"].map(end => own[`${by}_${end}`] ?? null);
  };
  const order = by => {
    for (const table of document.querySelectorAll("table.ranked")) {
      const body = table.tBodies[0], placed = [...body.rows].map(row => [row, places(row, by)]);
      if (placed.some(([, place]) => place === undefined || place[0] === null)) continue; // not an endpoint of this suite
      placed.sort((a, b) => a[1][0] - b[1][0]);
      for (const [row, [place, best, worst]] of placed) {
        row.cells[0].querySelector("b").textContent = place;
        row.cells[0].querySelector("i").textContent = best === worst ? `[${best}]` : `[${best}–${worst}]`;
        body.append(row);
      }
    }
  };

  const seen = new Set();
  const drawings = () => {
    const state = chosen(), own = rows.filter(row => row.ranked && fits(row, state)), steps = profiles.filter(row => fits(row, state));
    for (const figure of document.querySelectorAll("figure.plot"))
      if (seen.has(figure)) draw(figure, figure.dataset.figure === "profiles" ? steps : own);
  };
  const watcher = new IntersectionObserver(entries => {
    for (const {isIntersecting, target} of entries) if (isIntersecting && !seen.has(target)) {
      seen.add(target);
      const state = chosen(), source = target.dataset.figure === "profiles" ? profiles : rows.filter(row => row.ranked);
      draw(target, source.filter(row => fits(row, state)));
    }
  }, {rootMargin: "600px"});

  const apply = () => {
    const state = chosen();
    let shown = 0, all = 0;
    for (const row of document.querySelectorAll("table.ranked tbody tr")) {
      const visible = fits(rows[row.dataset.row], row.closest("#overall") ? {...state, task: "", regime: ""} : state);
      row.hidden = !visible;
      if (!row.closest("#overall")) { all += 1; shown += visible; }
    }
    for (const part of document.querySelectorAll(".ranking"))
      part.hidden = !part.querySelector("tbody tr:not([hidden])");
    for (const part of document.querySelectorAll(".division"))
      part.hidden = state.suite !== "" && part.dataset.suite !== state.suite;
    form.querySelector(".count").textContent = `${shown} of ${all} rows. Places stay those among all rows of a ranking.`;
    order(state.by);
    remember(state);
    drawings();
  };

  const defaults = chosen();
  recall();
  if (location.hash.startsWith("#ranking-") && !new URLSearchParams(location.search).has("suite")) {
    const target = document.getElementById(location.hash.slice(1));
    if (target) form.elements.suite.value = target.closest(".ranking").dataset.suite;
  }
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", event => event.preventDefault());
  apply();
  for (const figure of document.querySelectorAll("figure.plot")) watcher.observe(figure);
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView({behavior: "instant"});
  let pause;
  addEventListener("resize", () => { clearTimeout(pause); pause = setTimeout(drawings, 200); });
});
