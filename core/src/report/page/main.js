// Puts the page together, and keeps it up to date where a server sends news.

/** The evaluation that the user picked; without one the winner is shown. */
const picks = { evaluation: null };
const POLL = 2000;

const MAIN_PARTS = [
  ["network", found, "Network"], ["search", search, "Search"], ["regions", regions, "Regions"], ["genealogy", genealogy, "Genealogy"],
  ["supernet", supernet, "SuperNet"], ["time", time, "Time"], ["record", record, "Record"],
];

/** Draws everything, or the parts of these names. */
function draw(only) {
  const main = byId("main");
  if (!only) {
    document.title = `${run.document.name} · pleach`;
    const made = MAIN_PARTS.map(([id, make, title]) => [id, title, make()]).filter(([, , section]) => section);
    main.replaceChildren(overview(), ...made.map(([, , section]) => section),
      el("p", { class: "foot" }, "Accuracy of shared weights ranks networks; it is not the accuracy that a network has after training."));
    document.querySelector(".contents").replaceChildren(...made.map(([id, title]) => el("a", { href: `#${id}` }, title)));
    return;
  }
  for (const [id, make] of MAIN_PARTS.filter(([name]) => only.includes(name))) {
    const before = byId(id);
    const now = make();
    if (before && now) before.replaceWith(now);
  }
}

/** Picks an evaluation, or none. */
function pick(evaluation) {
  picks.evaluation = evaluation;
  hideTip();
  draw(["network", "genealogy"]);
  for (const view of document.querySelectorAll("#search .chart")) view.redraw();
  const bar = byId("picked");
  bar.hidden = evaluation === null;
  if (evaluation === null) return;
  bar.replaceChildren(
    el("span", {}, el("b", {}, `Evaluation ${grouped(evaluation + 1)}`), ` · ${short(run.fitness[evaluation])} ${run.objectives[run.goal].name}`),
    strip(run.genome(evaluation)), el("a", { href: "#network" }, "Its network"), el("a", { href: "#genealogy" }, "Its ancestors"),
    el("button", { type: "button", class: "quiet", onclick: () => pick(null) }, "Back to the winner"));
}

function theme() {
  const button = document.querySelector(".theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  // Pages from a file may have no storage.
  try { chosen = localStorage.getItem("pleach-theme"); } catch { chosen = null; }
  const apply = () => {
    const now = chosen || (system.matches ? "dark" : "light");
    document.documentElement.dataset.theme = now;
    button.textContent = now === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to the ${now === "dark" ? "light" : "dark"} theme`);
  };
  system.addEventListener("change", apply);
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("pleach-theme", chosen); } catch { /* it lasts as long as the page */ }
    apply();
  });
  apply();
}

/** What of a document is not drawn anew for nothing. */
const marksOf = () => JSON.stringify([run.document.edition, run.count, run.stepCount, run.trainings.length, run.document.happenings.length, run.document.state, run.document.problems]);

async function follow() {
  let failure = null;
  for (;;) {
    try {
      const known = run ? `?edition=${run.document.edition}&evaluation=${run.count}&step=${run.stepCount}` : "";
      const answer = await fetch(`data${known}`);
      const news = await answer.json();
      if (!answer.ok) throw new Error(news.error);
      const before = run && marksOf();
      take(news);
      if (picks.evaluation !== null && picks.evaluation >= run.count) picks.evaluation = null;
      if (before !== marksOf() || failure) draw();
      failure = null;
    } catch (error) {
      if (!failure) byId("main").prepend(el("div", { class: "notice" }, el("h2", {}, "No news from the server"), el("p", { class: "quiet-text" }, String(error.message || error))));
      failure = error;
    }
    await new Promise((resume) => setTimeout(resume, POLL));
  }
}

/** The document in this file, if it has one. */
async function packed() {
  const element = byId("data");
  const text = element.textContent.trim();
  if (!text) return null;
  element.remove();
  const characters = Uint8Array.fromBase64 ? null : atob(text);
  const bytes = characters ? new Uint8Array(characters.length) : Uint8Array.fromBase64(text);
  for (let index = 0; characters && index < characters.length; index++) bytes[index] = characters.charCodeAt(index);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

async function begin() {
  theme();
  const given = await packed();
  if (!given) return follow();
  take(given);
  draw();
}

begin();
