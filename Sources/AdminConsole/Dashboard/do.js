// What one can do, and who did what: the broker itself, breakers and keys of each provider, budgets, the log, and the list of changes.
// Without a token that may change anything, only the list.

import { make, put, say, named, mark, remark, Rows, stateKind } from "./elements.js";
import { count, words, reasonOf, visible, clock, plural, cut } from "./words.js";
import { Budget } from "./gauges.js";
import { ranked } from "./trouble.js";
import { buttons, confirm, onDeed } from "./deeds.js";
import { me, Poll } from "./api.js";
import { wanted, adjust, address } from "./place.js";

let status = {};
const act = (text, which, kind = "act") => make("button", { type: "button", class: kind, onclick: () => confirm(which) }, text);
const search = make("input", { type: "search", class: "search", placeholder: "provider, key or budget", "aria-label": "Filter providers, keys and budgets", oninput: () => adjust({ q: search.value }) });

const broker = make("div", { class: "panel deeds" }, make("h2", {}, "Broker"),
  make("div", { class: "deed" }, make("span", {}, make("b", {}, "Reload"), make("span", { class: "quiet" }, " the policy file; a file with a mistake changes nothing")), act("reload\u2026", { what: "broker", verb: "reload" })),
  make("div", { class: "deed" }, make("span", {}, make("b", {}, "Log level"), make("span", { class: "quiet" }, " until the next start")), make("span", { class: "acts" }, ...["debug", "info", "warning", "error"].map(level => act(level, { what: "log", level })))),
  make("div", { class: "deed" }, make("span", {}, make("b", {}, "Drain"), make("span", { class: "quiet" }, " finish what runs, take nothing new, end")), act("drain\u2026", { what: "broker", verb: "drain" }, "act grave")));

const providerList = make("ul", { class: "deed-list" });
const providerRows = new Rows(providerList, first => {
  const state = mark("good", ""), facts = make("span", { class: "quiet" }), acts = make("span", { class: "acts" }), keys = make("ul", { class: "deed-keys" });
  const keyRows = new Rows(keys, one => {
    const mine = mark("good", ""), runs = make("span", { class: "quiet" }), does = make("span", { class: "acts" });
    let offered = "";
    return { element: make("li", { class: "deed" }, make("span", {}, named("span", one.id, 32, { class: "key-name" }), " ", mine, " ", runs), does), update: key => {
      remark(mine, stateKind(key.state), words(key.state));
      say(runs, `${count(key.in_flight)} running${key.reason ? `, ${cut(reasonOf(key.reason), 80)}` : ""}`);
      const verbs = key.state === "usable" ? ["disable"] : key.state === "cooling" ? ["enable", "disable"] : ["enable"];
      if (offered !== `${verbs}${me.canChange}`) { offered = `${verbs}${me.canChange}`; does.replaceChildren(...buttons({ what: "key", provider: first.id, key: key.id, verbs })); }
    } };
  });
  let offered = null;
  return { element: make("li", { class: "panel" }, make("div", { class: "deed" }, make("span", {}, named("b", first.id, 40), " ", state, " ", facts), acts), keys), update: provider => {
    remark(state, stateKind(provider.breaker?.state), `breaker ${words(provider.breaker?.state ?? "closed")}`);
    say(facts, `${count(provider.in_flight)} running`);
    if (offered !== me.canChange) { offered = me.canChange; acts.replaceChildren(...buttons({ what: "breaker", provider: first.id, verbs: ["open", "close", "auto"] }, { close: "close" })); }
    keyRows.draw(provider.keys ?? [], key => key.id);
  } };
});
const noProviders = make("p", { class: "quiet none" }, "No provider matches.");

const budgetList = make("div", { class: "budgets" });
const budgetRows = new Rows(budgetList, first => {
  const gauge = new Budget(first);
  return { element: make("article", { class: "panel budget" }, gauge.element, make("div", { class: "row" }, make("span", { class: "gap" }), ...buttons({ what: "budget", id: first.id, verbs: ["raise"] }))), update: budget => gauge.update(budget) };
});
const mostBudgets = 12;
const moreBudgets = make("a", { class: "more-budgets", hidden: true });
const noBudgets = make("p", { class: "quiet none", hidden: true }, "No budget matches.");
const budgetBox = make("div", {}, make("h2", {}, "Budgets"), budgetList, noBudgets, moreBudgets);

// Who did what

