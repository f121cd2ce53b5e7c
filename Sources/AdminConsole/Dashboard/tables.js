// Tables that stay still: columns of fixed width, rows that keep their elements, pages instead of endless lists, an order that does
// not change under the pointer or the focus, and arrow keys from row to row.

import { make, put, say, Rows, name } from "./elements.js";
import { count } from "./words.js";

const calm = 5000;
/** The classes that take a column away where the screen has no room for it. */
const sizes = column => [column.wide || column.spare || column.vast ? "wide" : "", column.spare || column.vast ? "spare" : "", column.vast ? "vast" : ""].filter(Boolean);

/** Which of the rows are listed, and the way to the others. `paging` reads and sets the page, counted from 1. */
export class Pages {
  constructor(size, paging) {
    Object.assign(this, { size, paging });
    this.back = make("button", { type: "button", class: "plain", onclick: () => this.paging?.set(this.paging.get() - 1) }, "\u2190 earlier rows");
    this.forth = make("button", { type: "button", class: "plain", onclick: () => this.paging?.set(this.paging.get() + 1) }, "more rows \u2192");
    this.range = make("span", { class: "quiet" });
    this.element = make("p", { class: "pages", hidden: true }, this.back, this.range, this.forth);
  }

  /** The items of the page that is asked for, or of the last one there is. `total` counts those too that were not sent (Infinity: nobody knows how many), `reach`
   *  how many would be sent where their page is asked for. */
  draw(items, total = items.length, reach = items.length) {
    const sent = Math.max(1, Math.ceil(items.length / this.size)), pages = Math.max(sent, Math.ceil(Math.min(total, reach) / this.size));
    const page = Math.min(Math.max(1, this.paging?.get() ?? 1), sent), start = (page - 1) * this.size, end = Math.min(start + this.size, items.length);
    put(this.element, { hidden: pages < 2 && total <= items.length });
    say(this.range, `${count(Math.min(start + 1, items.length))}\u2013${count(end)} of ${total === Infinity ? `more than ${count(end)}` : count(total)}${total > Math.max(reach, items.length) && total < Infinity ? `, the first ${count(Math.max(reach, items.length))} listed` : ""}`);
    put(this.back, { disabled: page <= 1 });
    put(this.forth, { disabled: page >= pages });
    return items.slice(start, start + this.size);
  }
}

/** `columns`: {id, title, width, phone (the width on a narrow screen), number, wide (not on a narrow screen), spare (not on a tablet either), vast (only on a large one), sort(item), text(item), from (true: the text is a client's), most, cell() -> {element, update(item)}}. */
export class Table {
  constructor({ caption, columns, key, page = 100, open, label, rowClass, empty = "None.", sorting, paging, flatten }) {
    Object.assign(this, { columns, key, open, label, rowClass, sorting, flatten });
    this.ranks = new Map();
    this.ranked = 0;
    this.order = "";
    this.isBusy = false;
    this.heads = new Map();
    const body = make("tbody");
    this.rows = new Rows(body, item => this.row(item));
    const head = make("tr", {}, ...columns.map(column => this.head(column)));
    this.table = make("table", {}, make("caption", { class: "unseen" }, caption), make("colgroup", {}, ...columns.map(column => {
      const element = make("col", { class: sizes(column).join(" ") || null });
      if (column.width) element.style.width = column.width;
      if (column.phone) element.style.setProperty("--phone", column.phone);
      return element;
    })), make("thead", {}, head), body);
    this.none = make("p", { class: "quiet none", hidden: true }, empty);
    this.pages = new Pages(page, paging);
    this.element = make("div", { class: "table" }, this.table, this.none, this.pages.element);
    this.table.addEventListener("pointerenter", () => { this.isBusy = true; });
    this.table.addEventListener("pointerleave", () => { this.isBusy = false; });
    body.addEventListener("keydown", event => this.press(event));
    body.addEventListener("focusin", event => {
      const row = event.target.closest("tr");
      for (const other of body.querySelectorAll("tr[tabindex='0']")) if (other !== row) other.tabIndex = -1;
      if (row?.hasAttribute("tabindex")) row.tabIndex = 0;
    });
    this.body = body;
  }

