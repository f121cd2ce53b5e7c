// What an operator can do, and the dialog that says in numbers what will happen before it is done. Nothing is sent without the second
// click, and what the broker answers is shown as it is.

import { ask, me, Refused } from "./api.js";
import { at, make, put, say, named, time } from "./elements.js";
import { plural, visible, count, amount, exact, words, reasonOf } from "./words.js";

let status = {};
export const keepStatus = fresh => { status = fresh; };
const listeners = new Set();
/** Called with {text, isFine} after each change that was asked for here. */
export const onDeed = listener => listeners.add(listener);

const part = encodeURIComponent;
const provider = id => status.providers?.find(one => one.id === id);
const waiting = one => Object.values(one?.queued ?? {}).reduce((total, some) => total + some, 0);

/** How many sessions used this key within the time for which their prompts are cached: they lose that. */
async function warmSessions(id, key) {
  const answers = await Promise.all(["recent", "running"].map(state => ask(`requests?state=${state}&limit=1000`)));
  const since = time.now() - 5 * 60e3;
  const sessions = new Set();
  for (const request of answers.flatMap(answer => answer.requests)) {
    if (request.provider === id && request.key === key && request.session && Date.parse(request.arrived_at) + (request.total_ms ?? 0) >= since) sessions.add(`${request.tenant}\n${request.session}`);
  }
  return sessions.size;
}

const rests = key => key.state === "cooling";
const works = key => key.state === "usable";
/** True where the provider takes calls now, as far as the snapshot tells. */
const serves = one => (one.breaker?.state ?? "closed") !== "open" && (!one.keys?.length || one.keys.some(works));

/** What becomes of calls that a provider takes no more until somebody changes it: which route they have is not told here. */
function turnedAway(id, waits) {
  const others = (status.providers ?? []).filter(one => one.id !== id && serves(one)).map(one => one.id);
  const refused = "refused at once (503; 529 at Anthropic's API)";
  if (!others.length) return `No other provider works now: ${waits ? `${plural(waits, "waiting call")} and all further ones` : "all further calls"} for ${id} are ${refused}.`;
  const names = others.length > 3 ? "another provider" : others.length > 1 ? `${others.slice(0, -1).join(", ")} or ${others.at(-1)}` : others[0];
  return `Calls whose route leads on to ${names} go there. All others${waits ? `, those among the ${plural(waits, "waiting call")} too,` : ""} are ${refused}.`;
}

function ofBreaker(id, verb) {
  const one = provider(id), running = one?.in_flight ?? 0, waits = waiting(one);
  const state = words(one?.breaker?.state ?? "closed");
  const facts = {
    open: [`No new call goes to ${id}, until somebody closes the breaker or sets it to automatic. It does not end by itself.`,
      running ? `${plural(running, "running call")} at ${id} finish${running === 1 ? "es" : ""}.` : `No call runs at ${id} now.`,
      turnedAway(id, waits)],
    close: [`Calls go to ${id} again at once, whatever happened before. It opens again after the next failures in a row.`,
      waits ? `${plural(waits, "waiting call")} may go now.` : "No call waits for it now.", "Pauses that the provider has asked for end too."],
    auto: [`The breaker of ${id} opens and closes by what happens again.`, "Pauses that the provider has asked for end too.", waits ? `${plural(waits, "waiting call")} may go now.` : "No call waits for it now."],
  };
  return { title: `${{ open: "Open", close: "Close", auto: "Automatic" }[verb]}: breaker of ${id}`, now: `It is ${state} now.`, facts: facts[verb], button: { open: "Open the breaker", close: "Close the breaker", auto: "Set to automatic" }[verb],
    isGrave: verb === "open", path: () => `breakers/${part(id)}/${verb}`, done: `breaker of ${id}: ${verb}` };
}

