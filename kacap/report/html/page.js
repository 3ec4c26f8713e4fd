"use strict";
(() => {
  const table = document.getElementById("table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({
    row,
    words: row.textContent.toLowerCase(),
    keys: [...row.cells].map((cell) => ("key" in cell.dataset ? BigInt(cell.dataset.key) : cell.textContent)),
  }));
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

  const sort = (column, heading) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.sort((a, b) => compare(a.keys[column], b.keys[column]) * (down ? -1 : 1));
    body.append(...rows.map((one) => one.row));
  };

  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(column, heading));
    heading.append(button);
  });

  const input = document.getElementById("find");
  const found = document.getElementById("found");
  const find = () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const one of rows) {
      one.row.hidden = !wanted.every((word) => one.words.includes(word));
      shown += !one.row.hidden;
    }
    found.textContent = `${shown} of ${rows.length}`;
  };
  input.closest("p").hidden = false;
  input.addEventListener("input", find);
  find();
})();
