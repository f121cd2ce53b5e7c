"""The dashboard: a real browser shows it, with what the broker knows, and asks no other host for anything."""

import re
import shutil
import subprocess

import pytest

from processes import policy_for
from scripted import reply
from waiting import wait_until


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "scripts/setup installs chromium"
    return found


def test_files_name_no_other_host(http, broker):
    page = http.get(broker.admin + "/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    linked = re.findall(r"(?:src|href)=\"([^\"#]+)\"", page.text)
    assert linked
    for link in linked:
        if link.startswith("data:"):
            continue
        assert not link.startswith(("http:", "https:", "//")), link
        file = http.get(f"{broker.admin}/{link.lstrip('/')}")
        assert file.status_code == 200, link
        assert not re.search(r"https?://(?!www\.w3\.org/)", file.text), link


def first_sight(browser, broker, tmp_path):
    """The page after its first answer."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}",
               "--virtual-time-budget=500", "--dump-dom", broker.admin + "/"]
    return subprocess.run(command, capture_output=True, text=True, timeout=50).stdout


def test_browser_shows_at_once_how_long_earlier_calls_waited(start, http, simulator, browser, tmp_path):
    broker = start.broker(policy_for(simulator.url))
    for _ in range(3):
        http.post(broker.url + "/v1/chat/completions", json={"model": "gpt-test", "messages": []}, headers={"x-tollgate-priority": "high"})
    charts = dict(re.findall(r'<b class="(high|normal|low)">(.*?)(?=<b class|</section>)', first_sight(browser, broker, tmp_path), re.S))
    assert set(charts) == {"high", "normal", "low"}
    assert re.search(r' d="M[\d.]+ [\d.]+h', charts["high"]), charts["high"]
    assert all("no calls in the last two minutes" in charts[name] for name in ("normal", "low"))


def test_browser_shows_why_a_key_and_a_breaker_are_as_they_are(start, http, simulator, browser, tmp_path):
    broker = start.broker(policy_for(simulator.url))
    for change in ("keys/openai/main/disable", "breakers/anthropic/open"):
        assert http.post(f"{broker.admin}/api/v1/{change}").status_code == 200
    shown = first_sight(browser, broker, tmp_path)
    assert "main disabled: operator" in shown and "breaker open: operator" in shown, shown[-2000:]


def test_browser_shows_that_a_provider_takes_none_of_its_keys(start, http, browser, tmp_path):
    provider = start.provider(reply(401, body=b'{"error": {"message": "no", "code": "invalid_api_key"}}', reason="Unauthorized"))
    broker = start.broker(policy_for(provider.url, check_keys=True))
    wait_until(lambda: len(http.get(broker.admin + "/api/v1/status").json()["problems"]) == 2, "both providers to be refused")
    shown = first_sight(browser, broker, tmp_path)
    for name in ("openai", "anthropic"):
        assert f"<li>'{name}' refuses every key: main (SIM_KEY). Set SIM_KEY to a valid key" in shown, shown[-2000:]


def test_browser_shows_the_providers(start, http, simulator, browser, tmp_path):
    broker = start.broker(policy_for(simulator.url, limits={"concurrency": 7}))
    http.post(broker.url + "/v1/chat/completions", json={"model": "gpt-test", "messages": []})
    common = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}",
              "--virtual-time-budget=4000"]
    shown = subprocess.run([*common, "--dump-dom", broker.admin + "/"], capture_output=True, text=True, timeout=50)
    assert "openai" in shown.stdout and "anthropic" in shown.stdout, shown.stdout[-2000:]
    picture = tmp_path / "dashboard.png"
    subprocess.run([*common, f"--screenshot={picture}", "--window-size=1280,900", broker.admin + "/"], capture_output=True, timeout=50)
    assert picture.read_bytes()[:4] == b"\x89PNG"
