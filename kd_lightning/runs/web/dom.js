// Elements, numbers and scales. Text from run folders only ever becomes text nodes.
const data = JSON.parse(document.getElementById("data").textContent);
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7b61c4", "#8c564b"];
const DASHES = ["", "6 3", "2 3", "9 3 2 3"];

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

// A select with a label; `options` are strings or [value, label].
function choice(label, options, chosen, onchange) {
  const list = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  const items = list.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("label", {}, label, h("select", { onchange: (event) => onchange(event.target.value) }, items));
}

function toggle(label, checked, onchange) {
  const box = h("input", { type: "checkbox", checked, onchange: (event) => onchange(event.target.checked) });
  return h("label", { class: "toggle" }, box, label);
}

// At most `digits` significant digits; text and missing values as they are.
function text(value, digits = 5) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return typeof value === "string" ? value : JSON.stringify(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(Math.min(digits, 3) - 1);
  return String(Number(value.toPrecision(Number.isInteger(value) ? 15 : digits)));
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  return low === high ? [low - (Math.abs(low) || 1) * 0.05, high + (Math.abs(high) || 1) * 0.05] : [low, high];
}

// [low, high] -> [from, to], linear or logarithmic.
function scale([low, high], [from, to], log = false) {
  const f = log ? Math.log10 : (x) => x;
  const [a, b] = [f(low), f(high)];
  const place = (value) => from + ((f(value) - a) / (b - a)) * (to - from);
  place.inverse = (point) => {
    const value = a + ((point - from) / (to - from)) * (b - a);
    return log ? 10 ** value : value;
  };
  return place;
}

function ticks([low, high], log = false, count = 5) {
  const found = [];
  if (log) {
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const digit of [1, 2, 5]) {
        const value = Number((digit * 10 ** power).toPrecision(1));
        if (value >= low && value <= high) found.push(value);
      }
    }
    if (found.length >= 2) return found.length > 9 ? found.filter((v) => /^1/.test(v.toExponential())) : found;
    found.length = 0;
  }
  const rough = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * ([1, 2, 5, 10].find((factor) => factor * unit >= rough) || 10);
  for (let n = Math.ceil(low / step); n * step <= high; n++) found.push(Number((n * step).toPrecision(12)));
  return found;
}

// Grid, ticks and labels of a chart; returns the parts to draw first.
function axes(box, x, y, options) {
  const parts = [];
  for (const value of ticks(options.xs, options.logX)) {
    const place = x(value);
    parts.push(svg("line", { class: "grid", x1: place, x2: place, y1: box.top, y2: box.bottom }));
    parts.push(svg("text", { class: "tick", x: place, y: box.bottom + 16, "text-anchor": "middle" }, text(value)));
  }
  for (const value of ticks(options.ys, options.logY)) {
    const place = y(value);
    parts.push(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: place, y2: place }));
    parts.push(svg("text", { class: "tick", x: box.left - 6, y: place + 4, "text-anchor": "end" }, text(value)));
  }
  const middle = (box.left + box.right) / 2;
  parts.push(svg("text", { class: "axis", x: middle, y: box.bottom + 34, "text-anchor": "middle" }, options.xLabel));
  parts.push(svg("text", { class: "axis", x: box.left - 6, y: box.top - 8, "text-anchor": "start" }, options.yLabel));
  return parts;
}

function chart(width, height, label, ...parts) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "chart" }, parts);
}

function swatch(look) {
  const line = { x1: 0, x2: 24, y1: 6, y2: 6, stroke: look.color, "stroke-width": 3, "stroke-dasharray": look.dash };
  return svg("svg", { width: 24, height: 12, class: "swatch", "aria-hidden": "true" }, svg("line", line));
}
