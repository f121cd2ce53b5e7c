"""Circuit breakers: when they trip, what becomes of calls meanwhile, probes, and the operator's word.

All sorts are providers of one broker; each has a provider behind it that fails as long as it is told to.
"""

import asyncio
import json
import re
import socket
import threading
import time
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

from fleet import Client, chat, reach
from processes import policy_for, run
from rawhttp import Connection, address_of, exchange, request_bytes
from scripted import ScriptedProvider, reply
from waiting import wait_until

JSON = [("Content-Type", "application/json"), ("anthropic-version", "2023-06-01")]
OK = reply(body=b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')
MESSAGES = json.dumps({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}).encode()


class Ailing(ScriptedProvider):
    """Answers `status` until it is set to 200; counts how many calls it had at once and when each came."""

    def __init__(self, status=500):
        self.status, self.moments, self.running, self.most = status, [], 0, 0
        self.lock, self.delay = threading.Lock(), threading.Event()
        self.slowness = 0.0
        super().__init__(self.serve)

    def serve(self, received, connection):
        with self.lock:
            self.moments.append(time.monotonic())
            self.running += 1
            self.most = max(self.most, self.running)
        self.delay.wait(self.slowness)
        with self.lock:
            self.running -= 1
        return OK if self.status == 200 else reply(self.status, body=b'{"error":{"message":"ailing","type":"server_error"}}', reason="Trouble")


# The breaker of each provider, and whether it speaks Anthropic.
SORTS = {
    "api": ({"preset": "api"}, False), "external": ({"preset": "external"}, False), "database": ({"preset": "database"}, False),
    "innocent": ({"preset": "database"}, False),
    "rejecting": ({"failures": 1, "recovery": "30s", "when_open": "reject"}, False),
    "rejecting-anthropic": ({"failures": 1, "recovery": "30s", "when_open": "reject"}, True),
    "waiting": ({"failures": 2, "recovery": "600ms"}, False), "probing": ({"failures": 1, "recovery": "300ms", "probes": 1}, False),
    "operated": ({"failures": 2}, False),
    "left": ({"failures": 1, "recovery": "30s"}, False), "right": ({"failures": 1, "recovery": "30s"}, False),
}


@pytest.fixture(scope="module")
def setting(start_for_module):
    ailing = {name: Ailing() for name in SORTS}
    start_for_module.providers += ailing.values()
    broker = start_for_module.broker({"version": 1, "providers": {
        name: {"dialect": "anthropic" if is_anthropic else "openai", "base_url": ailing[name].url + ("" if is_anthropic else "/v1"),
               "breaker": breaker, "retry": {"attempts": 1}} for name, (breaker, is_anthropic) in SORTS.items()},
        "routes": [{"models": ["both"], "to": ["left", "right"]}, {"models": ["*"], "to": ["api"]}]})
    return SimpleNamespace(broker=broker, ailing=ailing)


def call(setting, name, *fields):
    path, body = f"/p/{name}/v1/chat/completions", chat()
    if name.endswith("anthropic"):
        path, body = f"/p/{name}/v1/messages", MESSAGES
    return exchange(address_of(setting.broker.url), "POST", path, [*JSON, *fields], body)


def breaker(setting, http, name):
    status = http.get(setting.broker.admin + "/api/v1/status").json()
    return next(entry for entry in status["providers"] if entry["id"] == name)["breaker"]


def seconds_until(text):
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - datetime.now(timezone.utc)).total_seconds()


def closed_port():
    """A port that is bound but does not listen, so that it refuses and nobody else can get it."""
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    return holder


@pytest.mark.parametrize("sort, reason", [("refused", "connection refused"), ("503", "status 503"), ("silent", "no answer in time"),
                                          ("ends", "the connection ended before the answer"), ("no http", "the answer is not HTTP")])
