(() => {
  const $ = (id) => document.getElementById(id);
  // A button beside every filter; where a page may not write to the clipboard, the words are shown and selected.
  const copy = async (words) => {
    $("said").textContent = words;
    getSelection().selectAllChildren($("said"));
    await navigator.clipboard?.writeText(words).then(() => { $("said").textContent = `copied: ${words}`; }, () => {});
  };
  const button = (name, does, attributes = {}) => {
    const made = make("button", { type: "button", ...attributes }, ...[name].flat());
    made.addEventListener("click", () => does(made));
    return made;
  };
  const copier = (words, about) => button("copy", () => copy(words), { class: "copy", "aria-label": `copy ${about}` });
  for (const code of document.querySelectorAll(".filter code")) {
    code.after(" ", copier(code.textContent, `the filter for ${code.dataset.about}`));
  }
  addEventListener("beforeprint", () => { for (const fold of document.querySelectorAll("details")) fold.open = true; });
  if (!$("table")) return;
  const data = JSON.parse($("data").textContent), timeline = timelines(data);
  const rows = data.rows.map((cells, number) => ({ cells, number }));
  const headings = [...$("table").tHead.rows[0].cells];
  let shown = rows, room = 200, sorted = null;

  // The table: static rows are there without this script; with it every row is, some hundred at a time.
  const filterOf = (end) => {
    const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(end);
    return `ip${host.includes(":") ? "v6" : ""}.addr == ${host} && tcp.port == ${port}`;
  };
  const open = (row, line, opener) => {
    const is = opener.getAttribute("aria-expanded") === "true";
    opener.setAttribute("aria-expanded", `${!is}`);
    if (is) return line.nextSibling.remove();
    const filter = `${filterOf(row.cells[1])} && ${filterOf(row.cells[2])}`;
    const words = [make("code", {}, filter), " ", copier(filter, "the filter for this connection")];
    const parts = [timeline(row, copy), make("p", { class: "filter" }, ...words)];
    line.after(make("tr", { class: "detail" }, make("td", { colspan: `${row.cells.length}` }, ...parts)));
  };
  const lineOf = (row) => {
    const line = make("tr", { id: `row-${row.number}`, class: data.moods[data.states[row.number]] });
    row.cells.forEach((cell, column) => {
      const [words, key] = [cell].flat();
      const about = { class: "open", "aria-expanded": "false", "aria-label": `timeline of connection ${words}` };
      const inside = column ? words : button(words, (opener) => open(row, line, opener), about);
      line.append(make("td", key === undefined ? {} : { class: "number" }, inside));
    });
    return line;
  };
  const find = () => {
    const wanted = $("words").value.toLowerCase().split(/\s+/);
    const states = [...$("find").querySelectorAll(":checked")].map((one) => one.value);
    shown = rows.filter((row) => (!states.length || states.includes(data.states[row.number]))
      && wanted.every((word) => row.cells.some((cell) => [cell].flat()[0].toLowerCase().includes(word))));
    if (sorted) {
      const key = (row) => [row.cells[sorted.column]].flat().at(-1);
      shown.sort((a, b) => ((key(a) > key(b)) - (key(a) < key(b))) * sorted.way || a.number - b.number);
    }
    $("table").tBodies[0].replaceChildren(...shown.slice(0, room).map(lineOf));
    $("more").hidden = shown.length <= room;
    $("found").textContent = `${shown.length} of ${rows.length}`;
  };
  headings.forEach((heading, column) => heading.append(button([...heading.childNodes], () => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    sorted = { column, way: down ? -1 : 1 };
    find();
  })));
  $("find").hidden = false;
  $("find").addEventListener("input", find);
  $("more").addEventListener("click", () => { room += 1000; find(); });
  const jump = () => {
    const row = rows.find((one) => location.hash === `#connection-${one.cells[0][0]}`);
    if (!row) return;
    for (const one of $("find").querySelectorAll(":checked")) one.checked = false;
    $("words").value = "";
    find();
    room = Math.max(room, shown.indexOf(row) + 1);
    find();
    const opener = $(`row-${row.number}`).querySelector("button");
    opener.closest("tr").scrollIntoView({ block: "center" });
    opener.focus();
    if (opener.getAttribute("aria-expanded") === "false") opener.click();
  };
  addEventListener("hashchange", jump);
  find();
  jump();
})();
