// Numbers, times and names as text for people. Names come from clients and are never trusted: what steers a terminal, runs backwards
// or cannot be seen is written out, so that two names that look alike are alike.

const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|(?!\uFE0F)\p{Default_Ignorable_Code_Point}/gu;

function spelled(character) {
  const code = character.codePointAt(0);
  return `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
}

/** A text from outside with everything visible. */
export const visible = text => String(text ?? "").replace(unseen, spelled);

/** The same, cut to `most` characters; the whole (up to 2,000) belongs into a title. */
export function cut(text, most = 60) {
  const whole = [...visible(String(text ?? "").slice(0, 4096))];
  return whole.length <= most ? whole.join("") : `${whole.slice(0, most - 1).join("")}\u2026`;
}
export const whole = text => cut(text, 2000);

export const classes = ["high", "normal", "low"];
export const none = "\u2013";
export const isNumber = value => typeof value === "number" && Number.isFinite(value);
const known = value => value !== null && value !== undefined && value !== "" && typeof value !== "object" && Number.isFinite(Number(value));

// The broker's clock counts, not this machine's: `skew` is how far that is ahead.
export const time = { skew: 0, now: () => Date.now() + time.skew };

// Made once: making a formatter costs more than using it a thousand times.
const formats = [0, 1, 2].map(digits => new Intl.NumberFormat("en-US", { maximumFractionDigits: digits }));

export const count = value => !known(value) ? none : Math.abs(value) >= 1e12 ? short(value) : formats[0].format(Math.round(Number(value)));

/** Three digits that count and a unit: 1.24M. */
export function short(value) {
  if (!known(value)) return none;
  const size = Math.abs(value);
  if (size >= 1e15) return Number(value).toExponential(1);
  for (const [unit, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit * (unit === 1e3 ? 10 : 1)) return `${Number((value / unit).toFixed(size >= unit * 100 ? 0 : size >= unit * 10 ? 1 : 2))}${name}`;
  }
  return formats[size < 10 ? 2 : size < 100 ? 1 : 0].format(Number(value));
}

/** Dollars as `tollgate` prints them: to the cent from ten cents on, below with two more decimals that count. Cut, not rounded. */
export function money(value) {
  if (!known(value)) return none;
  const text = typeof value === "number" ? value.toFixed(9) : String(value), amount = Number(text);
  if (amount === 0) return "$0.00";
  if (Math.abs(amount) >= 1e15) return `$${short(amount)}`;
  const size = Math.abs(amount), sign = amount < 0 ? "-" : "";
  if (size < 0.0001) return `<${sign}$0.0001`;
  const [dollars, decimals = ""] = text.replace("-", "").split(".");
  return `${sign}$${dollars}.${decimals.padEnd(4, "0").slice(0, size >= 0.1 ? 2 : 4).replace(/(?<=^..)0+$/, "")}`;
}

/** An amount in the unit of a budget. */
export const amount = (value, unit) => unit === "usd" ? money(value) : `${short(value)} ${cut(unit, 12)}`;

export const bytes = value => {
  if (!known(value)) return none;
  if (value >= 2 ** 60) return `${short(value)} B`;
  const step = value >= 1000 * 2 ** 20 ? [2 ** 30, "GiB"] : value >= 1000 * 2 ** 10 ? [2 ** 20, "MiB"] : value >= 1000 ? [2 ** 10, "KiB"] : [1, "B"];
  return `${(value / step[0]).toFixed(step[0] === 1 || value >= 100 * step[0] ? 0 : 1)} ${step[1]}`;
};

// What is longer than this is no wait but a mistake, or for ever.
const ages = 100 * 365 * 86400e3, longest = "> 100 years";

/** A length of time: 0 ms, 840 ms, 4.2 s, 41 s, 3 min 20 s, 2 h 5 min, 3 d 4 h. */
export function duration(milliseconds) {
  if (!known(milliseconds)) return none;
  const whole = Math.max(0, Math.round(milliseconds));
  if (whole > ages) return longest;
  if (whole < 1000) return `${whole} ms`;
  if (whole < 9950) return `${(whole / 1000).toFixed(1)} s`;
  const seconds = Math.round(whole / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min${seconds % 60 ? ` ${seconds % 60} s` : ""}`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
  return `${Math.floor(minutes / 1440)} d${Math.floor(minutes / 60) % 24 ? ` ${Math.floor(minutes / 60) % 24} h` : ""}`;
}

/** The same for the scale of a chart, where there is room for seven characters: 40 s, 2.5 min, 1.5 h. */
export function shortDuration(milliseconds) {
  if (!known(milliseconds) || Math.abs(milliseconds) < 59.5e3 || milliseconds > ages) return duration(milliseconds);
  const [unit, name] = [[86400e3, "d"], [3600e3, "h"], [60e3, "min"]].find(([one]) => milliseconds >= one) ?? [60e3, "min"];
  return `${Number((milliseconds / unit).toFixed(1))} ${name}`;
}

const pad = number => String(number).padStart(2, "0");
const moment = at => at instanceof Date ? at : new Date(at);
/** The time of day here, with the date where that is not today. */
export function clock(at, now = time.now()) {
  const date = moment(at);
  if (Number.isNaN(date.getTime())) return none;
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  return date.toDateString() === new Date(now).toDateString() ? time : `${day(date)} ${time}`;
}
export const day = at => `${moment(at).getFullYear()}-${pad(moment(at).getMonth() + 1)}-${pad(moment(at).getDate())}`;
export const exact = at => Number.isNaN(moment(at).getTime()) ? none : `${day(at)} ${pad(moment(at).getHours())}:${pad(moment(at).getMinutes())}:${pad(moment(at).getSeconds())}`;

/** Whole seconds that are left, counted down: 41 s, 3 min 05 s, 2 h 05 min, 3 d. */
export function left(milliseconds) {
  if (!known(milliseconds)) return none;
  if (milliseconds > ages) return longest;
  const seconds = Math.ceil(milliseconds / 1000);
  if (seconds <= 0) return "now";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${pad(Math.floor(seconds / 60) % 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${Number(number) === 1 ? one : many}`;
const plain = /^[\w .,:;'()/%-]{0,200}$/;
/** A word of the broker's, for people. */
export function words(name) {
  const text = String(name ?? "").replaceAll("_", " ");
  return plain.test(text) ? text : cut(text, 200);
}
/** Why a key or breaker is as it is: by an operator's hand, or in the broker's words. */
export const reasonOf = reason => isByHand(reason) ? "by hand" : words(reason);
export const isByHand = reason => reason === "operator" || reason === "operator_closed";
export const sum = object => Object.values(object ?? {}).reduce((total, value) => total + (known(value) ? Number(value) : 0), 0);

/** `input_tokens` as `input tokens/min`. */
export function dimension(name) {
  const text = words(name);
  return /per|day|hour|second/.test(name) ? text : `${text}/min`;
}