def test_an_open_breaker_says_since_when_and_what_went_wrong(start, http, sort, reason):
    def behave(received, connection):
        if sort == "503":
            return reply(503, [], b"{}", "No")
        if sort == "no http":
            connection.socket.sendall(b"hello\r\n\r\n")
        if sort == "silent":
            connection.socket.recv(1)
        raise ScriptedProvider.Hangup
    with closed_port() as holder:
        url = f"http://127.0.0.1:{holder.getsockname()[1]}" if sort == "refused" else start.provider(behave).url
        broker = start.broker(policy_for(url, breaker={"failures": 1, "recovery": "1h"}, retry={"attempts": 1}, timeouts={"first_byte": "200ms"}))
        assert exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, chat()).status in (502, 503, 504)
        told = http.get(broker.admin + "/api/v1/status").json()["providers"][0]["breaker"]
        assert (told["state"], told["reason"]) == ("open", f"1 failure: {reason}")
        assert -60 < seconds_until(told["since"]) <= 0.1
        text = " ".join(run("breakers", "--admin", broker.admin).stdout.split())
        assert re.search(rf"breaker of openai open since \d\d:\d\d:\d\d until \d\d:\d\d:\d\d: 1 failure: {reason}; next try in \d+ m \d+ s;", text), text


@pytest.mark.parametrize("name, failures, recovery", [("api", 5, 30), ("external", 3, 60), ("database", 2, 10)])
def test_presets(setting, http, name, failures, recovery):
    """Closed up to the last failure but one; then open for the recovery time, jittered down by a tenth at most."""
    for number in range(failures):
        assert breaker(setting, http, name)["state"] == "closed"
        assert call(setting, name).status == 500
    state = breaker(setting, http, name)
    print(f"\n{name}: {state}")
    assert state["state"] == "open"
    assert re.fullmatch(rf"{failures} failures in a row, the last: .+", state["reason"])
    assert recovery * 0.9 - 1 <= seconds_until(state["until"]) <= recovery
    assert f'tollgate_breaker_state{{provider="{name}"}} 2' in http.get(setting.broker.admin + "/metrics").text
    asked = len(setting.ailing[name].received)
    assert call(setting, name, ("x-tollgate-timeout", "0.2")).status == 503
    assert len(setting.ailing[name].received) == asked == failures


def test_what_trips_nothing(setting, http):
    """Clients' mistakes, throttling and clients that leave, ten times each, between one failure and the next success."""
    provider = setting.ailing["innocent"]
    assert call(setting, "innocent").status == 500
    for status in (400, 404, 422):
        provider.status = status
        assert [call(setting, "innocent").status for _ in range(10)] == [status] * 10
    provider.slowness = 5
    for _ in range(10):
        asked = len(provider.received)
        with Connection(address_of(setting.broker.url)) as connection:
            connection.send(request_bytes("POST", "/p/innocent/v1/chat/completions", JSON, chat()))
            wait_until(lambda: len(provider.received) > asked, "the call at the provider")
    provider.slowness, provider.status = 0, 429
    assert call(setting, "innocent", ("x-tollgate-timeout", "0.2")).status == 429
    assert breaker(setting, http, "innocent")["state"] == "closed"


@pytest.mark.parametrize("name, status, kind", [
    ("rejecting", 503, "server_is_overloaded"), ("rejecting-anthropic", 529, "overloaded_error")])
def test_when_open_reject(setting, name, status, kind):
    """Refused at once, in the dialect, although the breaker might close before the deadline."""
    assert call(setting, name).status == 500
    began = time.monotonic()
    answer = call(setting, name)
    assert time.monotonic() - began < 27, "before the breaker could close"
    assert (answer.status, answer.first("x-tollgate-outcome")) == (status, "rejected_no_capacity")
    assert 1 <= int(answer.first("retry-after")) <= 60
    assert kind in answer.body.decode() and answer.first("x-tollgate-provider") is None
    assert len(setting.ailing[name].received) == 1