function ofKey(id, key, verb) {
  const one = provider(id)?.keys?.find(other => other.id === key);
  const rest = (provider(id)?.keys ?? []).filter(other => other.id !== key), others = rest.filter(works).length, resting = rest.filter(rests).length;
  const waits = waiting(provider(id));
  if (verb === "enable") return { title: `Enable key ${id}/${key}`, now: `It is ${words(one?.state)}${one?.reason ? ` (${reasonOf(one.reason)})` : ""} now.`, facts: ["It takes calls again at once.", "Pauses that the provider has asked for at this key end too.", waits ? `${plural(waits, "waiting call")} may go now.` : "No call waits for it now."],
    button: "Enable the key", path: () => `keys/${part(id)}/${part(key)}/enable`, done: `key ${id}/${key}: enabled` };
  const running = one?.in_flight ?? 0;
  return { title: `Disable key ${id}/${key}`, now: `It is ${words(one?.state)} now.`,
    facts: ["It takes no new calls, until somebody enables it. It does not end by itself.", running ? `${plural(running, "call")} running on this key finish${running === 1 ? "es" : ""}.` : "No call runs on this key now.",
      ...others ? [`${plural(others, "other key")} of ${id} take${others === 1 ? "s" : ""} over.`] : resting ? [`No other key of ${id} works now; ${plural(resting, "key")} rest${resting === 1 ? "s" : ""}: calls wait for ${resting === 1 ? "it" : "one of them"} as long as they may, or go to the next provider of their route.`]
        : [`No other key of ${id} works.`, turnedAway(id, waits)]],
    later: warmSessions(id, key).then(some => some ? `${plural(some, "session")} that used it in the last 5 minutes lose${some === 1 ? "s" : ""} ${some === 1 ? "its" : "their"} warm cache.` : "No session has used it in the last 5 minutes."),
    button: "Disable the key", isGrave: true, path: () => `keys/${part(id)}/${part(key)}/disable`, done: `key ${id}/${key}: disabled` };
}

function ofBroker(verb) {
  const running = status.running ?? 0, waits = Object.values(status.queued ?? {}).reduce((total, some) => total + some, 0);
  if (verb === "reload") return { title: "Reload the policy", now: "The file is read again and checked.", facts: ["If it has a mistake, nothing changes and every mistake is shown here.", `${plural(running, "running call")} and ${plural(waits, "waiting call")} stay; the new limits hold for them from then on.`],
    button: "Reload the policy", path: () => "reload", done: "policy: reloaded" };
  return { title: "Drain the broker", now: `${plural(running, "call")} run${running === 1 ? "s" : ""}, ${plural(waits, "call")} wait${waits === 1 ? "s" : ""}.`,
    facts: [`${plural(running, "running call")} may finish, for at most the policy's drain_timeout.`, `${plural(waits, "waiting call")} and all new ones get 503 with Retry-After.`, "Then the process ends. It cannot be taken back, and this page ends with it; it does not start again by itself."],
    button: "Drain and end", isGrave: true, path: () => "drain", done: "broker: drains" };
}

const isRefusing = budget => budget.on_exceed === "reject" && ["refusing", "used_up"].includes(budget.state);

/** By how much a budget that refuses calls is best raised: what is missing, and an hour's use up to the limit, or a tenth of it; as `tollgate budgets` proposes. */
function advisedRaise(read, unit, limit, burn) {
  const enough = Math.max(0, read("spent") + read("held") + read("refused_need") - limit) + (burn > 0 ? Math.min(burn, limit) : limit / 10);
  const least = Math.max(unit === "usd" ? 0.01 : 1, enough || { usd: 1, tokens: 1000 }[unit] || 10), power = 10 ** Math.floor(Math.log10(least));
  const round = [1, 2, 5, 10].map(step => Number((step * power).toPrecision(1))).find(amount => amount >= least * (1 - 1e-9));
  return Math.min(round, unit === "usd" ? 1e9 : 1e15);
}

