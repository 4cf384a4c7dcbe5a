// Curves of the chosen runs over each other. Arrow keys move the reading line.
const CURVE = { width: 960, height: 420, left: 70, right: 940, top: 30, bottom: 370 };

function points(run) {
  const curve = run.curves[state.metric];
  if (!curve) return [];
  const steps = data.steps[curve[0]];
  const batch = state.x === "images" ? run.batch : 1;
  const from = state.x === "images" ? 1 : 0; // after step n, n + 1 batches are seen
  let mean = null;
  return curve[1].map((value, place) => {
    mean = mean === null ? value : state.smooth * mean + (1 - state.smooth) * value;
    return [(steps[place] + from) * batch, mean];
  });
}

function nearest(list, x) {
  let best = null;
  for (const point of list) if (best === null || Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
  return best;
}

function drawCurves() {
  const place = document.getElementById("curve");
  const lines = chosen().map((run) => ({ run, points: points(run) })).filter((line) => line.points.length);
  const legend = document.getElementById("legend");
  legend.replaceChildren();
  if (!lines.length) {
    place.replaceChildren(h("p", { class: "empty" }, "No chosen run has this curve."));
    return;
  }
  const all = lines.flatMap((line) => line.points);
  const logY = state.logY && all.every((point) => point[1] > 0);
  const xs = extent(all.map((point) => point[0]));
  const ys = extent(all.map((point) => point[1]));
  const x = scale(xs, [CURVE.left, CURVE.right]);
  const y = scale(ys, [CURVE.bottom, CURVE.top], logY);
  const parts = axes(CURVE, x, y, {
    xs, ys, logY, xLabel: state.x === "images" ? "images seen" : "optimizer steps", yLabel: state.metric,
  });
  const readers = [];
  for (const { run, points: list } of lines) {
    const style = look(run);
    const drawn = { fill: "none", stroke: style.color, "stroke-dasharray": style.dash, "stroke-width": 1.8, class: "line" };
    parts.push(svg("path", { ...drawn, d: "M" + list.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join("L") }));
    if (list.length < 30) {
      parts.push(...list.map((p) => svg("circle", { cx: x(p[0]), cy: y(p[1]), r: 3, fill: style.color })));
    }
    const value = h("span", { class: "value" });
    legend.append(h("li", {}, swatch(style), h("span", {}, run.name), value));
    readers.push((at) => {
      const point = nearest(list, at);
      value.textContent = `${text(point[1])} at ${text(point[0])}`;
    });
  }
  const reading = svg("line", { class: "reading", y1: CURVE.top, y2: CURVE.bottom });
  const label = `${state.metric} of ${lines.length} runs; arrow keys move the reading line`;
  const drawing = chart(CURVE.width, CURVE.height, label, parts, reading);
  let at = xs[1];
  const read = (value) => {
    at = Math.min(xs[1], Math.max(xs[0], value));
    reading.setAttribute("x1", x(at));
    reading.setAttribute("x2", x(at));
    readers.forEach((reader) => reader(at));
  };
  drawing.setAttribute("tabindex", "0");
  drawing.addEventListener("pointermove", (event) => {
    const frame = drawing.getBoundingClientRect();
    read(x.inverse(((event.clientX - frame.left) / frame.width) * CURVE.width));
  });
  drawing.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    read(at + (way * (xs[1] - xs[0])) / 50);
  });
  place.replaceChildren(drawing);
  read(at);
}

function startCurves() {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.curves)))].sort();
  if (!names.includes(state.metric)) {
    state.metric = [data.monitor, "train/loss", ...names].find((name) => names.includes(name)) || "";
  }
  const smooth = h("input", {
    type: "range", min: 0, max: 0.98, step: 0.02, value: state.smooth,
    oninput: (event) => set({ smooth: Number(event.target.value) }),
  });
  document.getElementById("curve-choices").append(
    choice("curve", names, state.metric, (metric) => set({ metric })),
    choice("over", [["step", "optimizer steps"], ["images", "images seen"]], state.x, (value) => set({ x: value })),
    h("label", {}, "smoothing", smooth),
    toggle("logarithmic", state.logY, (logY) => set({ logY })),
  );
  const keys = ["selected", "metric", "x", "smooth", "logY"];
  views.push((change) => keys.some((key) => key in change) && drawCurves());
  drawCurves();
}
