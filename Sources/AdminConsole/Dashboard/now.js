// How it is now: what is wrong, totals, the three classes with what they wait for, and each provider with places, queue, buckets,
// models, keys and breaker, folded to one line each where there are many.

import { make, put, say, named, name, tick, age, mark, remark, Rows, stateKind } from "./elements.js";
import { classes, count, short, money, bytes, duration, dimension, words, reasonOf, isByHand, sum, none, plural, visible, cut, clock, isNumber } from "./words.js";
import { Places, Bucket, freeShare } from "./gauges.js";
import { troubles, brief } from "./trouble.js";
import { buttons } from "./deeds.js";
import { me } from "./api.js";
import { wanted, adjust, toggle, address, listed } from "./place.js";

const many = 6;
const element = make("section", { class: "view now", "aria-label": "Now" });

// Totals

const tiles = new Map();
const strip = make("dl", { class: "tiles" });
function tile(id, label, text, note = "") {
  let one = tiles.get(id);
  if (!one) {
    one = { value: make("dd", { "data-tile": id }), note: make("span", { class: "quiet" }) };
    tiles.set(id, one);
    strip.append(make("div", { class: "tile" }, make("dt", {}, label), one.value, one.note));
  }
  say(one.value, text);
  say(one.note, note);
}

function totals(status) {
  const now = status.totals ?? {};
  tile("running", "running", count(status.running), status.sessions_at_limit ? `${plural(status.sessions_at_limit, "session")} at limit` : "now");
  tile("waiting", "waiting", count(sum(status.queued)), bytes(status.queued_bytes));
  tile("calls", "calls", count(now.calls_last_minute), "last minute");
  tile("tokens", "tokens", short(now.tokens_last_minute), "last minute");
  tile("refused", "429s", count(now.throttled_last_minute), "last minute");
  const unpriced = status.unpriced_calls ?? 0;
  tile("cost", "cost", money(now.cost_last_hour_usd), unpriced ? "last hour, priced" : "last hour");
  // What has no price is in no amount.
  tile("spent", "spent", money(status.spent_usd), unpriced ? `+ ${short(unpriced)} unpriced` : "since start");
}

// Trouble

const attention = make("ol", { class: "troubles", tabIndex: 0, "aria-label": "Trouble" });
const attentionTitle = make("span", { class: "quiet" });
const attentionRows = new Rows(attention, first => {
  const text = make("span", { class: "trouble-text" });
  const since = make("span"), ends = make("span"), stays = make("span");
  const icon = mark(first.kind, first.kind === "bad" ? "critical" : "warning");
  const subject = first.to ? make("a", { href: address(...first.to) }, "show") : first.provider ? make("button", { type: "button", class: "plain", "aria-label": `show provider ${visible(first.provider)}`, onclick: () => show(first.provider) }, "show") : null;
  const acts = make("span", { class: "acts" });
  let offered = "";
  const row = make("li", { class: "trouble" }, icon, text, make("span", { class: "trouble-times" }, since, ends, stays), acts);
  return {
    element: row, update: trouble => {
      put(row, { class: `trouble ${trouble.kind}` });
      remark(icon, trouble.kind, trouble.kind === "bad" ? "critical" : "warning");
      name(text, trouble.text, 240);
      age(since, trouble.since, past => `for ${past}`);
      if (!trouble.since) say(since, "");
      tick(ends, trouble.until, future => `${trouble.ends ?? "ends"} ${future === "now" ? "now" : `in ${future}`}`);
      if (!trouble.until) say(ends, "");
      say(stays, trouble.until ? "" : visible(trouble.stays ?? ""));
      const wants = `${me.canChange} ${JSON.stringify(trouble.deed ?? null)}`;
      if (wants !== offered) { offered = wants; acts.replaceChildren(...buttons(trouble.deed), ...(subject ? [subject] : [])); }
    },
  };
});
const mostTroubles = 100;
const moreTroubles = make("p", { class: "quiet more", hidden: true });
const calm = make("p", { class: "calm", hidden: true }, mark("good", "no trouble"));
const aside = make("aside", { class: "panel attention", "aria-label": "Trouble" }, make("h2", {}, "Trouble ", attentionTitle), calm, attention, moreTroubles);

