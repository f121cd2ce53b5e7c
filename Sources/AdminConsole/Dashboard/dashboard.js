// The dashboard: asks the console once a second and draws what it says. Text from clients is only ever set as text.
"use strict";

const classes = ["high", "normal", "low"];
const span = 120;
const history = { high: [], normal: [], low: [] };
const seen = new Set();
let tab = "recent";
let token = sessionStorage.getItem("tollgate-token");
let ended = 0;
const rates = [];

const at = id => document.getElementById(id);

/** Makes an element: make("td", {class: "number"}, "12", child). */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined).map(child => child instanceof Node ? child : String(child)));
  return element;
}

async function ask(path) {
  const answer = await fetch(path, { headers: token ? { authorization: `Bearer ${token}` } : {}, cache: "no-store" });
  if (answer.status === 401) { at("login").open || at("login").showModal(); throw new Error("the console asks for its token"); }
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

const count = number => number === null || number === undefined ? "–" : Number(number).toLocaleString("en-US");
function short(number) {
  const size = Math.abs(number);
  if (size >= 1e9) return (number / 1e9).toFixed(1) + "G";
  if (size >= 1e6) return (number / 1e6).toFixed(1) + "M";
  if (size >= 1e4) return (number / 1e3).toFixed(0) + "k";
  return count(number);
}
/** Dollars from a decimal string: cents from a dollar on, two digits that count below. */
function money(text) {
  if (text === null || text === undefined) return "–";
  const amount = Number(text);
  if (amount === 0) return "$0";
  if (amount >= 1) return `$${amount.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
  return `$${amount.toFixed(Math.min(9, 1 - Math.floor(Math.log10(amount))))}`;
}
function time(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  return milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(milliseconds < 10000 ? 2 : 1)} s`;
}
function quantile(values, share) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

function badge(text, kind) { return make("span", { class: `badge ${kind ?? ""}` }, text); }
const breakerKind = { closed: "good", half_open: "warn", open: "bad" };
const keyKind = { usable: "good", cooling: "warn", disabled: "bad" };
function outcomeKind(outcome) {
  if (outcome === "completed") return "good";
  if (!outcome) return "";
  return outcome.startsWith("client_left") ? "warn" : "bad";
}

function meter(label, value, parts) {
  const bar = make("div", { class: "bar" });
  for (const [kind, share] of parts) {
    const piece = make("i", { class: kind });
    piece.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
    bar.append(piece);
  }
  return make("div", { class: "meter" }, make("p", {}, make("span", {}, label), make("span", { class: "quiet" }, value)), bar);
}

function providerCard(provider) {
  const inFlight = provider.in_flight_by_priority ?? { high: 0, normal: 0, low: provider.in_flight };
  const limit = provider.concurrency_limit;
  const whole = limit ?? Math.max(1, provider.in_flight);
  const card = make("div", { class: "card" },
    make("h3", {}, provider.id, badge(`breaker ${provider.breaker.state.replace("_", " ")}`, breakerKind[provider.breaker.state]),
      make("span", { class: "quiet" }, provider.dialect ?? "")));
  const free = provider.free_in_flight ? `, ${count(provider.free_in_flight)} free` : "";
  card.append(meter("running", `${count(provider.in_flight)} of ${limit === null ? "no limit" : count(limit)}${free}`,
    classes.map(name => [name, inFlight[name] / whole])));
  const queued = classes.reduce((sum, name) => sum + provider.queued[name], 0);
  card.append(meter("waiting", classes.map(name => `${name} ${count(provider.queued[name])}`).join(" · "),
    classes.map(name => [name, queued ? provider.queued[name] / Math.max(queued, 20) : 0])));
  for (const bucket of provider.buckets) {
    const share = bucket.capacity ? bucket.available / bucket.capacity : 0;
    card.append(meter(bucket.dimension.replaceAll("_", " "), `${short(bucket.available)} of ${short(bucket.capacity)} left`,
      [[share > .25 ? "good" : share > .05 ? "warn" : "bad", share]]));
  }
  if (provider.keys.length) {
    card.append(make("div", { class: "keys" }, ...provider.keys.map(key =>
      badge(`${key.id} · ${key.state}${key.in_flight ? ` · ${key.in_flight}` : ""}`, keyKind[key.state]))));
  }
  if (provider.free_until) card.append(...why(["free calls", { state: "rest", reason: "the provider asked for a pause", until: provider.free_until }]));
  card.append(...[["calls", provider], ["breaker", provider.breaker], ...provider.keys.map(key => [key.id, key])].flatMap(why));
  return card;
}

/** Why something is not simply usable, and until when; nothing where there is no reason. */
function why([name, { state, reason, until }]) {
  if (!reason) return [];
  const end = until ? `, until ${new Date(until).toLocaleTimeString()}` : "";
  return [make("p", { class: "why quiet" }, `${name} ${state.replace("_", " ")}: ${reason}${end}`)];
}

/** Spent, and behind it what running calls hold. */
function budgetMeter(budget) {
  const amount = name => Number(budget[`${name}_${budget.unit}`]);
  const shown = value => budget.unit === "usd" ? money(value) : `${value.toLocaleString("en")} ${budget.unit}`;
  // The limit holds what it was raised by.
  const limit = amount("limit") || 1;
  const spent = amount("spent") / limit, held = amount("held") / limit;
  return make("div", { class: "card" }, meter(budget.id,
    `${shown(amount("spent"))} of ${shown(limit)}${held ? `, ${shown(amount("held"))} held` : ""}`,
    [[spent + held < .8 ? "good" : spent + held < 1 ? "warn" : "bad", spent], ["held", held]]));
}

function chart(name) {
  const points = history[name];
  const width = 360, height = 70;
  const top = Math.max(10, ...points.map(point => point.p99 ?? 0));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  for (const [key, opacity] of [["p99", ".35"], ["p50", "1"]]) {
    let path = "", pen = "M";
    points.forEach((point, index) => {
      if (point[key] === null) { pen = "M"; return; }
      const x = (span - points.length + index) * width / (span - 1), y = height - 3 - point[key] / top * (height - 8);
      path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
      // A second between others without calls is a dot.
      if (pen === "M") path += "h.01";
      pen = "L";
    });
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", path || "M0 0");
    line.setAttribute("stroke-linecap", "round");
    line.setAttribute("fill", "none");
    line.setAttribute("stroke", `var(--${name})`);
    line.setAttribute("stroke-opacity", opacity);
    line.setAttribute("stroke-width", "2");
    line.setAttribute("vector-effect", "non-scaling-stroke");
    svg.append(line);
  }
  const last = points.flatMap(point => point.waits).slice(-400);
  return make("div", { class: "chart" },
    make("p", {}, make("b", { class: name }, name),
      make("span", { class: "quiet" }, `p50 ${time(quantile(last, .5))} · p99 ${time(quantile(last, .99))} · scale ${time(Math.round(top))}`)),
    points.some(point => point.p50 !== null) ? svg : make("p", { class: "none quiet" }, "no calls in the last two minutes"));
}

function tiles(status, rate) {
  const facts = [
    [count(status.running), "running"],
    [count(status.queued.high), "high waiting", "high"], [count(status.queued.normal), "normal waiting", "normal"],
    [count(status.queued.low), "low waiting", "low"],
    [`${short(status.queued_bytes)}B`, "held by the queue"], [rate === null ? "–" : rate.toFixed(rate < 10 ? 1 : 0), "ended each second"],
    [money(status.spent_usd), "spent since the start"],
  ];
  if (status.sessions_at_limit) facts.push([count(status.sessions_at_limit), "sessions at their limit"]);
  at("tiles").replaceChildren(...facts.map(([value, label, kind]) =>
    make("div", { class: "tile" }, make("b", { class: kind }, value), make("span", {}, label))));
}

function table(element, headings, rows) {
  const head = make("tr", {}, ...headings.map(([text, kind]) => make("th", { class: kind }, text)));
  element.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
}

function requestRows(requests) {
  return requests.map(request => {
    const row = make("tr", { "data-id": request.id },
      make("td", {}, badge(request.outcome ?? request.state, outcomeKind(request.outcome))),
      make("td", { class: request.priority }, request.priority),
      make("td", { class: "text" }, request.model || request.path),
      make("td", { class: "text wide" }, request.session || "–"),
      make("td", { class: "wide" }, request.provider ? request.provider + (request.key ? `/${request.key}` : "") : "–"),
      make("td", { class: "number" }, time(request.queued_ms)),
      make("td", { class: "number wide" }, time(request.first_byte_ms)),
      make("td", { class: "number" }, time(request.total_ms)),
      make("td", { class: "number wide" }, `${short(request.input_tokens)} / ${short(request.output_tokens)}${request.estimated ? " ~" : ""}`),
      make("td", { class: "number" }, money(request.cost_usd)));
    row.addEventListener("click", () => tell(request.id));
    return row;
  });
}

/** Waits and attempts in the order in which they happened. */
function chronicle(story) {
  const waitsAfter = attempts => story.waits.filter(wait => wait.after_attempts === attempts)
    .map(wait => [`+${time(wait.from_ms)}`, `waited: ${wait.reason}`]);
  return [...waitsAfter(0), ...story.tries.flatMap((attempt, index) => [[`+${time(attempt.from_ms)}`,
    `attempt ${attempt.number} at ${attempt.provider}${attempt.key ? "/" + attempt.key : ""}: ${attempt.status ?? attempt.failure ?? "running"}`
    + (attempt.verdict ? ` (${attempt.verdict})` : "")], ...waitsAfter(index + 1)])];
}

async function tell(id) {
  const story = await ask(`/api/v1/requests/${encodeURIComponent(id)}`);
  const facts = [
    ["request", story.id], ["outcome", story.outcome ?? story.state], ["arrived", story.arrived_at],
    ["path", `${story.method} ${story.path}`], ["model", story.model || "–"], ["tenant", story.tenant], ["session", story.session || "–"],
    ["class", `${story.priority}, by ${story.priority_reason}`], ["queued", time(story.queued_ms)],
    ...(story.unknown_hints ?? []).map(hint => ["unknown hint", `${hint.header}: ${hint.value} (allowed: ${hint.allowed})`]),
    ...chronicle(story),
    ["tokens", `${count(story.input_tokens)} in, ${count(story.output_tokens)} out${story.estimated ? " (estimated)" : ""}`],
    ["cost", story.cost_usd === null ? "unknown" : `$${story.cost_usd}`],
    ["in all", time(story.total_ms)],
  ];
  if (story.message) facts.push(["told the client", story.message]);
  at("story-body").replaceChildren(make("dl", {}, ...facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)])));
  at("story").showModal();
}

