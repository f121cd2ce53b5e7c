"""The dashboard with brokers and browsers that are odd: clocks that are wrong, answers with holes, nothing at all, far too much, and hours of it."""

import collections
import json
import random
import re
import time

import pytest

from fakeworld import HOSTILE, World, money
from test_dashboard_page import HURRY, VIEWS, consoles, fine, goto, make_console, ready  # noqa: F401  (fixtures too)

# A clock that is wrong by so many milliseconds.
CLOCK = """(() => { const Real = Date, now = Real.now.bind(Real);
  window.Date = class extends Real { constructor(...parts) { if (parts.length) super(...parts); else super(now() + %d); } static now() { return now() + %d; } }; })()"""


# Clocks


@pytest.mark.parametrize("hours", [-1, 1])
def test_times_are_the_brokers_and_not_the_browsers(browser, make_console, hours):
    console = make_console(World(trouble=True, queued=60))
    with browser.page(f"{console.url}/", before=CLOCK % ((hours * 3600_000,) * 2)) as page:
        ready(page)
        assert abs(page.js("Date.now()") / 1000 - time.time() - hours * 3600) < 60
        text = page.wait("document.querySelector('.trouble-times')?.textContent")
        left = int(re.fullmatch(r"for \d+ (?:s|min|h).*next try in (\d+) s", text)[1])
        status = console.world.status()
        end = status["providers"][1]["breaker"]["until"]
        # What is shown was true a moment ago; a breaker's pause is 40 s here.
        assert 0 < left <= 40 and abs(left - page.js(f"(Date.parse('{end}') - Date.now()) / 1000") - hours * 3600) % 40 < 15
        page.has("for 30 min", ".attention")
        assert page.js("document.querySelector('.keys .until, .pname .until').textContent").rstrip(" s").isdigit()
        goto(page, console, "who?by=sessions")
        page.wait("document.querySelectorAll('.who tbody tr').length > 10")
        ages = [text for text in page.texts(".who tbody td:last-child") if text.endswith("ago")]
        assert ages and all(re.fullmatch(r"\d+ s ago|1 min \d\d s ago", text) for text in ages), ages
        goto(page, console, "then?range=5m")
        page.wait("[...document.querySelectorAll('.chart path.line')].some(one => one.getAttribute('d').length > 100)")
        shown = page.text(".then .note-line").removeprefix("as of ").rsplit(" ", 1)[-1]
        told = page.js(f"(() => {{ const at = new Date({time.time() * 1000}); return at.getHours() * 3600 + at.getMinutes() * 60 + at.getSeconds(); }})()")
        hour, minute, second = map(int, shown.split(":"))
        assert (told - hour * 3600 - minute * 60 - second) % 86400 < 60
        fine(page, console)


# Answers with holes


class Holed(World):
    """With each snapshot other fields are missing, null, far too large, below zero, or text that nobody expects."""

    kinds = 16

    def __init__(self, **world):
        super().__init__(**world)
        self.turns = collections.Counter()

    def spoil(self, value, dice, keep=()):
        if isinstance(value, dict):
            made = {}
            for name, one in value.items():
                fate = dice.random()
                if name in keep or fate > 0.12:
                    made[name] = self.spoil(one, dice, keep)
                elif fate > 0.08:
                    continue
                elif fate > 0.04:
                    made[name] = None
                elif isinstance(one, (int, float)) and not isinstance(one, bool):
                    made[name] = dice.choice([1e308, -1, 9_007_199_254_740_993, 0.1, 0])
                elif isinstance(one, str):
                    made[name] = dice.choice([*HOSTILE, "", "1e400", "x" * 4096])
                else:
                    made[name] = self.spoil(one, dice, keep)
            return made
        if isinstance(value, list):
            return [self.spoil(one, dice, keep) for one in value]
        return value

    def dice(self, what):
        """The same few kinds of damage, whenever and however often the page asks."""
        self.turns[what] += 1
        return random.Random(f"{what} {self.turns[what] % self.kinds}")

    def status(self, tenant=None):
        return self.spoil(super().status(tenant), self.dice("status"), keep=("id", "providers"))

    def sessions(self, wanted):
        return self.spoil(super().sessions(wanted), self.dice("sessions"))

    def history(self, wanted):
        return self.spoil(super().history(wanted), self.dice("history"))

    def usage(self):
        return self.spoil(super().usage(), self.dice("usage"))

    def listed(self, wanted):
        return [self.spoil(one, self.dice("requests"), keep=("id",)) for one in super().listed(wanted)]

    def story(self, request_id):
        return self.spoil(super().story(request_id), self.dice("story"))


