// Who uses it: tenants with their budgets, sessions that unfold to their agents, budgets with burn rate and end. Search, filters and what
// is unfolded stand in the address.

import { make, put, say, name, tick, Rows, width, time } from "./elements.js";
import { count, short, money, duration, amount, plural, visible, none, left, cut, words } from "./words.js";
import { Table, Pages } from "./tables.js";
import { Budget } from "./gauges.js";
import { buttons } from "./deeds.js";
import { ranked } from "./trouble.js";
import { me, Poll } from "./api.js";
import { wanted, adjust, go, toggle, listed } from "./place.js";

let status = {};
let usage = new Map();
const tabs = ["tenants", "sessions", "budgets"];
const tabButtons = tabs.map(id => make("button", { type: "button", "data-value": id, onclick: () => adjust({ by: id, page: null, sort: null }, true) }, id));
const search = make("input", { type: "search", class: "search", placeholder: "search names", "aria-label": "Search tenants, sessions and budgets", oninput: () => adjust({ q: search.value, page: null }) });
const filtered = make("button", { type: "button", class: "chip-button", hidden: true, onclick: () => adjust({ tenant: null, page: null }) });
const note = make("p", { class: "quiet note-line", role: "status" });
const tab = () => tabs.includes(wanted("by")) ? wanted("by") : (status.tenants?.length ?? 2) > 1 ? "tenants" : "sessions";

const paging = { get: () => Number(wanted("page", "1")) || 1, set: page => adjust({ page: page > 1 ? page : null }, true) };
const sorting = otherwise => ({ get: () => wanted("sort", otherwise), set: sort => adjust({ sort: sort === otherwise ? null : sort, page: null }) });
const number = value => value === null || value === undefined || !Number.isFinite(Number(value)) ? null : Number(value);

/** A bar of one cell: the budget of a tenant that is nearest to its end. */
function budgetCell() {
  const fill = make("i", { class: "fill spent fine" }), text = make("span"), ends = make("span", { class: "quiet" });
  const track = make("span", { class: "track thin", "aria-hidden": "true" }, fill);
  const element = make("span", { class: "budget-cell" }, text, track, ends);
  return { element, update: ({ budget }) => {
    put(element, { hidden: !budget });
    if (!budget) return;
    const read = name => Number(budget[`${name}_${budget.unit}`] ?? 0), share = (read("spent") + read("held")) / (read("limit") || 1);
    const kind = share >= 1 ? "empty" : budget.runs_out_at || share * 100 >= (budget.warn_at_percent ?? 80) ? "tight" : "fine";
    put(fill, { class: `fill spent ${kind}` });
    width(fill, share);
    say(text, `${kind === "empty" ? "\u2716 " : kind === "tight" ? "\u25b2 " : ""}${amount(read("spent"), budget.unit)} of ${amount(read("limit"), budget.unit)}`);
    tick(ends, budget.runs_out_at ?? budget.window_ends, future => budget.runs_out_at ? `out ${future === "now" ? "now" : `in ${future}`}` : `new in ${future}`);
  } };
}

/** A tenant's name, and on narrow screens, where it has no column of its own, the budget under it. */
function tenantCell() {
  const text = make("span", { class: "name" }), budget = budgetCell();
  budget.element.classList.add("narrow");
  return { element: make("span", { class: "tenant-cell" }, text, budget.element), update: row => { name(text, row.id, 44); budget.update(row); } };
}

const tenants = new Table({
  caption: "Tenants", page: 100, key: row => row.id, empty: "No tenant matches.", paging, sorting: sorting("name"), label: row => `tenant ${cut(row.id, 80)}: show its sessions`,
  open: row => go("who", { by: "sessions", tenant: row.id }),
  columns: [
    { id: "name", title: "tenant", sort: row => row.id, cell: tenantCell },
    { id: "running", phone: "5.4rem", title: "running", number: true, width: "7.5rem", sort: row => number(row.in_flight), text: row => row.concurrency_limit ? `${count(row.in_flight)} of ${count(row.concurrency_limit)}` : count(row.in_flight) },
    { id: "waiting", phone: "4.6rem", title: "waiting", number: true, width: "5.2rem", sort: row => number(row.queued), text: row => count(row.queued) },
    { id: "oldest", spare: true, title: "oldest", number: true, wide: true, width: "6.5rem", sort: row => number(row.oldest_wait_ms), text: row => row.queued ? duration(row.oldest_wait_ms) : none },
    { id: "calls", spare: true, title: "calls 24 h", number: true, wide: true, width: "6.5rem", sort: row => number(row.used?.requests), text: row => count(row.used?.requests) },
    { id: "tokens", spare: true, title: "in / out 24 h", number: true, wide: true, width: "9.5rem", sort: row => number(row.used?.input_tokens), text: row => row.used ? `${short(row.used.input_tokens)} / ${short(row.used.output_tokens)}` : none },
    { id: "cost", phone: "5rem", title: "cost 24 h", number: true, width: "5.8rem", sort: row => number(row.used?.cost_usd), text: row => money(row.used?.cost_usd) },
    { id: "budget", title: "budget", wide: true, width: "18rem", sort: row => row.budget ? -Number(row.budget[`spent_${row.budget.unit}`]) / (Number(row.budget[`limit_${row.budget.unit}`]) || 1) : null, cell: budgetCell },
  ],
});

