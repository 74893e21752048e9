// A chart of points and lines: hovered, picked by mouse, finger and keys, saved as SVG.

/** Points that share so many pixels are one dot. */
const CELL = 3;
/** How far from a dot it is hovered. */
const REACH = 30;

/** Round numbers that divide a range. */
function ticksOf([low, high], wanted, isInteger) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  if (isInteger) step = Math.max(1, Math.round(step));
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) ticks.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
  return ticks;
}

function domainOf(values, margin, isFromZero) {
  let [low, high] = [Infinity, -Infinity];
  for (const list of values) {
    for (const value of list) {
      if (value === null || !Number.isFinite(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return null;
  if (isFromZero) low = Math.min(0, low);
  if (low === high) [low, high] = [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
  const room = (high - low) * margin;
  return [isFromZero && low === 0 ? 0 : low - room, high + room];
}

/** A range without the worst few, where these would take much of it: they are drawn at its edge. */
function withoutWorst([low, high], points, worse) {
  // A sample of them is enough.
  const count = points.reduce((sum, { ys }) => sum + ys.length, 0);
  const every = Math.ceil(count / 5000);
  const sample = points.flatMap(({ ys }) => (every > 1 ? Array.from({ length: Math.floor(ys.length / every) }, (_, index) => ys[index * every]) : ys));
  const values = sample.filter((value) => value !== null).sort((one, other) => one - other);
  const few = Math.floor(values.length * 0.03);
  if (!few) return [low, high];
  const edge = worse === "low" ? values[few] : values[values.length - 1 - few];
  const left = worse === "low" ? high - edge : edge - low;
  if (left > (high - low) * 0.7) return [low, high];
  return worse === "low" ? [edge - left * 0.05, high] : [low, edge + left * 0.05];
}

/** Numbers on an axis, all with as many digits as the closest two need. */
function tickText(ticks, format) {
  if (format) return ticks.map(format);
  const largest = Math.max(...ticks.map(Math.abs));
  if (largest >= 1e4) return ticks.map(counted);
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : 1;
  // As many digits as the step has: 0.025 is not 0.03.
  const isWhole = (number) => Math.round(number) > 0 && Math.abs(number - Math.round(number)) < 1e-6;
  const digits = [0, 1, 2, 3, 4, 5].find((digits) => isWhole(step * 10 ** digits)) ?? 6;
  return ticks.map((tick) => tick.toFixed(digits));
}

/**
 * A chart. `options.content()` gives what is on it now:
 * `points`: lists `{ style, xs, ys, ids }`; `lines`: `{ style, points }`; `bands`: `{ from, to, text }`;
 * `marks`: `{ x, y, style, radius }`; `paths`: `{ style, pairs }`.
 * `options.tip(id)` and `options.pick(id)` answer a point that is hovered or picked.
 */
function chart(options) {
  const box = el("div", { class: "chart" });
  let figure = null;
  drawn(box, (width) => {
    figure = drawChart(options, width);
    box.replaceChildren(figure || el("p", { class: "quiet-text" }, options.empty || "Nothing was measured yet."));
  });
  box.figure = () => figure;
  return box;
}

function drawChart(options, width) {
  const content = options.content();
  const { points = [], lines = [], bands = [], marks = [], paths = [] } = content;
  const along = (axis) => [...points.map((list) => list[axis === 0 ? "xs" : "ys"]), ...lines.map((line) => line.points.map((point) => point[axis]))];
  const x = content.x || {};
  const y = content.y || {};
  const xDomain = domainOf(along(0), x.margin ?? 0.01, x.isFromZero);
  const whole = domainOf(along(1), 0.06);
  if (!xDomain || !whole) return null;
  const yDomain = y.worse ? withoutWorst(whole, points, y.worse) : whole;
  const height = Math.round(Math.max(220, Math.min(options.height || 360, width * 0.8)));
  const yTicks = ticksOf(yDomain, height / 56);
  const yTexts = tickText(yTicks, y.format);
  const left = 14 + 7 * Math.max(...yTexts.map((text) => text.length));
  const [right, top, bottom] = [width - 10, bands.length ? 42 : 26, height - 40];
  const px = (value) => left + ((value - xDomain[0]) / (xDomain[1] - xDomain[0])) * (right - left);
  const py = (value) => Math.max(top, Math.min(bottom, bottom - ((value - yDomain[0]) / (yDomain[1] - yDomain[0])) * (bottom - top)));
  const xTicks = ticksOf(xDomain, (right - left) / (x.format ? 92 : 76), x.isInteger);
  const xTexts = tickText(xTicks, x.format);

  const root = svg("svg", { class: "figure", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": options.label });
  bands.forEach((band, index) => {
    const [from, to] = [Math.max(left, px(band.from)), Math.min(right, px(band.to))];
    if (index % 2 === 0) root.append(svg("rect", { class: "band", x: from, y: top, width: Math.max(0, to - from), height: bottom - top }));
    if (band.text && to - from > 7 * band.text.length) root.append(svg("text", { class: "muted", x: from + 2, y: top - 6 }, band.text));
  });
  yTicks.forEach((tick, index) => root.append(
    svg("line", { class: "grid", x1: left, x2: right, y1: py(tick), y2: py(tick) }),
    svg("text", { class: "muted end", x: left - 8, y: py(tick) + 4 }, yTexts[index])));
  xTicks.forEach((tick, index) => root.append(svg("text", {
    class: `muted ${px(tick) > right - 16 ? "end" : "middle"}`, x: Math.min(px(tick), right), y: bottom + 18,
  }, xTexts[index])));
  root.append(
    svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
    svg("text", { class: "muted end", x: right, y: height - 4 }, x.text || ""),
    svg("text", { class: "muted", x: 0, y: 13 }, y.text || ""));
  // The more points share a dot the stronger it is.
  const grid = { columns: Math.ceil(width / CELL) + 1, rows: Math.ceil(height / CELL) + 1 };
  grid.dots = new Int32Array(grid.columns * grid.rows).fill(-1);
  grid.ids = new Int32Array(grid.dots.length);
  const density = points.reduce((sum, { xs }) => sum + xs.length, 0) > 4000 ? "dense" : "";
  for (const { style, xs, ys, ids } of points) {
    const counts = new Uint32Array(grid.dots.length);
    const used = [];
    for (let index = 0; index < xs.length; index++) {
      if (ys[index] === null || ys[index] === undefined) continue;
      const cell = Math.round(py(ys[index]) / CELL) * grid.columns + Math.round(px(xs[index]) / CELL);
      if (counts[cell]++ === 0) {
        used.push(cell);
        grid.ids[cell] = ids ? ids[index] : index;
      }
    }
    const drawnPaths = { few: [], some: [], many: [] };
    for (const cell of used) {
      grid.dots[cell] = Math.max(0, grid.dots[cell]) + counts[cell];
      const strength = counts[cell] < 2 ? "few" : counts[cell] < 8 ? "some" : "many";
      drawnPaths[strength].push(`M${(cell % grid.columns) * CELL} ${Math.floor(cell / grid.columns) * CELL}h0`);
    }
    for (const [strength, list] of Object.entries(drawnPaths)) {
      if (list.length) root.append(svg("path", { class: `points ${density} ${strength} ${style || ""}`, d: list.join("") }));
    }
  }
  for (const { style, pairs } of paths) {
    root.append(svg("path", { class: style, fill: "none", d: pairs.map(([x1, y1, x2, y2]) => `M${px(x1).toFixed(1)} ${py(y1).toFixed(1)}L${px(x2).toFixed(1)} ${py(y2).toFixed(1)}`).join("") }));
  }
  for (const { style, points: line } of lines) {
    root.append(svg("path", { class: `line ${style}`, d: line.map(([at, over], index) => `${index ? "L" : "M"}${px(at).toFixed(1)} ${py(over).toFixed(1)}`).join("") }));
  }
  for (const mark of marks) root.append(svg("circle", { class: mark.style, cx: px(mark.x), cy: py(mark.y), r: mark.radius || 5 }));
  interact(root, grid, options);
  return root;
}

/** Hovering, picking, and the keys that go from point to point. */
function interact(root, grid, { tip, pick, chosen }) {
  if (!tip) return;
  const cursor = svg("circle", { class: "cursor", r: 6, visibility: "hidden" });
  root.append(cursor);
  let current = -1;
  const placeOfCell = (cell) => [(cell % grid.columns) * CELL, Math.floor(cell / grid.columns) * CELL];
  const show = (cell, x, y) => {
    current = cell;
    const [cx, cy] = placeOfCell(cell);
    fill(cursor, { cx, cy, visibility: "visible" }, []);
    const others = grid.dots[cell] - 1;
    showTip([...tip(grid.ids[cell]), others > 0 ? el("div", { class: "muted" }, `and ${plural(others, "other")} at this place`) : ""], x, y);
  };
  const leave = () => { cursor.setAttribute("visibility", "hidden"); hideTip(); };
  const nearest = (event) => {
    const frame = root.getBoundingClientRect();
    const [column, row] = [(event.clientX - frame.left) / CELL, (event.clientY - frame.top) / CELL];
    const reach = REACH / CELL;
    let best = -1;
    let least = reach * reach;
    for (let over = Math.max(0, Math.ceil(row - reach)); over <= Math.min(grid.rows - 1, row + reach); over++) {
      for (let at = Math.max(0, Math.ceil(column - reach)); at <= Math.min(grid.columns - 1, column + reach); at++) {
        const distance = (at - column) ** 2 + (over - row) ** 2;
        if (distance < least && grid.dots[over * grid.columns + at] >= 0) [least, best] = [distance, over * grid.columns + at];
      }
    }
    return best;
  };
  root.addEventListener("pointermove", (event) => {
    const cell = nearest(event);
    if (cell >= 0) show(cell, event.clientX, event.clientY);
    else leave();
  });
  root.addEventListener("pointerleave", leave);
  root.addEventListener("click", (event) => {
    const cell = nearest(event);
    if (cell >= 0 && pick) pick(grid.ids[cell]);
  });
  root.setAttribute("tabindex", "0");
  root.setAttribute("aria-label", `${root.getAttribute("aria-label")}. Arrow keys go from point to point, Enter picks one.`);
  let order = null;
  root.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Enter" && current >= 0 && pick) pick(grid.ids[current]);
    if (!step) return;
    event.preventDefault();
    order ??= [...grid.dots.keys()].filter((cell) => grid.dots[cell] >= 0).sort((one, other) => (one % grid.columns) - (other % grid.columns) || one - other);
    if (!order.length) return;
    const place = current >= 0 ? order.indexOf(current) : step > 0 ? -1 : order.length;
    const cell = order[Math.max(0, Math.min(order.length - 1, place + step))];
    const frame = root.getBoundingClientRect();
    const [x, y] = placeOfCell(cell);
    show(cell, frame.left + x, frame.top + y);
  });
}

/** What lines and dots mean, in words below a chart. */
const legend = (...entries) => el("p", { class: "quiet-text legend" }, entries.filter(Boolean).map(([colour, text]) =>
  el("span", {}, el("span", { class: "swatch", colour }), text)));
