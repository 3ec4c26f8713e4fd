(() => {
  const $ = (id) => document.getElementById(id);
  // Copying: a button beside every filter.
  const say = (words) => { $("said").textContent = words; };
  const copy = async (words) => {
    try {
      await navigator.clipboard.writeText(words);
    } catch {
      const area = make("textarea", { "aria-hidden": "true" });
      area.value = words;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    say(`copied: ${words}`);
  };
  const copier = (words, name) => {
    const button = make("button", { type: "button", class: "copy", "aria-label": `copy ${name}` }, "copy");
    button.addEventListener("click", () => copy(words));
    return button;
  };
  for (const code of document.querySelectorAll(".filter code")) {
    code.after(" ", copier(code.textContent, `the filter for ${code.dataset.about}`));
  }

  const table = $("table");
  if (!table) return;
  const data = JSON.parse($("data").textContent);
  const body = table.tBodies[0];
  const timeline = timelines(data);
  const rows = data.rows.map((cells, number) => ({
    cells, number, words: cells.map((cell) => (Array.isArray(cell) ? cell[0] : cell)).join(" ").toLowerCase(),
  }));
  const key = (cell) => (Array.isArray(cell) ? cell[1] : cell);
  const PAGE = 200;
  let shown = rows, room = Math.max(PAGE, data.static), pressed = new Set(), sorted = null;

  // The table: static rows are there without this script; with it every row is, some hundred at a time.
  const open = (row, line, button) => {
    const is = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", `${!is}`);
    if (is) return line.nextSibling.remove();
    const cell = make("td", { colspan: `${row.cells.length}` }, timeline(row, copy));
    const filter = filterOf(row.cells[1], row.cells[2]);
    cell.append(make("p", { class: "filter" }, make("code", {}, filter), " ", copier(filter, "the filter for this connection")));
    line.after(make("tr", { class: "detail" }, cell));
  };
  const filterOf = (...ends) => {
    const parts = ends.map((end) => /^\[?(.*?)\]?:(\d+)$/.exec(end));
    const hosts = parts.map(([, host]) => `ip${host.includes(":") ? "v6" : ""}.addr == ${host}`);
    return [...hosts, ...parts.map(([, , port]) => `tcp.port == ${port}`)].join(" && ");
  };
  const lineOf = (row) => {
    const line = make("tr", { id: `row-${row.number}` });
    row.cells.forEach((cell, column) => {
      const node = make("td", Array.isArray(cell) ? { class: "number", "data-key": `${cell[1]}` } : {});
      if (column === 0) {
        const button = make("button", { type: "button", class: "open", "aria-expanded": "false",
          "aria-label": `timeline of connection ${cell[0]}` }, cell[0]);
        button.addEventListener("click", () => open(row, line, button));
        node.append(button);
      } else node.append(Array.isArray(cell) ? cell[0] : cell);
      line.append(node);
    });
    return line;
  };
  const draw = () => {
    body.replaceChildren(...shown.slice(0, room).map(lineOf));
    $("more").hidden = shown.length <= room;
    $("found").textContent = `${shown.length} of ${rows.length}`;
  };
  const find = () => {
    const wanted = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = rows.filter((row) => (!pressed.size || pressed.has(data.states[row.number]))
      && wanted.every((word) => row.words.includes(word)));
    if (sorted) {
      const compare = (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
      shown.sort((a, b) => compare(a.cells[sorted.column], b.cells[sorted.column]) * sorted.way || a.number - b.number);
    }
    draw();
  };
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = make("button", { type: "button" }, ...heading.childNodes);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      sorted = { column, way: down ? -1 : 1 };
      find();
    });
    heading.append(button);
  });
  for (const name of new Set(data.states)) {
    const number = data.states.filter((state) => state === name).length;
    const button = make("button", { type: "button", "aria-pressed": "false" }, `${name} (${number.toLocaleString("en")})`);
    button.addEventListener("click", () => {
      if (!pressed.delete(name)) pressed.add(name);
      button.setAttribute("aria-pressed", `${pressed.has(name)}`);
      find();
    });
    $("states").append(button);
  }
  $("find").closest(".find").hidden = false;
  $("find").addEventListener("input", find);
  $("more").addEventListener("click", () => { room += PAGE * 5; draw(); });
  addEventListener("beforeprint", () => { for (const fold of document.querySelectorAll("details")) fold.open = true; });
  const jump = () => {
    const number = /^#connection-(\d+)$/.exec(location.hash)?.[1];
    const row = number && rows.find((one) => one.cells[0][0] === number);
    if (!row) return;
    pressed.clear();
    $("find").value = "";
    find();
    room = Math.max(room, shown.indexOf(row) + 1);
    draw();
    const line = $(`row-${row.number}`);
    line.scrollIntoView({ block: "center" });
    const button = line.querySelector("button");
    button.focus();
    if (button.getAttribute("aria-expanded") === "false") button.click();
  };
  addEventListener("hashchange", jump);
  find();
  jump();
})();
