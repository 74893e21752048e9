// The search itself: fitness against evaluations and time, trade-offs, trainings, time by part.

const settings = { against: "evaluations", beside: null };

/** Where an evaluation stands on the horizontal axis. */
function axes() {
  const { steps, evaluations } = run.document;
  const list = [["evaluations", "evaluations"], ["time", "time"]];
  if (evaluations.simulated_seconds) list.push(["simulated", "simulated time"]);
  const positions = {
    evaluations: (index) => index + 1,
    time: (index) => steps.at_seconds[run.stepOf[index]],
    simulated: (index) => evaluations.simulated_seconds[index],
  };
  return { list, at: positions[settings.against] || positions.evaluations, isTime: settings.against !== "evaluations" };
}

/** At which end of fitness the worst networks are. */
const worseEnd = () => (run.objectives[run.goal].goal === "minimise" ? "high" : "low");

const timeAxis = (text) => ({ text, format: spoken, isFromZero: true });

/** Of a list of indices those where the best so far changes, with limits kept. */
function bestLine(from, to, at) {
  const line = [];
  let best = null;
  for (let index = from; index < to; index++) {
    const value = run.fitness[index];
    if (value === null || run.outside[index]) continue;
    if (best === null || better(run.goal, value, best)) {
      if (best !== null) line.push([at(index), best]);
      line.push([at(index), (best = value)]);
    }
  }
  if (best !== null) line.push([at(to - 1), best]);
  return line;
}

/** The mean of the last so many; at most a few hundred places. */
function meanLine(from, to, at, window) {
  const line = [];
  const every = Math.max(1, Math.floor((to - from) / 400));
  let [sum, count] = [0, 0];
  const inside = [];
  for (let index = from; index < to; index++) {
    const value = run.fitness[index];
    if (value === null) continue;
    inside.push(value);
    sum += value;
    count++;
    if (count > window) sum -= inside[inside.length - 1 - window];
    if ((index - from) % every === 0 || index === to - 1) line.push([at(index), sum / Math.min(count, window)]);
  }
  return line;
}

function meanWindow() {
  const sizes = [];
  for (let step = 0; step < run.stepCount; step++) sizes.push((run.steps.first[step + 1] ?? run.count) - run.steps.first[step]);
  sizes.sort((one, other) => one - other);
  const middle = sizes[sizes.length >> 1] || 1;
  return middle >= 5 ? middle : Math.max(10, Math.min(200, Math.round(run.count / 100)));
}

function segments() {
  const ends = [0, ...run.changes, run.count];
  return ends.slice(1).map((to, index) => [ends[index], to]).filter(([from, to]) => to > from);
}

function fitnessChart() {
  const name = run.objectives[run.goal].name;
  const window = meanWindow();
  const view = chart({
    label: `${name} of each evaluation, the best so far and the mean`,
    height: 400,
    content: () => {
      const { at, isTime } = axes();
      const inside = { style: "", xs: [], ys: [], ids: [] };
      const outside = { style: "outside", xs: [], ys: [], ids: [] };
      for (let index = 0; index < run.count; index++) {
        const list = run.outside[index] ? outside : inside;
        list.xs.push(at(index));
        list.ys.push(run.fitness[index]);
        list.ids.push(index);
      }
      const parts = segments();
      const bands = parts.length < 2 ? [] : parts.map(([from, to], index) => {
        const stage = run.trainings.filter((training) => training.first <= from).pop();
        return { from: at(from), to: index + 1 < parts.length ? at(parts[index + 1][0]) : at(to - 1), text: stage ? `stage ${stage.stage + 1}` : "" };
      });
      const winner = run.document.elites[0];
      return {
        x: isTime ? timeAxis(settings.against === "time" ? "time worked on the run" : "simulated time") : { text: "evaluations", isInteger: true, isFromZero: true },
        y: { text: name, worse: worseEnd() },
        points: [outside, inside],
        lines: parts.flatMap(([from, to]) => [
          { style: "mean", points: meanLine(from, to, at, window) },
          { style: "best", points: bestLine(from, to, at) }]),
        bands,
        marks: [
          ...(winner && winner.evaluation !== null ? [{ x: at(winner.evaluation), y: run.fitness[winner.evaluation], style: "winner", radius: 6 }] : []),
          ...(picks.evaluation !== null && run.fitness[picks.evaluation] !== null ? [{ x: at(picks.evaluation), y: run.fitness[picks.evaluation], style: "chosen", radius: 8 }] : [])],
      };
    },
    tip: about,
    pick,
  });
  const tools = [
    choice("Against", axes().list, settings.against, (value) => { settings.against = value; view.redraw(); }),
    saver("fitness", () => view.figure()),
  ];
  return { view, tools, legend: legend(
    ["var(--point)", "a network"], ["var(--accent)", "the best so far"], ["var(--mean)", `mean of the last ${window}`]) };
}

