// The head of the page, and the networks that were found.

function overview() {
  const { document, objectives } = run;
  const { config } = document.record;
  const winner = document.elites[0];
  const uses = [config.strategy, config.space, config.estimator].map((component) => component && component.use).filter(Boolean);
  const dataset = document.record.dataset && document.record.dataset.name;
  const started = [uses[0], uses[1] && `in ${uses[1]}`, uses[2] && `measured by ${uses[2]}`, dataset && `on ${dataset}`].filter(Boolean);
  const tile = (title, [amount, unit], note, isFirst) => el("div", { class: isFirst ? "tile first" : "tile" },
    el("dt", {}, title), el("dd", {}, amount, unit && el("small", {}, unit)), note && el("div", { class: "note" }, note));
  const goals = objectives.filter(({ goal, name }) => goal && !["params", "flops"].includes(name));
  const values = winner ? goals.map(({ name }, index) => tile(`${index ? "" : "best "}${name}`, [short(winner.objectives[name])],
    winner.judged && winner.judged[name] !== undefined ? `${short(winner.judged[name])} by the judge` : null, index === 0)) : [];
  const failed = Object.keys(document.evaluations.failed).length;
  const trained = document.training && document.training.measured;
  return el("header", { class: "head" },
    el("div", {},
      el("div", { class: "head-line" }, el("span", { class: `badge ${document.state.kind}` }, stateText(document.state.kind)), el("span", { class: "quiet-text" }, document.state.text)),
      el("h1", {}, String(document.name)),
      el("p", { class: "sub" }, `${started.join(" ")}, seed ${document.seed}.`)),
    el("dl", { class: "tiles" },
      values,
      trained && Object.entries(trained).slice(0, 1).map(([name, value]) => tile(`${name} trained alone`, [short(value.mean)],
        value.standard_deviation ? `± ${short(value.standard_deviation)}` : null)),
      winner && tile("parameters", amountOf(winner.params)),
      winner && tile("FLOPs", amountOf(winner.flops), "multiply-adds"),
      tile("evaluations", [grouped(run.count)], [document.known ? `${grouped(document.known)} more were known` : null, failed ? `${grouped(failed)} failed` : null].filter(Boolean).join(", ") || null),
      tile("time", [spoken(document.times.total)], document.simulated_seconds === null ? null : `${spoken(document.simulated_seconds)} simulated`)),
    document.problems.length > 0 && el("div", { class: "notice" },
      el("h2", {}, "Some of what the run left cannot be used"), el("ul", {}, document.problems.map((problem) => el("li", {}, problem)))));
}

const stateText = (kind) => ({ ended: "Finished", running: "Running", interrupted: "Interrupted", failed: "Failed", unfinished: "Not finished" })[kind];

function found() {
  const { document } = run;
  const winner = document.elites[0];
  if (!winner) {
    return part("network", "The network", null, el("p", { class: "quiet-text" }, "No network has been measured yet with the weights as they are."));
  }
  const picked = picks.evaluation;
  const genome = picked === null ? winner.genome : run.genome(picked);
  const within = winner.within_limits ? "" : " No evaluated network keeps all limits.";
  const lead = picked === null
    ? `The best of those measured with the last weights${document.state.kind === "ended" ? "" : " so far"}.${within} A bar is as long as the square root of its output channels; a plus says that its input is added to its output.`
    : `Evaluation ${grouped(picked + 1)}, which you picked.`;
  const box = drawn(el("div", {}), (width) => box.replaceChildren(drawNetwork(genome, Math.min(width, 860))));
  const section = part("network", picked === null ? "The network that was found" : "The network that you picked", lead,
    el("div", { class: "columns wide-left" }, box, el("div", { class: "stack" },
      facts(genome, picked), best(), beside(), trainedAlone())));
  if (picked !== null) section.tools.append(el("button", { type: "button", onclick: () => pick(null) }, "Back to the winner"));
  section.tools.append(saver("network", () => box.firstChild));
  return section;
}

function facts(genome, picked) {
  const cost = costOf(genome);
  const operations = groups().map(({ name, slots }) => [name, slots.map((slot) => operationOf(slot, genome[slot]))
    .filter(({ meaning }) => meaning !== "identity" && meaning !== "absent").map((choice) => choice.name).join(", ") || "passes its input through"]);
  return el("dl", { class: "facts" },
    el("dt", {}, "genome"), el("dd", {}, strip(genome), el("div", { class: "mono quiet-text" }, genome.join("-"))),
    picked === null ? null : [el("dt", {}, "measured"), el("dd", {}, about(picked).slice(1, 2))],
    el("dt", {}, "cost"), el("dd", {}, `${grouped(cost.params)} parameters, ${grouped(cost.flops)} multiply-adds`),
    operations.map(([name, list]) => [el("dt", {}, name), el("dd", {}, list)]));
}

