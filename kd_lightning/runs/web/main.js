// Light or dark, and the order in which the sections start.
function startTheme() {
  const apply = () => (state.theme ? document.documentElement.setAttribute("data-theme", state.theme) : null);
  document.getElementById("theme").addEventListener("click", () => {
    const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    set({ theme: dark ? "light" : "dark" });
    apply();
  });
  apply();
}

// A plain link would replace what the address keeps.
function startLinks() {
  for (const link of document.querySelectorAll("nav a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      document.getElementById(link.getAttribute("href").slice(1)).scrollIntoView();
    });
  }
}

restore();
document.getElementById("made").textContent = data.made;
startTheme();
startLinks();
startTable();
startCurves();
startConfigs();
startImages();
startTrade();
startParallel();
if (data.watch) setTimeout(() => location.reload(), data.watch * 1000);
document.documentElement.setAttribute("data-ready", Math.round(performance.now()));
