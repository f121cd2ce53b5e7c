"""The dashboard of a real broker in a real browser: its numbers are the API's, its clicks change the broker, its text is text."""

import contextlib
import json
import pathlib
import re
import threading

import httpx
import pytest

from fakeconsole import FILES, content_security_policy
from fakeworld import World
from processes import NO_RESERVE, policy_for
from scripted import reply
from waiting import wait_until

PRICES = "version: test\nmodels:\n  \"*\": {input: 10, output: 20}\n"
ANSWER = json.dumps({"id": "c", "object": "chat.completion", "model": "gpt-test", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}}).encode()


class Gate:
    """A provider that holds its calls until `open()`."""

    def __init__(self, start):
        self.opened = threading.Event()
        self.provider = start.provider(self.answer)
        self.url = self.provider.url

    def answer(self, received, connection):
        self.opened.wait(30)
        return reply(body=ANSWER)


@pytest.fixture
def gate(start):
    made = Gate(start)
    yield made
    made.opened.set()


def call(http, broker, model="gpt-test", **fields):
    headers = {f"x-tollgate-{name}": value for name, value in fields.items()}
    return http.post(broker.url + "/v1/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "hello"}]}, headers=headers)


def in_background(http, broker, count, **fields):
    """Calls whose answers nobody reads: the test may end before them."""
    def go():
        with contextlib.suppress(httpx.HTTPError):
            call(http, broker, **fields)

    for _ in range(count):
        threading.Thread(target=go, daemon=True).start()


def status(http, broker, **fields):
    return http.get(broker.admin + "/api/v1/status", headers=fields).json()


def fine(page, broker):
    """Nothing was blocked or went wrong, and nobody else was asked."""
    assert page.complaints == [] and page.js("window.violations") == []
    strangers = [url for url in page.asked if not url.startswith((broker.admin + "/", "data:"))]
    assert strangers == []


# Files


def test_files_name_no_other_host(http, broker):
    page = http.get(broker.admin + "/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    linked = re.findall(r"(?:src|href)=\"([^\"#]+)\"", page.text)
    for link in linked:
        if link.startswith("data:"):
            continue
        assert not link.startswith(("http:", "https:", "//")), link
        file = http.get(f"{broker.admin}/{link.lstrip('/')}")
        assert file.status_code == 200, link
    for file in FILES.iterdir():
        assert not re.search(r"https?://(?!www\.w3\.org/)", file.read_text()), file.name


def test_every_file_is_served_as_it_is_and_may_load_nothing_inline(http, broker):
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
    for file in sorted(FILES.iterdir()):
        answer = http.get(broker.admin + "/" + ("" if file.suffix == ".html" else file.name))
        assert answer.status_code == 200, file.name
        assert answer.content == file.read_bytes(), file.name
        assert answer.headers["content-type"].startswith(types[file.suffix])
        policy = answer.headers["content-security-policy"]
        assert policy == content_security_policy()
        assert "unsafe" not in policy and "default-src 'none'" in policy and "http" not in policy
        assert len(file.read_text().splitlines()) <= 600, file.name
    text = (FILES / "dashboard.html").read_text()
    assert " style=" not in text and "<style" not in text and not re.search(r"<script(?! type=\"module\" src=)", text) and not re.search(r"\son\w+=", text)
    assert not any("innerHTML" in file.read_text() or "insertAdjacentHTML" in file.read_text() for file in FILES.iterdir())


# Numbers


def test_now_shows_what_the_api_says(start, http, browser, gate):
    broker = start.broker(policy_for(gate.url, limits={"concurrency": 2, "requests_per_minute": 1000}, priorities=NO_RESERVE))
    in_background(http, broker, 4, priority="low", session="busy")
    in_background(http, broker, 1, priority="high", session="urgent")
    now = wait_until(lambda: (found := status(http, broker))["running"] == 2 and sum(found["queued"].values()) == 3 and found, "two to run and three to wait")
    with browser.page(broker.admin + "/") as page:
        page.wait("document.querySelector('[data-tile=running]')?.textContent === '2'")
        assert page.text("[data-tile=waiting]") == "3"
        for band, some in now["queued"].items():
            assert page.text(f".band.{band} .big") == str(some)
        row = "[data-provider=openai] "
        assert page.text(row + ".places .gauge-value") == "2 of 2"
        assert page.texts(row + ".prow .count b") == [str(now["providers"][0]["queued"][band]) for band in ("high", "normal", "low")]
        bucket = now["providers"][0]["buckets"][0]
        assert page.js(f"document.querySelector('{row} .pbucket .track').getAttribute('aria-valuemax')") == str(bucket["capacity"])
        page.wait(f"document.querySelector('{row} .pbucket .track').getAttribute('aria-valuenow') === '{bucket['available']}' || "
                  f"Number(document.querySelector('{row} .pbucket .track').getAttribute('aria-valuenow')) > {bucket['available']}")
        if "headline" in now:
            page.wait("document.getElementById('headline-text').textContent.length > 10")
            shown = page.text("#headline-text")
            shape = re.sub(r"[\d.,]+( (ms|s|min))?", "#", shown)
            wait_until(lambda: re.sub(r"[\d.,]+( (ms|s|min))?", "#", status(http, broker)["headline"]) == shape, f"the API to say '{shown}'")
        fine(page, broker)


def test_a_click_leads_from_a_waiting_class_to_the_story_of_a_request(start, http, browser, gate):
    broker = start.broker(policy_for(gate.url, limits={"concurrency": 1}, priorities=NO_RESERVE))
    in_background(http, broker, 3, priority="low", session="s-click")
    wait_until(lambda: status(http, broker)["queued"]["low"] == 2, "two to wait")
    with browser.page(broker.admin + "/") as page:
        page.click(".band.low")
        page.wait("document.querySelectorAll('.why tr.opens').length === 2")
        assert page.js("location.hash") == "#/why?state=queued&priority=low"
        assert "What they wait for" in page.text(".reasons-box h2")
        page.click(".why tr.opens")
        page.wait("document.getElementById('story').open && document.querySelector('.timeline li')")
        request = page.js("new URLSearchParams(location.hash.split('?')[1]).get('id')")
        story = http.get(f"{broker.admin}/api/v1/requests/{request}").json()
        assert story["state"] == "queued" and story["session"] == "s-click"
        assert page.text("#story-body code") == request
        assert "waits" in page.text(".timeline li:last-child") and "s-click" in page.text(".facts")
        gate.opened.set()
        page.has("completed after", "#story-body")
        story = http.get(f"{broker.admin}/api/v1/requests/{request}").json()
        assert story["state"] == "ended"
        assert str(story["output_tokens"]) in page.text("#story-body table")
        page.press("Escape")
        page.wait("!document.getElementById('story').open && !location.hash.includes('id=')")
        fine(page, broker)


def test_who_and_ended_requests_tell_tokens_and_cost(start, http, browser, simulator, tmp_path):
    (tmp_path / "prices.yaml").write_text(PRICES)
    broker = start.broker(policy_for(simulator.url, prices=str(tmp_path / "prices.yaml"), budgets=[{"usd": 50, "per": "day"}]))
    for _ in range(3):
        assert call(http, broker, session="payer").status_code == 200
    with browser.page(broker.admin + "/#/why?state=recent") as page:
        page.wait("document.querySelectorAll('.why tr.opens').length === 3")
        newest = http.get(broker.admin + "/api/v1/requests?state=recent").json()["requests"][0]
        row = page.texts(f"tr[data-key='{newest['id']}'] td")
        assert row[0].endswith("completed") and f"{newest['input_tokens']} / {newest['output_tokens']}" in row
        assert float(row[-1].removeprefix("$")) == pytest.approx(float(newest["cost_usd"]), abs=0.0001)
        page.press("3")
        page.click(".choice [data-value=budgets]")
        budget = http.get(broker.admin + "/api/v1/budgets").json()["budgets"][0]
        page.has(budget["id"], ".who")
        assert "of $50.00" in page.text(".budget .gauge-value")
        page.click(".choice [data-value=sessions]")
        page.wait("document.querySelector('.session-cell .name')?.textContent === 'payer'")
        one = http.get(broker.admin + "/api/v1/sessions").json()["sessions"][0]
        cells = page.texts("tr[data-key$='payer'] td")
        assert (one["requests"], cells[4]) == (3, "3")
        assert cells[5] == f"{one['input_tokens']} / {one['output_tokens']}"
        fine(page, broker)


def test_a_raised_budget_shows_with_its_limit(start, http, browser, simulator, tmp_path):
    (tmp_path / "prices.yaml").write_text(PRICES)
    broker = start.broker(policy_for(simulator.url, prices=str(tmp_path / "prices.yaml"), budgets=[{"usd": 1, "per": "day"}]))
    with browser.page(broker.admin + "/#/who?by=budgets") as page:
        page.click(".budget button.act")
        page.has("The limit becomes $2.00", "#confirm")
        page.js("document.getElementById('raise-more').select()")
        page.type("3.5")
        page.has("The limit becomes $4.50", "#confirm")
        page.click("#confirm-yes")
        page.wait("document.querySelector('.budget .gauge-value').textContent.endsWith('of $4.50')")
        assert http.get(broker.admin + "/api/v1/budgets").json()["budgets"][0]["limit_usd"] == "4.500000000"
        fine(page, broker)


def shape(value, path=""):
    """The paths of all fields; of a list those of all its items."""
    if isinstance(value, dict):
        return {f"{path}.{name}" for name in value}.union(*(shape(one, f"{path}.{name}") for name, one in value.items()))
    return set().union(*(shape(one, path + "[]") for one in value)) if isinstance(value, list) else set()


def test_the_made_up_world_tells_no_field_that_the_broker_does_not(start, http, gate):
    """What the page is tested with elsewhere is what a broker says."""
    broker = start.broker(policy_for(gate.url, limits={"concurrency": 1, "requests_per_minute": 1000}, model_limits={"gpt-*": {"concurrency": 1}}, priorities=NO_RESERVE, budgets=[{"usd": 50, "per": "day"}]))
    in_background(http, broker, 2, session="s", priority="low")
    waiting = wait_until(lambda: http.get(broker.admin + "/api/v1/requests?state=queued").json()["requests"], "one to wait")[0]
    world = World(providers=2, tenants=1, queued=2)
    queued = next(one for one in world.requests if one["state"] == "queued")
    of = lambda path, broker=broker: http.get(f"{broker.admin}/api/v1/{path}").json()  # noqa: E731
    # One that has learned limits of a model and of a key.
    fields = [("x-ratelimit-limit-requests", "60"), ("x-ratelimit-remaining-requests", "59"), ("x-ratelimit-reset-requests", "1s")]
    taught = start.broker(policy_for(start.provider(reply(fields=fields, body=ANSWER)).url, learn_limits=True, model_limits={"gpt-*": {"requests_per_minute": 1000}}))
    assert call(http, taught).status_code == 200
    known = shape(of("status", taught))
    assert ".providers[].models[].learned_limits[].since" in known
    pairs = {"status": (world.status(), of("status")), "sessions": (world.sessions({}), of("sessions")), "requests": (world.listed({"state": "queued"}), of("requests?state=queued")["requests"]),
             "story": (world.story(queued["id"]), of(f"requests/{waiting['id']}")), "history": (world.history({"metric": "calls,queued"}), of("history?metric=calls,queued&since=5m")),
             "usage": (world.usage(), of("usage?by=tenant&since=24h"))}
    # Lists that are empty here have shapes of their own tests; a story's waits are those of a call that waits.
    empty = {"status": {".alerts[]", ".problems[]"}, "story": {".went_ahead[]", ".price", ".tries[]"}, "history": {".marks[]", ".metrics[].series[]"}, "usage": {".rows[]"}}
    for name, (made, real) in pairs.items():
        told = shape(real) | (known if name == "status" else set())
        lies = {path for path in shape(made) - told if not any(path.startswith(one + ".") for one in empty.get(name, ()))}
        assert lies == set(), name


# Changes


def test_a_key_is_disabled_and_enabled_by_clicks(start, http, browser, gate):
    broker = start.broker(policy_for(gate.url))
    in_background(http, broker, 2, session="warm")
    wait_until(lambda: status(http, broker)["running"] == 2, "two to run")
    with browser.page(broker.admin + "/#/do") as page:
        key = ".deed-list > li:first-child .deed-keys button"
        page.wait("document.querySelector('.deed-list > li')?.textContent.includes('2 running')")
        page.click(key)
        page.has("2 calls running on this key finish.", "#confirm")
        page.has("No other key of openai works", "#confirm")
        page.has("Calls whose route leads on to anthropic go there. All others are refused at once (503", "#confirm")
        page.has("1 session that used it in the last 5 minutes loses its warm cache.", "#confirm")
        # Cancel has the focus: Enter alone changes nothing.
        page.press("Enter")
        page.wait("!document.getElementById('confirm').open")
        assert status(http, broker)["providers"][0]["keys"][0]["state"] == "usable"
        page.click(key)
        page.click("#confirm-yes")
        page.wait("!document.getElementById('confirm').open && document.querySelector('.deed-keys .mark').textContent.includes('disabled')")
        assert status(http, broker)["providers"][0]["keys"][0]["state"] == "disabled"
        # As the dialog said.
        assert call(http, broker).status_code == 503
        page.press("1")
        page.has("key openai/main is disabled by hand", ".attention")
        page.click(".trouble button[aria-label^='enable key openai/main']")
        page.click("#confirm-yes")
        page.wait("!document.querySelector('.attention').textContent.includes('openai/main')")
        assert status(http, broker)["providers"][0]["keys"][0]["state"] == "usable"
        fine(page, broker)


def test_a_breaker_is_opened_and_set_back_by_clicks(start, http, browser, simulator):
    broker = start.broker(policy_for(simulator.url))
    with browser.page(broker.admin + "/#/do") as page:
        page.click("button[aria-label='open breaker anthropic']")
        page.has("No new call goes to anthropic", "#confirm")
        page.has("All others are refused at once (503; 529 at Anthropic's API).", "#confirm")
        page.click("#confirm-yes")
        page.has("breaker open", ".deed-list")
        assert [one["breaker"]["state"] for one in status(http, broker)["providers"]] == ["closed", "open"]
        assert http.post(broker.url + "/v1/messages", json={"model": "claude-test", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]},
                         headers={"anthropic-version": "2023-06-01"}).status_code == 529
        page.press("1")
        page.has("breaker of anthropic is open by hand", ".attention")
        assert page.js("document.querySelector('#headline').classList.contains('bad')")
        page.click(".trouble button[aria-label='automatic breaker anthropic']")
        page.click("#confirm-yes")
        page.has("no trouble", ".attention")
        assert [one["breaker"]["state"] for one in status(http, broker)["providers"]] == ["closed", "closed"]
        page.press("5")
        page.has("anthropic", ".audit")
        told = wait_until(lambda: [one for one in http.get(broker.admin + "/api/v1/audit").json()["changes"] if one["asked_by"]], "the changes to be kept")
        page.wait(f"document.querySelectorAll('.audit li').length >= {len(told)}")
        assert any("by admin" in text and "breaker" in text for text in page.texts(".audit li")), page.texts(".audit li")
        fine(page, broker)


