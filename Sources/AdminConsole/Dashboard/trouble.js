// What is wrong now, the worst first: since when, whether and when it ends by itself, and what one can do. Read from a snapshot alone.

import { words, isByHand, plural, money, amount, count, time } from "./words.js";

const soon = 14 * 86400e3;
const because = reason => reason ? isByHand(reason) ? " by hand" : `: ${words(reason)}` : "";

/** Each: {key, kind: "bad"|"warn", text, since, until, ends (the words before the countdown), stays (the words where it does not end by itself), deed}. */
export function troubles(status, now = time.now()) {
  const found = [];
  const add = (key, kind, text, more = {}) => found.push({ key, kind, text, ...more });
  if (status.draining) add("draining", "bad", `the broker drains: it takes no new calls, ${plural(status.running ?? 0, "running call")} finish, then it ends`, { stays: "does not start again by itself" });
  if (status.ledger && status.ledger !== "ok") add("ledger", "bad", `the ledger cannot be written: ${status.ledger}`, { stays: "no new work is taken until it can" });
  for (const problem of status.problems ?? []) add(`problem ${problem.provider} ${problem.what}`, problem.severity === "warning" ? "warn" : "bad", problem.text, { since: problem.since, stays: "needs you" });
  for (const provider of status.providers ?? []) ofProvider(provider, add, now);
  ofBudgets(status.budgets ?? [], add);
  const memory = status.memory;
  if (memory?.limit_bytes && memory.held_bytes > memory.limit_bytes * 0.9) add("memory", "warn", `${Math.round(memory.held_bytes / memory.limit_bytes * 100)} % of the memory for clients' bodies is in use`);
  ofAlerts(status, found, add);
  const rank = { bad: 0, warn: 1 };
  return found.map((one, index) => ({ ...one, index })).sort((left, right) => rank[left.kind] - rank[right.kind] || left.index - right.index);
}

/** An alert about what the list has already says nothing new. */
function ofAlerts(status, found, add) {
  const has = start => found.some(one => one.key.startsWith(start));
  for (const alert of status.alerts ?? []) {
    if (/breaker/.test(alert.name) && has("breaker ")) continue;
    if (/budget/.test(alert.name) && has("budget ")) continue;
    if (/ledger_obstacle|^ledger$/.test(alert.name) && has("ledger")) continue;
    add(`alert ${alert.name} ${alert.text?.replace(/[\d.,]+/g, "") ?? ""}`, alert.severity === "critical" ? "bad" : "warn", alert.text ?? words(alert.name), { since: alert.since });
  }
  if ((status.alerts ?? []).some(alert => /throttl|429|refus/.test(alert.name))) return;
  for (const provider of status.providers ?? []) {
    if (provider.throttled_last_minute) add(`throttled ${provider.id}`, "warn", `${provider.id} refused ${plural(provider.throttled_last_minute, "call")} in the last minute (429)`);
  }
}

function ofProvider(provider, add, now) {
  const { id, breaker } = provider;
  const waits = Object.values(provider.queued ?? {}).reduce((total, some) => total + some, 0);
  const tail = waits ? `; ${plural(waits, "call waits", "calls wait")}` : "";
  if (breaker && breaker.state !== "closed") ofBreaker(id, breaker, `breaker ${id}`, id, add, tail, breaker.state === "open" ? ["close", "auto"] : ["close"]);
  if (provider.state === "cooling") add(`provider ${id}`, "warn", `${id} asked for a pause${because(provider.reason)}${tail}`, { until: provider.until, ends: "goes on", stays: "one call tries whether it is over", deed: { what: "breaker", provider: id, verbs: ["auto"] }, provider: id });
  for (const model of provider.models ?? []) {
    if (model.breaker && model.breaker.state !== "closed") ofBreaker(`${id}/${model.models}`, model.breaker, `breaker ${id}/${model.models}`, id, add, "", ["close"]);
    if (model.state && model.state !== "usable") add(`model ${id}/${model.models}`, "warn", `${id}: ${model.models || "calls without a model"} ${words(model.state)}${because(model.reason)}`, { until: model.until, ends: "goes on", stays: "one call tries whether it is over", provider: id });
  }
  const usable = (provider.keys ?? []).filter(key => key.state === "usable").length;
  for (const key of provider.keys ?? []) {
    const name = `${id}/${key.id}`;
    if (key.state !== "usable") {
      const others = usable ? `; ${plural(usable, "other key")} of ${id} ${usable === 1 ? "works" : "work"}` : `; no key of ${id} works`;
      const byHand = isByHand(key.reason);
      add(`key ${name}`, usable ? "warn" : "bad", `key ${name} is ${words(key.state)}${because(key.reason)}${others}`,
        { until: key.until, ends: "usable again", stays: byHand ? "until somebody enables it" : key.state === "cooling" ? "one call tries whether it is over" : "until it is changed or enabled", deed: { what: "key", provider: id, key: key.id, verbs: ["enable"] }, provider: id });
    } else if (key.expires && Date.parse(key.expires) - now < soon) {
      add(`expires ${name}`, "warn", `key ${name} expires`, { until: key.expires, ends: "not used any more", provider: id });
    }
    for (const rest of key.models ?? []) add(`rest ${name}/${rest.model}`, "warn", `${rest.model || "calls without a model"} rests at key ${name}${because(rest.reason)}`, { until: rest.until, ends: "goes on", provider: id });
  }
}

