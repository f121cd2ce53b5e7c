// The dashboard: follows the broker's events, keeps one view on screen, and answers keys. What a view shows is up to the view.

import { at, make, put, say, remark, ticks, time } from "./elements.js";
import { visible, left, clock, cut } from "./words.js";
import { Feed, learnWho, me, onTokenWanted, setToken, hasToken } from "./api.js";
import { place, views, go, address, adjust, onMove } from "./place.js";
import { keepStatus, onDeed } from "./deeds.js";
import { troubles, brief, sentence } from "./trouble.js";
import { now } from "./now.js";
import { then } from "./then.js";
import { who } from "./who.js";
import { why } from "./why.js";
import { deedsView } from "./do.js";

const all = { now, then, who, why, do: deedsView };
let shown = null;
let status = null;

// Views

const links = Object.fromEntries(views.map((id, index) => {
  const link = make("a", { href: `#/${id}`, "aria-keyshortcuts": String(index + 1), title: `${all[id].title} (${index + 1})` }, all[id].title);
  link.addEventListener("click", event => { if (!event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); go(id); } });
  at("nav").append(link);
  return [id, link];
}));
const dot = make("span", { class: "nav-mark", hidden: true });
links.now.append(dot);

function move(to, before) {
  document.body.classList.toggle("wall", to.query.wall === "1");
  put(at("wall"), { "aria-pressed": String(to.query.wall === "1") });
  // What was asked in one view is not to be confirmed in another.
  if (before && before.view !== to.view) for (const id of ["confirm", "help"]) if (at(id).open) at(id).close();
  if (to.unknown !== null) toast(`there is no view "${to.unknown}" here; this is Now`, false);
  const view = all[to.view];
  if (view !== shown) {
    shown?.leave?.();
    shown = view;
    at("view").replaceChildren(view.element);
    view.enter?.();
    for (const [id, link] of Object.entries(links)) put(link, { "aria-current": id === to.view ? "page" : null });
    if (before) scrollTo(0, 0);
  } else view.moved?.();
  for (const [id, link] of Object.entries(links)) put(link, { href: address(id) });
  draw();
}
onMove(move);

// Drawing: one frame for however many snapshots have come, and how long it took, for those who measure.

let isAsked = false;
function draw() {
  if (isAsked || !status) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    const began = performance.now();
    try { drawFrame(); confusion = ""; } catch (error) { confusion = String(error.message ?? error); drawLink(); throw error; }
    const took = performance.now() - began;
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn ?? 0) + 1);
    document.body.dataset.frame = took.toFixed(1);
  });
}

// The sentence on top: cut after some lines, with a button that shows the rest. Its room grows with it and is given back only when other words come,
// so that nothing below moves with each number.

const headline = at("headline"), headlineText = at("headline-text"), more = at("headline-more");
let room = { shape: "", height: 0 };
function drawHeadline(worst) {
  const text = sentence(status), shape = `${text.replace(/[\d.,]+/g, "")} ${headlineText.clientWidth} ${document.body.className} ${isWhole}`;
  put(headline, { class: `headline ${worst}${isWhole ? " whole" : ""}${text.length > 260 ? " long" : ""}` });
  say(headlineText, cut(text, 2000));
  put(headlineText, { title: cut(text, 2000) });
  if (shape !== room.shape) {
    headline.style.minHeight = "";
    room = { shape, height: 0 };
  }
  const height = headline.offsetHeight;
  if (height > room.height) {
    room.height = height;
    headline.style.minHeight = `${height}px`;
  }
  more.classList.toggle("is-needed", isWhole || headlineText.scrollHeight > headlineText.clientHeight + 2);
}
let isWhole = false;
more.addEventListener("click", () => {
  isWhole = !isWhole;
  put(more, { "aria-expanded": String(isWhole) });
  say(more, isWhole ? "less" : "more");
  draw();
});
addEventListener("resize", () => draw());