def test_a_reload_tells_each_mistake_and_a_drain_what_it_ends(start, http, browser, gate):
    broker = start.broker(policy_for(gate.url))
    in_background(http, broker, 1)
    wait_until(lambda: status(http, broker)["running"] == 1, "one to run")
    with browser.page(broker.admin + "/#/do") as page:
        path = pathlib.Path(broker.policy_file)
        good = path.read_text()
        path.write_text(good + "\nnonsense: 1\n")
        page.click(".deeds .deed:first-of-type button")
        page.click("#confirm-yes")
        page.has("nonsense", "#confirm .error")
        path.write_text(good)
        page.click("#confirm-yes")
        page.has("policy: reloaded", "#toast")
        page.click(".deeds button.grave")
        page.has("1 running call may finish", "#confirm")
        page.click("#confirm-yes")
        page.wait("!document.getElementById('confirm').open")
        page.press("1")
        page.has("the broker drains", ".attention")
        gate.opened.set()
        assert broker.wait() == 0
        page.wait("!document.getElementById('stale').hidden && /trying/.test(document.getElementById('stale').textContent)")
        assert page.text("#feed-text") == "stale"


# Tokens


def test_a_tenants_token_shows_its_own_and_no_buttons(start, http, browser, simulator):
    policy = policy_for(simulator.url, admin={"listen": "127.0.0.1:0", "token": "admin-token", "tenant_tokens": [{"tenant": "acme", "token": "acme-token"}]},
                        trust_tenant_header=True, tenants=[{"id": "acme", "budgets": [{"usd": 5, "per": "day"}]}, {"id": "globex"}])
    broker = start.broker(policy)
    for tenant in ("acme", "globex"):
        assert call(http, broker, tenant=tenant, session=f"of-{tenant}").status_code == 200
    with browser.page(broker.admin + "/") as page:
        page.wait("document.getElementById('login').open")
        page.type("wrong")
        page.press("Enter")
        page.wait("document.getElementById('login').open && !document.getElementById('login-error').hidden")
        page.type("acme-token")
        page.press("Enter")
        page.wait("!document.getElementById('login').open && document.body.dataset.drawn")
        page.has("tenant acme", "footer")
        page.press("4")
        page.click(".choice [data-value=recent]")
        page.wait("document.querySelectorAll('.why tr.opens').length === 1")
        page.press("5")
        page.has("changes nothing", ".do")
        assert page.js("[...document.querySelectorAll('.act')].filter(one => one.checkVisibility()).length") == 0
        assert "globex" not in page.js("document.documentElement.outerHTML")
        # Another token, with everything.
        page.click("#forget")
        page.wait("document.getElementById('login')?.open && document.activeElement?.id === 'token'")
        page.type("admin-token")
        page.press("Enter")
        page.wait("[...document.querySelectorAll('.act')].filter(one => one.checkVisibility()).length > 0")
        assert not any("token" in url and "acme-token" in url for url in page.asked)