// The three classes

const bands = make("div", { class: "bands" });
const bandParts = Object.fromEntries(classes.map(band => {
  const parts = { queued: make("b", { class: "big" }), oldest: make("span"), predicted: make("span"), why: make("span", { class: "name why" }) };
  const link = make("a", { class: `band ${band}`, href: `#/why?state=queued&priority=${band}` }, make("span", { class: "band-head" }, make("span", { class: `chip ${band}` }, band), parts.queued, make("span", { class: "quiet" }, "waiting")),
    make("span", { class: "pairs" }, make("span", { class: "quiet" }, "oldest"), parts.oldest, make("span", { class: "quiet" }, "a new call would wait"), parts.predicted), parts.why);
  bands.append(link);
  return [band, { ...parts, link }];
}));

function drawBands(status) {
  for (const band of classes) {
    const parts = bandParts[band], facts = status.classes?.[band] ?? {};
    const queued = facts.queued ?? status.queued?.[band] ?? 0;
    say(parts.queued, count(queued));
    say(parts.oldest, queued ? duration(facts.oldest_ms) : none);
    say(parts.predicted, facts.predicted_wait_ms === undefined ? none : facts.predicted_wait_ms === null ? "not known" : duration(facts.predicted_wait_ms));
    const text = String(facts.waits_for?.text ?? "");
    const why = !text || /^(for|since|behind) /.test(text) ? text : `for ${text}`;
    name(parts.why, queued ? why && `waits ${why}` : "nobody waits", 150);
    put(parts.link, { href: address("why", { state: "queued", priority: band }), "aria-label": `${band}: ${count(queued)} waiting${why && `, the oldest ${visible(why)}`}. Show what they wait for` });
  }
}

// Providers

const filter = make("input", { type: "search", placeholder: "provider, key or model", "aria-label": "Filter providers", class: "search", oninput: () => adjust({ q: filter.value }) });
const onlyBad = make("input", { type: "checkbox", onchange: () => adjust({ bad: onlyBad.checked ? "1" : null }) });
const tools = make("span", { class: "tools", hidden: true }, make("label", {}, onlyBad, " only with trouble"), filter);
const amountOf = make("span", { class: "quiet" });
const list = make("div", { class: "providers" });
const empty = make("p", { class: "quiet none", hidden: true }, "No provider matches.");

// What is off the screen is drawn in turn, a fifth with each snapshot; what comes on the screen at once.
let turn = 0;
const onScreen = new WeakMap();
const watcher = new IntersectionObserver(entries => {
  for (const entry of entries) {
    const row = onScreen.get(entry.target);
    if (!row) continue;
    row.isSeen = entry.isIntersecting;
    if (row.isSeen && row.late) row.draw(row.late);
  }
}, { rootMargin: "300px" });

const rows = new Rows(list, first => {
  const row = providerRow(first);
  const state = { isSeen: true, late: null, isOpen: null, draw(provider) { state.late = null; state.isOpen = unfolded(provider.id); row.update(provider); } };
  onScreen.set(row.element, state);
  watcher.observe(row.element);
  return { element: row.element, gone: () => watcher.unobserve(row.element), update(provider, index) {
    if (state.isSeen || state.isOpen !== unfolded(provider.id) || index % 5 === turn) state.draw(provider); else state.late = provider;
  } };
});

