"""Retries by the broker: when, how often, how long after, and what the client gets when they are used up.

All sorts of trouble are providers of one broker; each is scripted call by call.
"""

import asyncio
import json
import threading
import time
from types import SimpleNamespace

import pytest

from fleet import Client, chat, queued, reach
from processes import record_of
from rawhttp import address_of, exchange
from scripted import ScriptedProvider, reply

JSON = [("Content-Type", "application/json")]
OK = reply(body=b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')


def error(status, text="trouble", fields=(), **more):
    return reply(status, fields, json.dumps({"error": {"message": text, "type": "server_error", "code": None, **more}}).encode(), reason="Trouble")


class Script(ScriptedProvider):
    """Answers call by call, the last answer again and again, and keeps the instants at which it was asked."""

    def __init__(self, *answers):
        self.answers, self.moments, self.lock = list(answers), [], threading.Lock()
        super().__init__(self.next)

    def next(self, received, connection):
        with self.lock:
            self.moments.append(time.monotonic())
            answer = self.answers[min(len(self.moments), len(self.answers)) - 1]
        if answer is None:
            raise ScriptedProvider.Hangup
        return answer

    @property
    def pauses(self):
        return [later - earlier for earlier, later in zip(self.moments, self.moments[1:])]


OVERLOADED = {"type": "service_unavailable_error", "code": "server_is_overloaded"}
SCRIPTS = {
    "bad-request": [error(400)], "missing": [error(404)], "unprocessable": [error(422)],
    "third": [error(500), error(502), OK], "third-after-hang-up": [None, error(500), OK],
    "used-up": [error(500, "first"), error(500, "second"), error(500, "third", [("x-vendor", "kept")])],
    "told": [error(429, fields=[("Retry-After", "1")]), OK],
    "told-exactly": [error(429, fields=[("Retry-After", "30"), ("retry-after-ms", "300")]), OK],
    "overloaded": [error(503, fields=[("retry-after-ms", "400")], **OVERLOADED), OK],
    "failed-and-told": [error(500, fields=[("retry-after-ms", "500")]), OK],
    "too-late": [error(429, "come back in half a minute", [("Retry-After", "30")]), OK],
    "broke": [error(500)], "frugal": [error(500)],
    "throttled-often": [error(429, fields=[("retry-after-ms", "50")])] * 6 + [OK],
}


@pytest.fixture(scope="module")
def setting(start_for_module):
    scripts = {name: Script(*answers) for name, answers in SCRIPTS.items()}
    start_for_module.providers += scripts.values()
    policy = {"version": 1, "providers": {
        name: {"dialect": "openai", "base_url": script.url + "/v1", "breaker": {"failures": 1000},
               "retry": {"attempts": 3, "base": "10ms", "max": "20ms"}} for name, script in scripts.items()},
        "routes": [{"models": [name], "to": [name]} for name in scripts]}
    policy["providers"]["frugal"]["retry"] |= {"budget": "0%"}
    return SimpleNamespace(broker=start_for_module.broker(policy), scripts=scripts)


def call(setting, name, *fields):
    return exchange(address_of(setting.broker.url), "POST", "/v1/chat/completions", [*JSON, *fields], chat(name))


def outcome(setting, http, answer):
    return record_of(http, setting.broker, answer)["outcome"]


@pytest.mark.parametrize("name, status", [("bad-request", 400), ("missing", 404), ("unprocessable", 422)])
def test_the_clients_own_mistakes_are_not_repeated(setting, http, name, status):
    answer = call(setting, name)
    assert (answer.status, answer.first("x-tollgate-attempts")) == (status, "1")
    assert SCRIPTS[name][0].endswith(answer.body)
    assert outcome(setting, http, answer) == "upstream_error"
    assert len(setting.scripts[name].received) == 1


@pytest.mark.parametrize("name", ["third", "third-after-hang-up"])
def test_the_third_attempt_answers(setting, http, name):
    answer = call(setting, name)
    assert (answer.status, answer.first("x-tollgate-attempts")) == (200, "3")
    assert outcome(setting, http, answer) == "completed"
    assert len({received.body for received in setting.scripts[name].received}) == 1, "the same request each time"
    metrics = http.get(setting.broker.admin + "/metrics").text
    counted = [line for line in metrics.splitlines() if line.startswith("tollgate_upstream_retries_total") and f'provider="{name}"' in line]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in counted) == 2, counted


