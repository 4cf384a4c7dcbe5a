// The table of runs: sorted by a column, filtered, and the choice of what the other sections show.

function compare(a, b) {
  const missing = (value) => value === null || value === undefined || value === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b) || 0;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return text(a).localeCompare(text(b), "en", { numeric: true });
}

function sorted(list) {
  const column = columns.find((candidate) => candidate.id === state.sort) || columns[0];
  const known = (run) => compare(column.value(run), null) < 0;
  const turn = state.down ? -1 : 1; // runs without a value stay last
  return [...list].sort((a, b) => (known(b) - known(a)) || turn * compare(column.value(a), column.value(b)));
}

function heading(column) {
  const active = state.sort === column.id;
  const order = active ? (state.down ? "descending" : "ascending") : "none";
  const mark = active ? (state.down ? " ▼" : " ▲") : "";
  const onclick = () => set({ sort: column.id, down: active ? !state.down : !column.setting && column.id !== "name" });
  return h("th", { scope: "col", "aria-sort": order }, h("button", { type: "button", onclick, "data-sort": column.id }, column.label + mark));
}

function row(run) {
  const on = state.selected.includes(run.name);
  const onchange = () => set({
    selected: on ? state.selected.filter((name) => name !== run.name) : [...state.selected, run.name],
  });
  const box = h("input", { type: "checkbox", checked: on, onchange, "data-run": run.name });
  const title = run.reason || run.overrides.join("\n");
  const name = h("th", { scope: "row" }, h("label", { title }, box, on ? swatch(look(run)) : null, run.name));
  const cells = columns.slice(1).map((column) => {
    const value = column.value(run);
    const best = typeof value === "number" && column.digits !== undefined ? value.toFixed(column.digits) : text(value);
    const shownText = column.id === "state" ? value + (run.reason ? `: ${run.reason}` : "") : best;
    return h("td", { class: typeof value === "number" ? "number" : column.id === "state" ? run.state : "" }, shownText);
  });
  return h("tr", { class: on ? "chosen" : "" }, name, cells);
}

function drawTable() {
  const place = document.getElementById("table");
  const active = document.activeElement;
  const again = active && place.contains(active) ? [active.dataset.run, active.dataset.sort] : null;
  const list = sorted(shown());
  const label = `${list.length} of ${runs.length} runs, ${chosen().length} chosen`;
  document.getElementById("count").textContent = label;
  place.replaceChildren(h("table", {},
    h("caption", { class: "hidden" }, "Runs"),
    h("thead", {}, h("tr", {}, columns.map(heading))),
    h("tbody", {}, list.map(row)),
  ));
  if (again) {
    const same = [...place.querySelectorAll("input, button")].find(
      (element) => element.dataset.run === again[0] && element.dataset.sort === again[1]);
    if (same) same.focus();
  }
}

function startTable() {
  const filter = document.getElementById("filter");
  filter.value = state.filter;
  filter.addEventListener("input", () => set({ filter: filter.value }));
  document.getElementById("all").addEventListener("click", () => {
    set({ selected: [...new Set([...state.selected, ...shown().map((run) => run.name)])] });
  });
  document.getElementById("none").addEventListener("click", () => set({ selected: [] }));
  views.push((change) => {
    if ("filter" in change && filter.value !== change.filter) filter.value = change.filter;
    if (["selected", "sort", "filter"].some((key) => key in change)) drawTable();
  });
  const damaged = document.getElementById("damaged");
  damaged.hidden = data.damaged.length === 0;
  damaged.append(
    h("summary", {}, `${data.damaged.length} damaged run folders or images were left out`),
    h("ul", {}, data.damaged.map((entry) => h("li", {}, h("code", {}, entry.folder), `: ${entry.reason}`))),
  );
  drawTable();
}