function ofBudget(id) {
  const budget = status.budgets?.find(one => one.id === id);
  const unit = budget?.unit ?? "usd", read = name => Number(budget?.[`${name}_${unit}`] ?? 0);
  const limit = read("limit"), burn = Number(budget?.[`burn_${unit}_per_hour`] ?? 0);
  const more = make("input", { id: "raise-more", type: "number", min: unit === "usd" ? "0.01" : "1", step: unit === "usd" ? "0.01" : "1", required: true,
    value: budget && isRefusing(budget) ? advisedRaise(read, unit, limit, burn) : Math.max(1, Math.round(limit / 5)) });
  const span = make("select", { id: "raise-until" }, ...[[1, "1 hour"], [4, "4 hours"], [24, "24 hours"]].map(([hours, text]) => make("option", { value: hours }, `for ${text}`)));
  if (budget?.window_ends) span.prepend(make("option", { value: "window", selected: true }, "until the window ends"));
  const effect = make("li");
  const until = () => span.value === "window" ? new Date(budget.window_ends) : new Date(Math.floor((time.now() + Number(span.value) * 3600e3) / 1000) * 1000);
  const tell = () => {
    const added = Number(more.value) || 0;
    say(effect, `The limit becomes ${amount(limit + added, unit)} until ${exact(until())}.${burn > 0 ? ` At ${amount(burn, unit)} an hour, ${amount(added, unit)} last${unit === "usd" ? "s" : ""} ${(added / burn).toFixed(1)} h.` : ""}`);
  };
  more.addEventListener("input", tell);
  span.addEventListener("change", tell);
  tell();
  return { title: `Raise budget ${id}`, now: `${amount(read("spent"), unit)} of ${amount(limit, unit)} is spent${read("held") ? `, ${amount(read("held"), unit)} is held by running calls` : ""}.`,
    facts: [budget?.waiting ? `${plural(budget.waiting, "call")} wait${budget.waiting === 1 ? "s" : ""} for it and may go.` : "No call waits for it now."], effect,
    form: [make("label", {}, unit === "usd" ? "raise by $ " : `raise by (${unit}) `, more), make("label", {}, "", span)], button: "Raise the budget",
    path: () => `budgets/raise?budget=${part(id)}&${unit}=${part(more.value)}&until=${part(until().toISOString().replace(/\.\d+Z/, "Z"))}`, done: `budget ${id}: raised` };
}

function ofLog(level) {
  return { title: `Log level ${level}`, now: "Takes effect at once, and holds until the broker starts again.", facts: [level === "debug" ? "The log grows fast: lines for each step of each call." : `The log has what is of level ${level} and above.`],
    button: `Set to ${level}`, path: () => "log-level", body: { level }, done: `log level: ${level}` };
}

export const deedOf = ({ what, provider: id, key, verb, level, id: budget }) => ({
  breaker: () => ofBreaker(id, verb), key: () => ofKey(id, key, verb), broker: () => ofBroker(verb), budget: () => ofBudget(budget), log: () => ofLog(level),
})[what]();

const labels = { close: "try now", auto: "automatic", enable: "enable", disable: "disable", open: "open", raise: "raise" };
/** Buttons for `verbs`, or nothing where the token may not change anything. */
export function buttons(deed, texts = labels) {
  if (!me.canChange || !deed) return [];
  const subject = visible([deed.provider, deed.key, deed.id].filter(Boolean).join("/"));
  return deed.verbs.map(verb => make("button", { type: "button", class: "act", "aria-label": `${texts[verb] ?? labels[verb]} ${words(deed.what)} ${subject}`, onclick: () => confirm({ ...deed, verb }) }, texts[verb] ?? labels[verb]));
}

let running = null;

/** Asks; sends only what was confirmed. */
export function confirm(which) {
  const deed = running = deedOf(which);
  const dialog = at("confirm");
  const later = make("li", { hidden: true });
  const error = make("p", { class: "error", role: "alert", hidden: true });
  const send = make("button", { type: "submit", class: deed.isGrave ? "grave" : "main", id: "confirm-yes" }, deed.button);
  const cancel = make("button", { type: "button", id: "confirm-no", onclick: () => dialog.close() }, "Cancel");
  const form = make("form", { onsubmit: event => { event.preventDefault(); perform(deed, send, error); } },
    make("h2", { id: "confirm-title" }, named("span", deed.title, 90)), make("p", { class: "quiet" }, visible(deed.now)),
    make("ul", {}, ...deed.facts.map(fact => make("li", {}, visible(fact))), later, deed.effect), deed.form ? make("div", { class: "fields" }, ...deed.form) : null, error, make("div", { class: "row end" }, cancel, send));
  at("confirm-body").replaceChildren(form);
  deed.later?.then(text => { say(later, text); put(later, { hidden: false }); }).catch(() => {});
  if (!dialog.open) dialog.showModal();
  (deed.form ? form.querySelector("input") : cancel).focus();
}

async function perform(deed, send, error) {
  put(send, { disabled: true });
  put(error, { hidden: true });
  try {
    await ask(deed.path(), { method: "POST", body: deed.body });
    if (running === deed) at("confirm").close();
    for (const listener of listeners) listener({ text: deed.done, isFine: true });
  } catch (problem) {
    if (!(problem instanceof Refused)) throw problem;
    const text = `${problem.status ? `${problem.status}: ` : ""}${problem.message}`;
    say(error, text.split("\n").map(visible).join("\n"));
    put(error, { hidden: false });
    for (const listener of listeners) listener({ text: `${deed.done}: refused, ${text}`, isFine: false });
  } finally { put(send, { disabled: false }); }
}
