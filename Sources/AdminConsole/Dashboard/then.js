// How it was: waits by class, queues, calls, tokens, refusals, cost, places in use, over the last 5 minutes to 30 days on one time axis,
// with the events that may explain them.

import { make, put, say, named, Rows, mark, time } from "./elements.js";
import { classes, short, money, duration, shortDuration, clock, words, visible } from "./words.js";
import { Poll, me } from "./api.js";
import { Span, Chart, added } from "./charts.js";
import { wanted, adjust } from "./place.js";

const ranges = { "5m": [300e3, "5 min", 5e3], "1h": [3600e3, "1 hour", 15e3], "24h": [86400e3, "24 hours", 60e3], "30d": [2592000e3, "30 days", 300e3] };
const metrics = ["wait_p50", "wait_p95", "wait_p99", "queued", "calls", "tokens", "refused", "cost", "in_use"];
const span = new Span();

/** Buttons of which one is chosen; the choice stands in the address. */
function choice(id, labels, first, text) {
  const buttons = Object.entries(labels).map(([value, label]) => make("button", { type: "button", "data-value": value, onclick: () => adjust({ [id]: value === first ? null : value }) }, label));
  const box = make("span", { class: "choice", role: "group", "aria-label": text }, ...buttons);
  return { box, get: () => labels[wanted(id)] ? wanted(id) : first, draw() { for (const button of buttons) put(button, { "aria-pressed": String(button.dataset.value === this.get()) }); }, step(by) {
    const values = Object.keys(labels), index = values.indexOf(this.get()) + by;
    if (values[index]) adjust({ [id]: values[index] === first ? null : values[index] });
  } };
}

const range = choice("range", Object.fromEntries(Object.entries(ranges).map(([id, [, text]]) => [id, text])), "1h", "Range of time");
const callsBy = choice("calls", { outcome: "by outcome", provider: "by provider", both: "both" }, "outcome", "Calls by");
const tokensBy = choice("tokens", { type: "by kind", provider: "by provider", both: "both" }, "type", "Tokens by");

const seconds = value => duration(value * 1000), scale = value => shortDuration(value * 1000);
const perMinute = value => short(value);
const waitCharts = classes.map(band => [band, new Chart(span, { title: `Wait, ${band}`, unit: "by quantile", format: seconds, scale })]);
const charts = {
  queued: new Chart(span, { title: "Waiting", unit: "calls, by class", format: short }),
  calls: new Chart(span, { title: "Calls", unit: "per minute", format: perMinute, choice: callsBy.box }),
  tokens: new Chart(span, { title: "Tokens", unit: "per minute", format: short, choice: tokensBy.box }),
  refused: new Chart(span, { title: "Refused by providers (429)", unit: "per minute", format: perMinute }),
  cost: new Chart(span, { title: "Cost", unit: "USD per hour, by tenant", format: money }),
  in_use: new Chart(span, { title: "Places in use", unit: "by provider", format: short }),
};

const note = make("p", { class: "quiet note-line", role: "status" });
const events = make("ol", { class: "events-list" });
const noEvents = make("p", { class: "quiet none" }, "No events in this time.");
const eventRows = new Rows(events, first => {
  const bad = ["open", "disabled", "cooling"].includes(first.state);
  const element = make("li", {}, make("time", { datetime: first.at }, clock(first.at)), mark(bad ? "bad" : "off", words(first.what)), named("span", first.text ?? [first.what, first.subject, first.state].filter(Boolean).join(" "), 160));
  return { element };
});
const stack = make("div", { class: "charts" }, span.axis.element, ...waitCharts.map(([, chart]) => chart.element), ...Object.values(charts).map(chart => chart.element));
const element = make("section", { class: "view then", "aria-label": "Then" }, make("div", { class: "heading" }, make("h2", {}, "The last"), range.box, make("span", { class: "gap" }), note), stack, make("h2", {}, "Events"), events, noEvents);

