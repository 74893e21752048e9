// A network drawn from the image to the classes: a bar for each layer, as long as it is wide.

/** The rows of a drawing, and which rows each takes its input from. */
function rowsOf(genome) {
  const { nodes, blocks } = run.space;
  const rowOf = new Map();
  const sources = [];
  const rows = [];
  // What a node that is not drawn stands for: rows before it.
  const resolve = (node) => (node === null ? ["image"] : rowOf.has(node) ? [rowOf.get(node)] : sources[node] || []);
  const slotRows = new Map();
  nodes.forEach((node, index) => {
    const chosen = node.candidates[node.slot === null ? 0 : genome[node.slot]];
    const inputs = [...new Set(node.inputs.flatMap(resolve))];
    const isShared = node.slot !== null && nodes.some((other, place) => place !== index && other.slot === node.slot);
    const passes = chosen.meaning === "identity" || chosen.meaning === "absent";
    if (slotRows.has(node.slot) && node.slot !== null) {
      // A cell that comes again is drawn once.
      const row = slotRows.get(node.slot);
      row.count++;
      row.params += chosen.params;
      row.flops += chosen.flops;
      sources[index] = [row];
      return;
    }
    if (passes && !(isShared && node.slot !== null)) {
      sources[index] = inputs;
      const block = blocks.find(({ slots }) => slots.includes(node.slot));
      if (block) rows.push({ kind: "left-out", block });
      return;
    }
    const row = { kind: "layer", node, chosen, inputs, count: 1, params: chosen.params, flops: chosen.flops, block: blocks.find(({ slots }) => slots.includes(node.slot)) };
    rows.push(row);
    rowOf.set(index, row);
    if (node.slot !== null) slotRows.set(node.slot, row);
  });
  return rows;
}

