"""The dashboard with brokers and browsers that are odd: clocks that are wrong, answers with holes, nothing at all, far too much, and hours of it."""

import collections
import json
import random
import re
import time

import pytest

from fakeworld import HOSTILE, World, by_class, money, rfc
from test_dashboard_page import HURRY, VIEWS, consoles, fine, goto, make_console, ready  # noqa: F401  (fixtures too)
from waiting import wait_until

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
        left = int(re.fullmatch(r"next try in (\d+) s", text)[1])
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


# Ways in and out


def test_an_address_that_is_no_view_says_so(browser, make_console):
    console = make_console(World())
    with browser.page(f"{console.url}/#/wonder%3Cimg%3E") as page:
        ready(page)
        page.has("there is no view", "#toast")
        assert page.js("document.querySelector('main .view.now') !== null && document.querySelectorAll('img').length") == 0
        goto(page, console, "who")
        page.js("location.hash = '#/nowhere'")
        page.has("there is no view \"nowhere\" here; this is Now", "#toast")
        page.wait("document.querySelector('main .view.now')")
        fine(page, console)


@pytest.mark.parametrize("query", ["now?open=%25E0&shut=%25E0,anthropic", "who?by=sessions&open=%25&page=-7&sort=-nothing", "why?state=nothing&priority=urgent&page=1e99", "then?range=1s&calls=x",
                                   "why?state=recent&id=..%2F..%2Fstatus", "who?by=budgets&page=NaN", "do?q=%00%3Cb%3E"])
def test_an_address_with_nonsense_shows_what_it_can(browser, consoles, query):
    console = consoles(trouble=True, queued=60)
    with browser.page(f"{console.url}/#/{query}") as page:
        page.wait("Number(document.body.dataset.drawn ?? 0) >= 2 && document.querySelector(`main .view.${location.hash.slice(2).split('?')[0]}`)")
        assert [one for one in page.complaints if "404" not in one] == [] and page.js("document.getElementById('stale').hidden")


def test_a_browser_that_stores_nothing_is_enough(browser, make_console):
    console = make_console(World(), tokens={"all": "admin"})
    forbid = "for (const name of ['sessionStorage', 'localStorage']) Object.defineProperty(window, name, { get() { throw new DOMException('forbidden', 'SecurityError'); } });"
    with browser.page(f"{console.url}/", before=forbid) as page:
        page.wait("document.getElementById('login').open")
        page.type("all")
        page.press("Enter")
        page.wait("!document.getElementById('login').open && document.querySelectorAll('.provider').length === 3")
        page.press("d")
        page.wait("document.documentElement.dataset.theme === 'dark'")


@pytest.mark.parametrize("view", ["do", "who", "why"])
def test_a_key_that_follows_the_token_at_once_is_for_the_page(browser, make_console, view):
    console = make_console(World(), tokens={"look": "read"})
    with browser.page(f"{console.url}/#/{view}") as page:
        page.wait("document.getElementById('login').open")
        # Nothing is told about a token that was not given yet.
        assert "This token" not in page.js("document.body.innerText")
        page.type("look")
        page.press("Enter", "1")
        page.wait("document.querySelectorAll('.provider').length === 3")
        page.press("5")
        page.has("reads everything and changes nothing", ".do")
        assert page.js("document.getElementById('token').value") == ""


# Answers of the console that are held until `release()`, those whose path has the text in `window.holds`; `window.held` counts them.
HOLD = """(() => { const plain = window.fetch.bind(window), waiting = []; window.held = 0;
  window.fetch = async (path, ...rest) => { const answer = plain(path, ...rest);
    if (window.holds && path.includes(window.holds)) { answer.catch(() => {}); window.held += 1; await new Promise(go => waiting.push(go)); }
    return answer; };
  window.release = () => { window.holds = null; for (const go of waiting.splice(0)) go(); return new Promise(done => setTimeout(done, 100)); }; })();"""


