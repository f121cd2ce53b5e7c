// Elements made and changed piece by piece: text is only ever set as text, nothing is written that has not changed, rows keep their
// elements as long as what they show exists, and whatever counts down does so by one timer.

import { cut, whole, left, clock, time } from "./words.js";
export { time };

const properties = new Set(["hidden", "disabled", "value", "checked", "open", "tabIndex", "selected"]);

/** Makes an element: make("td", {class: "number"}, "12", child). */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  put(element, attributes);
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Sets attributes, and handlers by `onclick`; null and false take an attribute away. */
export function put(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (properties.has(name) && element.localName !== "option") { if (element[name] !== value) element[name] = value; }
    else if (value === null || value === undefined || value === false) { if (element.hasAttribute(name)) element.removeAttribute(name); }
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

const shown = new WeakMap();
/** Sets the text, unless it stands there already. */
export function say(element, text) {
  const wanted = String(text);
  if (shown.get(element) === wanted) return element;
  shown.set(element, wanted);
  element.textContent = wanted;
  return element;
}

/** A name from outside: visible, cut, and whole in the title. */
export function name(element, text, most = 60) {
  const given = String(text ?? "");
  say(element, cut(given, most));
  put(element, { title: given.length > most || cut(given, most) !== given ? whole(given) : null });
  element.classList.add("name");
  return element;
}
export const named = (tag, text, most, attributes) => name(make(tag, attributes), text, most);

export function width(element, share) {
  const wanted = `${(Math.max(0, Math.min(1, share || 0)) * 100).toFixed(2)}%`;
  if (shown.get(element) !== wanted) { shown.set(element, wanted); element.style.width = wanted; }
}
export function offset(element, share) {
  const wanted = `${(Math.max(0, Math.min(1, share || 0)) * 100).toFixed(2)}%`;
  if (shown.get(element) !== wanted) { shown.set(element, wanted); element.style.left = wanted; }
}

/** The children of `parent` as one for each item: made once, changed in place, moved only where the order changed. */
export class Rows {
  constructor(parent, create) {
    this.parent = parent;
    this.create = create;
    this.kept = new Map();
  }

  /** `create(item)` gives {element, update(item, index)}. */
  draw(items, keyOf) {
    const wanted = new Map();
    items.forEach((item, index) => {
      let key = keyOf(item, index);
      while (wanted.has(key)) key += "+";
      const row = this.kept.get(key) ?? this.create(item);
      wanted.set(key, row);
      row.update?.(item, index);
    });
    for (const [key, row] of this.kept) {
      if (!wanted.has(key)) { row.element.remove(); row.gone?.(); }
    }
    let place = this.parent.firstElementChild;
    for (const row of wanted.values()) {
      if (row.element === place) place = place.nextElementSibling;
      else this.parent.insertBefore(row.element, place);
    }
    this.kept = wanted;
  }
}

// Times that tick.

const ticking = new Map();

/** `element` says how long it is until `at`, in the words of `phrase`, and keeps saying it. */
export function tick(element, at, phrase = text => text) {
  if (!at) { ticking.delete(element); return; }
  const moment = Date.parse(at);
  if (Number.isNaN(moment)) { ticking.delete(element); say(element, ""); return; }
  const held = ticking.get(element);
  if (held?.moment === moment && held.text === phrase("x")) return;
  ticking.set(element, { moment, phrase, text: phrase("x") });
  put(element, { title: clock(at) });
  say(element, phrase(left(moment - time.now())));
}
/** `element` says how long ago `at` was. */
export function age(element, at, phrase = text => text) {
  if (!at) { ticking.delete(element); return; }
  const moment = Date.parse(at);
  if (Number.isNaN(moment)) { ticking.delete(element); say(element, ""); return; }
  ticking.set(element, { moment, phrase, text: "", isAge: true });
  put(element, { title: clock(at) });
  say(element, phrase(left(time.now() - moment).replace("now", "0 s")));
}
export function ticks() {
  const now = time.now();
  for (const [element, { moment, phrase, isAge }] of ticking) {
    if (!element.isConnected) { ticking.delete(element); continue; }
    say(element, phrase(isAge ? left(now - moment).replace("now", "0 s") : left(moment - now)));
  }
}

export const at = id => document.getElementById(id);

/** A state: a shape beside the word, so that no colour is needed to tell them apart. */
export const shapes = { good: "\u25cf", warn: "\u25b2", bad: "\u2716", rest: "\u25a0", off: "\u25cb" };
export function mark(kind, text, attributes = {}) {
  const element = make("span", { class: `mark ${kind}`, ...attributes }, make("span", { class: "shape", "aria-hidden": "true" }, shapes[kind] ?? shapes.off), make("span", { class: "mark-text" }, text));
  return element;
}
export function remark(element, kind, text) {
  put(element, { class: `mark ${kind}` });
  say(element.firstChild, shapes[kind] ?? shapes.off);
  say(element.lastChild, text);
}

export const stateKind = state => ({ usable: "good", closed: "good", cooling: "warn", half_open: "warn", open: "bad", disabled: "off", refused: "bad" })[state] ?? "off";
export function outcomeKind(outcome, state) {
  if (outcome === "completed") return "good";
  if (!outcome) return state === "queued" ? "rest" : "off";
  return outcome.startsWith("client_left") ? "warn" : "bad";
}