function sessionCell() {
  const text = make("span", { class: "name" });
  const fold = make("button", { type: "button", class: "fold", "aria-expanded": "false" }, make("span", { class: "caret", "aria-hidden": "true" }));
  const agents = make("span", { class: "quiet" });
  const element = make("span", { class: "session-cell" }, fold, text, agents);
  let current = null;
  fold.addEventListener("click", () => toggle("open", current.key));
  return { element, update: row => {
    current = row;
    const isParent = row.agents !== undefined;
    put(element, { class: `session-cell${isParent ? "" : " agent"}` });
    name(text, isParent ? row.session || "(no session)" : row.agent === "" ? "the session itself" : row.agent, 44);
    const some = isParent ? row.agents.length : 0;
    put(fold, { hidden: some < 2, "aria-expanded": String(row.isOpen === true), "aria-label": `agents of ${cut(row.session, 60)}` });
    say(agents, some > 1 ? plural(some - (row.agents.some(agent => agent.agent === "") ? 1 : 0), "agent") : "");
  } };
}
const sessions = new Table({
  caption: "Sessions", page: 100, key: row => row.key, empty: "No session matches.", paging, sorting: sorting("recent"), label: row => row.agents ? `session ${cut(row.session, 80)}: show its requests` : `agent ${visible(row.agent || "the session itself").slice(0, 80)}`,
  open: row => go("why", { state: "recent", session: row.session, tenant: row.tenant === "default" ? null : row.tenant }),
  rowClass: row => row.agents ? "" : "child",
  flatten: row => row.isOpen && row.agents.length > 1 ? [row, ...row.agents.map(agent => ({ ...agent, tenant: row.tenant, session: row.session, key: `${row.key}\n${agent.agent}` }))] : [row],
  columns: [
    { id: "session", title: "session", sort: row => row.session, cell: sessionCell },
    { id: "tenant", title: "tenant", wide: true, width: "11rem", sort: row => row.tenant, from: true, most: 24, text: row => row.agents ? row.tenant : "" },
    { id: "running", phone: "4.4rem", title: "running", number: true, width: "5.5rem", sort: row => number(row.running), text: row => count(row.running) },
    { id: "waiting", phone: "4.6rem", title: "waiting", number: true, width: "5.5rem", sort: row => number(row.waiting), text: row => count(row.waiting) },
    { id: "requests", spare: true, title: "calls", number: true, wide: true, width: "5.5rem", sort: row => number(row.requests), text: row => count(row.requests) },
    { id: "tokens", spare: true, title: "tokens in / out", number: true, wide: true, width: "9.5rem", sort: row => number(row.input_tokens), text: row => `${short(row.input_tokens)} / ${short(row.output_tokens)}` },
    { id: "cost", phone: "4.9rem", title: "cost", number: true, width: "6rem", sort: row => number(row.cost_usd), text: row => money(row.cost_usd) },
    { id: "recent", title: "last call", number: true, wide: true, width: "8.2rem", sort: row => number(Date.parse(row.last_at)), text: row => row.last_at ? `${left(Math.max(1000, time.now() - Date.parse(row.last_at)))} ago` : none },
  ],
});

const budgetBox = make("div", { class: "budgets" });
const budgetRows = new Rows(budgetBox, first => {
  const gauge = new Budget(first), acts = make("span", { class: "acts" }), facts = make("span", { class: "quiet" });
  const element = make("article", { class: "panel budget" }, gauge.element, make("div", { class: "row" }, facts, make("span", { class: "gap" }), acts));
  let offered = null;
  return { element, update: budget => {
    gauge.update(budget);
    say(facts, `per ${words(budget.per ?? "?")}, ${words(budget.scope ?? "?")}; beyond: ${{ reject: "refused", low: "class low", warn: "a warning" }[budget.on_exceed] ?? "?"}`);
    if (offered !== me.canChange) { offered = me.canChange; acts.replaceChildren(...buttons({ what: "budget", id: budget.id, verbs: ["raise"] })); }
  } };
});
const noBudgets = make("p", { class: "quiet none" }, "No budget matches.");
const budgetPages = new Pages(60, paging);
const budgetPart = make("div", {}, budgetBox, noBudgets, budgetPages.element);