const point = waits => ({ p50: quantile(waits, .5), p99: quantile(waits, .99), waits });

/** The first answer tells of earlier calls too: each belongs to the second in which it was granted. */
function recall(recent) {
  const now = Date.now();
  for (const name of classes) {
    const seconds = Array.from({ length: span }, () => []);
    for (const request of recent.filter(one => one.priority === name && one.attempts > 0)) {
      const age = Math.floor((now - Date.parse(request.arrived_at) - request.queued_ms) / 1000);
      if (age < span) seconds[span - 1 - Math.max(0, age)].push(request.queued_ms);
    }
    history[name] = seconds.map(point);
  }
  for (const request of recent) seen.add(request.id);
}

function record(recent) {
  const waits = { high: [], normal: [], low: [] };
  let fresh = 0;
  for (const request of recent) {
    if (seen.has(request.id)) continue;
    seen.add(request.id);
    fresh += 1;
    if (request.attempts > 0) waits[request.priority].push(request.queued_ms);
  }
  if (seen.size > 20000) { seen.clear(); for (const request of recent) seen.add(request.id); }
  for (const name of classes) {
    history[name].push(point(waits[name]));
    if (history[name].length > span) history[name].shift();
  }
  return fresh;
}

let isFirst = true;
async function turn() {
  try {
    const [status, recent] = await Promise.all([ask("/api/v1/status"), ask("/api/v1/requests?state=recent&limit=1000")]);
    if (isFirst) recall(recent.requests); else rates.push(record(recent.requests));
    if (rates.length > 5) rates.shift();
    isFirst = false;
    at("state").textContent = status.draining ? "draining" : "serving";
    at("state").className = `badge ${status.draining ? "warn" : "good"}`;
    at("version").textContent = status.version;
    at("uptime").textContent = `since ${new Date(status.started_at).toLocaleString()}`;
    at("problems").hidden = !status.problems?.length;
    at("problems").replaceChildren(...(status.problems ?? []).map(problem => make("li", {}, problem.text)));
    tiles(status, rates.length ? rates.reduce((a, b) => a + b, 0) / rates.length : null);
    at("waits").replaceChildren(...classes.map(chart));
    at("providers").replaceChildren(...status.providers.map(providerCard));
    at("tenants-section").hidden = status.tenants.length < 2;
    table(at("tenants"), [["tenant"], ["running", "number"], ["waiting", "number"], ["weight", "number"]], status.tenants.map(tenant =>
      make("tr", {}, make("td", {}, tenant.id), make("td", { class: "number" }, count(tenant.in_flight)),
        make("td", { class: "number" }, count(tenant.queued)), make("td", { class: "number" }, count(tenant.weight)))));
    at("budgets-section").hidden = status.budgets.length === 0;
    at("budgets").replaceChildren(...status.budgets.map(budgetMeter));
    const shown = tab === "recent" ? recent.requests.slice(0, 30) : (await ask(`/api/v1/requests?state=${tab}&limit=30`)).requests;
    at("empty").hidden = shown.length > 0;
    at("requests").hidden = shown.length === 0;
    table(at("requests"), [["outcome"], ["class"], ["model"], ["session", "wide"], ["provider", "wide"], ["queued", "number"],
      ["first byte", "number wide"], ["in all", "number"], ["tokens in / out", "number wide"], ["cost", "number"]], requestRows(shown));
  } catch (error) {
    at("state").textContent = "no answer";
    at("state").className = "badge bad";
    at("state").title = String(error.message ?? error);
  }
  setTimeout(turn, 1000);
}

for (const name of ["recent", "running", "queued"]) {
  const button = make("button", { role: "tab", "aria-selected": String(name === tab) }, name);
  button.addEventListener("click", () => {
    tab = name;
    for (const other of at("tabs").children) other.setAttribute("aria-selected", String(other.textContent === name));
  });
  at("tabs").append(button);
}
at("login-form").addEventListener("submit", event => {
  event.preventDefault();
  token = at("token").value;
  sessionStorage.setItem("tollgate-token", token);
  at("login").close();
});
turn();
