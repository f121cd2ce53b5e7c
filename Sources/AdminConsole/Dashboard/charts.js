// Charts of our own: lines over one time axis that all of them share, with one crosshair through all, gaps where nothing is known, marks
// of events, and the same numbers as a table for those who do not see lines. The axis, its marks and the crosshair are a `Span`.

import { make, put, say, named, Rows } from "./elements.js";
import { clock, exact, visible, cut, whole, none } from "./words.js";

const space = "http://www.w3.org/2000/svg";
const draw = (tag, attributes) => {
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  return element;
};
const set = (element, attributes) => { for (const [name, value] of Object.entries(attributes)) if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value); };

const minute = 60e3, hour = 60 * minute, day = 24 * hour;
const steps = [10e3, 30e3, minute, 5 * minute, 10 * minute, 15 * minute, 30 * minute, hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour, day, 2 * day, 5 * day, 10 * day];

/** Moments for the axis, round by the clock of this machine. */
function ticksOf(from, until, most) {
  const step = steps.find(one => (until - from) / one <= most) ?? steps.at(-1);
  const shift = new Date(until).getTimezoneOffset() * minute;
  const found = [];
  for (let at = Math.ceil((from - shift) / step) * step + shift; at <= until; at += step) found.push(at);
  return { step, found };
}
const two = number => String(number).padStart(2, "0");
function label(at, step) {
  const date = new Date(at);
  if (step >= day) return `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return step < minute ? `${time}:${two(date.getSeconds())}` : time;
}

/** A round number at or above `value`. */
export function round(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map(one => one * power).find(one => one >= value * 0.999) ?? 10 * power;
}

/** The shared time: from, until, step; where the crosshair is; what draws itself by it. */
export class Span {
  constructor() {
    this.from = Date.now() - hour;
    this.until = Date.now();
    this.step = 30e3;
    this.marks = [];
    this.cross = null;
    this.charts = [];
    this.axis = new Axis(this);
  }

  set({ from, until, step, marks }) {
    Object.assign(this, { from, until, step, marks });
    this.axis.draw();
  }

  /** The crosshair at a moment, on a step; null takes it away. */
  point(moment) {
    const at = moment === null ? null : Math.min(this.until, Math.max(this.from, Math.round(moment / this.step) * this.step));
    if (at === this.cross) return;
    this.cross = at;
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      this.axis.point();
      for (const chart of this.charts) chart.point();
    });
  }

  share(moment) { return (moment - this.from) / (this.until - this.from || 1); }

  /** Pointer and arrow keys over `area` move the crosshair. */
  listen(area) {
    area.addEventListener("pointermove", event => {
      const box = area.getBoundingClientRect();
      if (box.width) this.point(this.from + (event.clientX - box.left) / box.width * (this.until - this.from));
    });
    area.addEventListener("pointerleave", () => this.point(null));
    area.addEventListener("keydown", event => {
      const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (by) this.point((this.cross ?? this.until) + by * this.step);
      else if (event.key === "Home") this.point(this.from);
      else if (event.key === "End") this.point(this.until);
      else if (event.key === "Escape" && this.cross !== null) this.point(null);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    area.addEventListener("blur", () => this.point(null));
  }
}

/** The axis above all charts: times, events by name, and the moment under the crosshair. */
class Axis {
  constructor(span) {
    this.span = span;
    this.ticks = make("div", { class: "axis-ticks" });
    this.flags = make("div", { class: "axis-flags" });
    this.cursor = make("span", { class: "axis-cursor", hidden: true });
    this.area = make("div", { class: "plot axis-plot" }, this.flags, this.ticks, this.cursor);
    this.what = make("p", { class: "axis-what quiet" });
    this.element = make("div", { class: "axis chart-grid" }, make("span"), this.area, this.what);
    this.tickRows = new Rows(this.ticks, () => { const element = make("span"); return { element, update: ({ text, share, edge }) => { say(element, text); put(element, { class: edge }); element.style.left = `${share * 100}%`; } }; });
    this.flagRows = new Rows(this.flags, () => {
      const element = make("span", { class: "flag" });
      return { element, update: ({ mark, share, lane, room }) => {
        // Where there is no room for words, the mark alone; the list below has the words.
        say(element, room < roomForWords ? "\u25bc" : `\u25bc ${visible(mark.text ?? mark.what)}`);
        put(element, { class: `flag lane-${lane} ${kindOf(mark)}`, title: `${clock(mark.at)} ${whole(mark.text ?? mark.what)}` });
        element.style.left = `${share * 100}%`;
        element.style.maxWidth = `${Math.max(14, room)}px`;
      } };
    });
    span.listen(this.area);
  }

  draw() {
    const { span } = this, wide = this.area.clientWidth || 800;
    const { step, found } = ticksOf(span.from, span.until, Math.max(3, wide / 85));
    span.ticks = found;
    this.tickRows.draw(found.map(at => ({ at, text: label(at, step), share: span.share(at), edge: span.share(at) * wide < 20 ? "first" : (1 - span.share(at)) * wide < 20 ? "last" : null })), one => String(one.at));
    const shown = span.marks.map(mark => ({ mark, share: span.share(Date.parse(mark.at)) })).filter(one => one.share >= 0 && one.share <= 1).sort((left, right) => left.share - right.share);
    // A lane is free again where the next flag of the same lane begins.
    shown.forEach((one, index) => {
      one.lane = index % 2;
      const next = shown[index + 2]?.share ?? 1;
      one.room = (next - one.share) * wide - 6;
    });
    this.flagRows.draw(shown, (one, index) => `${one.mark.at}${one.mark.what}${one.mark.subject ?? ""}${one.mark.state ?? ""}`);
    this.point();
  }

  point() {
    const { span } = this;
    put(this.cursor, { hidden: span.cross === null });
    if (span.cross === null) { say(this.what, ""); return; }
    const share = span.share(span.cross);
    say(this.cursor, clock(span.cross));
    put(this.cursor, { class: `axis-cursor${share > 0.85 ? " left" : ""}` });
    this.cursor.style.left = `${share * 100}%`;
    const near = span.marks.filter(mark => Math.abs(Date.parse(mark.at) - span.cross) <= span.step);
    say(this.what, near.map(mark => cut(mark.text ?? mark.what, 60)).join("; "));
  }
}
/** Pixels below which the text of an event says nothing. */
const roomForWords = 88;
const kindOf = mark => ["open", "disabled", "cooling"].includes(mark.state) ? "bad" : "";

const slots = 6;
const high = 84, top = 6;

/** One chart. `lines(series)` gives [{label, points, style}], at most some of them with styles of their own; others are summed. */
export class Chart {
  constructor(span, { title, unit = "", format, scale = format, most = slots, choice = null }) {
    Object.assign(this, { span, title, unit, format, most, scaled: scale });
    this.lines = [];
    this.styles = new Map();
    this.svg = draw("svg", { class: "lines", role: "img" });
    this.grid = draw("path", { class: "grid" });
    this.events = draw("path", { class: "events" });
    this.cursor = draw("path", { class: "cursor" });
    this.group = draw("g", {});
    this.svg.append(this.grid, this.events, this.group, this.cursor);
    this.top = make("span", { class: "scale top" });
    this.middle = make("span", { class: "scale middle" });
    this.nothing = make("p", { class: "quiet nothing", hidden: true }, "nothing in this time");
    this.area = make("div", { class: "plot", tabIndex: 0, role: "group", "aria-label": `${title}: arrow keys move the crosshair` }, this.svg, this.nothing);
    this.scale = make("div", { class: "scales", "aria-hidden": "true" }, this.top, this.middle);
    this.legend = make("ul", { class: "legend" });
    this.legendRows = new Rows(this.legend, line => this.legendRow(line));
    this.tableBox = make("div", { class: "chart-table", hidden: true });
    this.opener = make("button", { type: "button", class: "plain as-table", "aria-expanded": "false", "aria-label": `${title} as a table`, onclick: () => this.toggleTable() }, "table");
    this.element = make("figure", { class: "chart" }, make("figcaption", {}, make("h3", {}, title), unit ? make("span", { class: "quiet" }, unit) : null, choice, make("span", { class: "gap" }), this.opener), make("div", { class: "chart-grid" }, this.scale, this.area, this.legend), this.tableBox);
    span.listen(this.area);
    span.charts.push(this);
  }

  legendRow(first) {
    const swatch = draw("svg", { class: "swatch", viewBox: "0 0 22 8", "aria-hidden": "true" });
    const stroke = draw("path", { d: "M1 4H21" });
    swatch.append(stroke);
    const text = named("span", first.label, 34), value = make("b", {});
    const element = make("li", {}, swatch, text, value);
    return { element, update: line => { set(stroke, { class: `line ${line.style}` }); say(value, line.said); } };
  }

  /** Lines in a stable order with stable styles; the smallest beyond `most` are one line, `other`. */
  arrange(given) {
    const total = line => line.points.reduce((sum, point) => sum + (point[1] ?? 0), 0);
    const fixed = given.every(line => line.style);
    let lines = given;
    if (!fixed) {
      if (this.styles.size > 200) this.forget();
      const fresh = given.filter(line => !this.styles.has(line.label)).sort((left, right) => total(right) - total(left));
      for (const line of fresh) this.styles.set(line.label, this.styles.size);
      const own = given.length > this.most ? this.most - 1 : this.most;
      const rank = line => this.styles.get(line.label);
      const sorted = [...given].sort((left, right) => rank(left) - rank(right));
      lines = sorted.slice(0, own).map((line, index) => ({ ...line, style: `s${index}` }));
      const rest = sorted.slice(own);
      if (rest.length) lines.push({ label: `other (${rest.length})`, points: added(rest), style: "s-other" });
    }
    return lines;
  }

  /** What is drawn has changed entirely: styles are given anew. */
  forget() { this.styles.clear(); }

  update(given) {
    this.lines = this.arrange(given);
    let peak = 0, some = 0;
    for (const line of this.lines) {
      line.byTime = new Map(line.points.map(point => [point[0], point[1]]));
      // What comes from the ledger may have longer steps than what comes from memory.
      line.step = line.points.length > 1 ? line.points[1][0] - line.points[0][0] : this.span.step;
      for (const [, value] of line.points) if (value !== null) { some += 1; if (value > peak) peak = value; }
    }
    this.peak = round(peak);
    say(this.top, this.scaled(this.peak));
    say(this.middle, this.scaled(this.peak / 2));
    put(this.nothing, { hidden: some > 0 });
    for (const scale of [this.top, this.middle]) put(scale, { hidden: some === 0 });
    this.render();
    this.point();
    if (!this.tableBox.hidden) this.fillTable();
    const last = line => [...line.points].reverse().find(point => point[1] !== null)?.[1];
    this.svg.setAttribute("aria-label", `${this.title}: ${some ? this.lines.map(line => `${visible(line.label)} ${last(line) === undefined ? none : this.format(last(line))}`).join(", ") : "nothing in this time"}`);
  }

  render() {
    const wide = this.area.clientWidth;
    if (!wide) return;
    const { span } = this;
    const x = at => (span.share(at) * wide).toFixed(1);
    const y = value => (top + (1 - value / this.peak) * (high - top)).toFixed(1);
    set(this.svg, { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high });
    set(this.grid, { d: `M0 ${top}.5H${wide}M0 ${y(this.peak / 2)}H${wide}M0 ${high - 0.5}H${wide}${(span.ticks ?? []).map(at => `M${x(at)} ${top}V${high}`).join("")}` });
    set(this.events, { d: span.marks.map(mark => Date.parse(mark.at)).filter(at => at >= span.from && at <= span.until).map(at => `M${x(at)} 0V${high}`).join("") || "M0 0" });
    while (this.group.childElementCount > this.lines.length) this.group.lastChild.remove();
    this.lines.forEach((line, index) => {
      const path = this.group.children[index] ?? this.group.appendChild(draw("path", {}));
      let d = "", pen = "M", before = null;
      for (const [at, value] of line.points) {
        // A point whose neighbours are not known is a dot.
        if (value === null || (before !== null && at - before > line.step * 1.5)) pen = "M";
        if (value === null) continue;
        if (at < span.from - line.step || at > span.until + line.step) continue;
        d += `${pen}${x(at)} ${y(value)}${pen === "M" ? "h.01" : ""}`;
        pen = "L";
        before = at;
      }
      set(path, { d: d || "M0 0", class: `line ${line.style}` });
    });
  }

  /** The values under the crosshair, or the last ones. */
  point() {
    const { span } = this;
    for (const line of this.lines) {
      let value;
      if (span.cross === null) value = [...line.points].reverse().find(point => point[1] !== null && point[0] >= span.until - 4 * line.step)?.[1];
      else value = line.byTime.get(span.cross) ?? nearest(line.points, span.cross, line.step);
      line.said = value === null || value === undefined ? none : this.format(value);
    }
    this.legendRows.draw(this.lines, line => line.label);
    const wide = this.area.clientWidth;
    set(this.cursor, { d: span.cross === null ? "M0 0" : `M${(span.share(span.cross) * wide).toFixed(1)} 0V${high}` });
  }

  toggleTable() {
    const isOpen = this.tableBox.hidden;
    put(this.tableBox, { hidden: !isOpen });
    put(this.opener, { "aria-expanded": String(isOpen) });
    if (isOpen) this.fillTable(); else this.tableBox.replaceChildren();
  }

  fillTable() {
    const times = [...new Set(this.lines.flatMap(line => line.points.map(point => point[0])))].sort((left, right) => right - left);
    const body = make("tbody");
    for (const at of times) body.append(make("tr", {}, make("th", { scope: "row" }, exact(at)), ...this.lines.map(line => {
      const value = line.byTime.get(at);
      return make("td", { class: "number" }, value === null || value === undefined ? none : this.format(value));
    })));
    const scrolled = this.tableBox.scrollTop;
    this.tableBox.replaceChildren(make("table", {}, make("caption", { class: "unseen" }, this.title), make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "time"), ...this.lines.map(line => make("th", { scope: "col", class: "number" }, named("span", line.label, 30))))), body));
    this.tableBox.scrollTop = scrolled;
  }
}

function nearest(points, moment, step) {
  let best = null, distance = step * 0.75;
  for (const [at, value] of points) {
    const away = Math.abs(at - moment);
    if (away <= distance) { distance = away; best = value; }
  }
  return best;
}

/** The sum of lines at each time; unknown only where all of them are. */
export function added(lines) {
  const sums = new Map();
  for (const line of lines) for (const [at, value] of line.points) {
    const known = sums.get(at);
    sums.set(at, value === null ? known ?? null : (known ?? 0) + value);
  }
  return [...sums].sort((left, right) => left[0] - right[0]);
}
