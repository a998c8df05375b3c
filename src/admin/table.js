// How things are said, and tables that keep up with what is to be said.

const byId = (id) => document.getElementById(id);

// What others have called themselves is text, never markup.
function say(element, text, className = "") {
  if (element.textContent !== text) element.textContent = text;
  if (element.className !== className) element.className = className;
}

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// A number and its unit stay on one line.
const together = (text) => text.replaceAll(" ", "\u00a0");

const number = (value) => value.toLocaleString("en");

function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return together(`${unit ? value.toFixed(1) : value} ${units[unit]}`);
}

function duration(ms) {
  const s = Math.floor(ms / 1000);
  const [m, h, d] = [Math.floor(s / 60), Math.floor(s / 3600), Math.floor(s / 86400)];
  if (m === 0) return together(`${s} s`);
  if (h === 0) return together(`${m} min ${s % 60} s`);
  if (d === 0) return together(`${h} h ${m % 60} min`);
  return together(`${d} d ${h % 24} h`);
}

// Short times in more detail than long ones.
function shortTime(ms) {
  if (ms < 1000) return together(`${ms} ms`);
  return ms < 60_000 ? together(`${(ms / 1000).toFixed(1)} s`) : duration(ms);
}

const rate = (value) => (value > 0 && value < 10 ? value.toFixed(1) : number(Math.round(value)));

// A table whose rows stay what they are from one status to the next: nothing jumps, and the focus stays.
class Table {
  constructor(id, columns, key, empty) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    const cell = (name) => make("th", { scope: "col", role: "columnheader" }, name);
    const head = make("tr", { role: "row" }, ...Object.keys(columns).map(cell));
    this.head = head;
    this.body = make("tbody", { role: "rowgroup" });
    byId(id).append(make("thead", { role: "rowgroup" }, head), this.body);
    this.none = make("tr", { role: "row" }, make("td", { role: "cell", colSpan: head.children.length }, empty));
  }

  show(items) {
    const focus = document.activeElement;
    const seen = new Set(items.map(this.key));
    for (const [key, row] of this.rows) {
      if (!seen.has(key)) {
        row.remove();
        this.rows.delete(key);
      }
    }
    let before = this.body.firstChild;
    for (const item of items) {
      const row = this.row(this.key(item));
      Object.values(this.columns).forEach((fill, index) => fill(row.children[index], item));
      if (row === before) before = before.nextSibling;
      else this.body.insertBefore(row, before);
    }
    if (items.length) this.none.remove();
    else this.body.append(this.none);
    // A row that moves takes the focus off what is in it.
    if (focus !== document.activeElement && this.body.contains(focus)) focus.focus({ preventScroll: true });
  }

  row(key) {
    if (!this.rows.has(key)) {
      const cells = Object.keys(this.columns).map((name, index) => {
        if (index === 0) return make("th", { scope: "row", role: "rowheader" });
        const td = make("td", { role: "cell" });
        if (name) td.dataset.name = name;
        return td;
      });
      this.rows.set(key, make("tr", { role: "row" }, ...cells));
    }
    return this.rows.get(key);
  }
}

// A cell with a second line that is less important.
function two(cell, first, second) {
  if (cell.childElementCount !== 2) cell.replaceChildren(make("span"), make("small"));
  say(cell.firstChild, first);
  say(cell.lastChild, second);
}
