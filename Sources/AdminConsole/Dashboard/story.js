// One request's whole story as a time line: what it waited for and who went ahead, attempts, first token, stream, end, tokens, cost.

import { make, say, named, mark, outcomeKind } from "./elements.js";
import { count, money, duration, words, visible, exact, none, cut, whole } from "./words.js";
import { address } from "./place.js";

/** The parts of the time line; from `waits` and `tries` where the broker gives none. */
export function lineOf(story) {
  if (story.timeline?.length) return story.timeline;
  const parts = [];
  const waits = story.waits ?? [], tries = story.tries ?? [];
  waits.forEach((wait, index) => parts.push({ what: "wait", from_ms: wait.from_ms, until_ms: wait.until_ms ?? waits[index + 1]?.from_ms ?? tries.find(attempt => attempt.from_ms >= wait.from_ms)?.from_ms ?? (story.state === "queued" ? null : story.queued_ms), text: wait.text ?? wait.reason, rule: wait.rule, blocker: wait.blocker }));
  for (const attempt of tries) {
    const name = `attempt ${attempt.number ?? ""} at ${attempt.provider}${attempt.key ? `/${attempt.key}` : ""}`;
    parts.push({ what: "attempt", from_ms: attempt.from_ms, until_ms: attempt.first_byte_ms ?? attempt.until_ms, status: attempt.status, text: `${name}: ${attempt.status ?? attempt.failure ?? "running"}${attempt.verdict ? ` (${words(attempt.verdict)})` : ""}` });
    if (attempt.first_byte_ms !== null && attempt.first_byte_ms !== undefined) parts.push({ what: "stream", from_ms: attempt.first_byte_ms, until_ms: attempt.until_ms, text: "from the first byte to the last" });
  }
  if (story.total_ms !== null && story.total_ms !== undefined) parts.push({ what: "end", from_ms: story.total_ms, until_ms: story.total_ms, text: words(story.outcome ?? "ended") });
  return parts.sort((left, right) => left.from_ms - right.from_ms);
}

const titles = { wait: "waited", attempt: "asked", first_byte: "first byte", stream: "stream", end: "end" };

function bar(part, most, now) {
  const from = Math.min(part.from_ms ?? 0, most), until = part.until_ms ?? now;
  const fill = make("i", { class: `part ${part.what}${part.until_ms === null || part.until_ms === undefined ? " grows" : ""}` });
  fill.style.left = `min(${from / most * 100}%, calc(100% - 3px))`;
  fill.style.width = `${Math.max(0, until - from) / most * 100}%`;
  return make("span", { class: "lane", "aria-hidden": "true" }, fill);
}

export function timeline(story) {
  const parts = lineOf(story);
  const now = story.now_ms ?? story.total_ms ?? Math.max(1, ...parts.map(part => part.until_ms ?? part.from_ms ?? 0));
  const most = Math.max(1, story.total_ms ?? now, ...parts.map(part => part.until_ms ?? part.from_ms ?? 0));
  const rows = parts.map(part => {
    const isPoint = part.what === "first_byte" || part.what === "end";
    const grows = !isPoint && (part.until_ms === null || part.until_ms === undefined);
    const long = isPoint ? `at ${duration(part.from_ms)}` : `${duration((part.until_ms ?? now) - part.from_ms)}${grows ? " so far" : ""}`;
    const what = part.what === "wait" && grows ? "waits" : titles[part.what] ?? words(part.what);
    const text = words(part.text).toLowerCase() === what ? "" : part.what === "end" ? words(part.text) : part.text;
    return make("li", {}, make("span", { class: "line-what" }, make("b", {}, what), " ", named("span", text, 260), part.rule ? make("span", { class: "quiet" }, ` rule ${visible(part.rule)}`) : null),
      bar(part, most, now), make("span", { class: "line-long" }, long), make("span", { class: "line-from quiet" }, `+${duration(part.from_ms)}`));
  });
  return make("ol", { class: "timeline", "aria-label": "Time line" }, ...rows);
}

function perMillion(price) {
  return [["input", "input_usd_per_m"], ["output", "output_usd_per_m"], ["cache read", "cache_read_usd_per_m"], ["cache write", "cache_write_usd_per_m"]]
    .filter(([, field]) => price[field] !== null && price[field] !== undefined).map(([text, field]) => `${text} ${money(price[field])}`).join(", ");
}

function facts(story) {
  const found = [];
  const add = (title, text) => { if (text !== null && text !== undefined && text !== "") found.push([title, text]); };
  add("class", `${visible(story.priority ?? "not known")}${story.priority_reason ? `, by ${visible(story.priority_reason)}` : ""}`);
  add("kind", visible(story.kind));
  add("model", named("span", story.model || none, 120));
  add("provider", story.provider ? named("span", `${story.provider}${story.key ? ` / ${story.key}` : ""}`, 100) : "none yet");
  add("tenant", named("span", story.tenant, 100));
  add("session", story.session ? make("a", { class: "name", title: whole(story.session), href: address("why", { state: "recent", session: story.session }) }, cut(story.session, 80)) : none);
  if (story.agent) add("agent", named("span", story.agent, 80));
  add("arrived", exact(story.arrived_at));
  add("path", named("span", `${story.method ?? ""} ${story.path ?? ""}`, 100));
  if (story.position) add("position", [story.position.lane !== undefined && story.position.lane !== null ? `${count(story.position.lane)} in its lane` : "", story.position.class !== undefined && story.position.class !== null ? `${count(story.position.class)} in its class` : ""].filter(Boolean).join(", "));
  if (story.promoted_ms !== null && story.promoted_ms !== undefined) add("promoted", `after ${duration(story.promoted_ms)}, since its class had waited too long`);
  for (const hint of story.unknown_hints ?? []) add("unknown hint", named("span", `${hint.header}: ${hint.value} (allowed: ${hint.allowed})`, 200));
  return found;
}