/** Indices that no other one beats in both quantities, by the first. */
function frontOf(indices, xs, ys, isLessX, isLessY) {
  const x = (index) => (isLessX ? xs[index] : -xs[index]);
  const y = (index) => (isLessY ? ys[index] : -ys[index]);
  const front = [];
  for (const index of indices) {
    let [low, high] = [0, front.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (x(front[middle]) <= x(index)) low = middle + 1;
      else high = middle;
    }
    if (low > 0 && y(front[low - 1]) <= y(index)) continue;
    let end = low;
    while (end < front.length && y(front[end]) >= y(index)) end++;
    const begin = low > 0 && x(front[low - 1]) === x(index) ? low - 1 : low;
    front.splice(begin, end - begin, index);
  }
  return front;
}

function tradeOffs() {
  const options = quantities().filter(({ name }) => name !== run.objectives[run.goal].name);
  const isKnown = options.some(({ name }) => name === settings.beside);
  const wanted = run.objectives.find(({ goal, name }, index) => goal && index !== run.goal && name);
  if (!isKnown) settings.beside = wanted ? wanted.name : "params";
  const name = run.objectives[run.goal].name;
  const goalOf = (quantity) => (run.objectives.find((objective) => objective.name === quantity) || {}).goal || "minimise";
  const view = chart({
    label: `${name} against ${settings.beside}, and the front of trade-offs`,
    height: 400,
    content: () => {
      const xs = options.find((option) => option.name === settings.beside).values();
      const ys = run.fitness;
      // Of the last weights alone: fitness measured before does not compare.
      const last = run.count ? run.weights[run.count - 1] : 0;
      const now = [];
      const before = [];
      for (let index = 0; index < run.count; index++) {
        if (ys[index] === null || xs[index] === null) continue;
        (run.weights[index] === last ? now : before).push(index);
      }
      const front = frontOf(now.filter((index) => !run.outside[index]), xs, ys, goalOf(settings.beside) === "minimise", goalOf(name) === "minimise");
      const list = (indices, style) => ({ style, ids: indices, xs: indices.map((index) => xs[index]), ys: indices.map((index) => ys[index]) });
      const line = front.flatMap((index, place) => (place ? [[xs[index], ys[front[place - 1]]], [xs[index], ys[index]]] : [[xs[index], ys[index]]]));
      return {
        x: { text: settings.beside, margin: 0.03 }, y: { text: name, worse: worseEnd() },
        points: [list(before, "outside"), list(now, ""), list(front, "large best")],
        lines: [{ style: "best", points: line }],
        marks: picks.evaluation !== null && ys[picks.evaluation] !== null ? [{ x: xs[picks.evaluation], y: ys[picks.evaluation], style: "chosen", radius: 8 }] : [],
      };
    },
    tip: about,
    pick,
  });
  const select = el("select", { "aria-label": "Quantity on the horizontal axis", onchange: (event) => { settings.beside = event.target.value; view.redraw(); } },
    options.map((option) => el("option", { selected: option.name === settings.beside }, option.name)));
  const tools = [select, saver("trade-offs", () => view.figure())];
  return { view, tools, legend: legend(["var(--accent)", "on the front, with the last weights"], ["var(--point)", "others; faint: earlier weights or outside of limits"]) };
}

function search() {
  const fitness = fitnessChart();
  const front = tradeOffs();
  const titled = (id, title, { view, tools, legend: words }, more) => headed(id, title, tools, view, words, more);
  const { front: known } = run.document;
  const volume = known && known.networks ? el("p", { class: "quiet-text" },
    `${plural(known.networks.length, "network")} on the front of all objectives, hypervolume ${short(known.hypervolume)} up to ${known.reference.map((one) => `${one.objective} ${short(one.value)}`).join(", ")}.`) : null;
  return part("search", "The search", "Hover a point for its network, click to draw it and its ancestors. Fitness compares only between trainings, so the best and the mean begin anew after each.",
    el("div", { class: "pair" }, titled("fitness", "Fitness", fitness), titled("trade-offs", "Trade-offs", front, volume)));
}

/** Evaluations after a training, and what they came to. */
function afterTraining(index) {
  const { trainings } = run;
  const [from, to] = [trainings[index].first, trainings[index + 1] ? trainings[index + 1].first : run.count];
  let [best, sum, count] = [null, 0, 0];
  for (let place = from; place < to; place++) {
    const value = run.fitness[place];
    if (value === null) continue;
    sum += value;
    count++;
    if (!run.outside[place] && (best === null || better(run.goal, value, best))) best = value;
  }
  return { evaluations: to - from, best, mean: count ? sum / count : null };
}

