// Why something waits, or took long, or failed: requests by state and filter, what a waiting class waits for, and the story of one request
// in a sheet beside the list.

import { at, make, put, say, name, mark, remark, Rows, outcomeKind } from "./elements.js";
import { classes, count, short, money, duration, words, visible, none, plural, cut } from "./words.js";
import { Table } from "./tables.js";
import { Poll } from "./api.js";
import { tell } from "./story.js";
import { wanted, adjust } from "./place.js";

const states = { queued: "waiting", running: "running", recent: "ended", slowest: "slowest" };
const state = () => states[wanted("state")] ? wanted("state") : "queued";
const stateButtons = Object.entries(states).map(([id, text]) => make("button", { type: "button", "data-value": id, onclick: () => adjust({ state: id, page: null, sort: null }, true) }, text));
const search = make("input", { type: "search", class: "search", placeholder: "model, session, tenant or id", "aria-label": "Search requests; Enter opens a request by its id", oninput: () => adjust({ q: search.value, page: null }) });
search.addEventListener("keydown", event => {
  const id = search.value.trim();
  if (event.key === "Enter" && /^[0-9A-Za-z]{26}$/.test(id)) adjust({ q: null, id: id.toUpperCase() }, true);
});
const filters = ["priority", "provider", "tenant", "session"];
const chips = Object.fromEntries(filters.map(id => [id, make("button", { type: "button", class: "chip-button", hidden: true, onclick: () => adjust({ [id]: null, page: null }) })]));
const band = make("select", { "aria-label": "Class", onchange: () => adjust({ priority: band.value || null, page: null }) }, make("option", { value: "" }, "all classes"), ...classes.map(id => make("option", { value: id }, id)));
const note = make("p", { class: "quiet note-line", role: "status" });

const paging = { get: () => Number(wanted("page", "1")) || 1, set: page => adjust({ page: page > 1 ? page : null }, true) };
const chipCell = () => { const element = make("span", { class: "chip" }); return { element, update: row => { put(element, { class: `chip ${row.priority}` }); say(element, cut(row.priority ?? none, 12)); } }; };
const outcomeCell = () => { const element = mark("off", ""); return { element, update: row => { remark(element, outcomeKind(row.outcome, row.state), words(row.outcome ?? row.state)); put(element, { title: words(row.outcome ?? row.state) }); } }; };
const whyCell = () => { const element = make("span", { class: "two-lines" }); return { element, update: row => { name(element, row.waits_for?.text ?? none, 120); } }; };
const number = value => value === null || value === undefined || !Number.isFinite(Number(value)) ? null : Number(value);
const open = row => adjust({ id: row.id }, true);
const label = row => `${row.priority ?? ""} ${cut(row.model || row.path, 40)} of ${cut(row.session || row.tenant, 40)}, ${words(row.outcome ?? row.state)}: show its story`;