const parts = { tenants: tenants.element, sessions: sessions.element, budgets: budgetPart };
const element = make("section", { class: "view who", "aria-label": "Who" },
  make("div", { class: "heading" }, make("h2", { class: "unseen" }, "Who"), make("span", { class: "choice", role: "group", "aria-label": "Kind" }, ...tabButtons), search, filtered, make("span", { class: "gap" }), note), ...Object.values(parts));

let sessionAnswer = null;
const sessionPoll = new Poll(2000, (answer, error) => {
  if (error) return say(note, error.status === 404 ? "this broker does not tell sessions" : `no answer: ${visible(error.message)}`);
  sessionAnswer = answer;
  if (drawn === "sessions") drawSessions();
});
const usagePoll = new Poll(30000, answer => {
  if (!answer) return;
  usage = new Map((answer.rows ?? []).map(row => [row.tenant, row]));
  if (drawn === "tenants") drawTenants();
});

const has = (text, ...texts) => !text || texts.some(one => String(one ?? "").toLowerCase().includes(text));

function drawTenants() {
  const text = wanted("q").toLowerCase();
  const worst = new Map();
  for (const budget of status.budgets ?? []) {
    if (budget.scope !== "tenant" || !budget.tenant) continue;
    const share = one => Number(one[`spent_${one.unit}`]) / (Number(one[`limit_${one.unit}`]) || 1);
    if (!worst.has(budget.tenant) || share(budget) > share(worst.get(budget.tenant))) worst.set(budget.tenant, budget);
  }
  const rows = (status.tenants ?? []).filter(tenant => has(text, tenant.id)).map(tenant => ({ ...tenant, used: usage.get(tenant.id), budget: worst.get(tenant.id) }));
  tenants.draw(rows);
  if (status.tenants) say(note, `${plural(rows.length, "tenant")}${rows.length < (status.tenants?.length ?? 0) ? ` of ${count(status.tenants.length)}` : ""}`);
}

function drawSessions() {
  if (!sessionAnswer) return;
  const open = listed("open"), text = wanted("q").toLowerCase(), tenant = wanted("tenant");
  const rows = (sessionAnswer.sessions ?? []).filter(one => (!tenant || one.tenant === tenant) && has(text, one.session, one.tenant, ...(one.agents ?? []).map(agent => agent.agent))).map(one => {
    const key = `${one.tenant}\n${one.session}`;
    return { ...one, agents: one.agents ?? [], key, isOpen: open.has(key) };
  });
  sessions.draw(rows, rows.length + (sessionAnswer.left_out ?? 0));
  say(note, `${plural(rows.length, "session")}${sessionAnswer.left_out ? `, ${count(sessionAnswer.left_out)} more` : ""}`);
}

function drawBudgets() {
  const text = wanted("q").toLowerCase();
  const rows = ranked(status.budgets ?? []).filter(budget => has(text, budget.id, budget.tenant));
  budgetRows.draw(budgetPages.draw(rows), budget => budget.id);
  put(noBudgets, { hidden: rows.length > 0 });
  say(note, `${plural(rows.length, "budget")}${rows.length < (status.budgets?.length ?? 0) ? ` of ${count(status.budgets.length)}` : ""}`);
}

let drawn = "";
const drawers = { tenants: drawTenants, sessions: drawSessions, budgets: drawBudgets };

export const who = {
  element, title: "Who", search: () => search,
  enter() { usagePoll.want("usage?by=tenant&since=24h"); this.moved(); },
  leave() { usagePoll.want(null); sessionPoll.want(null); },
  moved() {
    const shown = tab();
    if (shown !== drawn) say(note, "");
    drawn = shown;
    for (const button of tabButtons) put(button, { "aria-pressed": String(button.dataset.value === shown) });
    for (const [id, part] of Object.entries(parts)) put(part, { hidden: id !== shown });
    if (document.activeElement !== search) put(search, { value: wanted("q") });
    put(filtered, { hidden: !wanted("tenant"), "aria-label": `of tenant ${visible(wanted("tenant"))}: show all` });
    name(filtered, `tenant ${wanted("tenant")} \u00d7`, 40);
    const query = new URLSearchParams({ limit: "500" });
    if (wanted("tenant")) query.set("tenant", wanted("tenant"));
    if (wanted("q")) query.set("search", wanted("q"));
    sessionPoll.want(shown === "sessions" ? `sessions?${query}` : null);
    drawers[shown]();
  },
  draw(fresh) {
    status = fresh;
    // Which part is shown by itself depends on how many tenants there are, which only the broker knows.
    if (tab() !== drawn) return this.moved();
    drawers[drawn]();
  },
};