def test_used_up_attempts_pass_the_last_answer(setting, http):
    """Exactly as the provider sent it, with its own fields, and without an outcome of ours."""
    answer = call(setting, "used-up")
    assert (answer.status, answer.first("x-tollgate-attempts"), answer.first("x-vendor")) == (500, "3", "kept")
    assert SCRIPTS["used-up"][2].endswith(answer.body)
    assert answer.first("x-tollgate-outcome") is None
    assert outcome(setting, http, answer) == "upstream_error"
    assert len(setting.scripts["used-up"].received) == 3


@pytest.mark.parametrize("name, least, most", [
    ("told", 1.0, 2.0), ("told-exactly", 0.3, 1.0), ("overloaded", 0.4, 1.1), ("failed-and-told", 0.5, 1.2)])
def test_the_provider_says_when(setting, name, least, most):
    """`Retry-After` is a floor, `retry-after-ms` goes before it."""
    answer = call(setting, name)
    pause = setting.scripts[name].pauses[0]
    print(f"\n{name}: the second attempt came after {pause * 1000:.0f} ms")
    assert (answer.status, answer.first("x-tollgate-attempts")) == (200, "2")
    assert least <= pause < most


def test_being_throttled_costs_no_attempt(setting):
    answer = call(setting, "throttled-often")
    assert (answer.status, answer.first("x-tollgate-attempts")) == (200, "7")
    assert all(pause >= 0.05 for pause in setting.scripts["throttled-often"].pauses)


def test_no_waiting_beyond_the_deadline(setting, http):
    """The provider wants half a minute, the client has two seconds: it gets the provider's own words at once."""
    began = time.monotonic()
    answer = call(setting, "too-late", ("x-tollgate-timeout", "2"))
    assert time.monotonic() - began < 20, "before the pause that the provider asks for"
    assert (answer.status, answer.first("retry-after"), answer.first("x-tollgate-attempts")) == (429, "30", "1")
    assert b"half a minute" in answer.body
    assert outcome(setting, http, answer) == "upstream_error"


@pytest.mark.parametrize("name, share", [("broke", 0.2), ("frugal", 0.0)])
def test_retries_are_a_share_of_the_requests(setting, name, share):
    """Ten retries in store, one more a second, and a fifth of a retry for each request: no multiple of the load."""
    requests, began = 60, time.monotonic()
    statuses = {call(setting, name).status for _ in range(requests)}
    retries = len(setting.scripts[name].received) - requests
    allowed = 10 + share * requests + (time.monotonic() - began) + 1
    print(f"\n{name}: {retries} retries for {requests} requests, allowed are {allowed:.1f}")
    assert statuses == {500}
    assert 10 <= retries <= allowed


def test_places_in_the_queue(start):
    """One permit. A call that failed goes again before those that came after it; a client's own retry goes before newcomers."""
    order, first = [], threading.Event()

    def answer(received, connection):
        name = received.first("x-name")
        order.append(name)
        if name == "holder":
            first.wait(10)
        if name.startswith("later"):
            threading.Event().wait(0.02)  # How long these calls take: longer than the failed one's backoff.
        return error(500) if name == "unlucky" and order.count("unlucky") == 1 else OK

    provider = start.provider(answer)
    broker = start.broker({"version": 1, "providers": {"only": {
        "dialect": "openai", "base_url": provider.url + "/v1", "limits": {"concurrency": 1}, "retry": {"base": "1ms", "max": "1ms"}}},
        "priorities": {"high": {"reserve": "0%"}}})
    address = address_of(broker.url)

    async def run():
        async def one(name, *fields):
            result = await Client(address).call(chat(), [("x-name", name), ("x-tollgate-session", "one"), *fields])
            assert result.status == 200

        async def begin(name, count, *fields):
            tasks.append(asyncio.create_task(one(name, *fields)))

            async def all_wait():
                return await queued(broker) == count
            await reach(all_wait, f"{count} queued calls")

        tasks = [asyncio.create_task(one("holder"))]

        async def held():
            return order == ["holder"]
        await reach(held, "the holder at the provider")
        await begin("unlucky", 1)
        for number in range(3):
            await begin(f"later-{number}", 2 + number)
        await begin("client-retry", 5, ("x-stainless-retry-count", "1"))
        first.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    print(f"\norder: {order}")
    assert order[:2] == ["holder", "client-retry"]
    assert [name for name in order if name.startswith("later")] == ["later-0", "later-1", "later-2"]
    # Its backoff of up to a millisecond may let one other through.
    assert order.index("later-1") > max(index for index, name in enumerate(order) if name == "unlucky")