function providerRow(first) {
  const { id } = first;
  const fold = make("button", { type: "button", class: "fold", "aria-expanded": "false", onclick: () => toggle(isShutBySize() ? "open" : "shut", id) });
  const title = named("span", id, 28);
  fold.append(make("span", { class: "caret", "aria-hidden": "true" }), title);
  const state = mark("good", ""), until = make("span", { class: "quiet until" });
  const places = new Places();
  const queue = make("a", { class: "queue" });
  const counts = Object.fromEntries(classes.map(band => [band, make("b")]));
  const oldest = make("span", { class: "quiet gauge-note" });
  queue.append(make("span", { class: "gauge-head" }, make("span", { class: "gauge-label" }, "waiting")), make("span", { class: "queue-counts" }, ...classes.map(band => make("span", { class: `count ${band}` }, make("span", { class: `dot ${band}`, "aria-hidden": "true" }, band[0].toUpperCase()), counts[band]))), oldest);
  const tightest = new Bucket("bucket", true);
  const noBucket = make("span", { class: "quiet no-bucket", hidden: true }, "no limit by time");
  const keys = make("span", { class: "keysum" });
  const head = make("div", { class: "prow" }, make("div", { class: "pname" }, fold, state, until), places.element, queue, make("div", { class: "pbucket" }, tightest.element, noBucket), keys);
  const box = make("article", { class: "provider panel", "data-provider": id, "aria-label": `provider ${visible(id)}` }, head);
  let details = null;
  return {
    element: box, update: provider => {
      const [kind, word, end] = health(provider);
      remark(state, kind, word);
      tick(until, end, future => future === "now" ? "now" : `${future}`);
      if (!end) say(until, "");
      places.update(provider, learnedNotes(provider));
      for (const band of classes) { say(counts[band], count(provider.queued?.[band] ?? 0)); put(counts[band].parentNode, { class: `count ${band}${provider.queued?.[band] ? "" : " zero"}` }); }
      const longest = Math.max(...classes.map(band => provider.oldest_wait_ms?.[band] ?? -1));
      say(oldest, longest >= 0 ? `oldest ${duration(longest)}` : "");
      put(queue, { href: address("why", { state: "queued", provider: id }), "aria-label": `${classes.map(band => `${count(provider.queued?.[band] ?? 0)} ${band}`).join(", ")} waiting at ${visible(id)}` });
      const tight = [...provider.buckets ?? []].sort((left, right) => freeShare(left) - freeShare(right))[0];
      put(tightest.element, { hidden: !tight });
      put(noBucket, { hidden: !!tight });
      if (tight) { tightest.rename(tight); tightest.update(tight); }
      drawKeySum(keys, provider);
      const isOpen = unfolded(id);
      put(fold, { "aria-expanded": String(isOpen) });
      put(box, { class: `provider panel ${kind}${isOpen ? " unfolded" : ""}` });
      if (isOpen) {
        details ??= makeDetails();
        if (!details.element.isConnected) box.append(details.element);
        details.update(provider);
      } else if (details?.element.isConnected) details.element.remove();
    },
  };
}

let size = 0;
const isShutBySize = () => size > many;
/** Few providers are unfolded until one folds them, many the other way round. */
function unfolded(id) {
  return isShutBySize() ? listed("open").has(id) : !listed("shut").has(id);
}

/** Unfolds a provider and goes there. */
function show(id) {
  if (!unfolded(id)) toggle(isShutBySize() ? "open" : "shut", id);
  adjust({ q: null, bad: null });
  requestAnimationFrame(() => {
    const row = [...list.children].find(one => one.dataset.provider === id);
    row?.scrollIntoView({ block: "nearest" });
    row?.querySelector(".fold").focus({ preventScroll: true });
  });
}

/** Shape, word and end of the worst that is the matter with a provider. */
function health(provider) {
  if (provider.breaker && provider.breaker.state !== "closed") return [stateKind(provider.breaker.state), `breaker ${words(provider.breaker.state)}`, provider.breaker.until];
  if (provider.state && provider.state !== "usable") return ["warn", words(provider.state), provider.until];
  const keys = provider.keys ?? [];
  if (keys.length && keys.every(key => key.state !== "usable")) return ["bad", "no usable key", keys.map(key => key.until).filter(Boolean).sort()[0]];
  const bad = keys.filter(key => key.state !== "usable");
  if (bad.length) return ["warn", `${plural(bad.length, "key")} ${bad.length === 1 ? words(bad[0].state) : "out"}`, bad.length === 1 ? bad[0].until : null];
  const resting = (provider.models ?? []).find(model => model.state && model.state !== "usable");
  if (resting) return ["warn", "a model rests", resting.until];
  return ["good", "usable", null];
}