let answer = null;
let isShown = false;
const poll = new Poll(15e3, (fresh, error) => {
  if (error) {
    say(note, error.status >= 400 ? `no history: ${visible(error.message)}` : `no answer: ${visible(error.message)}`);
    return;
  }
  say(note, `as of ${clock(time.now())}`);
  const told = (fresh.metrics ?? [fresh]).map(one => ({ ...one, series: (one.series ?? []).filter(line => Array.isArray(line.points)) }));
  answer = { metrics: told, marks: fresh.marks ?? told[0]?.marks ?? [] };
  redraw();
});

/** Lines with the label that `by` makes; what gets the same label is summed. */
function grouped(series, by) {
  const groups = new Map();
  for (const one of series) {
    const label = by(one.labels ?? {});
    groups.set(label, [...groups.get(label) ?? [], one]);
  }
  return [...groups].map(([label, lines]) => ({ label, points: lines.length === 1 ? lines[0].points : added(lines) }));
}

let drawnFor = "";
function redraw() {
  if (!answer || !isShown) return;
  const all = answer.metrics;
  const found = name => all.find(one => one.metric === name)?.series ?? [];
  const step = Math.min(...all.map(one => one.step_s ?? 30)) * 1000;
  const until = Math.max(...all.flatMap(one => one.series.map(series => series.points.at(-1)?.[0] ?? 0)), time.now() - step);
  span.set({ from: until - ranges[range.get()][0], until, step, marks: answer.marks });
  const now = `${range.get()} ${callsBy.get()} ${tokensBy.get()}`;
  if (now !== drawnFor) { drawnFor = now; for (const chart of Object.values(charts)) chart.forget(); }
  for (const [band, chart] of waitCharts) {
    chart.update(["p50", "p95", "p99"].map(quantile => ({ label: quantile, points: found(`wait_${quantile}`).find(one => one.labels?.priority === band)?.points ?? [], style: `class-${band} ${quantile}` })));
  }
  charts.queued.update(classes.map(band => ({ label: band, points: found("queued").find(one => one.labels?.priority === band)?.points ?? [], style: `class-${band}` })));
  const pair = (first, second) => [first, second].filter(Boolean).map(words).join(" \u00b7 ");
  charts.calls.update(grouped(found("calls"), labels => ({ outcome: words(labels.outcome ?? "all"), provider: labels.provider ?? "all", both: pair(labels.provider, labels.outcome) })[callsBy.get()]));
  charts.tokens.update(grouped(found("tokens"), labels => ({ type: words(labels.type ?? "all"), provider: labels.provider ?? "all", both: pair(labels.provider, labels.type) })[tokensBy.get()]));
  charts.refused.update(grouped(found("refused"), labels => labels.provider ?? "all"));
  charts.cost.update(grouped(found("cost"), labels => labels.tenant ?? "all"));
  charts.in_use.update(grouped(found("in_use"), labels => labels.provider ?? "all"));
  const marks = [...span.marks].filter(one => Date.parse(one.at) >= span.from).sort((left, right) => Date.parse(right.at) - Date.parse(left.at)).slice(0, 200);
  eventRows.draw(marks, one => `${one.at} ${one.what} ${one.subject ?? ""} ${one.state ?? ""}`);
  put(noEvents, { hidden: marks.length > 0 });
}

new ResizeObserver(() => redraw()).observe(stack);

export const then = {
  element, title: "Then",
  enter() { isShown = true; this.moved(); },
  leave() { isShown = false; poll.want(null); },
  moved() {
    for (const one of [range, callsBy, tokensBy]) one.draw();
    if (me.tenant) {
      say(note, "the history is of all tenants: this token may not read it");
      return;
    }
    if (!me.isKnown) return;
    poll.want(`history?metric=${metrics.join(",")}&since=${range.get()}`, ranges[range.get()][2]);
    redraw();
  },
  draw() {},
  keys: { "[": () => range.step(-1), "]": () => range.step(1) },
};
