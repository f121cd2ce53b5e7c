"""Ways into the dashboard and out of it: addresses, tokens that are given and replaced, answers that break off, and outages."""

import pytest

from fakeworld import World
from test_dashboard_page import HURRY, consoles, fine, goto, make_console, ready  # noqa: F401  (fixtures too)
from waiting import wait_until


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