function drawKeySum(box, provider) {
  const kinds = { usable: 0, cooling: 0, disabled: 0 };
  for (const { state = "not known" } of provider.keys ?? []) kinds[state] = (kinds[state] ?? 0) + 1;
  const parts = Object.entries(kinds).filter(([state, some]) => some || state === "usable");
  const text = parts.map(([state, some]) => `${some} ${words(state)}`).join(", ");
  if (box.dataset.text === text) return;
  box.dataset.text = text;
  box.replaceChildren(make("span", { class: "gauge-label" }, "keys"), ...parts.map(([state, some]) => mark(stateKind(state), String(some), { title: words(state), "aria-label": `${some} ${words(state)}` })));
}

// What was learned for single models and keys: the limits among it. A provider's own learned limit is one of its numbers.

let learned = new Map();
const isLimit = one => /^(concurrency|requests_at_once|\w+_per_minute)$/.test(one.what) && ((one.model ?? null) !== null || (one.key ?? null) !== null);
function readLearned(rows) {
  learned = new Map();
  for (const one of rows ?? []) if (isLimit(one)) learned.set(one.provider, [...learned.get(one.provider) ?? [], one]);
}
const learnedText = one => one.what === "concurrency" ? `${count(one.value)} at a time` : one.what === "requests_at_once" ? `${count(one.value)} at once` : `${short(one.value)} ${words(one.what.replace(/_per_minute$/, ""))}/min`;

/** A provider's models as it tells them, with their learned limits, then those of which only a limit was learned. */
function modelsOf(provider) {
  const rows = learned.get(provider.id) ?? [], ofModel = name => rows.filter(one => one.model === name && (one.key ?? null) === null);
  const known = (provider.models ?? []).map(model => model.models);
  const others = [...new Set(rows.filter(one => (one.key ?? null) === null && one.model).map(one => one.model))].filter(name => !known.includes(name)).map(name => ({ models: name, state: "usable" }));
  return [...provider.models ?? [], ...others].map(model => {
    const found = ofModel(model.models), policy = model.policy_concurrency ?? model.concurrency_limit ?? null;
    // A broker that does not tell which learned limits hold tells all that it has learned.
    const most = model.learned_concurrency !== undefined ? model.learned_concurrency : found.find(one => one.what === "concurrency")?.value ?? null;
    const isLower = most !== null && (policy === null || most < policy || model.learned_concurrency === most);
    return { ...model, learned: isLower ? most : null, policy, limits: found.filter(one => one.what !== "concurrency" || !isLower || model.in_flight === undefined) };
  });
}
const learnedNotes = provider => {
  const models = modelsOf(provider).filter(model => model.learned !== null).map(model => `${cut(model.models || "calls without a model", 24)}: ${count(model.learned)}`);
  const keys = (provider.keys ?? []).filter(key => isNumber(key.learned_concurrency)).map(key => `key ${cut(key.id, 24)}: ${count(key.learned_concurrency)}`);
  const found = [...models, ...keys];
  return found.length ? [`learned for ${found.slice(0, 2).join(", ")}${found.length > 2 ? ` and ${count(found.length - 2)} more` : ""}`] : [];
};
/** The places of a model or key whose limit is a learned one, and how it was learned; null where it is not, or nobody counts what runs. */
function learnedPlaces(one, limit, policy) {
  if (!isNumber(limit) || one.in_flight === undefined) return null;
  return { in_flight: one.in_flight, policy_concurrency: policy ?? limit, concurrency_limit: limit, learned_concurrency: limit, how: [one.learned_from ? `from ${visible(one.learned_from)}` : "", one.learned_since ? `since ${clock(one.learned_since)}` : ""].filter(Boolean) };
}