@pytest.mark.parametrize("view, path", [("why", "/requests"), ("who", "/usage"), ("who?by=sessions", "/sessions"), ("now", "/me"), ("now", "/events")])
def test_a_refusal_of_an_older_token_asks_for_none(browser, make_console, view, path):
    console = make_console(World(), tokens={"look": "read"})
    # The browser may give up what nobody waits for any more: here its answer comes all the same.
    late = HOLD.replace("const answer = plain(path, ...rest)", "const answer = plain(path, {...rest[0], signal: undefined})")
    with browser.page(f"{console.url}/#/{view}", before=f"window.holds = '{path}';" + late) as page:
        page.wait("window.held > 0")
        if path in ("/me", "/events"):
            page.js("import('/api.js').then(({ ask }) => ask('status').catch(() => {}))")
        page.wait("document.getElementById('login').open")
        page.type("look")
        page.js("window.holds = null")
        page.press("Enter")
        page.wait("!document.getElementById('login').open && document.getElementById('feed-text').textContent === 'live'")
        page.js("release()")
        assert not page.js("document.getElementById('login').open")
        # What was asked with the older token is asked again, at once.
        page.press("4")
        page.wait("document.querySelectorAll('.why tr.opens').length > 10")
        page.has("read token", "footer")


def test_nothing_of_an_older_token_stays(browser, make_console):
    tokens = {"all": "admin"}
    console = make_console(World(tenants=3), tokens=tokens)
    with browser.page(f"{console.url}/#/then") as page:
        page.wait("document.getElementById('login').open")
        page.type("all")
        page.press("Enter")
        page.wait("document.querySelectorAll('.chart path.line').length > 10")
        tokens.clear()
        tokens["mine"] = "acme"
        console.cut.set()
        page.wait("document.getElementById('login').open")
        console.cut.clear()
        page.type("mine")
        page.press("Enter")
        page.has("this token may not read it", ".then")
        assert page.js("[...document.querySelectorAll('.chart path.line')].filter(one => one.getAttribute('d')).length") == 0
        assert "openai" not in page.js("document.documentElement.outerHTML") and "globex" not in page.js("document.documentElement.outerHTML")


def test_a_list_is_shown_under_its_own_heading_only(browser, make_console):
    console = make_console(World(queued=30))
    with browser.page(f"{console.url}/#/why", before=HOLD) as page:
        page.wait("document.querySelectorAll('.why tr.opens').length === 30")
        page.js("window.holds = 'state=recent'")
        page.click(".choice [data-value=recent]")
        page.wait("window.held > 0")
        # The ones that wait have not ended.
        assert page.js("[...document.querySelectorAll('.why tr.opens, .reasons li')].filter(one => one.checkVisibility()).length") == 0
        page.js("release()")
        page.wait("[...document.querySelectorAll('.why tr.opens')].filter(one => one.checkVisibility()).length === 100")
        page.js("window.holds = 'sort=slowest'")
        page.click(".choice [data-value=slowest]")
        page.wait("window.held > 1")
        assert page.js("[...document.querySelectorAll('.why tr.opens')].filter(one => one.checkVisibility()).length") == 0
        page.js("release()")
        page.wait("[...document.querySelectorAll('.why tr.opens')].filter(one => one.checkVisibility()).length === 100")
        fine(page, console)


def test_changes_are_filtered_before_they_are_asked_for_again(browser, make_console):
    world = World()
    for number in range(20):
        world._note("key", f"openai/k{number}", "disabled")
        world.changes[0]["asked_by"] = None if number % 2 else "admin token"
    console = make_console(world)
    with browser.page(f"{console.url}/#/do", before=HOLD) as page:
        page.wait("document.querySelectorAll('.audit li').length === 20")
        page.js("window.holds = '/audit'")
        page.click(".do .choice [data-value=hand]")
        page.wait("document.querySelectorAll('.audit li').length === 10")
        page.click(".do input.search")
        page.type("k4")
        page.wait("document.querySelectorAll('.audit li').length === 1")
        page.js("release()")
        fine(page, console)


def test_a_story_goes_on_after_an_outage(browser, make_console):
    console = make_console(World(queued=30))
    breaks = "(() => { const plain = window.fetch.bind(window); window.fetch = (url, ...rest) => window.broken && /requests.01K/.test(url) ? Promise.reject(new TypeError('gone')) : plain(url, ...rest); })();"
    with browser.page(f"{console.url}/#/why?id={console.world.requests[3]['id']}", before=breaks) as page:
        page.wait("document.querySelector('.timeline li')")
        page.js("window.broken = true")
        page.has("the broker does not answer", "#story-body")
        page.js("window.broken = false")
        page.wait("document.querySelector('.timeline li')")
        fine(page, console)


