// Bars that say how full something is: places in use by class, a bucket with what is free, reserved and kept, a budget. Each is a `meter`
// with words for those who do not see it; the words also stand above the bar.

import { make, put, say, width, offset, tick, named } from "./elements.js";
import { classes, count, short, amount, words, dimension, isNumber, sum, duration, none, plural } from "./words.js";

/** `label`, a bar of `parts` (class names of fills) with `marks`, and the words beside it. */
class Gauge {
  constructor(label, parts, marks = [], most = 40) {
    this.label = named("span", label, most, { class: "gauge-label" });
    this.value = make("span", { class: "gauge-value" });
    this.fills = Object.fromEntries(parts.map(part => [part, make("i", { class: `fill ${part}` })]));
    this.marks = Object.fromEntries(marks.map(part => [part, make("b", { class: `tick ${part}`, hidden: true })]));
    this.track = make("div", { class: "track", role: "meter", "aria-valuemin": 0, "aria-label": this.label.textContent }, ...Object.values(this.fills), ...Object.values(this.marks));
    this.note = make("span", { class: "gauge-note" });
    this.element = make("div", { class: "gauge" }, make("div", { class: "gauge-head" }, this.label, this.value), this.track, this.note);
  }

  tell(now, most, text) {
    put(this.track, { "aria-valuenow": Math.min(now, most), "aria-valuemax": most, "aria-valuetext": text });
  }

  mark(name, share, title) {
    const element = this.marks[name];
    put(element, { hidden: share === null, title });
    if (share !== null) offset(element, share);
  }
}

/** A round number of places to draw where nothing limits them, so that the scale does not jump with each call. */
const roomy = running => 10 * 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(1, running / 8))));

/** Places in use by class, of the limit; the learned limit and what is kept for higher classes as marks. */
export class Places extends Gauge {
  constructor(label = "running") {
    super(label, [...classes, "all", "over"], ["learned", "kept"]);
    this.element.classList.add("places");
  }

  /** `more` are notes that stand behind its own. */
  update(provider, more = []) {
    const running = provider.in_flight ?? 0;
    // Of some it is not told which classes run.
    const by = provider.in_flight_by_priority ?? null;
    // Where each key has its own limit, they are the provider's together.
    const byKey = provider.keys?.length && provider.keys.every(key => isNumber(key.concurrency_limit)) ? sum(provider.keys.map(key => key.concurrency_limit)) : null;
    const limit = provider.concurrency_limit ?? byKey;
    const policy = provider.policy_concurrency ?? limit;
    const learned = provider.learned_concurrency ?? null;
    const most = Math.max(policy ?? 0, limit ?? 0, limit === null ? roomy(running) : 0, running) || 1;
    for (const name of classes) width(this.fills[name], (by?.[name] ?? 0) / most);
    width(this.fills.all, by ? 0 : running / most);
    const kept = sum(provider.reserved_permits);
    this.mark("learned", learned === null ? null : learned / most, `learned limit: ${learned}`);
    this.mark("kept", kept && limit !== null ? Math.max(0, limit - kept) / most : null, `${kept} kept for higher classes`);
    say(this.value, limit === null ? `${count(running)}, no limit` : `${count(running)} of ${count(limit)}`);
    const notes = [];
    if (learned !== null) notes.push(policy !== null && policy > learned ? `learned ${count(learned)} of ${count(policy)}` : `learned ${count(learned)}`);
    if (provider.concurrency_limit === null && byKey !== null) notes.push("by key");
    if (kept) notes.push(`${classes.filter(name => provider.reserved_permits[name]).map(name => `${count(provider.reserved_permits[name])} kept for ${name}`).join(", ")}`);
    if (provider.free_in_flight) notes.push(plural(provider.free_in_flight, "free call"));
    notes.push(...more);
    say(this.note, notes.join(" · "));
    put(this.note, { title: notes.join(" · ") || null });
    const byClass = by ? classes.map(name => `${count(by[name] ?? 0)} ${name}`).join(", ") : "";
    put(this.track, { title: byClass || null });
    this.tell(running, most, `${this.value.textContent}${byClass && `: ${byClass}`}${notes.length ? `; ${notes.join(", ")}` : ""}`);
  }
}

/** How free a bucket is, and whether that is a reason to look. */
export const freeShare = bucket => bucket.capacity ? Math.max(0, bucket.available) / bucket.capacity : 0;
export const freeKind = share => share > 0.15 ? "fine" : share > 0.03 ? "tight" : "empty";