def test_when_open_wait(setting, http):
    """Calls that come meanwhile are answered when it has closed; one that cannot wait so long is refused at once."""
    provider = setting.ailing["waiting"]
    for _ in range(2):
        call(setting, "waiting")
    provider.status = 200
    began = time.monotonic()
    # Had it waited, its outcome would be evicted_max_wait.
    refused = call(setting, "waiting", ("x-tollgate-timeout", "0.1"))
    assert (refused.status, refused.first("x-tollgate-outcome")) == (503, "rejected_no_capacity")
    answer = call(setting, "waiting")
    print(f"\nwaiting: answered after {time.monotonic() - began:.2f} s, recovery 0.6 s")
    assert answer.status == 200
    assert time.monotonic() - began >= 0.4
    assert breaker(setting, http, "waiting")["state"] == "closed"


def test_half_open_lets_one_probe_through(setting, http):
    """Twelve clients wait: one probe after the recovery time, the next after twice that, and all after the first success."""
    provider = setting.ailing["probing"]
    call(setting, "probing")
    provider.slowness = 0.15

    async def run():
        clients = [asyncio.create_task(Client(address_of(setting.broker.url)).call(chat(), path="/p/probing/v1/chat/completions"))
                   for _ in range(12)]

        async def asked(count):
            return len(provider.received) >= count
        await reach(lambda: asked(2), "the first probe")
        half_open = await asyncio.to_thread(breaker, setting, http, "probing")
        # The one that was the first probe got its failure: it had one attempt. The next probe succeeds.
        await reach(lambda: asked(3), "the second probe")
        most = provider.most
        provider.status = 200
        return half_open, most, await asyncio.gather(*clients)

    half_open, most, results = asyncio.run(run())
    pauses = [later - earlier for earlier, later in zip(provider.moments, provider.moments[1:])]
    statuses = sorted(result.status for result in results)
    print(f"\nprobing: {pauses[0]:.2f} s to the first probe, {pauses[1]:.2f} s to the second, {most} at once until then, clients {statuses}")
    assert half_open["state"] == "half_open"
    assert most == 1
    assert 0.27 <= pauses[0] < 1.0
    assert 0.54 <= pauses[1] < 1.5
    assert statuses == [200] * 11 + [500]
    assert breaker(setting, http, "probing")["state"] == "closed"


def test_the_operators_word(setting, http):
    """Open lets nothing through, closed lets everything, whatever happens; auto judges again. By command and by API."""
    provider = setting.ailing["operated"]

    def tollgate(*words):
        done = run("breakers", *words, "--admin", setting.broker.admin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    tollgate("open", "operated")
    state = breaker(setting, http, "operated")
    assert (state["state"], state["reason"], state["until"]) == ("open", "operator", None)
    assert re.search(r"^operated +open .*by hand$", tollgate(), re.MULTILINE)
    refused = call(setting, "operated")
    assert (refused.status, refused.first("x-tollgate-outcome")) == (503, "rejected_no_capacity")
    assert provider.received == []
    assert http.post(setting.broker.admin + "/api/v1/breakers/operated/close").status_code == 200
    assert [call(setting, "operated").status for _ in range(10)] == [500] * 10
    assert breaker(setting, http, "operated")["state"] == "closed"
    tollgate("auto", "operated")
    assert [call(setting, "operated").status for _ in range(2)] == [500] * 2
    assert breaker(setting, http, "operated")["state"] == "open"
    assert http.post(setting.broker.admin + "/api/v1/breakers/operated/ajar").status_code == 404
    assert http.post(setting.broker.admin + "/api/v1/breakers/nobody/open").status_code == 404


def test_with_all_open_nothing_goes_through(setting, http):
    """Both providers of a route are open: refused, not let through for want of a better one."""
    names = ("left", "right")
    for name in names:
        call(setting, name)
    asked = [len(setting.ailing[name].received) for name in names]
    for _ in range(20):
        answer = exchange(address_of(setting.broker.url), "POST", "/v1/chat/completions", [*JSON, ("x-tollgate-timeout", "1")], chat("both"))
        assert (answer.status, answer.first("x-tollgate-outcome")) == (503, "rejected_no_capacity")
    assert [len(setting.ailing[name].received) for name in names] == asked == [1, 1]
    assert {breaker(setting, http, name)["state"] for name in names} == {"open"}
