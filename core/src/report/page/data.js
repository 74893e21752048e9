// The document as arrays that figures read: `run` is what everything draws.

let run = null;

/** Reads a document, or adds one that tells the rest to what is there. */
function take(document) {
  const [evaluation, step] = document.from;
  const isMore = run && run.document.edition === document.edition && evaluation === run.count && step === run.stepCount;
  if (isMore) {
    const { evaluations, steps } = run.document;
    joinColumns(evaluations, document.evaluations);
    evaluations.values.forEach((column, index) => append(column, document.evaluations.values[index]));
    joinColumns(steps, document.steps);
    run = describe({ ...document, evaluations, steps });
  } else {
    run = describe(document);
  }
  return run;
}

function append(column, more) {
  for (const value of more) column.push(value);
}

function joinColumns(columns, more) {
  for (const [name, column] of Object.entries(more)) {
    if (name === "values") continue;
    if (!columns[name]) columns[name] = column;
    else if (Array.isArray(column)) append(columns[name], column);
    else Object.assign(columns[name], column);
  }
}

function describe(document) {
  const { evaluations, steps, trainings, objectives, space } = document;
  const count = evaluations.genomes.length;
  const stepOf = new Uint32Array(count);
  for (let step = 0; step < steps.first.length; step++) {
    stepOf.fill(step, steps.first[step], steps.first[step + 1] ?? count);
  }
  // Which weights each was measured with: fitness compares within one only.
  const weights = new Uint16Array(count);
  const changes = trainings.filter((training) => training.weights_changed).map((training) => training.first);
  changes.forEach((first, index) => weights.fill(index + 1, first));
  const genes = new Array(count);
  const described = {
    document, count, stepCount: steps.step.length, stepOf, weights, changes, space, objectives, steps, trainings,
    goal: document.goal,
    fitness: evaluations.values[document.goal],
    genome: (index) => (genes[index] ??= genesOf(evaluations.genomes[index])),
    colours: coloursOf(space),
    costs: null,
  };
  described.outside = new Uint8Array(count);
  objectives.forEach(({ at_most, at_least }, objective) => {
    if (at_most === null && at_least === null) return;
    const values = evaluations.values[objective];
    for (let index = 0; index < count; index++) {
      if ((at_most !== null && values[index] > at_most) || (at_least !== null && values[index] < at_least)) described.outside[index] = 1;
    }
  });
  return described;
}

/** A digit for each slot, or numbers where a slot has more choices than there are digits. */
const genesOf = (text) => (text.includes("-") ? text.split("-").map(Number) : Array.from(text, (digit) => parseInt(digit, 36)));

/** Whether `one` is better than `other` by an objective. */
const better = (objective, one, other) =>
  (run.objectives[objective].goal === "minimise" ? one < other : one > other);

/** Operations that compute something have a colour each, those that pass their input through are grey. */
function coloursOf(space) {
  const colours = new Map();
  let next = 0;
  for (const slot of space.slots) {
    for (const { name, meaning } of slot.choices) {
      if (!colours.has(name)) colours.set(name, meaning === "sequence" ? `var(--operation-${next++ % 8})` : "var(--passing)");
    }
  }
  return colours;
}

/** Parameters and multiply-adds of a genome. */
function costOf(genome) {
  let { params, flops } = run.space.fixed;
  genome.forEach((choice, slot) => {
    params += run.space.slots[slot].choices[choice].params;
    flops += run.space.slots[slot].choices[choice].flops;
  });
  return { params, flops };
}

/** Both costs of all evaluations; counted when a figure needs them. */
function costs() {
  if (run.costs) return run.costs;
  const params = new Float64Array(run.count);
  const flops = new Float64Array(run.count);
  for (let index = 0; index < run.count; index++) {
    const cost = costOf(run.genome(index));
    params[index] = cost.params;
    flops[index] = cost.flops;
  }
  return (run.costs = { params, flops });
}

/** What can be drawn against fitness: other objectives, and what the description tells. */
function quantities() {
  const names = run.objectives.map(({ name }) => name);
  const measured = names.map((name, index) => ({ name, values: () => run.document.evaluations.values[index] }));
  const computed = ["params", "flops"].filter((name) => !names.includes(name)).map((name) => ({ name, values: () => costs()[name] }));
  return [...measured, ...computed];
}

/** Slots that belong together: Blocks, and what stands outside of them. */
function groups() {
  const inBlocks = new Set(run.space.blocks.flatMap((block) => block.slots));
  const rest = run.space.slots.map((_, slot) => slot).filter((slot) => !inBlocks.has(slot));
  return [...run.space.blocks, ...(rest.length ? [{ name: "Other slots", slots: rest }] : [])];
}

const operationOf = (slot, choice) => run.space.slots[slot].choices[choice];

/** `Block 1, layer 2`, or the name of the slot where several nodes share it. */
function placeOf(slot) {
  for (const { name, slots } of groups()) {
    const layer = slots.indexOf(slot);
    if (layer < 0) continue;
    const isShared = run.space.nodes.filter((node) => node.slot === slot).length > 1;
    return isShared ? run.space.slots[slot].name : `${name}, layer ${layer + 1}`;
  }
  return run.space.slots[slot].name;
}

/** What a strategy says of the step of an evaluation. */
const labelOf = (index) => run.steps.labels[run.stepOf[index]] || `step ${run.steps.step[run.stepOf[index]] + 1}`;

/** A genome as a strip of colours. */
function strip(genome) {
  return el("span", { class: "genome", role: "img", "aria-label": `genome ${genome.join("-")}` }, groups().map(({ slots }) =>
    el("span", {}, slots.map((slot) => {
      const { name, meaning } = operationOf(slot, genome[slot]);
      return el("i", { class: meaning === "sequence" ? null : "passing", colour: run.colours.get(name), title: name });
    }))));
}

/** An evaluation in a few lines. */
function about(index) {
  const { evaluations, origins } = run.document;
  const failed = evaluations.failed[index];
  const cost = costOf(run.genome(index));
  const values = run.objectives.filter(({ name }) => !["params", "flops"].includes(name)).map(({ name }) => {
    const value = evaluations.values[run.objectives.findIndex((other) => other.name === name)][index];
    return el("div", {}, el("b", {}, short(value)), ` ${name}`);
  });
  return [
    el("div", { class: "muted" }, `evaluation ${grouped(index + 1)} · ${labelOf(index)}`),
    failed ? el("div", {}, `failed: ${failed}`) : values,
    strip(run.genome(index)),
    el("div", { class: "muted" }, `${counted(cost.params)} parameters · ${counted(cost.flops)} FLOPs`),
    el("div", { class: "muted" }, `by ${origins[evaluations.by[index]]}`),
    run.outside[index] ? el("div", { class: "muted" }, "outside of the limits") : null,
  ];
}