@pytest.mark.parametrize("path", ["/me", "/requests", "/events"])
def test_an_answer_that_breaks_off_is_asked_for_again(browser, make_console, path):
    console = make_console(World())
    breaks = f"""(() => {{ const plain = window.fetch.bind(window); let left = 1; window.fetch = (url, ...rest) => url.includes('{path}') && left-- > 0
      ? Promise.resolve(new Response(new ReadableStream({{start(control) {{ control.error(new TypeError('network error')); }}}}))) : plain(url, ...rest); }})();"""
    with browser.page(f"{console.url}/#/why", before=breaks) as page:
        page.wait("document.getElementById('feed-text').textContent === 'live' && document.querySelectorAll('.why tr.opens').length > 10")
        page.press("5")
        page.wait("[...document.querySelectorAll('.do .act')].some(one => one.checkVisibility())")
        fine(page, console)


def test_a_dialog_goes_with_its_view(browser, make_console):
    console = make_console(World())
    with browser.page(f"{console.url}/#/do") as page:
        page.click("button[aria-label='disable key anthropic/main']")
        page.wait("document.getElementById('confirm').open")
        goto(page, console, "now")
        page.wait("!document.getElementById('confirm').open")
        page.press("?")
        page.wait("document.getElementById('help').open")
        page.js("history.back()")
        page.wait("!document.getElementById('help').open && document.querySelector('main .view.do')")
        assert console.posts == []
        fine(page, console)


def test_what_a_token_may_do_is_asked_again_after_an_outage(browser, make_console):
    tokens = {"all": "admin"}
    console = make_console(World(), tokens=tokens)
    with browser.page(f"{console.url}/#/do") as page:
        page.wait("document.getElementById('login').open")
        page.type("all")
        page.press("Enter")
        page.wait("document.querySelectorAll('.do .act').length > 3")
        # The policy makes it a token that only reads, and later one that is not known.
        tokens["all"] = "read"
        console.cut.set()
        page.has("reads everything and changes nothing", ".do")
        console.cut.clear()
        tokens.clear()
        tokens["new"] = "admin"
        console.cut.set()
        page.wait("document.getElementById('login').open && !document.getElementById('login-error').hidden")
        console.cut.clear()
        page.type("new")
        page.press("Enter")
        page.wait("document.getElementById('feed-text').textContent === 'live' && [...document.querySelectorAll('.do .act')].some(one => one.checkVisibility())")


def test_a_stream_that_stalls_is_noticed_and_begun_again(browser, make_console):
    console = make_console(World(), pace=3600)
    with browser.page(f"{console.url}/", before=HURRY) as page:
        page.wait("document.getElementById('feed-text').textContent === 'live'")
        page.has("nothing was heard for 6 s; trying", "#stale")
        wait_until(lambda: console.streams > 2, "the stream to begin again, twice")
        page.wait("document.getElementById('feed-text').textContent === 'live' && document.getElementById('stale').hidden")
        fine(page, console)


def test_a_broker_that_was_gone_is_followed_again(browser, make_console):
    console = make_console(World(trouble=True))
    with browser.page(f"{console.url}/", before=HURRY) as page:
        ready(page)
        console.close()
        page.has("what you see is", "#stale")
        page.wait("document.body.classList.contains('is-stale') && document.getElementById('feed-text').textContent === 'stale'")
        # What was last known stays to be read, and other views may be opened.
        assert page.js("document.querySelectorAll('.provider').length") == 3
        page.press("3", "4", "1")
        page.wait("document.querySelectorAll('.provider').length === 3")
        make_console(World(providers=4), port=int(console.url.rsplit(":", 1)[1]))
        page.wait("document.querySelectorAll('.provider').length === 4 && document.getElementById('stale').hidden && !document.body.classList.contains('is-stale')")
        assert [one for one in page.complaints if "ERR_" not in one] == []


