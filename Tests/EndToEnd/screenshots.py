"""Makes the pictures of the dashboard in docs/screenshots: a broker, simulated providers and fleets of three tenants, a fault, and a browser.

Run it by `scripts/screenshots`. The fleets work for a while first, so that the charts have something to show."""

import argparse
import contextlib
import pathlib
import tempfile
import threading
import time

import httpx

from browser import Browser
from processes import PROVIDER_KEY, ROOT, Broker, Child, Simulator, key_hash, write_policy
from waiting import wait_until

TENANTS = {"acme": "tg-acme", "globex": "tg-globex", "initech": "tg-initech"}
PRICES = "version: 2026-11-20\nmodels:\n  \"*\": {input: 5, output: 25}\n"
FOLDER = ROOT / "docs/screenshots"


def policy(steady, shaky, folder):
    keys = [{"id": "main", "secret": "${SIM_KEY}"}, {"id": "spare", "secret": "${SIM_KEY_2}"}]
    (folder / "prices.yaml").write_text(PRICES)
    return {
        "version": 1, "prices": str(folder / "prices.yaml"), "alerts": {"queue": {"warning": 25, "critical": 200}},
        "providers": {
            "anthropic": {"dialect": "anthropic", "base_url": steady.url, "keys": keys, "limits": {"concurrency": 20}},
            "openai": {"dialect": "openai", "base_url": steady.url + "/v1", "keys": keys,
                       "limits": {"concurrency": 40, "requests_per_minute": 3000, "input_tokens_per_minute": 900_000, "output_tokens_per_minute": 250_000},
                       "model_limits": {"sim-large*": {"concurrency": 10}}},
            "openrouter": {"dialect": "openai", "base_url": shaky.url + "/v1", "keys": [keys[0]], "limits": {"concurrency": 20}, "breaker": {"failures": 3, "recovery": "60s"}},
        },
        "routes": [{"models": ["claude-*"], "to": ["anthropic"]}, {"models": ["open-*"], "to": ["openrouter"]}, {"models": ["*"], "to": ["openai"]}],
        "tenants": [{"id": name, "keys": [key_hash(key)], "weight": 2 if name == "acme" else 1, "budgets": [{"usd": usd, "per": "day"}]}
                    for (name, key), usd in zip(TENANTS.items(), (40, 12, 4))],
        "budgets": [{"usd": 500, "per": "month"}],
    }


def converse(url, number, ended):
    """A session of one tenant and its agents, call by call, at the other vendor."""
    fields = {"anthropic-version": "2023-06-01", "user-agent": "claude-cli/2.1.0 (external, cli)", "x-api-key": list(TENANTS.values())[number % 3], "x-tollgate-session": f"review-{number % 3}", "x-tollgate-kind": "steer" if number == 0 else "background"}
    if number > 2:
        fields["x-claude-code-agent-id"] = f"agent-{number}"
    while not ended.is_set():
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(url + "/v1/messages", trust_env=False, timeout=60, headers=fields, json={
                "model": "claude-opus-5", "max_tokens": 300, "messages": [{"role": "user", "content": "look at this " * 40}]})


def known(admin, path):
    return httpx.get(admin + path, trust_env=False).status_code == 200


