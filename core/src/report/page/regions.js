// The regions through the stages: a line for each operation of each slot, as long as it lived.

const ROW = 17;

/** Trainings in regions that differ, and the region that remained. */
function stages() {
  const list = [];
  for (const training of run.trainings) {
    const last = list[list.length - 1];
    const isSame = last && JSON.stringify(last.region) === JSON.stringify(training.region);
    if (isSame) last.elites = training.elites.length ? training.elites : last.elites;
    else list.push({ stage: training.stage, region: training.region, elites: training.elites, networks: training.networks });
  }
  return list;
}

function regions() {
  const list = stages();
  if (!list.length) return null;
  const box = drawn(el("div", {}), (width) => box.replaceChildren(drawRegions(list, width)));
  const last = run.document.final_region;
  const removed = list.map((stage, index) => {
    const next = index + 1 < list.length ? list[index + 1].region : last;
    if (!next) return 0;
    return stage.region.reduce((count, allowed, slot) => count + allowed.filter((choice) => !next[slot].includes(choice) && operationOf(slot, choice).meaning !== "absent").length, 0);
  });
  const lead = list.length === 1 && !removed[0]
    ? `One region of ${many(list[0].networks)} networks throughout: nothing was pruned.`
    : `Each line is an operation, from the stage that it was born in to the one that pruned it. The stronger its colour, the more of the stage's elites used it; their number stands in it. A cross is where it was pruned, a dot that the winner has it.`;
  const section = part("regions", "Regions through the stages", lead, box);
  section.tools.append(saver("regions", () => box.firstChild));
  return section;
}

function drawRegions(list, width) {
  const gap = 32;
  const columns = Math.max(1, Math.min(groups().length, Math.floor((width + gap) / 350)));
  const across = (width - gap * (columns - 1)) / columns;
  const root = svg("svg", { class: "figure", role: "group", "aria-label": "Operations through the stages" });
  const heights = new Array(columns).fill(0);
  for (const group of groups()) {
    const column = heights.indexOf(Math.min(...heights));
    heights[column] += drawGroup(root, list, group, column * (across + gap), heights[column], across) + 26;
  }
  const height = Math.max(...heights) - 18;
  return fill(root, { viewBox: `0 0 ${width} ${height}`, width, height }, []);
}

function drawGroup(root, list, { name, slots }, left, top, width) {
  const winner = run.document.elites[0];
  const last = run.document.final_region;
  const names = slots.flatMap((slot) => run.space.slots[slot].choices.map((choice) => choice.name.length));
  const label = Math.max(64, Math.min(118, 14 + 7 * Math.max(...names)));
  const each = (width - label - 20) / list.length;
  const from = left + label;
  let y = top + 16;
  root.append(svg("text", { class: "strong", x: left, y }, name));
  list.forEach((stage, index) => {
    const text = each > 52 ? `stage ${stage.stage + 1}` : String(stage.stage + 1);
    if (each > 16 || index === 0 || index === list.length - 1) root.append(svg("text", { class: "muted", x: from + index * each + 2, y }, text));
  });
  y += 8;
  const begin = y;
  slots.forEach((slot, layer) => {
    const isShared = run.space.nodes.filter((node) => node.slot === slot).length > 1;
    const title = isShared ? run.space.slots[slot].name : `layer ${layer + 1}`;
    y += 16;
    root.append(svg("text", { class: "muted", x: left, y }, title));
    y += 4;
    run.space.slots[slot].choices.forEach((choice, number) => {
      const lived = list.map((stage) => stage.region[slot].includes(number));
      if (choice.meaning === "absent" || !lived.includes(true)) return;
      const colour = run.colours.get(choice.name);
      const middle = y + ROW / 2;
      root.append(svg("text", { x: left, y: middle + 4 }, choice.name.length > 15 ? `${choice.name.slice(0, 14)}…` : choice.name),
        svg("line", { class: "grid", x1: from, x2: from + each * list.length, y1: middle, y2: middle }));
      lived.forEach((isAlive, index) => {
        if (!isAlive) return;
        const { elites, stage } = list[index];
        const keepers = elites.map((elite, place) => [elite, place + 1]).filter(([elite]) => elite[slot] === number);
        const share = elites.length ? keepers.length / elites.length : 0.5;
        const next = index + 1 < list.length ? list[index + 1].region : last;
        const isPruned = next && !next[slot].includes(number);
        const x = from + index * each;
        const end = each - (isPruned ? 12 : 2);
        const kept = keepers.map(([elite, place]) => `elite ${place} (${elite.join("-")})`);
        const tip = () => [
          el("div", {}, el("b", {}, choice.name), ` · ${placeOf(slot)} · stage ${stage + 1}`),
          elites.length ? el("div", {}, keepers.length ? `used by ${keepers.length} of ${plural(elites.length, "elite")}` : "used by no elite") : el("div", { class: "muted" }, "the strategy told no elites of this stage"),
          ...kept.map((text) => el("div", { class: "muted" }, text)),
          isPruned ? el("div", {}, "pruned at the end of the stage") : null,
        ].filter(Boolean);
        root.append(svg("g", { class: "target", tip, tabindex: 0, role: "img", "aria-label": `${choice.name} in ${placeOf(slot)}, stage ${stage + 1}: ${elites.length ? `used by ${keepers.length} of ${elites.length} elites` : "allowed"}${isPruned ? ", pruned" : ""}` },
          svg("rect", { class: "share-ground", x, y: y + 2, width: Math.max(3, end), height: ROW - 4, rx: 3 }),
          svg("rect", { class: "life", x, y: y + 2, width: Math.max(3, end), height: ROW - 4, rx: 3, colour, "fill-opacity": (0.16 + 0.5 * share).toFixed(2) }),
          elites.length > 0 && keepers.length > 0 && end > 22 ? svg("text", { class: "end", x: x + end - 5, y: middle + 4, "font-size": 10.5 }, String(keepers.length)) : null));
        if (isPruned) {
          const cross = x + each - 6;
          root.append(svg("path", { class: "pruned", d: `M${cross - 3} ${middle - 3}l6 6m0-6l-6 6` }));
        }
      });
      if (winner && winner.genome[slot] === number) root.append(svg("circle", { class: "used", cx: from + each * list.length + 9, cy: middle, r: 4 }));
      y += ROW;
    });
  });
  for (let index = 1; index < list.length; index++) root.prepend(svg("line", { class: "grid", x1: from + index * each, x2: from + index * each, y1: begin, y2: y }));
  return y - top;
}