function makeDetails() {
  const buckets = make("div", { class: "gauges" });
  const bucketRows = new Rows(buckets, first => { const one = new Bucket(dimension(first.dimension)); return { element: one.element, update: bucket => one.update(bucket) }; });
  const keys = make("ul", { class: "lines" }), models = make("ul", { class: "lines" }), breaker = make("ul", { class: "lines" });
  const keyRows = new Rows(keys, line), modelRows = new Rows(models, line), breakerRows = new Rows(breaker, line);
  const modelsBox = make("div", { hidden: true }, make("h3", {}, "Models"), models);
  const bucketsBox = make("div", {}, make("h3", {}, "Limits by time"), buckets);
  const keysBox = make("div", {}, make("h3", {}, "Keys"), keys);
  const box = make("div", { class: "details" }, bucketsBox, make("div", { class: "details-lines" }, keysBox, make("div", {}, modelsBox, make("h3", {}, "Breaker"), breaker)));
  return {
    element: box, update: provider => {
      const { id } = provider;
      // A single bucket stands in the line above.
      const hasBuckets = provider.buckets?.length > 1;
      put(bucketsBox, { hidden: !hasBuckets });
      put(box, { class: hasBuckets ? "details" : "details alone" });
      put(keysBox, { hidden: !provider.keys?.length });
      bucketRows.draw(hasBuckets ? provider.buckets : [], bucket => bucket.dimension);
      keyRows.draw((provider.keys ?? []).map(key => ({ key: key.id, title: key.id, state: key.state, reason: key.reason, until: key.until, note: isNumber(key.learned_concurrency) ? "" : `${count(key.in_flight)}${key.concurrency_limit ? ` of ${count(key.concurrency_limit)}` : ""} running`,
        places: learnedPlaces(key, key.learned_concurrency, key.policy_concurrency),
        buckets: key.buckets, rests: key.models, learned: (learned.get(id) ?? []).filter(one => one.key === key.id && !(one.what === "concurrency" && (one.model ?? null) === null && isNumber(key.learned_concurrency))), deed: { what: "key", provider: id, key: key.id, verbs: [key.state === "disabled" ? "enable" : "disable"] } })), one => one.key);
      const models = modelsOf(provider);
      put(modelsBox, { hidden: !models.length });
      modelRows.draw(models.map(model => ({ key: model.models, title: model.models || "calls without a model", state: model.breaker && model.breaker.state !== "closed" ? model.breaker.state : model.state, reason: model.breaker?.reason ?? model.reason, until: model.breaker?.until ?? model.until,
        note: model.in_flight === undefined || model.learned !== null ? "" : `${count(model.in_flight)}${model.concurrency_limit ? ` of ${count(model.concurrency_limit)}` : ""} running`, buckets: model.buckets, learned: model.limits,
        places: learnedPlaces(model, model.learned, model.policy) })), one => one.key);
      const free = provider.free_until ? [{ key: "free", title: "free calls", state: "cooling", reason: "the provider asked for a pause", until: provider.free_until, note: "" }] : [];
      const itself = provider.state && provider.state !== "usable" ? [{ key: "calls", title: "calls", state: provider.state, reason: provider.reason, until: provider.until, note: "" }] : [];
      const shown = provider.breaker ?? { state: "closed" };
      const isHeld = isByHand(shown.reason);
      breakerRows.draw([{ key: "breaker", title: id, state: shown.state, reason: shown.reason, until: shown.until, note: "", deed: { what: "breaker", provider: id, verbs: shown.state === "closed" ? (isHeld ? ["open", "auto"] : ["open"]) : isHeld ? ["close", "auto"] : ["close"] } }, ...itself, ...free], one => one.key);
    },
  };
}