# Names


HOSTILE = "<img src=x onerror=document.title='broken'>"


def test_what_clients_call_things_is_text(start, http, browser, simulator):
    broker = start.broker(policy_for(simulator.url))
    assert call(http, broker, model=HOSTILE, session=HOSTILE).status_code == 200
    assert call(http, broker, model="abc\u202egnp.exe\u2066\x1b[31m", session="plain").status_code == 200
    with browser.page(broker.admin + "/#/why?state=recent") as page:
        page.wait("document.querySelectorAll('.why tr.opens').length === 2")
        shown = page.js("document.querySelector('.why').innerText")
        assert "<img src=x onerror=" in shown
        titles = page.js("[...document.querySelectorAll('.why td')].map(one => one.title).join()")
        assert "\u27e8U+202E\u27e9gnp.exe\u27e8U+2066\u27e9\u27e8U+001B\u27e9[31m" in shown + titles
        assert "\u202e" not in page.js("document.documentElement.outerHTML")
        page.click(".why tr.opens:last-child")
        page.has(HOSTILE, "#story-body")
        assert page.js("document.querySelectorAll('img').length") == 0 and page.js("document.title") == "Why \u2013 Tollgate"
        fine(page, broker)


# Troubles


def test_a_provider_that_takes_none_of_its_keys_is_told(start, http, browser):
    provider = start.provider(reply(401, body=b'{"error": {"message": "no", "code": "invalid_api_key"}}', reason="Unauthorized"))
    broker = start.broker(policy_for(provider.url, check_keys=True))
    wait_until(lambda: len(status(http, broker)["problems"]) == 2, "both providers to be refused")
    with browser.page(broker.admin + "/") as page:
        for name in ("openai", "anthropic"):
            page.has(f"'{name}' refuses every key: main (SIM_KEY). Set SIM_KEY to a valid key", ".attention")
        fine(page, broker)


