// The console's API: questions with the token, and the stream of snapshots, which begins again by itself with growing pauses and tells
// how old its last word is. A stream by `fetch`, since an EventSource could not show the token.

const stored = "tollgate-token";
let token = null;
try { token = sessionStorage.getItem(stored); } catch { /* storage is forbidden: the token lives as long as the page */ }
let askForToken = () => {};

export class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

export const hasToken = () => token !== null;
export function onTokenWanted(listener) { askForToken = listener; }
/** True where the token is kept when the page is loaded again. */
export function setToken(text) {
  token = text || null;
  // What is under way was asked with the token of before.
  for (const poll of polls) poll.again();
  try {
    if (token) sessionStorage.setItem(stored, token); else sessionStorage.removeItem(stored);
    return true;
  } catch { return false; }
}
/** A token is asked for where the present one is refused: what becomes of an older one is no matter any more. */
function refused(sent) { if (sent === token) askForToken(); }

/** What this page's token may do; the console says it (`/api/v1/me`), or else what it shows does. */
export const me = { isKnown: false, canChange: false, tenant: null, token: "none" };
export async function learnWho() {
  const mine = token;
  try {
    const answer = await ask("me");
    if (mine === token) Object.assign(me, { isKnown: true, canChange: answer.can_change === true, tenant: answer.tenant ?? null, token: answer.token ?? "none" });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status !== 404) return;
    const status = await ask("status").catch(() => null);
    if (status && mine === token) Object.assign(me, { isKnown: true, canChange: Array.isArray(status.providers), tenant: status.providers ? null : status.tenants?.[0]?.id ?? null, token: status.providers ? token ? "admin" : "none" : "tenant" });
  }
}

const fields = () => token ? { authorization: `Bearer ${token}` } : {};

/** The answer as JSON; throws `Refused` with the console's own words. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const sent = token;
  let answer, text;
  try {
    answer = await fetch(`/api/v1/${path}`, {
      method, signal, cache: "no-store", credentials: "omit",
      headers: body ? { ...fields(), "content-type": "application/json" } : fields(), body: body ? JSON.stringify(body) : undefined,
    });
    text = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the broker does not answer");
  }
  let json = null;
  try { json = text ? JSON.parse(text) : null; } catch { /* not JSON: the status says enough */ }
  if (answer.status === 401) refused(sent);
  if (!answer.ok) {
    const errors = Array.isArray(json?.errors) ? json.errors.join("\n") : null;
    throw new Refused(answer.status, errors ?? json?.error?.message ?? `the broker answered ${answer.status}`);
  }
  return json;
}

/** Those that ask now. */
const polls = new Set();

/** A question of a view: asked again each `pace` milliseconds where `isDue()`, never twice at once; `draw(answer, error, path)`. */
export class Poll {
  constructor(pace, draw, isDue = () => true) {
    Object.assign(this, { pace, draw, isDue });
    this.path = null;
    this.timer = 0;
  }

  /** Asks for `path` from now on; null stops. */
  want(path, pace = this.pace) {
    if (path === this.path && pace === this.pace) return;
    this.pace = pace;
    this.path = path;
    this.again();
  }

  again() {
    clearTimeout(this.timer);
    this.flight?.abort();
    this.flight = null;
    if (this.path === null) polls.delete(this);
    else { polls.add(this); this.turn(); }
  }

  wait() {
    this.timer = setTimeout(() => { if (this.isDue()) this.turn(); else this.wait(); }, document.hidden ? this.pace * 5 : this.pace);
  }

  async turn() {
    const flight = this.flight = new AbortController();
    const path = this.path;
    try {
      const answer = await ask(path, { signal: flight.signal });
      if (flight.signal.aborted) return;
      this.draw(answer, null, path);
    } catch (error) {
      if (flight.signal.aborted) return;
      if (!(error instanceof Refused)) throw error;
      this.draw(null, error, path);
    } finally {
      if (this.flight === flight) this.wait();
    }
  }
}

const silence = 6000;
const pauses = [500, 1000, 2000, 4000, 8000, 15000];

/** The stream of events. `on.snapshot(status)`, `on.change(change)`, `on.state({live, since, retryAt, reason})`. */
export class Feed {
  constructor(on) {
    this.on = on;
    this.failures = 0;
    this.since = Date.now();
  }

  start() {
    this.stop();
    this.run();
  }

  stop() {
    clearTimeout(this.timer);
    clearTimeout(this.watch);
    this.flight?.abort();
    this.flight = null;
  }

  alive(flight) {
    clearTimeout(this.watch);
    this.watch = setTimeout(() => { this.silent = true; flight.abort(); }, silence);
  }

  async run() {
    const flight = this.flight = new AbortController();
    const sent = token;
    this.silent = false;
    let reason = "the broker ended the stream";
    try {
      this.alive(flight);
      const answer = await fetch("/api/v1/events", { headers: fields(), cache: "no-store", credentials: "omit", signal: flight.signal });
      if (answer.status === 401) { refused(sent); throw new Refused(401, "the console asks for a token"); }
      if (!answer.ok) throw new Refused(answer.status, `the broker answered ${answer.status}`);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        this.alive(flight);
        const frames = (rest + value).split("\n\n");
        rest = frames.pop();
        this.take(frames);
      }
    } catch (error) {
      reason = error instanceof Refused ? error.message : this.silent ? `nothing was heard for ${silence / 1000} s` : "the broker does not answer";
      if (flight.signal.aborted && !this.silent) return;
    }
    if (this.flight !== flight) return;
    clearTimeout(this.watch);
    const pause = pauses[Math.min(this.failures, pauses.length - 1)] * (0.8 + Math.random() * 0.4);
    this.failures += 1;
    this.on.state({ live: false, since: this.since, retryAt: Date.now() + pause, reason });
    this.timer = setTimeout(() => this.run(), pause);
  }

  /** Of snapshots that arrived together only the last one is worth drawing. */
  take(frames) {
    let snapshot = null;
    for (const frame of frames) {
      let event = "message", data = "";
      for (const line of frame.split("\n")) {
        if (line.startsWith("event:")) event = line.slice(6).trim();
        else if (line.startsWith("data:")) data += line.slice(5).trimStart();
      }
      if (event === "snapshot") snapshot = data;
      else if (event === "change") this.on.change(JSON.parse(data));
    }
    if (snapshot === null) return;
    const status = JSON.parse(snapshot);
    this.failures = 0;
    this.since = Date.now();
    this.on.state({ live: true, since: this.since });
    this.on.snapshot(status);
  }
}
