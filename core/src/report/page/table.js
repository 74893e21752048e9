// Tables that can be sorted by each column.

/**
 * A table. A column is `{ title, value(row), show(row), isNumber, style }`; `pick(row)` makes rows
 * pickable, `isPicked(row)` says which one is.
 */
function table(label, columns, rows, { pick, isPicked, most = 200 } = {}) {
  let sorted = [...rows];
  let order = null;
  let shown = most;
  const body = el("tbody");
  const heads = columns.map((column, index) => el("th", { scope: "col", class: column.isNumber ? "number" : null },
    column.value ? el("button", { type: "button", onclick: () => sort(index) }, column.title) : column.title));
  const more = el("button", { type: "button", onclick: () => { shown += 10 * most; draw(); } });
  const cell = (column, row) => el("td", { class: `${column.isNumber ? "number" : ""} ${column.style || ""}` },
    column.show ? column.show(row) : column.isNumber ? short(column.value(row)) : column.value(row));
  const draw = () => {
    body.replaceChildren(...sorted.slice(0, shown).map((row) => el("tr", pick && {
      tabindex: 0, "aria-selected": isPicked && isPicked(row) ? "true" : null,
      onclick: () => pick(row),
      onkeydown: (event) => { if (event.key === "Enter") pick(row); },
    }, columns.map((column) => cell(column, row)))));
    more.hidden = sorted.length <= shown;
    more.textContent = `Show more of ${grouped(sorted.length)}`;
  };
  const sort = (index) => {
    const isUp = order && order[0] === index ? !order[1] : !columns[index].isNumber;
    order = [index, isUp];
    const { value } = columns[index];
    const compare = (one, other) => {
      if (one === other) return 0;
      if (one === null || one === undefined) return 1;
      if (other === null || other === undefined) return -1;
      return (one < other ? -1 : 1) * (isUp ? 1 : -1);
    };
    sorted = [...rows].sort((one, other) => compare(value(one), value(other)));
    heads.forEach((head, place) => {
      if (place === index) head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    draw();
  };
  draw();
  return el("div", { class: "scroll" },
    el("table", { "aria-label": label }, el("thead", {}, el("tr", {}, heads)), body), more);
}