class Photographer:
    def __init__(self, browser, admin, only=None):
        self.browser, self.admin, self.only = browser, admin, only
        FOLDER.mkdir(exist_ok=True)

    def take(self, name, view, ready, width=1280, height=800, scheme="light", act=None):
        if self.only and name not in self.only:
            return
        with self.browser.page(f"{self.admin}/#/{view}", width=width, height=height, scheme=scheme) as page:
            page.wait("Number(document.body.dataset.drawn ?? 0) >= 3", "the page to be drawn")
            page.wait(ready)
            if act:
                act(page)
            size = len(page.picture(FOLDER / f"{name}.png"))
            print(f"{name}.png: {size // 1024} KiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="the names of the pictures to make, with commas between them (all of them)")
    parser.add_argument("--seconds", type=float, default=90, help="how long the fleets work before the first picture")
    asked = parser.parse_args()
    children, browser, ended = [], None, threading.Event()

    def kept(child):
        children.append(child)
        return child

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        try:
            # A provider that gives less than the policy says, so that something is learned, and one that will fail.
            steady = kept(Simulator(concurrency="48", tokens_per_minute="900000", first_token="300ms", tokens_per_second="120", output_tokens="40-200", telling="nothing"))
            shaky = kept(Simulator(first_token="100ms"))
            # By its name alone, for the page shows it as it was given, and a folder of this run is nobody's.
            broker = kept(Broker(write_policy(folder, policy(steady, shaky, folder)).name, "--store", folder / "ledger.db", cwd=folder,
                                 env={"SIM_KEY": PROVIDER_KEY, "SIM_KEY_2": PROVIDER_KEY + "-2"}))
            length = str(asked.seconds + 120)
            for key, profile in zip(TENANTS.values(), ("demo", "demo", "demo")):
                kept(Child("fleet", "--base-url", broker.openai_url, "--profile", profile, "--seconds", length, "--key", key, "--seed", str(len(children))))
            began = time.monotonic()
            for number in range(9):
                threading.Thread(target=converse, args=(broker.url, number, ended), daemon=True).start()
            with httpx.Client(base_url=broker.admin, trust_env=False, timeout=20) as admin, httpx.Client(base_url=broker.url, trust_env=False, timeout=60) as client:
                wait_until(lambda: time.monotonic() - began > asked.seconds * 0.6, "the fleets to have worked", asked.seconds + 10)
                httpx.post(shaky.url + "/sim/faults", json={"fault": "503", "for_ms": 600_000}, trust_env=False)
                admin.post("/api/v1/reload")
                admin.post("/api/v1/keys/openai/spare/disable")
                for _ in range(3):
                    client.post("/v1/chat/completions", json={"model": "open-small", "messages": [{"role": "user", "content": "hello"}]},
                                headers={"authorization": f"Bearer {TENANTS['initech']}", "x-tollgate-timeout": "1"})
                wait_until(lambda: time.monotonic() - began > asked.seconds, "the fleets to have worked", asked.seconds + 10)
            browser = Browser()
            shots = Photographer(browser, broker.admin, asked.only and asked.only.split(","))
            waits = "document.querySelector('.band.low .big').textContent !== '0'"
            rows = "document.querySelectorAll('.view tbody tr').length > 2"
            shots.take("now", "now", "document.querySelector('.trouble')", height=860)
            shots.take("now-dark", "now?shut=anthropic,openai,openrouter", waits, height=620, scheme="dark")
            shots.take("then", "then?range=5m", "[...document.querySelectorAll('path.line')].some(one => one.getAttribute('d').length > 40)"
                       if known(broker.admin, "/api/v1/history?metric=calls&since=5m") else "true", height=1290)
            shots.take("who-tenants", "who?by=tenants", "document.querySelectorAll('.view tbody tr').length === 3", height=360)
            shots.take("who-sessions", "who?by=sessions&sort=cost&q=review", rows if known(broker.admin, "/api/v1/sessions") else "true", scheme="dark", height=460,
                       act=lambda page: page.js("[...document.querySelectorAll('.who button.fold')].find(one => one.checkVisibility())?.click()"))
            shots.take("why", "why?state=queued", rows)
            story = "(() => { const row = [...document.querySelectorAll('.view tbody tr')].find(one => parseFloat(one.children[6].textContent) > 2 && !one.children[6].textContent.includes('ms')); row?.click(); return row; })()"
            shots.take("story", "why?state=recent", rows, act=lambda page: (page.wait(story), page.wait("document.querySelector('.timeline li')")))
            shots.take("do", "do", "document.querySelectorAll('.deed-list > li').length === 3")
            shots.take("confirm", "do", "document.querySelectorAll('.deed-list > li').length === 3", height=620, scheme="dark", act=lambda page: (
                page.click("button[aria-label='disable key openai/main']"), page.has("warm cache", "#confirm")))
            shots.take("wall", "now?wall=1", "document.querySelector('.trouble')", width=1920, height=1080, scheme="dark")
            shots.take("phone", "now", "document.querySelector('.trouble')", width=400, height=860)
        finally:
            ended.set()
            if browser:
                browser.close()
            for child in reversed(children):
                child.stop()


if __name__ == "__main__":
    main()