function supernet() {
  const { trainings } = run;
  if (!trainings.some((training) => training.weights_changed)) return null;
  const name = run.objectives[run.goal].name;
  const rows = trainings.map((training, index) => ({ index, training, ...afterTraining(index) }));
  const metric = (row, metricName) => row.training.metrics[metricName] ?? null;
  const trace = (label, series) => chart({
    label, height: 260,
    content: () => ({
      x: { text: "training", isInteger: true, margin: 0.04 }, y: { text: label },
      points: series.map(([style, value]) => ({ style: `large ${style}`, ids: rows.map(({ index }) => index), xs: rows.map(({ index }) => index + 1), ys: rows.map(value) })),
      lines: series.map(([style, value]) => ({ style, points: rows.filter((row) => value(row) !== null).map((row) => [row.index + 1, value(row)]) })),
    }),
    tip: (index) => [el("div", { class: "muted" }, `training ${index + 1}, stage ${trainings[index].stage + 1}`),
      ...Object.entries(trainings[index].metrics).map(([metricName, value]) => el("div", {}, el("b", {}, short(value)), ` ${metricName}`)),
      el("div", {}, el("b", {}, short(rows[index].best)), ` best ${name}, held out`)],
  });
  const hasLoss = rows.some((row) => metric(row, "loss") !== null);
  const loss = hasLoss && trace("training loss", [["mean", (row) => metric(row, "loss")]]);
  const accuracy = trace(`${name}, held out`, [["best", (row) => row.best], ["mean", (row) => row.mean]]);
  const columns = [
    { title: "stage", isNumber: true, value: ({ training }) => training.stage + 1, show: ({ training }) => String(training.stage + 1) },
    { title: "networks", isNumber: true, value: ({ training }) => training.networks ?? Infinity, show: ({ training }) => many(training.networks) },
    { title: "epochs", isNumber: true, value: ({ training }) => training.epochs },
    { title: "images", isNumber: true, value: ({ training }) => training.images, show: ({ training }) => counted(training.images) },
    ...[...new Set(rows.flatMap((row) => Object.keys(row.training.metrics)))].map((key) => ({ title: `training ${key}`, isNumber: true, value: (row) => metric(row, key) })),
    { title: "evaluations", isNumber: true, value: (row) => row.evaluations, show: (row) => grouped(row.evaluations) },
    { title: `best ${name}`, isNumber: true, value: (row) => row.best },
    { title: `mean ${name}`, isNumber: true, value: (row) => row.mean },
    { title: "time", isNumber: true, value: ({ training }) => training.seconds, show: ({ training }) => spoken(training.seconds) },
  ];
  return part("supernet", "The SuperNet", "What each training of the shared weights came to, and what networks measured on held-out images with them.",
    el("div", { class: "columns even" },
      loss && headed("loss", "Loss of training", [saver("loss", () => loss.figure())], loss),
      headed("held-out", "Held-out fitness", [saver("held-out", () => accuracy.figure())], accuracy, legend(["var(--accent)", "best"], ["var(--mean)", "mean"]))),
    table("Trainings", columns, rows));
}

const PARTS = [["training", "training"], ["evaluation", "evaluation"], ["strategy", "strategy"], ["naming", "naming the winner"],
  ["random_networks", "random networks"], ["ranking", "ranking"], ["checkpoints", "checkpoints"], ["host", "loop and journal"]];

function time() {
  const { times, times_are_whole, lost, happenings } = run.document;
  const parts = PARTS.map(([key, title], index) => ({ title, seconds: times[key] || 0, colour: `var(--operation-${index})` }));
  if (!times_are_whole) {
    const rest = times.total - parts.reduce((sum, { seconds }) => sum + seconds, 0);
    parts.push({ title: "everything else", seconds: Math.max(0, rest), colour: "var(--passing)" });
  }
  const shown = parts.filter(({ seconds }) => seconds > 0);
  const share = (seconds) => `${((100 * seconds) / Math.max(times.total, 1e-9)).toFixed(1)} %`;
  const columns = [
    { title: "part", value: (row) => row.title, show: (row) => [el("span", { class: "swatch", colour: row.colour }), row.title] },
    { title: "time", isNumber: true, value: (row) => row.seconds, show: (row) => spoken(row.seconds) },
    { title: "share", isNumber: true, value: (row) => row.seconds, show: (row) => share(row.seconds) },
  ];
  const moments = [
    { title: "at", isNumber: true, value: (row) => row.at_seconds, show: (row) => spoken(row.at_seconds) },
    { title: "what", value: (row) => row.what, style: "text", show: (row) => [row.what, row.details.map((detail) => el("div", { class: "quiet-text" }, detail))] },
  ];
  const losses = lost.length > 0 && el("div", {}, el("h3", {}, "Workers that were lost"), table("Workers that were lost", [
    { title: "during", value: (row) => row.during },
    { title: "reason", value: (row) => row.reason, style: "text" },
    { title: "network", show: (row) => (row.genome ? row.genome.join("-") : "none"), style: "mono" },
    { title: "work lost", isNumber: true, value: (row) => row.seconds, show: (row) => spoken(row.seconds) },
  ], lost));
  return part("time", "Time", null, el("div", { class: "columns even" },
    el("div", {},
      el("div", { class: "parts-bar", role: "img", "aria-label": shown.map(({ title, seconds }) => `${title} ${share(seconds)}`).join(", ") },
        shown.map((row) => el("i", { style: `flex: ${row.seconds}`, colour: row.colour, tip: () => [el("div", {}, el("b", {}, spoken(row.seconds)), ` ${row.title}`)] }))),
      table("Time by part", columns, shown)),
    el("div", { class: "stack" }, el("div", {}, el("h3", {}, "What happened"), table("What happened", moments, happenings)), losses)));
}