/** What is free of a bucket, what running calls have reserved, the share kept for higher classes, and when it is full again. */
export class Bucket extends Gauge {
  constructor(label, isTight = false) {
    super(label, ["free", "held"], ["kept", "kept-normal"]);
    this.isTight = isTight;
    this.ends = make("span", {});
    this.words = make("span", {});
    this.note.classList.add("split");
    this.note.append(this.words, this.ends);
  }

  update(bucket) {
    const share = freeShare(bucket), kind = freeKind(share);
    put(this.fills.free, { class: `fill free ${kind}` });
    width(this.fills.free, share);
    const held = isNumber(bucket.in_use) ? bucket.in_use : 0;
    width(this.fills.held, Math.min(held, Math.max(0, bucket.capacity - bucket.available)) / (bucket.capacity || 1));
    const high = bucket.kept?.high ?? 0, normal = bucket.kept?.normal ?? 0;
    this.mark("kept", high ? high / bucket.capacity : null, `${short(high)} kept for high`);
    this.mark("kept-normal", normal ? (high + normal) / bucket.capacity : null, `${short(normal)} kept for normal`);
    const prefix = kind === "empty" ? "\u2716 " : kind === "tight" ? "\u25b2 " : "";
    say(this.value, this.isTight ? `${prefix}${short(bucket.available)}/${short(bucket.capacity)} free` : `${prefix}${short(bucket.available)} of ${short(bucket.capacity)} free`);
    say(this.words, [held ? `${short(held)} reserved` : "", high ? `${short(high)} kept` : ""].filter(Boolean).join(" · "));
    put(this.note, { title: [held ? `${count(held)} reserved by running calls (hatched)` : "", high ? `${count(high)} kept for high (dotted mark)` : "", normal ? `${count(normal)} kept for normal` : ""].filter(Boolean).join("; ") || null });
    if (bucket.full_at) tick(this.ends, bucket.full_at, text => `full ${text === "now" ? "now" : `in ${text}`}`);
    else { tick(this.ends, null); say(this.ends, ""); }
    this.tell(Math.max(0, bucket.available), bucket.capacity, `${short(bucket.available)} of ${short(bucket.capacity)} free${this.words.textContent ? `; ${this.words.textContent}` : ""}`);
  }

  rename(bucket) { say(this.label, words(bucket.dimension)); put(this.track, { "aria-label": dimension(bucket.dimension) }); }
}

/** Spent of a budget, what running calls hold, how fast it goes and when it will be gone. */
export class Budget extends Gauge {
  constructor(budget) {
    super(budget.id, ["spent", "held"], ["warn-at"], 48);
    this.ends = make("span", {});
    this.words = make("span", {});
    this.note.classList.add("split");
    this.note.append(this.words, this.ends);
  }

  update(budget) {
    const read = name => Number(budget[`${name}_${budget.unit}`] ?? 0);
    const limit = read("limit") || 1, spent = read("spent"), held = read("held");
    const share = (spent + held) / limit;
    const kind = share >= 1 ? "empty" : share * 100 >= (budget.warn_at_percent ?? 80) || budget.runs_out_at ? "tight" : "fine";
    put(this.fills.spent, { class: `fill spent ${kind}` });
    width(this.fills.spent, spent / limit);
    width(this.fills.held, Math.min(held / limit, Math.max(0, 1 - spent / limit)));
    this.mark("warn-at", budget.warn_at_percent ? budget.warn_at_percent / 100 : null, budget.warn_at_percent ? `warns at ${count(budget.warn_at_percent)} %` : null);
    const prefix = kind === "empty" ? "\u2716 " : kind === "tight" ? "\u25b2 " : "";
    say(this.value, `${prefix}${amount(spent, budget.unit)} of ${amount(limit, budget.unit)}`);
    const burn = budget[`burn_${budget.unit}_per_hour`];
    say(this.words, [burn !== null && burn !== undefined ? `${amount(burn, budget.unit)}/h` : "", held ? `${amount(held, budget.unit)} held` : "", Number(read("raised")) ? `raised by ${amount(read("raised"), budget.unit)}` : "",
      budget.waiting ? `${count(budget.waiting)} waiting` : ""].filter(Boolean).join(" · "));
    if (budget.runs_out_at) tick(this.ends, budget.runs_out_at, text => `runs out ${text === "now" ? "now" : `in ${text}`}`);
    else if (budget.window_ends) tick(this.ends, budget.window_ends, text => `new window ${text === "now" ? "now" : `in ${text}`}`);
    else { tick(this.ends, null); say(this.ends, ""); }
    this.tell(spent, limit, `${this.value.textContent}; ${this.words.textContent}`);
  }
}

/** `oldest 4.2 s`. */
export const oldest = milliseconds => milliseconds === null || milliseconds === undefined ? none : duration(milliseconds);
