// Where a network comes from: all its ancestors, and the line to the first of them.

const MOST_ANCESTORS = 4000;

/** All ancestors of an evaluation, itself included, and the edges between them. */
function ancestorsOf(index) {
  const { parents } = run.document.evaluations;
  const seen = new Set([index]);
  const edges = [];
  const queue = [index];
  while (queue.length && seen.size < MOST_ANCESTORS) {
    const child = queue.shift();
    for (const parent of parents[child]) {
      if (parent === null) continue;
      edges.push([parent, child]);
      if (!seen.has(parent)) {
        seen.add(parent);
        queue.push(parent);
      }
    }
  }
  return { ancestors: [...seen], edges: edges.filter(([parent]) => seen.has(parent)), isWhole: queue.length === 0 };
}

/** From a network to the parent that is most like it, and so on to one without. */
function lineOf(index) {
  const line = [index];
  for (let child = index; ;) {
    const genome = run.genome(child);
    const known = run.document.evaluations.parents[child].filter((parent) => parent !== null && parent < child);
    if (!known.length) return line;
    const alike = (parent) => run.genome(parent).filter((choice, slot) => choice === genome[slot]).length;
    child = known.reduce((one, other) => (alike(other) > alike(one) ? other : one));
    line.push(child);
  }
}

/** What is different in a child. */
function changes(child, parent) {
  const [now, before] = [run.genome(child), run.genome(parent)];
  return now.flatMap((choice, slot) => choice === before[slot] ? [] : [el("span", { class: "change" },
    `${placeOf(slot)}: `, el("s", {}, operationOf(slot, before[slot]).name), " → ", el("b", {}, operationOf(slot, choice).name))]);
}

function genealogy() {
  const winner = run.document.elites[0];
  const index = picks.evaluation ?? (winner ? winner.evaluation : null);
  if (index === null || index === undefined) return null;
  const { ancestors, edges, isWhole } = ancestorsOf(index);
  const line = lineOf(index);
  const name = run.objectives[run.goal].name;
  const { evaluations, origins } = run.document;
  const of = picks.evaluation === null ? "the winner" : `evaluation ${grouped(index + 1)}`;
  const known = ancestors.length - 1;
  const lead = known === 0
    ? `${of[0].toUpperCase()}${of.slice(1)} has no ancestors that were evaluated: it came ${origins[evaluations.by[index]] === "random" ? "at random" : `by ${origins[evaluations.by[index]]}`}.`
    : `${isWhole ? plural(known, "ancestor") : `More than ${grouped(known)} ancestors`} of ${of}, ${plural(line.length - 1, "step")} from the first of them along the parents that are most like their child.`;
  const view = known > 0 && chart({
    label: `${name} of the ancestors of ${of} against evaluations`,
    height: 320,
    content: () => {
      const place = (at) => [at + 1, run.fitness[at]];
      const has = (at) => run.fitness[at] !== null;
      return {
        x: { text: "evaluations", isInteger: true, margin: 0.02 }, y: { text: name },
        points: [{ style: "large", ids: ancestors, xs: ancestors.map((at) => at + 1), ys: ancestors.map((at) => run.fitness[at]) }],
        paths: [{ style: "lineage", pairs: edges.filter(([parent, child]) => has(parent) && has(child)).map(([parent, child]) => [...place(parent), ...place(child)]) }],
        lines: [{ style: "best", points: line.filter(has).map(place).reverse() }],
        marks: has(index) ? [{ x: index + 1, y: run.fitness[index], style: "winner", radius: 6 }] : [],
      };
    },
    tip: about,
    pick,
  });
  const rows = line.map((at, generation) => ({ at, generation, parent: line[generation + 1] }));
  const columns = [
    { title: "evaluation", isNumber: true, value: (row) => row.at, show: (row) => grouped(row.at + 1) },
    { title: name, isNumber: true, value: (row) => run.fitness[row.at] },
    { title: "network", show: (row) => strip(run.genome(row.at)) },
    { title: "what changed", style: "text", show: (row) => (row.parent === undefined ? el("span", { class: "quiet-text" }, "the first") : changes(row.at, row.parent)) },
    { title: "when", show: (row) => labelOf(row.at) },
    { title: "by", value: (row) => origins[evaluations.by[row.at]] },
  ];
  const section = part("genealogy", "Genealogy", lead, el("div", { class: "stack" }, view,
    table("The line of descent", columns, rows, { pick: (row) => pick(row.at), isPicked: (row) => row.at === picks.evaluation, most: 60 })));
  if (view) section.tools.append(saver("genealogy", () => view.figure()));
  return section;
}