function drawNetwork(genome, width) {
  const rows = rowsOf(genome);
  const total = costOf(genome);
  const isNarrow = width < 560;
  const numbers = isNarrow ? 62 : 92;
  const shape = isNarrow ? 84 : 118;
  // Room for the arcs of inputs that come from further up.
  const isChain = rows.every(({ inputs }, index) => !inputs || (inputs.length === 1 && [rows.slice(0, index).findLast(({ kind }) => kind === "layer"), "image"].includes(inputs[0])));
  const gutter = isChain ? 1 : 34;
  const room = width - gutter - shape - 2 * numbers - 12;
  const widest = Math.max(...run.space.nodes.map(({ output }) => output.channels), 1);
  const longest = Math.max(...rows.filter(({ kind }) => kind === "layer").flatMap(({ params, flops }) => [params / (total.params || 1), flops / (total.flops || 1)]), 1e-9);
  const root = svg("svg", { class: "figure network", role: "group", "aria-label": "The network, layer by layer" });
  const [columnShape, columnParams, columnFlops] = [width - 2 * numbers - 12, width - numbers, width];
  let y = 16;
  root.append(
    svg("text", { class: "muted end", x: columnShape, y }, "output"),
    svg("text", { class: "muted end", x: columnParams, y }, isNarrow ? "params" : "parameters"),
    svg("text", { class: "muted end", x: columnFlops, y }, "FLOPs"));
  y += 14;
  const plain = (text, shapeText) => {
    root.append(svg("rect", { class: "box plain", x: gutter, y, width: Math.min(room, 96), height: 24, rx: 5 }), svg("text", { x: gutter + 9, y: y + 16 }, text));
    if (shapeText) root.append(svg("text", { class: "muted end", x: columnShape, y: y + 16 }, shapeText));
    const place = { top: y, bottom: y + 24 };
    y += 24;
    return place;
  };
  const sized = ({ channels, height, width: across }) => (isNarrow ? `${channels}×${height}×${across}` : `${channels} × ${height} × ${across}`);
  const image = plain("image", sized(run.space.input));
  const edges = [];
  let block = null;
  let leftOut = 0;
  const settle = () => {
    if (!leftOut) return;
    root.append(svg("text", { class: "muted halo", x: gutter + 2, y: y + 16 }, `${plural(leftOut, "layer")} left out`));
    y += 20;
    leftOut = 0;
  };
  let last = "image";
  for (const row of rows) {
    if (row.block !== block) {
      settle();
      block = row.block;
      y += 12;
      if (block) {
        const ofBlock = rows.filter((other) => other.block === block && other.kind === "layer");
        const sum = (name) => ofBlock.reduce((all, other) => all + other[name], 0);
        const count = Math.max(1, ...ofBlock.map((other) => other.count));
        y += 8;
        root.append(svg("text", { class: "strong halo", x: gutter, y: y + 8 }, count > 1 ? `${block.name} × ${count}` : block.name),
          svg("text", { class: "muted end", x: columnParams, y: y + 8 }, counted(sum("params"))),
          svg("text", { class: "muted end", x: columnFlops, y: y + 8 }, counted(sum("flops"))));
        y += 18;
      }
    }
    if (row.kind === "left-out") { leftOut++; continue; }
    settle();
    y += 6;
    const { chosen, node } = row;
    const length = Math.max(Math.min(room, 76), room * Math.sqrt(node.output.channels / widest));
    const isCut = chosen.meaning === "zero" || chosen.meaning === "identity";
    const colour = node.slot === null ? null : run.colours.get(chosen.name);
    const residual = chosen.residual && node.input.channels === node.output.channels && node.input.height === node.output.height;
    const place = node.slot === null ? node.name : placeOf(node.slot);
    const tip = () => [
      el("div", {}, el("b", {}, chosen.name), ` · ${place}`),
      el("div", { class: "muted" }, `${sized(node.input)} → ${sized(node.output)}${row.count > 1 ? `, ${row.count} times` : ""}`),
      ...chosen.layers.map((layer) => el("div", {}, layer)),
      residual ? el("div", {}, "its input is added to its output") : null,
      el("div", { class: "muted" }, `${grouped(row.params)} parameters · ${grouped(row.flops)} multiply-adds`),
    ].filter(Boolean);
    root.append(svg("g", { class: "target layer", tabindex: 0, role: "img", "aria-label": `${place}: ${chosen.name}, ${sized(node.output)}, ${counted(row.params)} parameters`, tip },
      svg("rect", { class: `box ${colour ? "" : "plain"} ${isCut ? "cut" : ""}`, x: gutter, y, width: length, height: 24, rx: 5, colour }),
      svg("text", { x: gutter + 9, y: y + 16, class: isCut ? "muted" : null }, chosen.name + (residual ? " +" : "")),
      svg("text", { class: "muted end", x: columnShape, y: y + 16 }, sized(node.output)),
      shares(columnParams, y, numbers, row.params, total.params, longest, colour),
      shares(columnFlops, y, numbers, row.flops, total.flops, longest, colour)));
    row.place = { top: y, bottom: y + 24 };
    const from = row.inputs.length ? row.inputs : [];
    for (const input of from) edges.push([input, row, input === last]);
    last = row;
    y += 24;
  }
  settle();
  y += 12;
  const classes = { place: plain(plural(run.space.classes, "class", "classes")) };
  edges.push([last, classes, true]);
  for (const [from, to, isNext] of edges) {
    const start = from === "image" ? image : from.place;
    if (!start || !to.place || start.top >= to.place.top) continue;
    const x = gutter + 16;
    const [y1, y2] = [start.top + 12, to.place.top + 12];
    const bend = Math.min(gutter - 4, 8 + (y2 - y1) / 9);
    root.prepend(svg("path", { class: "flow", d: isNext
      ? `M${x} ${start.bottom}V${to.place.top}`
      : `M${gutter} ${y1}C${gutter - bend} ${y1} ${gutter - bend} ${y2} ${gutter} ${y2}` }));
  }
  const height = y + 4;
  fill(root, { viewBox: `0 0 ${width} ${height}`, width, height }, []);
  return root;
}

/** A number with its share of the whole below. */
function shares(right, y, width, value, total, longest, colour) {
  const room = width - 18;
  const length = total ? (room * (value / total)) / longest : 0;
  return [
    svg("text", { class: "end", x: right, y: y + 14 }, value ? counted(value) : "–"),
    svg("rect", { class: "share", x: right - length, y: y + 19, width: Math.max(0, length), height: 3, rx: 1.5, colour: colour || "var(--muted)" }),
  ];
}