def test_what_people_did_is_told_from_what_happened(browser, make_console):
    world = World()
    for number in range(300):
        world._note("alert", "queue_depth", "firing" if number % 2 else "over")
    for one in world.changes:
        one["asked_by"] = None
    world._note("key", "openai/main", "disabled")
    world.changes.append(world.changes.pop(0) | {"at": world.changes[-1]["at"]})
    console = make_console(world)
    with browser.page(f"{console.url}/#/do") as page:
        page.wait("document.querySelectorAll('.audit li').length === 200")
        page.click(".do .choice [data-value=hand]")
        page.wait("document.querySelectorAll('.audit li').length === 1 && location.hash === '#/do?changes=hand'")
        assert "key openai/main disabled" in page.text(".audit li") and "by admin token" in page.text(".audit li")
        fine(page, console)


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


# Parts of Now


def test_a_breaker_has_its_own_heading_and_a_single_bucket_one_gauge(browser, make_console):
    class Single(World):
        def provider(self, index, now):
            found = super().provider(index, now)
            return found | {"buckets": found["buckets"][:1]} if index == 0 else found

    console = make_console(Single(trouble=True))
    with browser.page(f"{console.url}/") as page:
        ready(page)
        row = "[data-provider=anthropic] "
        assert page.js(f"[...document.querySelectorAll('{row}.gauge .track')].filter(one => one.checkVisibility() && /requests/.test(one.ariaLabel)).length") == 1
        assert page.js("[...document.querySelectorAll('[data-provider=openai] .gauge .track')].filter(one => one.checkVisibility() && /requests/.test(one.ariaLabel)).length") == 1
        for name in ("anthropic", "openai"):
            lines = page.js(f"[...document.querySelectorAll('[data-provider={name}] .details-lines :is(h3, li)')].filter(one => one.checkVisibility()).map(one => one.localName === 'h3' ? one.textContent : one.querySelector('b').textContent)")
            at = lines.index("Breaker")
            assert lines[0] == "Keys" and lines[at:] == ["Breaker", name] and "Models" in lines[:at], lines
        fine(page, console)


LONG = ("a high call would wait about 1.5 s; 120 normal calls wait, the oldest for 14 s for output tokens of anthropic, a new one about 21 s; 9,840 low calls wait, the oldest for 6 min for output "
        "tokens of anthropic, a new one about 9 min; the breaker of claude-opus-* at anthropic is open (connection refused), next try in 36 s; openai gets no calls for gpt-6-sol for now (rate limited), "
        "again in 18 s; 1,240 calls refused because no provider could take them in time in the last minute; and 4 more troubles")
CUT_TEXT = "(() => { const one = document.getElementById('headline-text'); return one.scrollHeight > one.clientHeight + 2 || one.scrollWidth > one.clientWidth + 1; })()"


class Wordy(World):
    def __init__(self, headline):
        super().__init__(trouble=True, queued=60)
        self.headline = headline

    def status(self, tenant=None):
        return super().status(tenant) | {"headline": self.headline}


@pytest.mark.parametrize("width", [400, 800, 1280])
@pytest.mark.parametrize("headline", [LONG, LONG + "; " + LONG])
def test_the_sentence_on_top_can_be_read_whole(browser, make_console, width, headline):
    console = make_console(Wordy(headline))
    with browser.page(f"{console.url}/", width=width) as page:
        ready(page)
        assert page.text("#headline-text") == headline
        if page.js(CUT_TEXT):
            assert page.js("document.querySelector('main').getBoundingClientRect().top") < 240
            page.click("#headline-more")
            page.wait(f"!{CUT_TEXT}")
            assert page.text("#headline-more") == "less"
            assert page.js("document.documentElement.scrollWidth") <= width
            page.click("#headline-more")
            page.wait(CUT_TEXT)
        else:
            assert width > 400 and page.js("getComputedStyle(document.getElementById('headline-more')).visibility") == "hidden"
        console.world.headline = "nothing is failing"
        page.wait("document.getElementById('headline-text').textContent === 'nothing is failing' && getComputedStyle(document.getElementById('headline-more')).visibility === 'hidden'")
        assert page.js("document.getElementById('headline').offsetHeight") < 100
        fine(page, console)