const waitingTable = new Table({
  caption: "Waiting requests", key: row => row.id, open, label, paging, sorting: { get: () => wanted("sort", "waited"), set: sort => adjust({ sort: sort === "waited" ? null : sort, page: null }) }, empty: "Nobody waits here.",
  columns: [
    { id: "class", phone: "4.9rem", title: "class", width: "5.8rem", sort: row => classes.indexOf(row.priority), cell: chipCell },
    { id: "waited", phone: "5.4rem", title: "waited", number: true, width: "6.5rem", sort: row => number(row.queued_ms), text: row => duration(row.queued_ms) },
    { id: "rest", phone: "5.4rem", title: "still about", number: true, width: "6.5rem", sort: row => row.predicted_wait_ms, text: row => duration(row.predicted_wait_ms) },
    { id: "why", title: "waits for", sort: row => row.waits_for?.text ?? "", cell: whyCell },
    { id: "session", title: "session", wide: true, width: "10rem", sort: row => row.session, from: true, most: 30, text: row => row.session || none },
    { id: "tenant", spare: true, title: "tenant", wide: true, width: "8rem", sort: row => row.tenant, from: true, most: 24, text: row => row.tenant },
    { id: "model", spare: true, title: "model", wide: true, width: "11rem", sort: row => row.model, from: true, most: 32, text: row => row.model || row.path },
  ],
});
const table = new Table({
  caption: "Requests", key: row => row.id, open, label, paging, sorting: { get: () => wanted("sort", ""), set: sort => adjust({ sort, page: null }) }, empty: "No request matches.",
  columns: [
    { id: "outcome", title: "outcome", width: "11rem", sort: row => row.outcome ?? row.state, cell: outcomeCell },
    { id: "class", phone: "4.9rem", title: "class", width: "5.8rem", sort: row => classes.indexOf(row.priority), cell: chipCell },
    { id: "session", title: "session", wide: true, sort: row => row.session, from: true, most: 40, text: row => row.session || none },
    { id: "tenant", spare: true, title: "tenant", wide: true, width: "7rem", sort: row => row.tenant, from: true, most: 24, text: row => row.tenant },
    { id: "model", title: "model", wide: true, width: "9.5rem", sort: row => row.model, from: true, most: 32, text: row => row.model || row.path },
    { id: "provider", spare: true, title: "provider", wide: true, width: "9.5rem", sort: row => row.provider, from: true, most: 30, text: row => row.provider ? `${row.provider}${row.key ? ` / ${row.key}` : ""}` : none },
    { id: "waited", phone: "5.4rem", title: "waited", number: true, width: "6.5rem", sort: row => number(row.queued_ms), text: row => duration(row.queued_ms) },
    { id: "first", vast: true, title: "first byte", number: true, wide: true, width: "6.2rem", sort: row => number(row.first_byte_ms), text: row => duration(row.first_byte_ms) },
    { id: "total", phone: "5.4rem", title: "in all", number: true, width: "6.5rem", sort: row => number(row.total_ms ?? row.age_ms), text: row => duration(row.total_ms ?? row.age_ms) },
    { id: "tokens", spare: true, title: "in / out", number: true, wide: true, width: "7.4rem", sort: row => number(row.input_tokens), text: row => `${short(row.input_tokens)} / ${short(row.output_tokens)}${row.estimated ? " ~" : ""}` },
    { id: "cost", spare: true, title: "cost", number: true, wide: true, width: "5rem", sort: row => number(row.cost_usd), text: row => money(row.cost_usd) },
  ],
});

// What they wait for

const reasons = make("ul", { class: "reasons" });
const reasonsBox = make("div", { class: "panel reasons-box" }, make("h2", {}, "What they wait for"), reasons);
const reasonRows = new Rows(reasons, () => {
  const some = make("b", { class: "number" }), text = make("span", { class: "name" }), by = make("span", { class: "quiet" });
  return { element: make("li", {}, some, text, by), update: group => {
    say(some, count(group.count));
    name(text, group.text, 200);
    say(by, `${classes.filter(id => group.by[id]).map(id => `${count(group.by[id])} ${id}`).join(", ")}${group.isOpen ? "" : `; the longest for ${duration(group.longest)}`}`);
  } };
});

/** Waits with the same words apart from their numbers are one reason; the words are those of the oldest. `total` counts those too that were not sent. */
function drawReasons(rows, total) {
  const groups = new Map();
  // The broker is asked about the first of a long list only.
  const untold = rows.some(row => row.waits_for?.text) ? "not told: the reasons of the first calls of a list are told; filter to see others" : "not told yet";
  for (const row of rows) {
    const text = row.waits_for?.text ?? untold;
    const key = `${row.waits_for?.blocker ?? ""} ${text.replace(/[\d.,]+/g, "#")}`;
    const group = groups.get(key) ?? { key, count: 0, by: {}, longest: -1, text };
    group.count += 1;
    group.by[row.priority] = (group.by[row.priority] ?? 0) + 1;
    if (row.queued_ms > group.longest) { group.longest = row.queued_ms; group.text = text; }
    groups.set(key, group);
  }
  if (total > rows.length && total < Infinity) {
    const key = ` ${untold.replace(/[\d.,]+/g, "#")}`, group = groups.get(key) ?? { key, count: 0, by: {}, longest: -1, text: untold };
    const by = Object.fromEntries(classes.map(id => [id, (group.by[id] ?? 0) + Math.max(0, waiting(id) - rows.filter(row => row.priority === id).length)]));
    groups.set(key, { ...group, by, count: group.count + total - rows.length, isOpen: true });
  }
  const sorted = [...groups.values()].sort((left, right) => right.count - left.count || (left.key < right.key ? -1 : 1));
  const found = [...sorted.filter(group => group.text !== untold).slice(0, 8), ...sorted.filter(group => group.text === untold)];
  put(reasonsBox, { hidden: state() !== "queued" || rows.length === 0 });
  reasonRows.draw(found, group => group.key);
}

