// Configurations side by side with the differences marked, and images side by side.
function drawConfigs() {
  const list = chosen();
  const place = document.getElementById("config");
  if (!list.length) {
    place.replaceChildren(h("p", { class: "empty" }, "Choose runs in the table."));
    return;
  }
  const rows = [];
  for (const key of data.keys) {
    const values = list.map((run) => (run.config.has(key) ? text(run.config.get(key), 12) : undefined));
    const differs = values.some((value) => value !== values[0]);
    if (values.every((value) => value === undefined) || (state.different && !differs)) continue;
    const name = h("th", { scope: "row" }, differs ? h("span", { class: "mark", title: "differs" }, "≠ ") : null, key);
    const cells = values.map((value) => h("td", { class: value === undefined ? "absent" : "" }, value === undefined ? "—" : value));
    rows.push(h("tr", { class: differs ? "differs" : "" }, name, cells));
  }
  const head = list.map((run) => h("th", { scope: "col" }, swatch(look(run)), run.name));
  place.replaceChildren(
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "key"), head)), h("tbody", {}, rows)),
    rows.length ? "" : h("p", { class: "empty" }, "They are the same in every key."),
  );
}

function startConfigs() {
  document.getElementById("config-choices").append(
    toggle("only what differs", state.different, (different) => set({ different })),
  );
  views.push((change) => ("selected" in change || "different" in change) && drawConfigs());
  drawConfigs();
}

// The image of each chosen run at the share `epoch` of the way through the validations.
function drawImages() {
  const place = document.getElementById("image");
  const list = chosen().filter((run) => run.images[state.group]);
  const epochs = [...new Set(list.flatMap((run) => run.images[state.group].map((image) => image[0])))].sort((a, b) => a - b);
  const slider = document.getElementById("epoch");
  slider.max = Math.max(0, epochs.length - 1);
  slider.disabled = epochs.length < 2;
  const index = Math.round(state.epoch * Math.max(0, epochs.length - 1));
  slider.value = index;
  const at = epochs[index];
  document.getElementById("epoch-label").textContent = epochs.length && at >= 0 ? `epoch ${at}` : "";
  slider.setAttribute("aria-valuetext", `epoch ${at}`);
  place.replaceChildren(...list.map((run) => {
    const until = run.images[state.group].filter((image) => image[0] <= at);
    const [epoch, source] = until[until.length - 1] || run.images[state.group][0];
    const when = epoch >= 0 ? `, epoch ${epoch}` : "";
    const caption = h("figcaption", {}, swatch(look(run)), run.name + when);
    return h("figure", {}, h("img", { src: source, alt: `${state.group} of ${run.name}${when}` }), caption);
  }));
  if (!list.length) place.replaceChildren(h("p", { class: "empty" }, "No chosen run has images of this kind."));
}

function startImages() {
  const groups = [...new Set(runs.flatMap((run) => Object.keys(run.images)))].sort();
  document.getElementById("images").hidden = groups.length === 0;
  if (!groups.length) return;
  if (!groups.includes(state.group)) state.group = groups[0];
  const slider = document.getElementById("epoch");
  slider.addEventListener("input", () => set({ epoch: Number(slider.value) / Math.max(1, Number(slider.max)) }));
  document.getElementById("image-choices").prepend(choice("image", groups, state.group, (group) => set({ group })));
  views.push((change) => ["selected", "group", "epoch"].some((key) => key in change) && drawImages());
  drawImages();
}