function tokens(story) {
  const estimate = story.estimate ?? {};
  const cached = story.cache_read_tokens, written = story.cache_write_tokens;
  const row = (title, guessed, real) => make("tr", {}, make("th", { scope: "row" }, title), make("td", { class: "number" }, guessed), make("td", { class: "number" }, real));
  const isGuess = story.estimated && story.state !== "ended";
  const rows = [row("input", count(estimate.input_tokens ?? (isGuess ? story.input_tokens : null)), isGuess ? none : count(story.input_tokens)),
    row("of it read from the cache", count(estimate.cached_input_tokens), cached === undefined || isGuess ? none : count(cached)), row("of it written to the cache", none, written === undefined || isGuess ? none : count(written)),
    row("output", count(estimate.output_tokens), isGuess && !story.output_tokens ? none : count(story.output_tokens))];
  return make("table", { class: "small" }, make("caption", { class: "unseen" }, "Tokens"), make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "tokens"), make("th", { scope: "col", class: "number" }, "estimated"), make("th", { scope: "col", class: "number" }, story.estimated && !isGuess ? "counted here" : "real"))), make("tbody", {}, ...rows));
}

function cost(story) {
  const price = story.price;
  const lines = [make("b", { class: "big" }, story.cost_usd === null || story.cost_usd === undefined ? story.state === "ended" ? "not known" : "not known yet" : money(story.cost_usd))];
  if (price) lines.push(make("p", { class: "quiet" }, "by ", named("span", `${price.line ?? "a price"}${price.version ? ` of ${price.version}` : ""}`, 80), `: ${perMillion(price)} per million`));
  else if (story.state === "ended" && price === null) lines.push(make("p", { class: "quiet" }, "no price line"));
  return lines;
}

function ahead(story) {
  const rows = (story.went_ahead ?? []).map(one => make("li", {}, make("span", { class: `chip ${one.priority}` }, visible(one.priority)), " ", one.id
    ? make("a", { href: address("why", { state: "recent", id: one.id }) }, cut(one.session || one.tenant || one.id, 40)) : make("span", {}, `${count(one.count)} more`),
  " ", named("span", one.text, 140), make("span", { class: "quiet" }, `${one.rule ? ` rule ${visible(one.rule)}` : ""}${one.at_ms !== null && one.at_ms !== undefined ? `, at ${duration(one.at_ms)}` : ""}`)));
  return rows.length ? [make("h3", {}, "Who went ahead"), make("ul", { class: "ahead" }, ...rows)] : [];
}

/** One sentence: what it was, or what it waits for and how long still. */
export function sum(story) {
  if (story.state === "queued") {
    const last = story.waits?.at(-1);
    const rest = story.predicted_wait_ms;
    return `waits for ${duration(story.queued_ms)}${last ? `, now for ${visible(last.text ?? last.reason)}` : ""}${rest !== null && rest !== undefined ? `; about ${duration(rest)} more` : ""}`;
  }
  if (story.state === "running") return `runs at ${visible(story.provider)}, after ${duration(story.queued_ms)} of waiting${story.first_byte_ms !== null && story.first_byte_ms !== undefined ? `; first byte at ${duration(story.first_byte_ms)}` : "; no byte yet"}`;
  return `${words(story.outcome)} after ${duration(story.total_ms)}, of which it waited ${duration(story.queued_ms)}${story.attempts > 1 ? `, in ${count(story.attempts)} attempts` : ""}`;
}

/** Everything of one request into `box`. */
export function tell(box, story) {
  const head = make("p", { class: "story-head" }, mark(outcomeKind(story.outcome, story.state), words(story.outcome ?? story.state)), make("span", { class: `chip ${story.priority}` }, visible(story.priority)), make("code", {}, visible(story.id)));
  const scrolled = box.scrollTop;
  const text = make("p", { class: "story-sum" });
  say(text, sum(story));
  box.replaceChildren(head, text, timeline(story), story.message ? make("p", { class: "error" }, "told the client: ", named("span", story.message, 600)) : "",
    make("div", { class: "story-columns" }, make("div", {}, make("h3", {}, "Tokens"), tokens(story), make("h3", {}, "Cost"), ...cost(story)), make("div", {}, make("h3", {}, "Call"), make("dl", { class: "facts" }, ...facts(story).flatMap(([title, value]) => [make("dt", {}, title), make("dd", {}, value)])))),
    ...ahead(story));
  box.scrollTop = scrolled;
}
