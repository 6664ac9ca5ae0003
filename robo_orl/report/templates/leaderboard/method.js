"use strict";
// The curves of one policy: its own rows, and the control's on the same boards.
figures.start(shared => {
  const {draw, unpacked} = figures;
  for (const figure of document.querySelectorAll("figure.plot")) {
    const policy = figure.dataset.policy, all = unpacked(shared[figure.dataset.figure]);
    const boards = new Set(all.filter(row => row.policy === policy).map(row => row.board));
    const steps = row => shared.decisions[row.board].map((decisions, i) =>
      ({...row, decisions, k: row.k[i], share: row.k[i] / row.n, own: row.policy === policy}));
    draw(figure, figure.dataset.figure === "learning"
      ? all.filter(row => row.policy === policy).map(row => ({...row, share: row.k / row.n}))
      : all.filter(row => boards.has(row.board) && (row.policy === policy || row.control)).flatMap(steps));
  }
});