/** The best networks in a table. */
function best() {
  const { elites } = run.document;
  const names = run.objectives.map(({ name }) => name).filter((name) => !["params", "flops"].includes(name));
  const judged = [...new Set(elites.flatMap((elite) => Object.keys(elite.judged || {})))];
  const columns = [
    { title: "rank", value: (elite) => elites.indexOf(elite) + 1, show: (elite) => String(elites.indexOf(elite) + 1) },
    { title: "network", show: (elite) => strip(elite.genome) },
    ...names.map((name) => ({ title: name, isNumber: true, value: (elite) => elite.objectives[name] })),
    ...judged.map((name) => ({ title: `judged ${name}`, isNumber: true, value: (elite) => (elite.judged || {})[name] })),
    { title: "parameters", isNumber: true, value: (elite) => elite.params, show: (elite) => counted(elite.params) },
    { title: "FLOPs", isNumber: true, value: (elite) => elite.flops, show: (elite) => counted(elite.flops) },
  ];
  return el("div", {}, el("h3", {}, "The best networks"), table("The best networks", columns, elites, {
    pick: (elite) => elite.evaluation !== null && pick(elite.evaluation === elites[0].evaluation ? null : elite.evaluation),
    isPicked: (elite) => elite.evaluation === (picks.evaluation ?? elites[0].evaluation),
  }));
}

/** The winner beside random networks. */
function beside() {
  const random = run.document.random_networks;
  const winner = run.document.elites[0];
  if (!random || !random.length) return null;
  const box = drawn(el("div", {}), (width) => box.replaceChildren(drawBeside(random, winner, Math.min(width, 560))));
  return el("div", {}, el("h3", {}, "Beside random networks, with the same weights"), box);
}

function drawBeside(random, winner, width) {
  const name = random[0].objective;
  const value = winner.objectives[name];
  const ends = random.flatMap((one) => [one.mean - one.standard_deviation, one.mean + one.standard_deviation, one.best]);
  const [low, high] = domainOf([[...ends, value]], 0.08);
  const left = 4;
  const px = (at) => left + ((at - low) / (high - low)) * (width - 2 * left);
  const height = random.length * 46 + 26;
  const root = svg("svg", { class: "figure", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `found ${short(value)}; ${random.map((one) => `${one.count} random networks have a mean of ${short(one.mean)}`).join("; ")}` });
  root.append(svg("line", { class: "line best", x1: px(value), x2: px(value), y1: 0, y2: height - 22 }),
    svg("text", { class: `strong ${px(value) > width / 2 ? "end" : ""}`, x: px(value), y: height - 6 }, `found ${short(value)}`));
  random.forEach((one, index) => {
    const y = index * 46 + 8;
    const where = one.drawn_from === "last-region" ? "the last region" : "the whole space";
    root.append(
      svg("text", { class: "muted", x: left, y: y + 8 }, `${one.count} of ${where}`),
      svg("line", { class: "axis", x1: left, x2: width - left, y1: y + 22, y2: y + 22 }),
      svg("g", { class: "target", tip: () => [el("div", {}, el("b", {}, `${short(one.mean)} ± ${short(one.standard_deviation)}`), ` ${name}`), el("div", { class: "muted" }, `best ${short(one.best)}; found is ${short(value - one.mean)} from the mean`)] },
        svg("rect", { class: "share", colour: "var(--point)", x: px(one.mean - one.standard_deviation), y: y + 17, width: Math.max(3, px(one.mean + one.standard_deviation) - px(one.mean - one.standard_deviation)), height: 10, rx: 5 }),
        svg("circle", { class: "cursor", cx: px(one.best), cy: y + 22, r: 4 })));
  });
  return root;
}

/** What training the winner by itself came to. */
function trainedAlone() {
  const { training } = run.document;
  if (!training || !training.trainings) return null;
  return el("div", {}, el("h3", {}, "Trained by itself"), el("dl", { class: "facts" },
    training.trainings.map((one) => [el("dt", {}, `seed ${one.seed}`), el("dd", {},
      `${Object.entries(one.measured || {}).map(([name, value]) => `${name} ${short(value)}`).join(", ")} after ${one.epochs} epochs, ${spoken(one.seconds)}`)])));
}