function ofBreaker(name, breaker, key, provider, add, tail, verbs) {
  const byHand = isByHand(breaker.reason);
  const text = breaker.state === "half_open" ? `breaker of ${name} is half open: a call tries whether it works again` : `breaker of ${name} is open${because(breaker.reason)}${tail}`;
  add(key, breaker.state === "half_open" ? "warn" : "bad", text, { since: breaker.since, until: breaker.until, ends: "next try", stays: byHand ? "until somebody closes it" : "until a try succeeds", deed: { what: "breaker", provider, verbs: byHand ? ["auto"] : verbs }, provider });
}

/** Budgets as they are listed: those of sessions last, since clients make as many of them as they like. */
export const ranked = budgets => [...budgets.filter(one => one.scope !== "session"), ...budgets.filter(one => one.scope === "session")];

const severalSessions = 3, several = 12;

/** A line for each budget that needs one; where that would be many alike, one line for all of them. */
function ofBudgets(budgets, add) {
  const alike = new Map();
  for (const budget of ranked(budgets)) {
    const isOfSession = budget.scope === "session";
    ofBudget(budget, (key, kind, text, more) => {
      const group = `${isOfSession} ${more.about} ${budget.on_exceed}`;
      alike.set(group, [...alike.get(group) ?? [], { budget, key, kind, text, more }]);
    });
  }
  for (const [group, found] of alike) {
    const isOfSession = group.startsWith("true ");
    if (found.length <= (isOfSession ? severalSessions : several)) {
      for (const { key, kind, text, more } of found) add(key, kind, text, more);
      continue;
    }
    const ends = found.map(one => one.more.until).filter(Boolean).sort();
    add(`budgets ${group}`, found[0].kind, `${count(found.length)} budgets${isOfSession ? " of sessions" : ""} ${found[0].more.all}: ${found.slice(0, 2).map(one => one.budget.id).join(", ")} and ${count(found.length - 2)} more`,
      { until: ends[0], ends: `the first: ${found[0].more.ends}`, to: ["who", { by: "budgets", q: isOfSession ? "/session/" : null }] });
  }
}

const doing = { reject: "further calls are refused", low: "further calls run in class low", warn: "calls go on" };
function ofBudget(budget, add) {
  const read = name => Number(budget[`${name}_${budget.unit}`] ?? 0);
  const limit = read("limit"), used = read("spent") + read("held");
  const does = doing[budget.on_exceed] ?? "";
  const deed = { what: "budget", id: budget.id, verbs: ["raise"] };
  const subject = { tenant: budget.tenant, subject: budget.id };
  if (limit && used >= limit) add(`budget ${budget.id}`, budget.on_exceed === "reject" ? "bad" : "warn", `budget ${budget.id} is used up: ${amount(used, budget.unit)} of ${amount(limit, budget.unit)}; ${does}`, { until: budget.window_ends, ends: "new window", deed, about: "gone", all: `are used up; ${does}`, ...subject });
  else if (budget.runs_out_at) add(`budget ${budget.id}`, "warn", `budget ${budget.id} runs out before its window ends; then ${does}`, { until: budget.runs_out_at, ends: "used up", deed, about: "soon", all: `run out before their windows end; then ${does}`, ...subject });
  else if (limit && budget.warn_at_percent && used * 100 >= limit * budget.warn_at_percent) add(`budget ${budget.id}`, "warn", `${Math.floor(used / limit * 100)} % of budget ${budget.id} is used`, { until: budget.window_ends, ends: "new window", deed, about: "near", all: "are near their ends", ...subject });
}

export const brief = list => list.length === 0 ? "no trouble"
  : [["bad", "critical"], ["warn", "warning"]].map(([kind, word]) => [list.filter(one => one.kind === kind).length, word]).filter(([some]) => some)
    .map(([some, word]) => word === "warning" ? plural(some, word) : `${some} ${word}`).join(", ");

/** The sentence on top where the broker gives none. */
export function sentence(status) {
  if (status.headline) return status.headline;
  if (!status.providers) return status.draining ? "the broker drains" : "serving";
  const waiting = Object.entries(status.queued ?? {}).filter(([, some]) => some).map(([name, some]) => `${count(some)} ${name}`).join(", ");
  return `${plural(status.running ?? 0, "call")} running; ${waiting ? `${waiting} waiting` : "nobody waits"}; ${money(status.spent_usd)} spent since the start`;
}