const kinds = { all: "all", hand: "by people" };
const kindButtons = Object.entries(kinds).map(([id, text]) => make("button", { type: "button", "data-value": id, onclick: () => adjust({ changes: id === "all" ? null : id }) }, text));
const kind = () => kinds[wanted("changes")] ? wanted("changes") : "all";
const audit = make("ol", { class: "audit" });
const auditNone = make("p", { class: "quiet none" }, "No changes yet.");
const auditRows = new Rows(audit, first => {
  const asker = first.asked_by ? `by ${first.asked_by}` : "by itself";
  // The broker's sentence ends with who asked, which has its own column here.
  const text = (first.text || [first.subject, first.name, first.state].filter(Boolean).map(words).join(" ")).replace(`, ${asker}`, "");
  const more = [first.before, first.after].every(part => part !== null && part !== undefined && !text.includes(part)) ? `${visible(first.before)} \u2192 ${visible(first.after)}` : "";
  return { element: make("li", {}, make("time", { datetime: first.at }, clock(first.at)), named("span", text, 200, { class: "what" }), make("span", { class: "quiet" }, more), named("span", asker, 40, { class: "by" })) };
});
let heard = [], listed = [];
const auditNote = make("p", { class: "quiet note-line", role: "status", hidden: true });
const poll = new Poll(3000, (answer, error) => {
  if (error?.status === 404 || error?.status === 503) { put(auditNote, { hidden: false }); say(auditNote, "this broker keeps no list of changes: those that were heard since this page was opened"); return drawAudit(heard); }
  if (error) {
    put(auditNote, { hidden: false });
    return say(auditNote, `no answer: ${visible(error.message)}`);
  }
  put(auditNote, { hidden: true });
  drawAudit(answer.changes ?? []);
});
function drawAudit(changes) {
  listed = changes;
  const text = wanted("q").toLowerCase();
  const shown = changes.filter(one => kind() === "all" || one.asked_by).filter(one => !text || [one.text, one.name, one.subject, one.asked_by].some(part => String(part ?? "").toLowerCase().includes(text))).slice(0, 200);
  auditRows.draw(shown, one => `${one.at} ${one.subject} ${one.name} ${one.state}`);
  put(auditNone, { hidden: shown.length > 0 });
}

const reader = make("p", { class: "panel quiet reader" });
const changing = make("div", { class: "do-deeds" }, broker, make("div", { class: "heading" }, make("h2", {}, "Breakers and keys"), search), providerList, noProviders, budgetBox);
const aside = make("aside", { class: "panel" }, make("div", { class: "row" }, make("h2", {}, "Who did what"), make("span", { class: "gap" }), make("span", { class: "choice", role: "group", "aria-label": "Changes" }, ...kindButtons)), auditNote, audit, auditNone);
let shown = false;
const element = make("section", { class: "view do", "aria-label": "Do" }, make("div", { class: "do-columns" }, make("div", {}, reader, changing), aside));

onDeed(() => { if (poll.path) poll.again(); });

export const deedsView = {
  element, title: "Do", search: () => search,
  enter() { shown = true; this.moved(); },
  leave() { shown = false; poll.want(null); },
  moved() { if (document.activeElement !== search) put(search, { value: wanted("q") }); this.draw(status); drawAudit(listed); if (poll.path && heard.length) poll.again(); },
  heard(change) { heard = [change, ...heard].slice(0, 200); },
  draw(fresh) {
    status = fresh;
    // Changes are of the whole broker: a tenant's token may not read them.
    // Those of people are few among alerts and breakers: they are looked for in a longer list.
    poll.want(me.tenant || !me.isKnown || !shown ? null : kind() === "all" ? "audit?limit=200" : "audit?limit=1000");
    for (const button of kindButtons) put(button, { "aria-pressed": String(button.dataset.value === kind()) });
    put(aside, { hidden: me.tenant !== null });
    put(changing, { hidden: !me.canChange });
    put(reader, { hidden: me.canChange || !me.isKnown });
    say(reader, me.tenant ? `This token shows tenant ${cut(me.tenant, 60)} and changes nothing.` : "This token reads everything and changes nothing. Changes need the admin token.");
    if (!me.canChange) return;
    const text = wanted("q").toLowerCase();
    const found = (status.providers ?? []).filter(provider => !text || [provider.id, ...(provider.keys ?? []).map(key => key.id)].some(one => one?.toLowerCase().includes(text)));
    providerRows.draw(found, provider => provider.id);
    put(noProviders, { hidden: found.length > 0 });
    const budgets = ranked(status.budgets ?? []).filter(budget => !text || [budget.id, budget.tenant].some(one => one?.toLowerCase().includes(text)));
    budgetRows.draw(budgets.slice(0, mostBudgets), budget => budget.id);
    put(noBudgets, { hidden: budgets.length > 0 });
    put(moreBudgets, { hidden: budgets.length <= mostBudgets, href: address("who", { by: "budgets", q: text }) });
    say(moreBudgets, `${plural(budgets.length - mostBudgets, "more budget")}: filter, or see all`);
    put(budgetBox, { hidden: !status.budgets?.length });
  },
};
