"use strict";
// The page is complete without this: it only adds the light-dark switch, sorting, tables that scroll from the keyboard,
// and open details in print.
(() => {
  const root = document.documentElement, button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();

  const value = (row, column) => {
    const cell = row.children[column], data = cell.querySelector("data");
    return data ? Number(data.value) : cell.querySelector(".none") ? -Infinity : cell.textContent.trim();
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const sorter = document.createElement("button");
      sorter.type = "button";
      sorter.append(...head.childNodes);
      head.append(sorter);
      sorter.addEventListener("click", () => {
        const up = head.ariaSort === "descending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows], sign = up ? 1 : -1;
        rows.sort((a, b) => {
          const [x, y] = [value(a, column), value(b, column)];
          return sign * (typeof x === "number" && typeof y === "number" ? x - y || 0 : String(x).localeCompare(String(y)));
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
  for (const [place, box] of document.querySelectorAll(".scroll:not([tabindex])").entries()) {
    const above = box.closest("details")?.querySelector("summary") ?? box.closest("section")?.querySelector("h2");
    Object.assign(box, {tabIndex: 0, role: "region", ariaLabel: `Table ${place + 1}: ${above?.textContent ?? ""}`});
  }
  addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details")) d.open = true; });
})();