@pytest.mark.parametrize("width", [400, 1024, 1280, 1920, 2560])
@pytest.mark.parametrize("headline", [LONG, LONG + "; " + LONG])
def test_on_the_wall_the_sentence_is_whole(browser, make_console, width, headline):
    console = make_console(Wordy(headline))
    with browser.page(f"{console.url}/#/now?wall=1", width=width) as page:
        ready(page)
        page.wait("document.querySelector('.provider')")
        assert page.text("#headline-text") == headline and not page.js(CUT_TEXT)
        box, main = page.js("['#headline', 'main'].map(one => document.querySelector(one).getBoundingClientRect()).map(box => [box.top, box.bottom])")
        text = page.js("(box => [box.top, box.bottom])(document.getElementById('headline-text').getBoundingClientRect())")
        assert box[0] <= text[0] and text[1] <= box[1] <= main[0]
        if width >= 1280 and headline == LONG:
            # As large as a wall needs it, and yet room for the rest.
            assert box[1] - box[0] < 260 and page.js("parseFloat(getComputedStyle(document.getElementById('headline-text')).fontSize)") >= 18
        fine(page, console)


def test_tenants_keep_their_budgets_on_a_narrow_screen(browser, make_console):
    console = make_console(World(trouble=True, queued=60))
    with browser.page(f"{console.url}/#/who", width=400, height=900) as page:
        ready(page)
        shown = "[...document.querySelectorAll('.who .budget-cell')].filter(one => one.checkVisibility())"
        assert page.js(f"{shown}.length") == 8
        budgets = {one["tenant"]: one for one in console.world.status()["budgets"]}
        for tenant, text in page.js(f"{shown}.map(one => [one.closest('tr').dataset.key, one.innerText])"):
            assert f"of ${float(budgets[tenant]['limit_usd']):.2f}" in text, tenant
            assert ("out in" if budgets[tenant]["runs_out_at"] else "new in") in text, tenant
        assert page.js(CUT) == [] and page.js("document.documentElement.scrollWidth") <= 400
        page.size(1280, 900)
        assert page.js(f"{shown}.length") == 8
        fine(page, console)


# Money and words


@pytest.mark.parametrize("spent, unpriced, told", [("0.000000000", 3, ("$0.00", "+ 3 unpriced")), ("1.250000000", 12_345, ("$1.25", "+ 12.3k unpriced")), ("0.000000000", 0, ("$0.00", "since start"))])
def test_what_has_no_price_is_told_beside_the_amount(browser, make_console, spent, unpriced, told):
    class Unpriced(World):
        def status(self, tenant=None):
            return super().status(tenant) | {"spent_usd": spent, "unpriced_calls": unpriced}

    console = make_console(Unpriced())
    with browser.page(f"{console.url}/") as page:
        ready(page)
        assert (page.text("[data-tile=spent]"), page.text("[data-tile=spent] + .quiet")) == told
        assert page.text("[data-tile=cost]") == "$18.41"
        assert "?" not in page.text(".tiles")


def test_what_people_did_is_by_hand_everywhere(browser, make_console):
    class Held(World):
        def provider(self, index, now):
            found = super().provider(index, now)
            return found | {"breaker": {"state": ("open", "closed", "half_open")[index], "reason": ("operator", "operator_closed", "operator")[index], "until": None},
                            "state": "cooling", "reason": "operator", "models": [one | {"state": "cooling", "reason": "operator", "breaker": {"state": "open", "reason": "operator", "until": None}} for one in found["models"]]}

    console = make_console(Held())
    console.world.disabled[("anthropic", "main")] = True
    console.world._note("key", "anthropic/main", "disabled")
    console.world._note("key", "anthropic/spare", "disabled")
    console.world.changes[0]["asked_by"] = None
    history = console.world.history
    console.world.history = lambda wanted: (lambda found: found | {"marks": [found["marks"][0] | {"what": "key", "text": "key openai/spare: disabled (operator)"}]})(history(wanted))
    with browser.page(f"{console.url}/") as page:
        ready(page)
        for text in ("breaker of anthropic is open by hand", "key anthropic/main is disabled by hand"):
            page.has(text, ".attention")
        for view in VIEWS:
            goto(page, console, view)
            assert "operator" not in page.js("document.querySelector('main').innerText"), view
            if view == "then":
                page.has("key openai/spare: disabled (by hand)", ".events-list")
        page.wait("document.querySelectorAll('.audit li').length === 2")
        page.click("button[aria-label='enable key anthropic/main']")
        page.has("It is disabled (by hand) now.", "#confirm")