def test_answers_with_holes_break_nothing(browser, make_console):
    console = make_console(Holed(trouble=True, queued=30), pace=0.02)
    story = "why?state=recent&id=" + console.world.requests[200]["id"]
    with browser.page(f"{console.url}/", before=HURRY) as page:
        for view in (*VIEWS, story):
            page.js(f"location.hash = {json.dumps('#/' + view)}")
            drawn = int(page.js("document.body.dataset.drawn ?? 0"))
            page.wait(f"Number(document.body.dataset.drawn ?? 0) >= {drawn + 12}", f"{view} to be drawn; {page.complaints[:1]}")
            assert page.complaints == [], view
            seen = page.js("document.body.innerText + [...document.querySelectorAll('[title], [aria-label], [aria-valuetext]')].map(one => "
                           "['title', 'aria-label', 'aria-valuetext'].map(name => one.getAttribute(name) ?? '').join(' ')).join('\\n')")
            found = re.search(r".{0,60}(undefined|\bNaN\b|Infinity|\[object).{0,60}", seen)
            assert not found, (view, found[0])
            assert page.js("document.documentElement.scrollWidth") <= 1280, view
        fine(page, console)


class Nothing(World):
    """A broker that has neither providers nor tenants, and to which nobody has come."""

    def __init__(self):
        super().__init__(providers=1, tenants=1, queued=0)
        self.requests = []

    def status(self, tenant=None):
        return super().status(tenant) | {"providers": [], "tenants": [], "budgets": [], "running": 0, "totals": {"calls_last_minute": 0, "tokens_last_minute": 0, "cost_last_hour_usd": "0", "throttled_last_minute": 0}}

    def sessions(self, wanted):
        return {"sessions": [], "left_out": 0}

    def history(self, wanted):
        found = super().history(wanted)
        return {"metrics": [one | {"series": []} for one in found["metrics"]], "marks": []}

    def usage(self):
        return {"rows": []}


def test_nothing_is_shown_as_nothing(browser, make_console):
    console = make_console(Nothing())
    says = {"now": "The policy has no providers.", "then": "nothing in this time", "who": "No session matches.", "who?by=tenants": "No tenant matches.", "who?by=budgets": "No budget matches.", "why": "Nobody waits here.",
            "why?state=recent": "No request matches.", "do": "No changes yet."}
    with browser.page(f"{console.url}/") as page:
        for view, text in says.items():
            goto(page, console, view)
            page.has(text, "main")
        fine(page, console)


def test_one_tenant_is_shown_by_its_sessions(browser, make_console):
    console = make_console(World(tenants=1))
    with browser.page(f"{console.url}/#/who", width=400) as page:
        page.wait("document.querySelector(\".choice [data-value=sessions][aria-pressed=true]\")")
        page.wait("document.querySelectorAll('.who tbody tr.opens').length > 10 && document.querySelector('.who .note-line').textContent === '60 sessions'")
        page.click(".choice [data-value=tenants]")
        page.wait("document.querySelector('.who .note-line').textContent === '1 tenant'")
        fine(page, console)


# Far too much


class Budgeted(World):
    """Each session has its budget, and most of them are used up."""

    def status(self, tenant=None):
        found = super().status(tenant)
        one = found["budgets"][0]
        found["budgets"] = [one | {"id": f"acme/session/s-{number:05d}/day", "scope": "session", "name": f"s-{number:05d}", "tenant": "acme", "limit_usd": money(3),
                                   "spent_usd": money(3 if number % 2 else 1), "held_usd": money(0), "runs_out_at": None} for number in range(3000)] + found["budgets"]
        return found


def test_budgets_of_sessions_do_not_bury_the_others(browser, make_console):
    console = make_console(Budgeted(tenants=8, trouble=True), pace=0.3)
    with browser.page(f"{console.url}/") as page:
        ready(page)
        page.has("1,500 budgets of sessions are used up; further calls are refused: acme/session/s-00001/day, acme/session/s-00003/day and 1,498 more", ".attention")
        assert page.js("document.querySelectorAll('.trouble').length") < 15
        page.click(".trouble a")
        page.wait("location.hash.startsWith('#/who?by=budgets&q=') && document.querySelectorAll('.budget').length === 60")
        page.has("3,000 budgets of 3,008", ".who")
        page.click(".who .pages button:last-child")
        page.has("61\u2013120 of 3,000", ".who")
        goto(page, console, "who?by=budgets")
        # Those that the operator named come first.
        assert page.text(".budget .gauge-label") == "acme/day"
        goto(page, console, "do")
        page.wait("document.querySelectorAll('.do .budget').length === 12")
        page.has("2,996 more budgets", ".do")
        page.click(".do input.search")
        page.type("s-02999")
        page.wait("[...document.querySelectorAll('.do .budget .gauge-label')].map(one => one.textContent).join() === 'acme/session/s-02999/day'")
        fine(page, console)