// The list

let status = {}, heardAt = 0;
/** What was answered, to which question (state and filters), and how many had been asked for. */
let answer = null, answered = "", limit = 0;
/** A broker that knows no filters gets plain questions; what it says is filtered here anyhow. */
let isPlain = false;
const most = 1000;

let known = "", askedAt = 0;
/** False where an answer would be the one of before, as far as snapshots tell: nobody waits or runs, or none has ended. */
function isDue() {
  const now = performance.now(), isHeard = now - heardAt < 3000 && status.queued, isAlive = state() === "queued" || state() === "running";
  const moves = isAlive && (answer?.requests?.length > 0 || (state() === "queued" ? waiting() : status.running) > 0);
  const fresh = isAlive ? "" : JSON.stringify([status.running, status.queued, status.spent_usd, status.unpriced_calls, status.totals?.calls_last_minute]);
  if (isHeard && !moves && fresh === known && now - askedAt < 10e3) return false;
  known = fresh;
  askedAt = now;
  return true;
}
/** How many wait of a class that is shown, or of all of those, by the snapshot. */
const waiting = (only = null) => classes.reduce((total, id) => total + ((!only || only === id) && (!wanted("priority") || wanted("priority") === id) ? status.queued?.[id] ?? 0 : 0), 0);

const poll = new Poll(1000, (fresh, error, path) => {
  if (error) {
    if (error.status === 400 && !isPlain && /parameter/.test(error.message)) { isPlain = true; return ask(); }
    return say(note, `no answer: ${visible(error.message)}`);
  }
  answer = fresh;
  answered = questionOf(path);
  limit = Number(read(path, "limit"));
  // A long list is not asked for each second.
  poll.pace = (fresh.requests ?? []).length > 300 ? 5000 : 1000;
  draw();
}, isDue);
const read = (path, name) => new URLSearchParams(path.split("?")[1]).get(name);
const questionOf = path => path.replace(/&limit=\d+/, "");

/** True where what is listed is the beginning of what the broker would list: then no more is asked for than is shown. */
function isInOrder() {
  const order = wanted("sort");
  return !wanted("q") && (!order || order === "waited" && state() === "queued") && !(isPlain && filters.some(id => wanted(id)));
}

/** The question for what the address says. */
function question() {
  const query = new URLSearchParams({ state: state() === "slowest" ? "recent" : state() });
  // One more than is shown tells that there are others.
  query.set("limit", String(isInOrder() ? Math.min(most, table.pages.size * Math.max(1, Math.min(10, paging.get())) + 1) : most));
  if (!isPlain) {
    if (state() === "slowest") query.set("sort", "slowest");
    for (const id of filters) if (wanted(id)) query.set(id, wanted(id));
  }
  return `requests?${query}`;
}
const ask = () => poll.want(question());