class Taught(World):
    """What providers have taught about single models and keys."""

    def status(self, tenant=None):
        found = super().status(tenant)
        found["learned"] = [self.learned(0, "concurrency", 12, "calls", model="claude-opus-*"), self.learned(0, "requests_per_minute", 500, "requests/min", model="claude-opus-*"),
                            self.learned(0, "concurrency", 3, "calls", model="<img src=x>"), self.learned(0, "output_high", 900, "tokens", model="only-usage"),
                            self.learned(0, "tokens_per_minute", 90_000, "tokens/min", key="spare"), self.learned(0, "concurrency", 2, "calls", model="claude-haiku-5", key="spare"),
                            # What the policy limits more than the provider does is not in force.
                            self.learned(1, "concurrency", 25, "calls", model="gpt-6-sol*"), self.learned(2, "concurrency", 7, "calls")]
        # As brokers tell it that count what runs of such a model.
        found["providers"][2]["models"] = [{"models": "deep-1", "state": "usable", "reason": None, "until": None, "in_flight": 4, "listed": True, "concurrency_limit": 6, "policy_concurrency": 9, "learned_concurrency": 6,
                                             "learned_from": "refusals (429) without numbers", "learned_since": rfc(self.began), "buckets": []},
                                            {"models": "\u202enever", "state": "usable", "reason": None, "until": None, "in_flight": 1, "listed": False, "concurrency_limit": 2, "policy_concurrency": None,
                                             "learned_concurrency": 2, "learned_from": None, "learned_since": None, "buckets": []},
                                            {"models": "free-*", "state": "usable", "reason": None, "until": None, "in_flight": 1, "listed": True, "concurrency_limit": 5, "policy_concurrency": 5,
                                             "learned_concurrency": None, "learned_from": None, "learned_since": None, "buckets": []}]
        found["learned"].append(self.learned(2, "concurrency", 8, "calls", model="free-*"))
        # Each key has its own limits, one a learned one; the provider has none.
        found["providers"][2].update(concurrency_limit=None, policy_concurrency=None, learned_concurrency=None, reserved_permits=by_class(0, 0, 0))
        for key, limit in zip(found["providers"][2]["keys"], (30, 4)):
            key.update(concurrency_limit=limit, policy_concurrency=30, learned_concurrency=None if limit == 30 else limit)
        return found


