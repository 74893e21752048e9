// Elements, numbers in words, and what floats above the page. Texts only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "tip") element.tip = value;
    else if (name === "colour") element.style.setProperty("--colour", value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element. */
const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);

/** An SVG element. */
const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

/** A number that can be read. */
function short(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "none";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e15)) return value.toExponential(2);
  if (size >= 1e4) return counted(value);
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(digits);
}

/** A count with at most four digits: 7.35 M. */
function counted(value) {
  const [amount, unit] = amountOf(value);
  return unit ? `${amount} ${unit}` : amount;
}

function amountOf(value) {
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) {
      const scaled = value / size;
      return [scaled.toFixed(scaled >= 100 ? 1 : 2).replace(/\.?0+$/, ""), unit];
    }
  }
  return [String(Math.round(value * 100) / 100), ""];
}

const grouped = (count) => Math.round(count).toLocaleString("en").replaceAll(",", "\u202f");

/** A size of a set of networks: 1728, 3.2e9. */
const many = (count) => (count === null ? "over 1e308" : count < 1e6 ? grouped(count) : count.toExponential(1).replace("e+", "e"));

/** Seconds as a person says them. */
function spoken(seconds) {
  if (seconds === null || seconds === undefined) return "none";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const from = parts.findIndex(([size]) => seconds >= size);
  let rest = Math.round(seconds);
  return parts.slice(from, from + 2).map(([size, unit]) => {
    const amount = Math.floor(rest / size);
    rest -= amount * size;
    return amount ? `${amount} ${unit}` : "";
  }).filter(Boolean).join(" ");
}

const plural = (count, one, more = `${one}s`) => `${grouped(count)} ${count === 1 ? one : more}`;

const byId = (id) => document.getElementById(id);

/** Shows content beside a place on the screen. */
function showTip(content, x, y) {
  const tip = byId("tip");
  tip.replaceChildren(...[content].flat());
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth - 8 ? x - width - 14 : x + 14;
  const top = y + 14 + height > innerHeight - 8 ? y - height - 14 : y + 14;
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  tip.style.top = `${Math.max(8, top)}px`;
}

const hideTip = () => { byId("tip").hidden = true; };

// Elements with a tip show it to mouse, finger and keyboard.
function tipOf(event) {
  let element = event.target;
  while (element && !element.tip) element = element.parentNode;
  return element;
}
document.addEventListener("pointerover", (event) => {
  const element = tipOf(event);
  if (element) showTip(element.tip(), event.clientX, event.clientY);
});
document.addEventListener("pointerout", (event) => { if (tipOf(event)) hideTip(); });
document.addEventListener("focusin", (event) => {
  const element = event.target;
  if (!element.tip || !element.matches(":focus-visible")) return;
  const { right, top } = element.getBoundingClientRect();
  showTip(element.tip(), Math.min(right, innerWidth - 40), top);
});
document.addEventListener("focusout", hideTip);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
addEventListener("scroll", hideTip, { passive: true });

/** A few buttons of which one is pressed. */
function choice(label, options, chosen, choose) {
  const buttons = options.map(([value, text]) => el("button", {
    type: "button", "aria-pressed": String(value === chosen),
    onclick: () => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button === buttons[options.findIndex(([other]) => other === value)]));
      choose(value);
    },
  }, text));
  return options.length > 1 && el("div", { class: "switch", role: "group", "aria-label": label }, buttons);
}

/** A part of the page. */
function part(id, title, lead, ...children) {
  const tools = el("div", { class: "tools" });
  const section = el("section", { class: "part", id, "aria-labelledby": `${id}-title` },
    el("header", {}, el("h2", { id: `${id}-title` }, title), tools, lead && el("p", { class: "lead" }, lead)),
    children);
  section.tools = tools;
  return section;
}

/** A figure of a part, with a head of its own. */
const headed = (id, title, tools, ...children) => el("div", { id },
  el("header", { class: "figure-head" }, el("h3", {}, title), el("div", { class: "tools" }, tools)), children);

/** A button that saves the picture which `find` gives. */
function saver(name, find) {
  return el("button", { type: "button", class: "quiet save", title: "Save this picture as SVG", onclick: () => save(name, find()) }, "Save SVG");
}

/** Saves a figure with the colours that it has now. */
function save(name, figure) {
  const copy = figure.cloneNode(true);
  copy.setAttribute("xmlns", SVG);
  copy.removeAttribute("tabindex");
  const style = getComputedStyle(document.documentElement);
  const used = new Set(new XMLSerializer().serializeToString(copy).match(/--[\w-]+/g) || []);
  const rules = byId("figure-style").textContent;
  for (const variable of rules.match(/--[\w-]+/g)) used.add(variable);
  const values = [...used].filter((variable) => variable !== "--colour").map((variable) => `${variable}:${style.getPropertyValue(variable)}`);
  copy.prepend(svg("style", {}, `svg{${values.join(";")};background:${style.getPropertyValue("--surface")}}\n${rules}`));
  const link = el("a", {
    href: URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" })),
    download: `${name}.svg`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Calls `draw(width)` now and whenever the width of an element changes. */
function drawn(element, draw) {
  let width = 0;
  const observer = new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now > 0 && now !== width) draw((width = now));
  });
  observer.observe(element);
  element.redraw = () => { if (width) draw(width); };
  return element;
}