let said = "", saidAt = 0;
function drawFrame() {
  const found = troubles(status);
  const worst = found[0]?.kind ?? "good";
  remark(at("headline-mark"), worst, found.length ? brief(found) : "fine");
  drawHeadline(worst);
  const title = `${worst === "bad" ? "\u2716 " : ""}${shown.title} \u2013 Tollgate`;
  if (document.title !== title) document.title = title;
  put(dot, { hidden: found.length === 0, class: `nav-mark ${worst}`, "aria-label": brief(found) });
  say(dot, String(found.length));
  // Spoken only when more than its numbers has changed, and not more often than every ten seconds.
  const shape = `${worst} ${sentence(status).replace(/[\d.,]+/g, "")} ${found.map(one => one.key).join()}`;
  if (shape !== said && Date.now() - saidAt > 10000) {
    said = shape;
    saidAt = Date.now();
    say(at("spoken"), cut(`${sentence(status)}${found.length ? `. ${brief(found)}: ${found.slice(0, 3).map(one => one.text).join("; ")}` : ""}`, 600));
  }
  say(at("version"), `${status.version ?? ""}, up since ${status.started_at ? clock(status.started_at) : "?"}`);
  say(at("whose"), me.tenant ? `tenant ${cut(me.tenant, 40)}` : { admin: "admin token", read: "read token", tenant: "a tenant's token", none: "" }[me.token] ?? "");
  put(at("forget"), { hidden: !hasToken() });
  shown?.draw(status);
}

// The feed

/** Why the last snapshot could not be drawn. */
let confusion = "";
let link = { live: false, since: Date.now(), reason: "connecting" };
function drawLink() {
  const isLive = link.live && Date.now() - link.since < 4000;
  put(at("feed"), { class: `feed ${isLive ? "good" : "bad"}` });
  say(at("feed").firstElementChild, isLive ? "\u25cf" : "\u2716");
  say(at("feed-text"), isLive ? "live" : status ? "stale" : "no answer");
  const old = left(Math.max(1000, Date.now() - link.since));
  put(at("stale"), { hidden: isLive && !confusion || !status && !link.reason });
  document.body.classList.toggle("is-stale", !isLive && status !== null);
  if (isLive && confusion) say(at("stale"), `\u2716 this page does not understand what the broker says; load it again (${cut(confusion, 120)})`);
  if (!isLive) {
    const again = link.retryAt && link.retryAt > Date.now() ? `; trying again in ${left(link.retryAt - Date.now())}` : "; trying";
    say(at("stale"), `${status ? `\u2716 what you see is ${old} old` : "\u2716 nothing heard yet"}: ${visible(link.reason ?? "no snapshot comes")}${again}`);
  }
}

/** Budgets were counted in dollars before there were other units. */
function tidied(fresh) {
  for (const budget of fresh.budgets ?? []) budget.unit ??= "usd";
  return fresh;
}

const offsets = [];
let hasBeenLive = false, learning = 0, begun = 0;
const feed = new Feed({
  snapshot(fresh) {
    status = tidied(fresh);
    if (!Number.isNaN(Date.parse(fresh.at))) {
      // The snapshot that was under way for the shortest time tells the broker's clock best.
      offsets.push(Date.parse(fresh.at) - Date.now());
      // Several in a row that are far from the best one: this machine's clock was set meanwhile.
      const recent = Math.max(...offsets.slice(-3));
      if (offsets.length > 3 && Math.max(...offsets) - recent > 2000) offsets.splice(0, offsets.length - 3);
      if (offsets.length > 20) offsets.shift();
      time.skew = Math.max(...offsets);
    }
    keepStatus(status);
    draw();
  },
  change(change) { deedsView.heard(change); },
  state(state) {
    const isBack = state.live && !link.live;
    link = state;
    drawLink();
    // What the token may do can have changed while nothing was heard, or was never told.
    if (isBack && (hasBeenLive || !me.isKnown) && !learning) relearn();
    hasBeenLive ||= state.live;
  },
});

setInterval(() => { ticks(); drawLink(); }, 500);