function draw() {
  const isWaiting = state() === "queued", isOf = name => read(answered, name) === read(question(), name);
  // Of another list nothing is shown, of another choice from this list what is of both.
  const isAnswered = answer !== null && isOf("state") && isOf("sort"), isCurrent = isAnswered && answered === questionOf(question());
  put(waitingTable.element, { hidden: !isWaiting || !isAnswered });
  put(table.element, { hidden: isWaiting || !isAnswered });
  if (!isCurrent) say(note, "");
  if (!isAnswered) return put(reasonsBox, { hidden: true });
  const text = wanted("q").toLowerCase();
  const is = row => filters.every(id => !wanted(id) || id === "provider" && row.state === "queued" || row[id] === wanted(id)) && (!text || [row.model, row.session, row.tenant, row.agent, row.id, row.path, row.outcome].some(one => String(one ?? "").toLowerCase().includes(text)));
  let rows = (answer.requests ?? []).filter(is);
  if (state() === "slowest" && !wanted("sort")) rows = [...rows].sort((left, right) => (right.total_ms ?? right.age_ms ?? 0) - (left.total_ms ?? left.age_ms ?? 0) || (left.id < right.id ? -1 : 1));
  // What the snapshot counts, where that is what is listed; else only that there are more.
  const isFull = answer.requests?.length >= limit, shown = limit < most ? Math.min(rows.length, limit - 1) : rows.length;
  const counted = text || !status.queued ? NaN : isWaiting && !filters.some(id => id !== "priority" && wanted(id)) ? waiting() : state() === "running" && !filters.some(id => wanted(id)) ? status.running : NaN;
  const total = !isFull ? rows.length : counted >= rows.length ? counted : text ? rows.length : Infinity;
  (isWaiting ? waitingTable : table).draw(rows, total, isFull ? most : rows.length);
  drawReasons(rows, total);
  if (!isCurrent) return;
  say(note, total === Infinity ? `more than ${count(shown)} requests` : total > rows.length ? `${count(shown)} of ${count(total)} requests` : plural(rows.length, "request"));
}

// The story

const sheet = at("story"), body = at("story-body");
let shownId = "", opener = "";
const storyPoll = new Poll(1000, (story, error) => {
  if (error) {
    body.replaceChildren(make("p", { class: "error" }, visible(error.message)));
    // What the broker does not know it will not know later; one that does not answer may come back.
    if (error.status >= 400 && error.status < 500) storyPoll.want(null);
    return;
  }
  tell(body, story);
  if (story.state === "ended") storyPoll.want(null);
});
sheet.addEventListener("close", () => {
  if (!wanted("id")) return;
  adjust({ id: null });
});
sheet.addEventListener("click", event => { if (event.target === sheet) sheet.close(); });

function drawStory() {
  const id = wanted("id");
  if (id === shownId) return;
  shownId = id;
  storyPoll.want(null);
  if (!id) {
    if (sheet.open) sheet.close();
    requestAnimationFrame(() => { if (opener) document.querySelector(`tr[data-key="${CSS.escape(opener)}"]`)?.focus(); opener = ""; });
    return;
  }
  opener ||= id;
  body.replaceChildren(make("p", { class: "quiet" }, "asking \u2026"));
  body.scrollTop = 0;
  if (!sheet.open) sheet.showModal();
  storyPoll.want(`requests/${encodeURIComponent(id)}`);
}

const element = make("section", { class: "view why", "aria-label": "Why" }, make("div", { class: "heading" }, make("h2", { class: "unseen" }, "Requests"), make("span", { class: "choice", role: "group", "aria-label": "State" }, ...stateButtons), band, search, ...filters.map(id => chips[id]), make("span", { class: "gap" }), note),
  reasonsBox, waitingTable.element, table.element);

export const why = {
  element, title: "Why", search: () => search,
  enter() { this.moved(); },
  leave() { poll.want(null); storyPoll.want(null); shownId = ""; if (sheet.open) sheet.close(); },
  moved() {
    for (const button of stateButtons) put(button, { "aria-pressed": String(button.dataset.value === state()) });
    put(band, { value: wanted("priority") });
    if (document.activeElement !== search) put(search, { value: wanted("q") });
    for (const id of filters) {
      put(chips[id], { hidden: !wanted(id) || id === "priority", "aria-label": `${id} ${cut(wanted(id), 60)}: show all` });
      name(chips[id], `${id} ${wanted(id)} \u00d7`, 44);
    }
    ask();
    draw();
    drawStory();
  },
  draw(fresh) {
    if (fresh !== status) heardAt = performance.now();
    status = fresh;
  },
};