def test_charts_show_what_history_tells(start, http, browser, simulator):
    broker = start.broker(policy_for(simulator.url))
    for _ in range(3):
        assert call(http, broker, priority="high").status_code == 200

    def told():
        found = http.get(broker.admin + "/api/v1/history?metric=calls&since=5m").json()
        return sum(value or 0 for one in found["series"] for _, value in one["points"]) * found["step_s"] / 60

    # A step that has not ended is reckoned from what has passed of it.
    wait_until(lambda: told() == pytest.approx(3, abs=0.1), "the calls to be part of the past", 20)
    with browser.page(broker.admin + "/#/then?range=5m") as page:
        page.wait("[...document.querySelectorAll('.chart path.line')].some(one => one.getAttribute('d').length > 10)")
        page.click("button[aria-label='Calls as a table']")
        step = http.get(broker.admin + "/api/v1/history?metric=calls&since=5m").json()["step_s"]
        page.wait("document.querySelectorAll('.chart-table tbody tr').length > 50")
        rows = page.texts(".chart-table tbody td:nth-child(2)")
        assert sum(float(text) for text in rows if text != "\u2013") * step / 60 == pytest.approx(3, abs=0.2)
        fine(page, broker)


def test_a_read_token_of_the_policy_shows_all_and_changes_nothing(start, http, browser, simulator):
    broker = start.broker(policy_for(simulator.url, admin={"listen": "127.0.0.1:0", "token": "admin-token", "read_token": "look-token"}))
    with browser.page(broker.admin + "/#/do") as page:
        page.wait("document.getElementById('login').open")
        page.type("look-token")
        page.press("Enter")
        page.has("reads everything and changes nothing", ".do")
        page.press("1")
        page.wait("document.querySelectorAll('.provider').length === 2")
        assert page.js("[...document.querySelectorAll('.act')].filter(one => one.checkVisibility()).length") == 0
        assert page.js("fetch('/api/v1/drain', {method: 'POST', headers: {authorization: 'Bearer look-token'}}).then(answer => answer.status)") == 403
        assert [one for one in page.complaints if "401" not in one and "403" not in one] == []
