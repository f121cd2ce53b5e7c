// Where one is: view, filters, search and what is unfolded stand in the address behind `#`, so that a view can be sent to a colleague.
// `#/why?state=queued&priority=low&id=01K...`. Nothing of it is ever markup.

export const views = ["now", "then", "who", "why", "do"];
const listeners = new Set();
let current = read();

function read() {
  const text = location.hash.replace(/^#\/?/, "");
  const [view, query = ""] = text.split("?");
  const wanted = {};
  for (const [name, value] of new URLSearchParams(query)) if (value !== "") wanted[name] = value;
  return { view: views.includes(view) ? view : "now", query: wanted, unknown: view !== "" && !views.includes(view) ? view : null };
}

export const place = () => current;
export const wanted = (name, otherwise = "") => current.query[name] ?? otherwise;

/** The address of a view; what stays the same in all views (wall) is kept. */
export function address(view, query = {}) {
  const kept = current.query.wall ? { wall: current.query.wall } : {};
  const text = new URLSearchParams(Object.entries({ ...query, ...kept }).filter(([, value]) => value !== "" && value !== null && value !== undefined)).toString();
  return `#/${view}${text ? `?${text}` : ""}`;
}

/** Goes to a view, with a step in the browser's history. */
export function go(view, query = {}) {
  const target = address(view, query);
  if (target === location.hash) return;
  history.pushState(null, "", target);
  arrive();
}

/** Changes parts of the query; null takes one away. No step in the history unless `step`, so that typing makes no trail. */
export function adjust(changes, step = false) {
  const query = { ...current.query };
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "" || value === undefined) delete query[name]; else query[name] = String(value);
  }
  const text = new URLSearchParams(query).toString();
  history[step ? "pushState" : "replaceState"](null, "", `#/${current.view}${text ? `?${text}` : ""}`);
  arrive();
}

export function onMove(listener) { listeners.add(listener); }

function arrive() {
  const before = current;
  current = read();
  for (const listener of listeners) listener(current, before);
}
addEventListener("popstate", arrive);
addEventListener("hashchange", arrive);

/** An address typed by hand may have escapes that are none. */
function plainly(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

/** A set of names in the query, such as what is unfolded. */
export const listed = name => new Set(wanted(name).split(",").filter(Boolean).map(plainly));
export function toggle(name, item) {
  const items = listed(name);
  if (!items.delete(item)) items.add(item);
  adjust({ [name]: [...items].map(encodeURIComponent).join(",") || null });
}
