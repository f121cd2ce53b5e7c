"""The dashboard at sizes and in troubles that are made up (`fakeconsole`): readable, still, fluent, by keyboard, in both themes."""

import json
import re

import pytest

from fakeconsole import FakeConsole
from fakeworld import HOSTILE, World
from waiting import wait_until

VIEWS = ("now", "then", "who", "who?by=sessions", "who?by=budgets", "why", "why?state=recent", "do")

# Text whose contrast with what is behind it is below what WCAG AA asks for: 4.5, or 3 for large text.
CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const known = new Map(), kept = (map, key, find) => { if (!map.has(key)) map.set(key, find()); return map.get(key); };
  const rgba = color => kept(known, color, () => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); const data = canvas.getImageData(0, 0, 1, 1).data;
    return [data[0], data[1], data[2], data[3] / 255]; });
  const over = (front, back) => front.slice(0, 3).map((value, index) => value * front[3] + back[index] * (1 - front[3]));
  const light = color => { const [r, g, b] = color.map(value => { const s = value / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const backs = new Map();
  const behind = element => element === null ? [255, 255, 255] : kept(backs, element, () => over(rgba(getComputedStyle(element).backgroundColor), behind(element.parentElement)));
  const found = new Set(); let seen = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !element.checkVisibility() || element.closest(':disabled, .unseen, noscript, script, .skip, option')) continue;
    const style = getComputedStyle(element), back = behind(element), front = over(rgba(style.color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a), ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    seen += 1;
    if (ratio < (large ? 3 : 4.5)) found.add(`${ratio.toFixed(2)} ${style.color} ${element.className} ${walk.currentNode.textContent.trim().slice(0, 30)}`);
  }
  return [seen, [...found]];
})()"""

# Timers that go eight times as fast: each view has asked and counted down several times within a few frames.
HURRY = """(() => { for (const name of ['setTimeout', 'setInterval']) { const slow = window[name].bind(window);
  window[name] = (work, after, ...rest) => slow(work, after / 8, ...rest); } })();"""

# What is cut off at the sides, other than by an ellipsis or in an area that scrolls.
CLIPPED = """[...document.querySelectorAll('main *, header *, footer *')].filter(one => {
  const box = one.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1) && one.checkVisibility() && one.textContent.trim() && !one.closest('.unseen, svg, .axis-flags, .chart-table');
}).map(one => `${one.className} ${one.textContent.slice(0, 40)}`)"""


@pytest.fixture(scope="module")
def consoles():
    made = {}

    def console(**world):
        key = json.dumps(world, sort_keys=True)
        if key not in made:
            made[key] = FakeConsole(World(**world), pace=0.3 if world.get("providers", 0) > 10 else 0.1)
        return made[key]

    yield console
    for one in made.values():
        one.close()


@pytest.fixture
def make_console():
    made = []

    def console(world, **options):
        made.append(FakeConsole(world, pace=options.pop("pace", 0.1), **options))
        return made[-1]

    yield console
    for one in made:
        one.close()


def ready(page, drawn=2):
    page.wait(f"Number(document.body.dataset.drawn ?? 0) >= {drawn} && document.querySelector('main .view') && ![...document.querySelectorAll('.note-line')].some(one => one.checkVisibility() && one.textContent === '')", "the page to be drawn and the view to have its answer")


def fine(page, console):
    assert page.complaints == [] and page.js("window.violations") == []
    assert [url for url in page.asked if not url.startswith((console.url + "/", "data:"))] == []


def goto(page, console, view):
    page.js(f"location.hash = {json.dumps('#/' + view)}; new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
    assert page.js("location.hash") == "#/" + view
    ready(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_every_view(browser, consoles, scheme):
    console = consoles(trouble=True, queued=60)
    with browser.page(f"{console.url}/", scheme=scheme) as page:
        for view in VIEWS:
            goto(page, console, view)
            seen, poor = page.js(CONTRAST)
            assert seen > 30 and poor == [], view
        back = page.js("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, back.removeprefix("rgb(").removesuffix(")").split(","))) > 400) == (scheme == "light")
        goto(page, console, "why?state=recent&id=" + console.world.requests[200]["id"])
        page.wait("document.querySelector('.timeline li')")
        assert page.js(CONTRAST)[1] == []
        fine(page, console)


@pytest.mark.parametrize("width, scheme", [(400, "light"), (1280, "dark")])
def test_nothing_is_cut_off_at_the_side(browser, consoles, width, scheme):
    worlds = [{"trouble": True, "queued": 60}, {"providers": 50, "tenants": 500, "queued": 10_000, "trouble": True}]
    for world in [*worlds, {"trouble": True, "hostile": True}] if width < 1000 else worlds:
        console = consoles(**world)
        with browser.page(f"{console.url}/", width=width, height=800, scheme=scheme) as page:
            for view in VIEWS:
                goto(page, console, view)
                assert page.js("document.documentElement.scrollWidth") <= width, f"{view} {world}"
                assert page.js(CLIPPED) == [], f"{view} {world}"
            fine(page, console)


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_jumps_while_numbers_change(browser, make_console, width):
    console = make_console(World(trouble=True, queued=60), pace=0.02)
    watch = ("window.shifts = []; window.watcher = new PerformanceObserver(list => window.shifts.push(...list.getEntries().map(one => ["
             "one.value, ...one.sources.map(source => source.node?.className ?? source.node?.nodeName)]))); watcher.observe({type: 'layout-shift', buffered: true});")
    with browser.page(f"{console.url}/", width=width, before=HURRY + watch) as page:
        for view in VIEWS:
            goto(page, console, view)
            drawn = int(page.js("document.body.dataset.drawn"))
            # What moved while the view was entered has been told by then.
            page.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => { watcher.takeRecords(); shifts.length = 0; done(); })))")
            ready(page, drawn + 8)
            assert sum(one[0] for one in page.js("window.shifts")) < 0.005, (view, page.js("window.shifts"))


def test_a_large_fleet_keeps_its_elements_and_pages_its_rows(browser, consoles):
    console = consoles(providers=50, tenants=500, queued=10_000, trouble=True)
    with browser.page(f"{console.url}/") as page:
        ready(page)
        assert page.text("[data-tile=waiting]") == "10,000"
        assert page.js("document.querySelectorAll('.provider').length") == 50
        # With each snapshot texts change, and neither a row is made anew nor its place changed.
        page.js("window.made = 0; new MutationObserver(list => { for (const one of list) for (const node of one.addedNodes) if (node.nodeType === 1) window.made += 1; })"
                ".observe(document.querySelector('.providers'), {childList: true, subtree: true}); window.first = document.querySelector('.provider'); true")
        before = int(page.js("document.body.dataset.drawn"))
        ready(page, before + 6)
        assert page.js("window.first === document.querySelector('.provider') && window.first.isConnected")
        # What may change its elements is the sum of a provider's keys: a handful of marks.
        assert page.js("window.made") <= 50
        assert page.js("document.querySelectorAll('*').length") < 6000
        page.click("input[type=checkbox]")
        page.wait("location.hash.includes('bad=1') && document.querySelectorAll('.provider').length < 50 && document.querySelectorAll('.provider.good').length === 0")
        page.click(".now input.search")
        page.type("provider-1")
        page.wait("location.hash.includes('q=provider-1') && [...document.querySelectorAll('.provider')].every(one => one.dataset.provider.startsWith('provider-1'))")
        goto(page, console, "who")
        assert page.js("document.querySelectorAll('.who tbody tr').length") == 100
        assert page.has("of 500", ".pages")
        page.click(".pages button:last-child")
        page.wait("location.hash.includes('page=2') && document.querySelector('.who tbody tr').dataset.key === 'team-100'")
        goto(page, console, "why")
        page.wait("document.querySelectorAll('.why tbody tr').length === 100")
        page.has("100 of 10,000 requests", ".why")
        page.has("filter to see others", ".reasons li:last-child")
        assert page.text(".reasons li:last-child b") == "9,900"
        # Of those that are not listed it is told of which classes they are.
        others = [int(some.replace(",", "")) for some in re.findall(r"([\d,]+) (?:high|normal|low)", page.text(".reasons li:last-child .quiet"))]
        assert len(others) == 3 and sum(others) == 9900
        fine(page, console)


def test_requests_are_asked_for_as_far_as_they_are_shown(browser, consoles):
    console = consoles(providers=50, tenants=500, queued=10_000, trouble=True)
    limits = lambda page: {url.split("limit=")[1] for url in page.asked if "/requests?" in url}  # noqa: E731
    with browser.page(f"{console.url}/#/why", before=HURRY) as page:
        ready(page, 6)
        page.has("1\u2013100 of 10,000", ".pages")
        assert limits(page) == {"101"}
        page.click(".why .table:not([hidden]) .pages button:last-child")
        page.has("101\u2013200 of 10,000", ".pages")
        assert page.js("[...document.querySelectorAll('.why tbody tr')].filter(one => one.checkVisibility()).length") == 100
        assert limits(page) == {"101", "201"}
        # What is searched or sorted otherwise is the first thousand, at a slower pace.
        page.press("/")
        page.type("wonka")
        page.wait("location.hash.includes('q=wonka')")
        wait_until(lambda: limits(page) == {"101", "201", "1000"}, "the longer list to be asked for")
        # Of ended ones nobody says how many there are.
        page.js("location.hash = '#/why?state=recent'")
        page.has("more than 100 requests", ".why")
        page.has("1\u2013100 of more than 100", ".why .table:not([hidden]) .pages")
        page.click(".why .table:not([hidden]) .pages button:last-child")
        page.has("101\u2013200 of more than 200", ".why .table:not([hidden]) .pages")
        fine(page, console)


def test_a_list_in_which_nothing_happens_is_not_asked_for_again(browser, make_console):
    with browser.page(f"{make_console(World(queued=0)).url}/#/why", before=HURRY) as page:
        ready(page, 3)
        page.has("Nobody waits here.", ".why")
        asked = len([url for url in page.asked if "/requests?" in url])
        ready(page, 25)
        assert len([url for url in page.asked if "/requests?" in url]) <= asked + 1
        # Who runs is asked for as long as anybody does.
        page.js("location.hash = '#/why?state=running'")
        wait_until(lambda: len([url for url in page.asked if "state=running" in url]) > 4, "the running ones to be asked for again")


def test_rows_do_not_change_places_under_the_pointer(browser, consoles):
    console = consoles(trouble=True, queued=60)
    with browser.page(f"{console.url}/#/who?sort=running") as page:
        ready(page)
        page.spot(".who tbody tr")
        page.js("document.querySelector('.who tr.opens').focus()")
        order = page.js("[...document.querySelectorAll('.who tbody tr')].map(one => one.dataset.key).join()")
        ready(page, int(page.js("document.body.dataset.drawn")) + 8)
        assert page.js("[...document.querySelectorAll('.who tbody tr')].map(one => one.dataset.key).join()") == order


# Keyboard


def test_everything_can_be_done_by_keys(browser, make_console):
    console = make_console(World(trouble=True, queued=60))
    with browser.page(f"{console.url}/") as page:
        ready(page)
        # The focus goes from the top to the views, the switches and what needs somebody, and is always to be seen.
        order = []
        for _ in range(16):
            page.press("Tab")
            assert page.js("(() => { const style = getComputedStyle(document.activeElement); return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2; })()"), order
            order.append(page.js("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)"))
        assert order[0] == "skip" and [one.rstrip("0123456789") for one in order[1:6]] == ["Now", "Then", "Who", "Why", "Do"]
        assert order[6:9] == ["wall", "theme", "help-button"]
        assert order[9:13] == ["\u2716critical", "try now", "automatic", "show"] or order[9].startswith("\u2716critical")
        page.press("?")
        page.wait("document.getElementById('help').open")
        page.press("Escape")
        page.wait("!document.getElementById('help').open")
        for key, view in zip("12345", ("Now", "Then", "Who", "Why", "Do")):
            page.press(key)
            page.wait(f"document.querySelector('nav [aria-current]').textContent.startsWith('{view}') && document.title.includes('{view}')")
        page.press("4", "/")
        page.wait("document.activeElement.type === 'search'")
        page.type("wonka")
        page.wait("location.hash.includes('q=wonka')")
        # In a field keys are text.
        page.press("1")
        assert page.js("location.hash").startswith("#/why")
        page.js("document.activeElement.value = 'wonka'; document.activeElement.dispatchEvent(new Event('input'))")
        page.press("Escape", "j", "ArrowDown", "ArrowUp", "j")
        page.wait("document.activeElement.matches('tr.opens')")
        focused = page.js("document.activeElement.dataset.key")
        page.press("Enter")
        page.wait("document.getElementById('story').open && document.querySelector('.timeline')")
        assert page.text("#story-body code") == focused
        page.press("Escape")
        page.wait(f"document.activeElement.dataset.key === '{focused}'")
        # A change, without a pointer.
        page.press("5")
        page.wait("document.querySelector('.deed-keys button')")
        page.js("document.querySelector('.deed-keys button').focus()")
        page.press("Enter")
        page.wait("document.activeElement.id === 'confirm-no'")
        page.press("Tab", "Enter")
        page.wait("!document.getElementById('confirm').open")
        assert console.posts == ["/api/v1/keys/anthropic/main/disable"]
        fine(page, console)


def test_what_is_spoken_changes_with_the_words_and_not_with_the_numbers(browser, make_console):
    console = make_console(World(trouble=True, queued=60))
    with browser.page(f"{console.url}/") as page:
        ready(page)
        page.wait("document.getElementById('spoken').textContent.includes('background waits')")
        page.js("window.spoken = 0; new MutationObserver(() => window.spoken += 1).observe(document.getElementById('spoken'), {childList: true, subtree: true, characterData: true}); true")
        ready(page, int(page.js("document.body.dataset.drawn")) + 5)
        assert page.js("window.spoken") == 0
        assert page.js("document.getElementById('spoken').getAttribute('aria-live')") == "polite"
        # Each button, field and bar has a name.
        for view in VIEWS:
            goto(page, console, view)
            assert page.js("[...document.querySelectorAll('button, input, select, [role=meter], [role=img]')].filter(one => one.checkVisibility() && !(one.getAttribute('aria-label') ?? "
                           "'').trim() && !one.textContent.trim() && !one.closest('label')).map(one => one.outerHTML.slice(0, 100))") == []


# The address


def test_a_view_can_be_sent_to_a_colleague(browser, consoles):
    console = consoles(trouble=True, queued=60)
    with browser.page(f"{console.url}/#/who?by=sessions&tenant=globex") as page:
        ready(page)
        page.wait("[...document.querySelectorAll('.who tbody tr')].length > 3")
        page.click(".who button.fold")
        page.wait("location.hash.includes('open=') && document.querySelectorAll('tr.child').length > 1")
        page.click("thead th:nth-child(7) button")
        page.wait("location.hash.includes('sort=cost')")
        sent, rows = page.js("location.href"), page.js("document.querySelector('.who tbody').innerText")
        costs = [float(text.removeprefix("$")) for text in page.texts(".who tbody tr:not(.child) td:nth-child(7)")]
        assert costs == sorted(costs, reverse=True)
    with browser.page(sent) as other:
        ready(other)
        other.wait("document.querySelectorAll('tr.child').length > 1")
        strip = [line.rsplit("\t", 1)[0] for line in rows.splitlines()]
        assert [line.rsplit("\t", 1)[0] for line in other.js("document.querySelector('.who tbody').innerText").splitlines()] == strip
        # A step back leads to the view before.
        goto(other, console, "why")
        other.press("1")
        other.wait("location.hash === '#/now'")
        other.js("history.back()")
        other.wait("location.hash === '#/why' && document.querySelector('.view.why')")


def test_theme_and_wall_screen_are_switched(browser, consoles):
    console = consoles(trouble=True, queued=60)
    with browser.page(f"{console.url}/", scheme="light") as page:
        ready(page)
        before = page.js("getComputedStyle(document.body).backgroundColor")
        page.press("d")
        page.wait(f"getComputedStyle(document.body).backgroundColor !== '{before}'")
        page.send("Page.reload")
        page.wait("document.documentElement.dataset.theme === 'dark'")
        ready(page)
        page.press("d", "d")
        page.wait(f"getComputedStyle(document.body).backgroundColor === '{before}'")
        page.press("w")
        page.wait("location.hash.includes('wall=1') && document.body.classList.contains('wall')")
        assert page.js("[...document.querySelectorAll('main button')].filter(one => one.checkVisibility() && !one.matches('.fold')).length") == 0
        page.press("Escape")
        page.wait("!document.body.classList.contains('wall')")


def test_on_the_wall_nothing_covers_another(browser, consoles):
    console = consoles(trouble=True, queued=60)
    covered = """(() => {
      const boxes = [...document.querySelectorAll('.tiles, .bands > *, .provider, .attention')].map(one => one.getBoundingClientRect()).filter(box => box.height);
      const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
      return [boxes.length, boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => over(a, b)).map(b => [a.left, a.right, b.left, b.right].map(Math.round)))];
    })()"""
    with browser.page(f"{console.url}/#/now?wall=1") as page:
        page.wait("document.body.classList.contains('wall') && document.querySelector('.provider')")
        for width in (1024, 1190, 1280, 1920, 2560):
            page.size(width, 900)
            count, found = page.js(covered)
            assert count > 5 and found == [], (width, found)
            assert page.js("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("text, shown", [
    ("for a permit of openai", "waits for a permit of openai"), ("output tokens of openai: 4 of 9", "waits for output tokens of openai: 4 of 9"),
    ("since openai's free permits are kept for higher classes", "waits since openai's free permits are kept for higher classes"),
    ("behind another call of its session", "waits behind another call of its session")])
def test_what_a_class_waits_for_is_a_sentence(browser, make_console, text, shown):
    world = World(trouble=True, queued=60)
    status = world.status
    world.status = lambda *args, **named: (lambda found: found["classes"]["high"]["waits_for"].update(text=text) or found)(status(*args, **named))
    console = make_console(world)
    with browser.page(f"{console.url}/") as page:
        ready(page)
        page.wait(f"document.querySelector('.bands').textContent.includes({json.dumps(shown)})")


# The stream


def test_old_data_says_so_and_the_stream_begins_again(browser, make_console):
    console = make_console(World(queued=12))
    with browser.page(f"{console.url}/") as page:
        page.wait("document.getElementById('feed-text').textContent === 'live'")
        console.missing.add("events")
        console.cut.set()
        page.wait("!document.getElementById('stale').hidden")
        page.has("what you see is", "#stale")
        page.wait("document.getElementById('feed-text').textContent === 'stale'")
        tried = console.streams
        console.missing.clear()
        console.cut.clear()
        page.wait("document.getElementById('feed-text').textContent === 'live' && document.getElementById('stale').hidden", timeout=20)
        assert console.streams > tried


def test_a_broker_that_knows_less_is_shown_with_what_it_knows(browser, make_console):
    class Older(World):
        """As brokers were before they told more than places and queues."""

        def status(self, tenant=None):
            found = super().status(tenant)
            for name in ("at", "headline", "classes", "alerts", "totals"):
                found.pop(name, None)
            for one in found["providers"]:
                for name in ("policy_concurrency", "learned_concurrency", "reserved_permits", "oldest_wait_ms", "throttled_last_minute", "calls_last_minute"):
                    one.pop(name)
                one["buckets"] = [{name: bucket[name] for name in ("dimension", "available", "capacity")} for bucket in one["buckets"]]
            return found

    console = make_console(Older(trouble=True), missing=("history", "sessions", "audit", "me", "usage"))
    with browser.page(f"{console.url}/") as page:
        for view in VIEWS:
            page.js(f"location.hash = '#/{view}'")
            page.wait("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
            page.wait("Number(document.body.dataset.drawn) > 3")
            assert "undefined" not in page.js("document.body.innerText") and "NaN" not in page.js("document.body.innerText"), view
        page.has("keeps no list of changes", ".do")
        page.press("2")
        page.has("no history", ".then")
        # Only that some paths are not there is complained about, by the browser.
        assert [one for one in page.complaints if "404" not in one] == []


@pytest.mark.parametrize("token, may", [("all", True), ("look", False)])
def test_a_read_token_has_nothing_to_press(browser, make_console, token, may):
    console = make_console(World(trouble=True), tokens={"all": "admin", "look": "read"})
    with browser.page(f"{console.url}/") as page:
        page.wait("document.getElementById('login').open")
        page.type(token)
        page.press("Enter")
        page.wait("!document.getElementById('login').open && document.querySelector('.trouble')")
        for view in ("now", "who?by=budgets", "do"):
            goto(page, console, view)
            assert (page.js("[...document.querySelectorAll('.act')].filter(one => one.checkVisibility()).length") > 0) == may, view
        assert page.js("sessionStorage.length + localStorage.length") <= 2 and token not in page.js("location.href")


# Charts


def test_charts_share_one_time_and_one_crosshair(browser, consoles):
    console = consoles(trouble=True, queued=60)
    with browser.page(f"{console.url}/#/then?range=1h", height=1400) as page:
        ready(page)
        page.wait("document.querySelectorAll('.chart path.line').length > 20")
        lefts = page.js("[...document.querySelectorAll('.chart .plot, .axis-plot')].map(one => { const box = one.getBoundingClientRect(); return `${box.left} ${box.width}`; })")
        assert len(lefts) == 10 and len(set(lefts)) == 1
        box = page.js("(() => { const box = document.querySelector('.chart .plot').getBoundingClientRect(); return [box.left + box.width * .5, box.top + 20]; })()")
        page.hover(*box)
        page.wait("!document.querySelector('.axis-cursor').hidden")
        page.wait("document.querySelector('.chart path.cursor').getAttribute('d') !== 'M0 0'")
        crosses = page.js("[...document.querySelectorAll('.chart path.cursor')].map(one => one.getAttribute('d'))")
        assert len(crosses) == 9 and len(set(crosses)) == 1
        # A gap where nothing is known, and each event by name.
        assert page.js("document.querySelector('.chart path.line').getAttribute('d').match(/M/g).length") == 2
        assert any("breaker of openai opened: connection refused" in text for text in page.texts(".flag"))
        page.has("limit of anthropic learned: 42 at a time", ".events-list")
        # The same numbers as a table.
        page.click("button[aria-label='Wait, high as a table']")
        told = console.world.history({"metric": "wait_p99", "since": "1h"})["series"][0]["points"]
        rows = page.js("[...document.querySelectorAll('.chart-table tbody tr')].map(one => one.innerText)")
        assert len(rows) == len(told)
        assert sum(row.endswith("\u2013") for row in rows) == sum(value is None for _, value in told)
        # By keys too.
        page.js("document.querySelector('.chart .plot').focus()")
        page.press("Home", "ArrowRight")
        page.wait("!document.querySelector('.axis-cursor').hidden")
        first = page.text(".axis-cursor")
        page.press("ArrowRight")
        page.wait(f"document.querySelector('.axis-cursor').textContent !== '{first}'")
        page.press("Escape", "]")
        page.wait("location.hash.includes('range=24h')")
        page.click(".choice [data-value=provider]")
        page.wait("location.hash.includes('calls=provider') && [...document.querySelectorAll('.legend .name')].some(one => one.textContent === 'openrouter')")
        fine(page, console)


def test_hostile_names_are_text_everywhere(browser, consoles):
    console = consoles(trouble=True, hostile=True)
    with browser.page(f"{console.url}/") as page:
        for view in VIEWS:
            goto(page, console, view)
            assert page.js("document.querySelectorAll('img, main script').length") == 0, view
            seen = page.js("document.body.innerText + [...document.querySelectorAll('*')].map(one => `${one.title} ${one.getAttribute('aria-label')}`).join()")
            assert not any(sign in seen for sign in ("\x1b", "\x07", "\u202e", "\u2066", "\u200b", "\u2028")), view
        goto(page, console, "who")
        shown = page.texts(".who tbody td:first-child .tenant-cell > .name")
        assert HOSTILE[0] in shown and "red\u27e8U+001B\u27e9[31m\u27e8U+0007\u27e9bell\u27e8U+0000\u27e9nul" in shown
        long = next(text for text in shown if text.startswith("<script>"))
        assert len(long) <= 44 and long.endswith("\u2026")
        title = page.js("[...document.querySelectorAll('.who td .name')].find(one => one.textContent.startsWith('<script>')).title")
        assert title.startswith("<script>alert(1)</script><script>") and len(title) > 1000
        fine(page, console)
