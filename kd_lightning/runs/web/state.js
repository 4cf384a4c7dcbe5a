// What the reader has chosen. It is kept behind the # of the address, so that it outlives a reload.
const FIRST = 6; // runs chosen at the start
const state = {
  selected: [], sort: "name", down: false, filter: "", metric: "", x: "step", smooth: 0, logY: false,
  different: true, group: "", epoch: 1, set: "", frame: "", quality: "psnr_y", axes: [], theme: "",
};
const views = []; // functions that draw a section again
const runs = data.runs.map((run) => ({ ...run, config: configOf(run) }));

function configOf(run) {
  const config = new Map();
  run.values.forEach((place, key) => place >= 0 && config.set(data.keys[key], data.values[place]));
  return config;
}

function restore() {
  try {
    const kept = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    for (const key of Object.keys(state)) {
      if (typeof kept[key] === typeof state[key] && Array.isArray(kept[key]) === Array.isArray(state[key])) {
        state[key] = kept[key];
      }
    }
  } catch {
    // Nothing kept, or by another page: the runs that were validated most often.
    const length = (run) => (run.curves[data.monitor] ? run.curves[data.monitor][1].length : 0);
    const list = [...runs].sort((a, b) => length(b) - length(a)).slice(0, FIRST);
    state.selected = runs.filter((run) => list.includes(run)).map((run) => run.name);
  }
}

function set(change) {
  Object.assign(state, change);
  history.replaceState(null, "", "#" + encodeURIComponent(JSON.stringify(state)));
  for (const view of views) view(change);
}

function chosen() {
  const byName = new Map(runs.map((run) => [run.name, run]));
  return state.selected.map((name) => byName.get(name)).filter((run) => run !== undefined);
}

function look(run) {
  const place = state.selected.indexOf(run.name);
  return { color: COLORS[place % COLORS.length], dash: DASHES[Math.floor(place / COLORS.length) % DASHES.length] };
}

// As people read them, and filter by them.
const STATES = { finished: "finished", failed: "failed", pruned: "pruned", unfinished: "stopped", running: "running" };

// Columns of the table and axes of the parallel coordinates: {id, label, value(run), digits}.
const columns = [
  { id: "name", label: "run", value: (run) => run.name },
  { id: "state", label: "state", value: (run) => STATES[run.state] },
  { id: "step", label: "steps", value: (run) => run.steps },
  { id: "best", label: `best ${data.monitor}`, value: (run) => (run.best ? run.best[0] : null) },
  { id: "at", label: "at step", value: (run) => (run.best ? run.best[1] : null) },
  ...data.sets.flatMap((name) => data.scores.map((score) => ({
    id: `${name}/${score.key}`,
    label: `${name} ${score.label}`,
    digits: score.digits,
    value: (run) => number((((run.results[name] || {}).student) || {})[score.key]),
  }))),
  ...data.varied.map((key) => ({ id: key, label: key, value: (run) => run.config.get(key), setting: true })),
];

function number(value) {
  return typeof value === "number" ? value : null;
}

// Filter: words that occur in name, state or overrides; key=value, key!=value, key<3, key>=0.5, ...
const COMPARISONS = {
  "=": (a, b) => String(text(a)) === b || (typeof a === "number" && a === Number(b)),
  "!=": (a, b) => !COMPARISONS["="](a, b),
  "<": (a, b) => typeof a === "number" && a < Number(b),
  ">": (a, b) => typeof a === "number" && a > Number(b),
  "<=": (a, b) => typeof a === "number" && a <= Number(b),
  ">=": (a, b) => typeof a === "number" && a >= Number(b),
};

function lookup(run, key) {
  const column = columns.find((candidate) => candidate.id === key || candidate.label === key);
  if (column) return column.value(run);
  if (run.config.has(key)) return run.config.get(key);
  const full = data.keys.find((candidate) => candidate.endsWith("." + key));
  return full === undefined ? undefined : run.config.get(full);
}

function shown() {
  const terms = state.filter.split(/\s+/).filter((term) => term !== "");
  return runs.filter((run) => terms.every((term) => {
    const found = /^([^=<>!]+)(!=|<=|>=|=|<|>)(.+)$/.exec(term);
    if (found) {
      const value = lookup(run, found[1]);
      if (value !== undefined) return COMPARISONS[found[2]](value, found[3]);
    }
    return [run.name, STATES[run.state], ...run.overrides].join(" ").toLowerCase().includes(term.toLowerCase());
  }));
}