/** A key, a model or a breaker: name, state, reason, countdown, how much runs, and what can be done. */
function line(first) {
  const state = mark("good", ""), reason = make("span", { class: "quiet name" }), until = make("span", { class: "countdown" }), note = make("span", { class: "quiet note" }), acts = make("span", { class: "acts" });
  const places = new Places();
  put(places.element, { hidden: true });
  const box = make("div", { class: "gauges small" });
  const bucketRows = new Rows(box, bucket => { const one = new Bucket(dimension(bucket.dimension)); return { element: one.element, update: fresh => one.update(fresh) }; });
  let offered = "";
  const row = make("li", {}, make("span", { class: "line" }, named("b", first.title, 32), state, note, acts), make("span", { class: "line second" }, reason, until), places.element, box);
  return {
    element: row, update: one => {
      remark(state, stateKind(one.state), words(one.state));
      const rests = (one.rests ?? []).map(rest => `${rest.model || "calls without a model"} rests${rest.reason ? ` (${reasonOf(rest.reason)})` : ""}`);
      const taught = new Map();
      for (const limit of one.learned ?? []) { const of = limit.key ? limit.model ?? "" : ""; taught.set(of, [...taught.get(of) ?? [], limit]); }
      const teachings = [...taught].map(([model, limits]) => `${model && `${model} `}learned: ${limits.map(learnedText).join(", ")}`);
      name(reason, [one.reason ? reasonOf(one.reason) : "", ...rests, ...teachings].filter(Boolean).join("; "), 90);
      put(places.element, { hidden: !one.places });
      if (one.places) places.update(one.places, one.places.how);
      tick(until, one.until, future => future === "now" ? "now" : `in ${future}`);
      if (!one.until) say(until, "");
      say(note, one.note ?? "");
      const wants = `${me.canChange} ${JSON.stringify(one.deed ?? null)}`;
      if (wants !== offered) { offered = wants; acts.replaceChildren(...buttons(one.deed)); }
      bucketRows.draw(one.buckets ?? [], bucket => bucket.dimension);
    },
  };
}

function matches(provider, text) {
  if (!text) return true;
  return [provider.id, ...(provider.keys ?? []).map(key => key.id), ...(provider.models ?? []).map(model => model.models)].some(one => one?.toLowerCase().includes(text));
}

const main = make("div", { class: "now-main" }, make("h2", { class: "unseen" }, "Classes"), bands, make("div", { class: "heading" }, make("h2", {}, "Providers ", amountOf), tools), list, empty);
element.append(make("h2", { class: "unseen" }, "Totals"), strip, make("div", { class: "now-columns" }, aside, main));

const restricted = make("p", { class: "quiet", hidden: true }, "This token shows one tenant: see Who and Why.");
element.prepend(restricted);

// The places of the first numbers, so that nothing moves when they come.
totals({});
drawBands({});

export const now = {
  element, title: "Now", search: () => filter,
  draw(status) {
    const isWhole = Array.isArray(status.providers);
    put(restricted, { hidden: isWhole });
    for (const part of [strip, main]) put(part, { hidden: !isWhole });
    const found = troubles(status);
    attentionRows.draw(found.slice(0, mostTroubles), one => one.key);
    put(moreTroubles, { hidden: found.length <= mostTroubles });
    say(moreTroubles, `and ${count(found.length - mostTroubles)} more`);
    put(calm, { hidden: found.length > 0 });
    put(attention, { hidden: found.length === 0 });
    say(attentionTitle, found.length ? brief(found) : "");
    if (!isWhole) return;
    totals(status);
    drawBands(status);
    size = status.providers.length;
    readLearned(status.learned);
    const text = wanted("q").toLowerCase();
    if (document.activeElement !== filter) put(filter, { value: wanted("q") });
    put(onlyBad, { checked: wanted("bad") === "1" });
    put(tools, { hidden: size <= many && !text });
    turn = (turn + 1) % 5;
    const shown = status.providers.filter(provider => matches(provider, text) && (wanted("bad") !== "1" || health(provider)[0] !== "good"));
    rows.draw(shown, provider => provider.id);
    say(amountOf, shown.length === size ? count(size) : `${count(shown.length)} of ${count(size)}`);
    put(empty, { hidden: shown.length > 0 });
    say(empty, size ? "No provider matches." : "The policy has no providers.");
  },
};