// Token

onTokenWanted(() => {
  const dialog = at("login");
  if (dialog.open) return;
  put(at("login-error"), { hidden: !hasToken() });
  say(at("login-error"), "that token is not known here");
  dialog.showModal();
  at("token").focus();
});
at("login-form").addEventListener("submit", event => {
  event.preventDefault();
  const isKept = setToken(at("token").value);
  at("token").value = "";
  // What is hidden keeps the focus until the next frame, and takes the keys that are pressed before it.
  at("token").blur();
  at("login").close();
  // What the views hold was told to another token: nothing of it is to stay.
  if (status && isKept) return location.reload();
  begin();
});
at("login").addEventListener("cancel", event => event.preventDefault());
at("forget").addEventListener("click", () => { setToken(null); location.reload(); });

async function relearn() {
  learning += 1;
  try { await learnWho(); } finally { learning -= 1; }
  shown.moved?.();
  draw();
}

async function begin() {
  const mine = begun += 1;
  feed.stop();
  try { await relearn(); } finally { if (mine === begun) feed.start(); }
}

// Theme and wall

const themes = ["auto", "dark", "light"];
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  say(at("theme"), theme);
  put(at("theme"), { "aria-label": `Theme: ${theme}` });
  try { localStorage.setItem("tollgate-theme", theme); } catch { /* kept for this page only */ }
}
const nextTheme = () => setTheme(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]);
let kept = null;
try { kept = localStorage.getItem("tollgate-theme"); } catch { /* not allowed to remember */ }
setTheme(themes.includes(kept) ? kept : "auto");
at("theme").addEventListener("click", nextTheme);
const toggleWall = () => adjust({ wall: place().query.wall === "1" ? null : "1" });
at("wall").addEventListener("click", toggleWall);

// What was done

let toastTimer = 0;
function toast(text, isFine) {
  const box = at("toast");
  put(box, { hidden: false, class: `toast ${isFine ? "good" : "bad"}` });
  say(box, `${isFine ? "\u25cf" : "\u2716"} ${cut(text, 300)}`);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => put(box, { hidden: true }), 8000);
}
onDeed(({ text, isFine }) => { toast(text, isFine); draw(); });

// Keys

const keys = [
  ...views.map((id, index) => [String(index + 1), all[id].title, () => go(id)]),
  ["/", "search or filter", () => { const input = shown.search?.(); input?.focus(); input?.select(); }],
  ["[", "a shorter range of time (Then)", () => then.keys["["](), () => shown === then],
  ["]", "a longer range of time (Then)", () => then.keys["]"](), () => shown === then],
  ["j", "the next row", () => step(1)], ["k", "the row before", () => step(-1)],
  ["d", "dark, light, or as the system", nextTheme], ["w", "wall screen, without controls", toggleWall],
  ["?", "this help", () => at("help").showModal()],
];
function step(by) {
  const rows = [...at("view").querySelectorAll("tr.opens")].filter(row => row.offsetParent !== null);
  const index = rows.indexOf(document.activeElement);
  rows[index < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, index + by))]?.focus();
}
at("help-keys").append(...[...keys, ["Enter", "open the row"], ["\u2191 \u2193 Home End", "from row to row"], ["\u2190 \u2192", "the crosshair (on a chart)"], ["Esc", "close, or end the wall screen"]].flatMap(([key, text]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, text)]));
at("help-button").addEventListener("click", () => at("help").showModal());
at("skip").addEventListener("click", event => { event.preventDefault(); at("view").focus(); });
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const isTyping = event.target.matches("input, select, textarea") && event.target.checkVisibility();
  if (event.key === "Escape") {
    if (isTyping) event.target.blur();
    else if (place().query.wall) adjust({ wall: null });
    return;
  }
  if (isTyping) return;
  const found = keys.find(([key, , , may]) => key === event.key && (!may || may()));
  if (!found) return;
  event.preventDefault();
  found[2]();
});

move(place(), null);
begin();
