// Quality against time with the Pareto front: points that no other beats in both.
const TRADE = { width: 960, height: 440, left: 70, right: 830, top: 30, bottom: 390 };

function front(points) {
  const kept = [];
  let best = -Infinity;
  for (const point of [...points].sort((a, b) => a.ms - b.ms || b.quality - a.quality)) {
    if (point.quality > best) kept.push(point);
    best = Math.max(best, point.quality);
  }
  return kept;
}

function around(x, y, size) {
  return [x - size / 2, y - size / 2, size, size];
}

// Left end and middle height of a label near (x, y) that covers nothing of `taken`, which it joins.
function freePlace(x, y, width, taken) {
  const height = 14;
  const covers = (box) => taken.some((other) => box[0] < other[0] + other[2] && other[0] < box[0] + box[2] &&
    box[1] < other[1] + other[3] && other[1] < box[1] + box[3]);
  let box = null;
  for (let away = 0; away < 20; away++) {
    for (const [side, way] of [[10, 1], [10, -1], [-10 - width, 1], [-10 - width, -1]]) {
      box = [x + side, y - height / 2 + way * away * 9, width, height];
      const inside = box[0] > TRADE.left && box[0] + width < TRADE.width && box[1] > TRADE.top && box[1] + height < TRADE.bottom;
      if (inside && !covers(box)) {
        taken.push(box);
        return [box[0], box[1] + height / 2];
      }
    }
  }
  return [box[0], box[1] + height / 2];
}

function tradePoints() {
  return data.benchmark.flatMap((method) => {
    const ms = method.ms[state.frame];
    const quality = (method.quality[state.set] || {})[state.quality];
    return ms > 0 && typeof quality === "number" ? [{ name: method.name, ms, quality }] : [];
  });
}

function drawTrade() {
  const place = document.getElementById("trade");
  const list = tradePoints();
  if (!list.length) {
    place.replaceChildren(h("p", { class: "empty" }, "Nothing was measured for both."));
    return;
  }
  const best = front(list);
  const [fast, slow] = extent(list.map((point) => point.ms));
  const xs = [Math.max(fast, slow * 1e-6) / 1.3, slow * 1.3];
  const [low, high] = extent(list.map((point) => point.quality));
  const ys = [low - (high - low) * 0.05, high + (high - low) * 0.05];
  const x = scale(xs, [TRADE.left, TRADE.right], true);
  const y = scale(ys, [TRADE.bottom, TRADE.top]);
  const score = data.scores.find((candidate) => candidate.key === state.quality);
  const parts = axes(TRADE, x, y, {
    xs, ys, logX: true, xLabel: `milliseconds for a ${state.frame} frame, 8 bit in and out`, yLabel: `${score.label}, ${state.set}`,
  });
  parts.push(svg("path", { class: "front", d: "M" + best.map((p) => `${x(p.ms)},${y(p.quality)}`).join("L") }));
  const taken = list.map((point) => around(x(point.ms), y(point.quality), 12));
  for (const point of [...list].sort((a, b) => best.includes(b) - best.includes(a) || b.quality - a.quality)) {
    const on = best.includes(point);
    const words = `${point.name}: ${text(point.quality, 6)}, ${text(point.ms, 4)} ms${on ? ", on the front" : ""}`;
    const [left, middle] = freePlace(x(point.ms), y(point.quality), point.name.length * 6.6, taken);
    parts.push(svg("g", { class: on ? "best" : "beaten" },
      svg("line", { class: "leader", x1: x(point.ms), y1: y(point.quality), x2: left, y2: middle }),
      svg("circle", { cx: x(point.ms), cy: y(point.quality), r: 5 }, svg("title", {}, words)),
      svg("text", { x: left + 2, y: middle + 4 }, point.name)));
  }
  const rows = [...list].sort((a, b) => a.ms - b.ms).map((point) => h("tr", {},
    h("th", { scope: "row" }, point.name),
    h("td", { class: "number" }, point.ms.toFixed(1)),
    h("td", { class: "number" }, point.quality.toFixed(score.digits)),
    h("td", {}, best.includes(point) ? "on the front" : "")));
  place.replaceChildren(
    chart(TRADE.width, TRADE.height, `${score.label} against milliseconds; front: ${best.map((p) => p.name).join(", ")}`, parts),
    h("details", {}, h("summary", {}, "as a table"), h("table", {}, h("tbody", {}, rows))));
}

function startTrade() {
  document.getElementById("tradeoff").hidden = data.benchmark.length === 0;
  if (!data.benchmark.length) return;
  const sets = [...new Set(data.benchmark.flatMap((method) => Object.keys(method.quality)))];
  const frames = [...new Set(data.benchmark.flatMap((method) => Object.keys(method.ms)))];
  if (!sets.includes(state.set)) state.set = sets[0];
  if (!frames.includes(state.frame)) state.frame = frames[0];
  document.getElementById("trade-choices").append(
    choice("test set", sets, state.set, (value) => set({ set: value })),
    choice("frame", frames, state.frame, (frame) => set({ frame })),
    choice("quality", data.scores.map((score) => [score.key, score.label]), state.quality, (quality) => set({ quality })),
  );
  views.push((change) => ["set", "frame", "quality"].some((key) => key in change) && drawTrade());
  drawTrade();
}