  head(column) {
    const attributes = { scope: "col", class: [column.number ? "number" : "", ...sizes(column)].join(" ").trim() || null };
    if (!column.sort || !this.sorting) return make("th", attributes, column.title);
    const arrow = make("span", { class: "arrow", "aria-hidden": "true" }, "");
    const head = make("th", attributes, make("button", { type: "button", onclick: () => this.sorting.set(this.sorting.get() === column.id ? `-${column.id}` : column.id) }, column.title, arrow));
    this.heads.set(column.id, { head, arrow });
    return head;
  }

  row(first) {
    const cells = this.columns.map(column => {
      const element = make("td", { class: [column.number ? "number" : "", ...sizes(column), column.kind ?? ""].join(" ").trim() || null });
      if (column.cell) {
        const cell = column.cell(first);
        element.append(cell.element);
        return { element, update: item => cell.update(item) };
      }
      if (column.from) return { element, update: item => name(element, column.text(item), column.most ?? 60) };
      return { element, update: item => { say(element, column.text(item)); if (column.title2) put(element, { title: column.title2(item) }); } };
    });
    const element = make("tr", { "data-key": this.key(first) }, ...cells.map(cell => cell.element));
    let current = first;
    if (this.open) {
      put(element, { tabIndex: -1 });
      element.classList.add("opens");
      element.addEventListener("click", event => { if (!event.target.closest("button, a, input")) this.open(current, event); });
      element.addEventListener("keydown", event => { if (event.key === "Enter" && event.target === element) { event.preventDefault(); this.open(current, event); } });
    }
    return {
      element, update: item => {
        current = item;
        for (const cell of cells) cell.update(item);
        if (this.label) put(element, { "aria-label": this.label(item) });
        if (this.rowClass) put(element, { class: `${this.open ? "opens " : ""}${this.rowClass(item)}`.trim() || null });
      },
    };
  }

  press(event) {
    const row = event.target.closest("tr");
    const steps = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" };
    let target = null;
    if (steps[event.key]) target = row?.[steps[event.key]];
    else if (event.key === "Home") target = this.body.firstElementChild;
    else if (event.key === "End") target = this.body.lastElementChild;
    if (!target || event.target !== row) return;
    event.preventDefault();
    target.focus();
  }

  /** In the order asked for; a changing number changes the order only now and then, and not while somebody points at a row. */
  sorted(items) {
    const asked = this.sorting?.get() ?? "";
    const id = asked.replace(/^-/, "");
    const column = this.columns.find(one => one.id === id);
    // The largest number first, the first word first.
    const turn = asked.startsWith("-") === (column?.number === true) ? 1 : -1;
    for (const [each, { head, arrow }] of this.heads) {
      put(head, { "aria-sort": each === id ? (turn > 0 ? "ascending" : "descending") : null });
      say(arrow, each === id ? (turn > 0 ? " \u25b4" : " \u25be") : "");
    }
    if (!column?.sort) return items;
    const now = performance.now();
    const isHeld = this.isBusy || this.body.contains(document.activeElement);
    if (asked !== this.order || (now - this.ranked > calm && !isHeld)) {
      const compare = (left, right) => left === right ? 0 : left === null || left === undefined ? 1 : right === null || right === undefined ? -1 : left < right ? -turn : turn;
      const fresh = [...items].sort((left, right) => compare(column.sort(left), column.sort(right)) || (this.key(left) < this.key(right) ? -1 : 1));
      this.ranks = new Map(fresh.map((item, index) => [this.key(item), index]));
      this.order = asked;
      this.ranked = now;
    }
    const rank = item => this.ranks.get(this.key(item)) ?? Number.MAX_SAFE_INTEGER;
    return [...items].sort((left, right) => rank(left) - rank(right));
  }

  draw(items, total = items.length, reach = items.length) {
    let shown = this.pages.draw(this.sorted(items), total, reach);
    if (this.flatten) shown = shown.flatMap(this.flatten);
    this.rows.draw(shown, this.key);
    const first = this.open ? this.body.firstElementChild : null;
    if (first && !this.body.querySelector("tr[tabindex='0']")) first.tabIndex = 0;
    put(this.none, { hidden: items.length > 0 });
    put(this.table, { hidden: items.length === 0 });
  }
}
