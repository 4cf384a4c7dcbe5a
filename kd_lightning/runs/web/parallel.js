// Parallel coordinates of the runs that the filter leaves. Dragging along an axis writes into the
// filter, which the keyboard can do as well.
const PARALLEL = { width: 960, height: 380, left: 60, right: 900, top: 50, bottom: 350 };

function possible() {
  const scores = columns.filter((column) => column.id.includes("/") || column.id === "best");
  return [...columns.filter((column) => column.setting), ...scores];
}

function axisOf(column, list) {
  const values = list.map((run) => column.value(run)).filter((value) => value !== null && value !== undefined);
  if (values.length && values.every((value) => typeof value === "number")) {
    const range = extent(values);
    const log = range[0] > 0 && range[1] / range[0] > 50;
    const place = scale(range, [PARALLEL.bottom, PARALLEL.top], log);
    return { column, numeric: true, place, marks: ticks(range, log, 4).map((value) => [place(value), text(value)]) };
  }
  const names = [...new Set(values.map((value) => text(value)))].sort();
  const step = (PARALLEL.bottom - PARALLEL.top) / Math.max(1, names.length - 1);
  const at = new Map(names.map((name, index) => [name, names.length === 1 ? (PARALLEL.top + PARALLEL.bottom) / 2 : PARALLEL.bottom - index * step]));
  return { column, numeric: false, place: (value) => at.get(text(value)), marks: [...at].map(([name, place]) => [place, short(name)]) };
}

function short(name) {
  return name.length > 18 ? "…" + name.slice(-17) : name;
}

// Bad to good, told apart without colour vision too: it darkens.
function shade(share) {
  return `hsl(${(50 + 210 * share).toFixed(0)} 70% ${(68 - 26 * share).toFixed(0)}%)`;
}

function dragged(axis, from, to) {
  const key = axis.column.id;
  const rest = state.filter.split(/\s+/).filter((term) => term !== "" && !term.startsWith(key + ">=") && !term.startsWith(key + "<="));
  if (Math.abs(from - to) > 4) {
    const ends = [axis.place.inverse(Math.max(from, to)), axis.place.inverse(Math.min(from, to))];
    rest.push(`${key}>=${rounded(ends[0], Math.floor)}`, `${key}<=${rounded(ends[1], Math.ceil)}`);
  }
  set({ filter: rest.join(" ") });
}

// To four digits, outwards: a run at the end of what was dragged over is in.
function rounded(value, way) {
  const unit = 10 ** (Math.floor(Math.log10(Math.abs(value) || 1)) - 3);
  return Number((way(value / unit) * unit).toPrecision(12));
}

function drawAxis(axis, x, height) {
  const parts = [svg("line", { class: "axis-line", x1: x, x2: x, y1: PARALLEL.top, y2: PARALLEL.bottom })];
  for (const [place, label] of axis.marks) parts.push(svg("text", { class: "tick", x: x + 6, y: place + 4 }, label));
  const name = svg("text", { class: "axis", x, y: height, "text-anchor": "middle" }, short(axis.column.label));
  name.append(svg("title", {}, axis.column.label));
  parts.push(name);
  if (axis.numeric) {
    const band = svg("rect", { class: "band", x: x - 14, width: 28, y: PARALLEL.top - 6, height: PARALLEL.bottom - PARALLEL.top + 12 });
    const y = (event) => {
      const frame = band.ownerSVGElement.getBoundingClientRect();
      const place = ((event.clientY - frame.top) / frame.height) * PARALLEL.height;
      return Math.min(PARALLEL.bottom, Math.max(PARALLEL.top, place));
    };
    let from = null;
    band.addEventListener("pointerdown", (event) => {
      from = y(event);
      band.setPointerCapture(event.pointerId);
    });
    band.addEventListener("pointerup", (event) => from !== null && dragged(axis, from, y(event)));
    parts.push(band);
  }
  return parts;
}

function drawParallel() {
  const place = document.getElementById("parallel-plot");
  const list = shown();
  const wanted = possible().filter((column) => state.axes.includes(column.id));
  if (wanted.length < 2 || !list.length) {
    place.replaceChildren(h("p", { class: "empty" }, "Choose at least two axes."));
    return;
  }
  const all = wanted.map((column) => axisOf(column, runs));
  const gap = (PARALLEL.right - PARALLEL.left) / (all.length - 1);
  const goal = wanted[wanted.length - 1];
  const scores = list.map((run) => goal.value(run)).filter((value) => typeof value === "number");
  const share = scale(extent(scores), [0, 1]);
  const parts = list.map((run) => {
    const dots = all.map((axis, index) => {
      const value = axis.column.value(run);
      return [PARALLEL.left + index * gap, value === null || value === undefined ? NaN : axis.place(value)];
    });
    const known = dots.filter((dot) => Number.isFinite(dot[1]));
    const value = goal.value(run);
    const on = state.selected.includes(run.name);
    const color = on ? look(run).color : typeof value === "number" ? shade(share(value)) : "var(--muted)";
    const words = [run.name, ...wanted.map((column) => `${column.label} ${text(column.value(run))}`)].join("\n");
    const d = "M" + known.map((dot) => `${dot[0].toFixed(1)},${dot[1].toFixed(1)}`).join("L");
    return svg("path", { d, class: on ? "run chosen" : "run", stroke: color }, svg("title", {}, words));
  });
  parts.sort((a, b) => a.classList.contains("chosen") - b.classList.contains("chosen"));
  const frame = all.flatMap((axis, index) => drawAxis(axis, PARALLEL.left + index * gap, index % 2 ? 18 : 34));
  place.replaceChildren(chart(PARALLEL.width, PARALLEL.height, `${list.length} runs over ${wanted.map((c) => c.label).join(", ")}`, parts, frame));
}

function startParallel() {
  const all = possible();
  if (!state.axes.some((id) => all.some((column) => column.id === id))) {
    const scores = all.filter((column) => !column.setting);
    state.axes = [...all.filter((column) => column.setting).slice(0, 4), ...scores.slice(0, 2)].map((column) => column.id);
  }
  document.getElementById("parallel-choices").append(...all.map((column) => toggle(
    column.label, state.axes.includes(column.id),
    (on) => set({ axes: on ? [...state.axes, column.id] : state.axes.filter((id) => id !== column.id) }))));
  views.push((change) => ["selected", "filter", "axes"].some((key) => key in change) && drawParallel());
  drawParallel();
}