@pytest.mark.parametrize("width", [400, 1280])
def test_limits_learned_for_one_model_are_shown_where_they_hold(browser, make_console, width):
    console = make_console(Taught())
    with browser.page(f"{console.url}/", width=width, height=1000) as page:
        ready(page)

        def line(provider, title):
            find = f"[...document.querySelectorAll({json.dumps(f'[data-provider={provider}] .lines > li')})].find(one => one.querySelector('b').textContent === {json.dumps(title)})"
            return page.js(f"(one => one && [one.innerText, ...[...one.querySelectorAll('.places')].filter(each => each.checkVisibility()).flatMap(each => [each.querySelector('.gauge-value').textContent, "
                           f"each.querySelector('.tick.learned').title, parseFloat(each.querySelector('.tick.learned').style.left), each.querySelector('.gauge-note').textContent])])({find})")

        running = console.world.provider(0, time.time())["models"][0]["in_flight"]
        text, value, mark, left, note = line("anthropic", "claude-opus-*")
        assert re.fullmatch(r"\d+ of 12", value) and mark == "learned limit: 12" and 0 < left < 100 and note == "learned 12 of 20", (value, running)
        assert "learned: 500 requests/min" in text
        # One without an entry in the policy, of which nobody counts what runs: its limit as text.
        assert line("anthropic", "<img src=x>")[0].split("\n")[-1] == "learned: 3 at a time"
        assert line("anthropic", "only-usage") is None
        text, = line("anthropic", "spare")
        assert "learned: 90k tokens/min" in text and "claude-haiku-5 learned: 2 at a time" in text
        text, = line("openai", "gpt-6-sol*")
        assert "of 20 running" in text and "learned: 25 at a time" in text
        shown = line("openrouter", "deep-1")
        assert shown[1:4] == ["4 of 6", "learned limit: 6", pytest.approx(66.67, abs=0.1)] and re.fullmatch(r"learned 6 of 9 · from refusals \(429\) without numbers · since [\d: -]+", shown[4])
        assert line("openrouter", "\u27e8U+202E\u27e9never")[1:] == ["1 of 2", "learned limit: 2", 100, "learned 2"]
        text, = line("openrouter", "free-*")
        assert "1 of 5 running" in text
        assert re.fullmatch(r"\d+ of 4", (shown := line("openrouter", "spare"))[1]) and shown[4] == "learned 4 of 30" and len(line("openrouter", "main")) == 1
        assert re.fullmatch(r"\d+ of 34", page.text("[data-provider=openrouter] .prow .places .gauge-value"))
        notes = page.js("[...document.querySelectorAll('.prow .places .gauge-note')].map(one => one.title)")
        assert "learned for claude-opus-*: 12, <img src=x>: 3" in notes[0] and "learned for" not in notes[1] and "by key" in notes[2] and "learned for deep-1: 6, \u27e8U+202E\u27e9never: 2 and 1 more" in notes[2]
        assert page.js("document.querySelectorAll('img').length") == 0 and page.js("document.documentElement.scrollWidth") <= width
        fine(page, console)


# Widths


# What a reader needs whole: cells with numbers, headings of columns, values of gauges, states, times of the axis.
CUT = """[...document.querySelectorAll('th, th button, td.number, .gauge-value, .tile dd, td .mark-text, .axis-ticks span, .trouble-times span, .budget-cell > span, .gauge-note.split > :last-child, .countdown, .scale, .line-from, .line-long')].filter(one => {
  if (!one.checkVisibility() || !one.textContent.trim() || one.closest('.chart-table')) return false;
  if (one.matches('.axis-ticks span, .scale')) { const box = one.getBoundingClientRect(), area = one.parentElement.getBoundingClientRect(); return box.left < area.left - 1 || box.right > area.right + 1; }
  return one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline' || one.scrollHeight > one.clientHeight + 4 && one.matches('.mark-text');
}).map(one => `${one.localName}.${one.className} ${one.textContent.slice(0, 40)}`)"""


@pytest.mark.parametrize("width", [400, 640, 800, 1024, 1280])
def test_what_must_be_read_is_not_cut(browser, make_console, width):
    world = World(trouble=True, queued=60)
    outcomes = ("client_left_queued", "client_left_streaming", "failed_upstream", "rejected_no_capacity", "rejected_tenant_limit", "evicted_max_wait", "completed")
    for number, one in enumerate(world.requests):
        # Minutes, the longest words, and amounts with four decimals.
        one.update(queued_ms=83_000 + number, total_ms=None if one["total_ms"] is None else 725_000 + number, predicted_wait_ms=one["predicted_wait_ms"] and 62_000)
        if one["outcome"]:
            one["outcome"] = outcomes[number % len(outcomes)]
    console = make_console(world)
    # 640 is what 1280 is at twice the size.
    with browser.page(f"{console.url}/", width=width, height=1200, scale=2 if width == 640 else 1) as page:
        for view in (*VIEWS, "why?state=slowest", "why?state=running", "why?state=recent&id=" + world.requests[200]["id"]):
            goto(page, console, view)
            if "id=" in view:
                page.wait("document.querySelector('.timeline li')")
            assert page.js(CUT) == [], view
            assert page.js("document.documentElement.scrollWidth") <= width, view
            # The first column of a table says whose row it is.
            assert page.js("[...document.querySelectorAll('main tbody tr:first-child > :first-child')].filter(one => one.checkVisibility()).every(one => one.getBoundingClientRect().width > 70)"), view
        assert page.js("getComputedStyle(document.querySelector('.fill') ?? document.body).transitionDuration") == "0s"
        fine(page, console)
