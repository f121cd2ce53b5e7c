"""Fallback along a route: the first provider is down from the start, in three ways; its peer answers every call."""

import asyncio
import json
import socket
import time
from collections import Counter
from types import SimpleNamespace

import anthropic
import openai
import pytest

from fleet import Client, chat, get_json, percentile
from rawhttp import address_of
from scripted import ScriptedProvider, reply

BROKEN = reply(500, body=b'{"error":{"message":"broken","type":"server_error","code":null,"param":null}}', reason="Internal Server Error")
CALLS = 1000
CLIENTS = 20


def messages(model):
    return json.dumps({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}).encode()


@pytest.fixture(scope="module")
def setting(start_for_module):
    """Six routes, `openai-refused*` to `anthropic-hanging*`, each with a first provider that is down and a peer that is not."""
    start = start_for_module
    peer = start.simulator(first_token="1ms", output_tokens="2-2")
    broken, hanging = start.provider(BROKEN), start.provider(hang_up)
    # A port at which nobody listens, and that nobody else can take meanwhile.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        down = {"refused": "http://127.0.0.1:%d" % held.getsockname()[1], "broken": broken.url, "hanging": hanging.url}
        key = [{"id": "main", "secret": "${SIM_KEY}"}]
        providers, routes = {}, []
        for dialect, suffix in (("openai", "/v1"), ("anthropic", "")):
            providers[f"{dialect}-peer"] = {"dialect": dialect, "base_url": peer.url + suffix, "keys": key}
            for name, url in down.items():
                providers[f"{dialect}-{name}"] = {"dialect": dialect, "base_url": url + suffix, "keys": key}
                routes.append({"models": [f"{dialect}-{name}*"], "to": [f"{dialect}-{name}", f"{dialect}-peer"]})
        broker = start.broker({"version": 1, "providers": providers, "routes": routes})
        yield SimpleNamespace(broker=broker, peer=peer, down=down, broken=broken, hanging=hanging)


def hang_up(received, connection):
    raise ScriptedProvider.Hangup


@pytest.mark.parametrize("trouble", ["refused", "broken", "hanging"])
def test_the_sdks_notice_nothing(setting, trouble):
    """One call of each SDK, without retries of its own, whole and streamed."""
    hello = [{"role": "user", "content": "hello"}]
    with openai.OpenAI(base_url=setting.broker.openai_url, api_key="unused", max_retries=0) as client:
        model = f"openai-{trouble}"
        raw = client.chat.completions.with_raw_response.create(model=model, messages=hello)
        assert raw.headers["x-tollgate-provider"] == "openai-peer"
        assert raw.headers["x-tollgate-attempts"] == "2"
        assert raw.parse().choices[0].message.content
        chunks = list(client.chat.completions.create(model=model, messages=hello, stream=True))
        assert chunks[-1].choices[0].finish_reason
    with anthropic.Anthropic(base_url=setting.broker.url, api_key="unused", max_retries=0) as client:
        model = f"anthropic-{trouble}"
        message = client.messages.create(model=model, max_tokens=5, messages=hello)
        assert message.content[0].text
        with client.messages.stream(model=model, max_tokens=5, messages=hello) as stream:
            assert stream.get_final_message().stop_reason


@pytest.mark.timeout(90)
def test_a_thousand_calls_give_a_thousand_answers(setting, http):
    """The routes side by side: connection refused, 500 and a hang-up, in both dialects; 1,000 calls over each sort of trouble."""
    broker, address = setting.broker, address_of(setting.broker.url)
    before = http.get(setting.peer.url + "/sim/stats").json()["completed"]

    async def one(name, number, left, results):
        client = Client(address)
        while left:
            dialect = ("openai", "anthropic")[left.pop() % 2]
            model = f"{dialect}-{name}"
            fields = [("x-tollgate-session", f"{name}-{number}"), ("anthropic-version", "2023-06-01")]
            if dialect == "openai":
                results.append(await client.call(chat(model), fields))
            else:
                results.append(await client.call(messages(model), fields, path="/v1/messages"))
        client.close()

    async def run():
        results = {name: [] for name in setting.down}
        tasks = []
        for name in setting.down:
            left = list(range(CALLS))
            tasks += [one(name, number, left, results[name]) for number in range(CLIENTS)]
        await asyncio.gather(*tasks)
        return results, await get_json(address_of(broker.admin), "/api/v1/status")

    began = time.monotonic()
    results, status = asyncio.run(run())
    seconds = time.monotonic() - began
    tried = {"broken": len(setting.broken.received), "hanging": len(setting.hanging.received)}
    for name, answers in results.items():
        kinds = Counter(answer.status for answer in answers)
        attempts = Counter(int(answer.fields["x-tollgate-attempts"]) for answer in answers)
        slowest = max((answer.ended - answer.began) * 1000 for answer in answers)
        print(f"\n{name}: {len(answers)} calls, answers {dict(kinds)}, attempts {dict(attempts)}, asked of the first provider "
              f"{tried.get(name, '-')}; p99 {percentile([(a.ended - a.began) * 1000 for a in answers], 0.99):.0f} ms, worst {slowest:.0f} ms")
        assert kinds == {200: CALLS}
        assert {answer.fields["x-tollgate-provider"] for answer in answers} == {"openai-peer", "anthropic-peer"}
        assert max(attempts) == 2
    print(f"{3 * CALLS} calls in {seconds:.1f} s")
    assert http.get(setting.peer.url + "/sim/stats").json()["completed"] - before == 3 * CALLS
    # Five failures in a row open a breaker; those that were under way then had been sent already.
    assert all(count <= 2 * (5 + CLIENTS) for count in tried.values())
    breakers = {entry["id"]: entry["breaker"]["state"] for entry in status["providers"]}
    assert all(state == ("closed" if "peer" in name else "open") for name, state in breakers.items()), breakers
