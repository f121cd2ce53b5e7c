"""Parts of the dashboard by themselves: the sentence on top, learned limits, money and words, and what is cut at which width."""

import json
import re
import time

import pytest

from fakeworld import PACED, World, by_class, rfc
from test_dashboard_page import VIEWS, consoles, fine, goto, make_console, ready  # noqa: F401  (fixtures too)


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
def test_on_the_wall_the_sentence_has_two_lines_and_unfolds(browser, make_console, width, headline):
    console = make_console(Wordy("nothing is failing"))
    lines = "(one => Math.round(one.clientHeight / parseFloat(getComputedStyle(one).lineHeight)))(document.getElementById('headline-text'))"
    hidden = "getComputedStyle(document.getElementById('headline-more')).visibility === 'hidden'"
    with browser.page(f"{console.url}/#/now?wall=1", width=width) as page:
        ready(page)
        page.wait("document.querySelector('.provider')")
        top = "document.querySelector('main').getBoundingClientRect().top"
        before = page.js(top)
        assert page.js(lines) == 1 and page.js(hidden)
        console.world.headline = headline
        page.wait(f"document.getElementById('headline-text').textContent === {json.dumps(headline)}")
        # Nothing below moves, and what is cut can be reached by the keyboard alone.
        most = 4 if width == 400 else 2
        assert page.js(lines) <= most and page.js(top) == pytest.approx(before, abs=1)
        if width >= 1280:
            # As large as a wall needs it.
            assert page.js("parseFloat(getComputedStyle(document.getElementById('headline-text')).fontSize)") >= 18
        if page.js(CUT_TEXT):
            assert not page.js(hidden) and page.js(lines) == most
            for _ in range(9):
                page.press("Tab")
                if page.js("document.activeElement.id") == "headline-more":
                    break
            assert page.js("document.activeElement.id") == "headline-more"
            page.press("Enter")
            page.wait(f"!{CUT_TEXT} && document.getElementById('headline-more').ariaExpanded === 'true'")
            box, text, main = page.js("['#headline', '#headline-text', 'main'].map(one => document.querySelector(one).getBoundingClientRect()).map(box => [box.top, box.bottom])")
            assert box[0] <= text[0] and text[1] <= box[1] <= main[0]
            assert page.js("document.documentElement.scrollWidth") <= width
            page.press("Enter")
            page.wait(CUT_TEXT)
        else:
            assert width > 1280 and page.js(hidden)
        console.world.headline = "nothing is failing"
        page.wait(f"document.getElementById('headline-text').textContent === 'nothing is failing' && {hidden}")
        assert page.js(top) == pytest.approx(before, abs=1)
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
    console.world.changes[0] |= {"asked_by": None, "text": "key anthropic/spare: disabled (by hand)"}
    history = console.world.history
    console.world.history = lambda wanted: (lambda found: found | {"marks": [found["marks"][0] | {"what": "key", "text": "key openai/spare: disabled (by hand)"}]})(history(wanted))
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
        # As brokers tell it whose rows do not name learned limits.
        for one in found["providers"][:2]:
            one["keys"] = [{name: value for name, value in key.items() if not name.startswith(("learned", "policy"))} | {"concurrency_limit": 30} for key in one["keys"]]
            one["models"] = [{name: value for name, value in model.items() if not name.startswith(("learned", "policy"))} | {"concurrency_limit": 20} for model in one["models"] if model["listed"]]
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


@pytest.mark.parametrize("width", [400, 1280])
def test_learned_limits_stand_with_their_mark_where_they_hold(browser, make_console, width):
    """As a broker tells them in the rows of its models and keys."""
    console = make_console(World())
    with browser.page(f"{console.url}/", width=width, height=1000) as page:
        ready(page)
        shown = page.js("""Object.fromEntries([...document.querySelectorAll('[data-provider=anthropic] .lines > li')].map(one => [one.querySelector('b').textContent,
            [one.querySelector('.second').innerText, ...[...one.querySelectorAll('.places')].filter(each => each.checkVisibility()).flatMap(each =>
                [each.querySelector('.gauge-value').textContent, each.querySelector('.tick.learned').title, each.querySelector('.tick.learned').checkVisibility(), each.querySelector('.gauge-note').textContent])]]))""")
        how = r"from refusals \(429\) without numbers · since [\d: -]+"
        for name, most, policy in (("claude-opus-*", 18, 20), ("spare", 24, 30)):
            _, value, mark, is_seen, note = shown[name]
            assert re.fullmatch(rf"\d+ of {most}", value) and mark == f"learned limit: {most}" and is_seen, name
            assert re.fullmatch(rf"learned {most} of {policy} · {how}", note), note
        assert shown["spare"][0].strip() == "learned: 500 requests/min"
        # A key whose limit is the policy's, and a model of which a pace alone was learned: once, and without a gauge.
        assert len(shown["main"]) == 1 and [one.strip() for one in shown[PACED]] == ["learned: 90k tokens/min"]
        assert page.js("document.querySelectorAll('[data-provider=openai] .lines .places').length") > 0
        assert page.js("[...document.querySelectorAll('[data-provider=openai] .lines .places')].every(one => !one.checkVisibility())")
        assert page.js("document.documentElement.scrollWidth") <= width
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