def test_an_hour_of_snapshots_leaves_nothing_behind(browser, make_console):
    """By a clock that goes as fast as the page can draw: what the page keeps must not grow with time, though names come and go."""
    console = make_console(World(trouble=True, queued=60), pace=3600)
    with browser.page(f"{console.url}/") as page:
        page.wait("Number(document.body.dataset.drawn ?? 0) >= 1")
        page.js("""(async () => {
          const [{ now }, { who }, { why }, { deedsView }, { ticks, time }] = await Promise.all(['now', 'who', 'why', 'do', 'elements'].map(name => import(`/${name}.js`)));
          const first = await (await fetch('/api/v1/status')).json();
          let second = 0;
          window.hour = (view, turns) => {
            const shown = { now, who, do: deedsView }[view];
            for (let turn = 0; turn < turns; turn += 1) {
              second += 1;
              const status = structuredClone(first), at = Date.parse(first.at) + second * 1000;
              status.at = new Date(at).toISOString();
              const name = `gone-${second % 5000}`;
              status.tenants[0].id = name;
              status.budgets[0].id = `${name}/day`;
              status.providers[0].keys[0].id = name;
              status.providers[1].breaker.until = new Date(at + 40000 - second % 40 * 1000).toISOString();
              if (second % 3 === 0) { status.providers[2].models = []; status.providers.reverse(); }
              if (second % 7 === 0) status.providers.pop();
              deedsView.heard({ at: status.at, subject: 'key', name, state: 'usable' });
              shown.draw(status);
              ticks();
            }
            return document.querySelectorAll('*').length;
          };
        })()""")

        def kept():
            for _ in range(2):
                page.send("HeapProfiler.collectGarbage")
            found = {one["name"]: one["value"] for one in page.send("Performance.getMetrics")["metrics"]}
            return found["Nodes"], found["JSEventListeners"], found["JSHeapUsedSize"]

        page.send("Performance.enable")
        for view in ("now", "who", "do"):
            page.js(f"location.hash = '#/{view}'")
            page.wait("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
            page.js(f"hour('{view}', 100)")
            elements, before = page.js(f"hour('{view}', 100)"), kept()
            assert page.js(f"hour('{view}', 600)") <= elements * 1.05 + 20, view
            after = kept()
            # Less than one for each snapshot.
            assert after[0] <= before[0] + 300 and after[1] <= before[1] + 60, (view, before, after)
            assert after[2] <= before[2] + 1_500_000, (view, before, after)
        assert page.complaints == []


# What will happen


def facts(page, button):
    page.click(f"button[aria-label='{button}']")
    page.wait("document.getElementById('confirm').open")
    found = page.texts("#confirm li")
    page.press("Escape")
    page.wait("!document.getElementById('confirm').open")
    return [text for text in found if text]


class Lone(World):
    """One provider with one key, or what `keys` and `breakers` make of it."""

    def __init__(self, states=("usable",), **world):
        super().__init__(**world)
        self.states = states

    def provider(self, index, now):
        found = super().provider(index, now)
        found["keys"] = [self.key(found["id"], f"k{number}", 2, state) for number, state in enumerate(self.states if index == 0 else ("usable",))]
        return found


@pytest.mark.parametrize("states, providers, says", [
    (("usable",), 1, "No other provider works now: 24 waiting calls and all further ones for anthropic are refused at once (503; 529 at Anthropic's API)."),
    (("usable",), 2, "Calls whose route leads on to openai go there. All others, those among the 12 waiting calls too, are refused at once (503; 529 at Anthropic's API)."),
    (("usable",), 3, "Calls whose route leads on to openai or openrouter go there."),
    (("usable",), 5, "Calls whose route leads on to another provider go there."),
    (("usable", "disabled"), 1, "No other key of anthropic works."),
    (("usable", "cooling"), 1, "No other key of anthropic works now; 1 key rests: calls wait for it as long as they may, or go to the next provider of their route."),
    (("usable", "usable"), 1, "1 other key of anthropic takes over."),
])
def test_disabling_a_key_says_what_becomes_of_its_calls(browser, make_console, states, providers, says):
    console = make_console(Lone(states, providers=providers))
    with browser.page(f"{console.url}/#/do") as page:
        found = facts(page, "disable key anthropic/k0")
        assert any(text.startswith(says) for text in found), found
        assert ("refused at once" in " ".join(found)) == (len(states) == 1 or states[1] == "disabled")
        found = facts(page, "open breaker anthropic")
        assert any("refused at once" in text for text in found), found
