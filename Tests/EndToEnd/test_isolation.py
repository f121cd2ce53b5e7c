"""Tenants among each other: a flood of one changes nobody else's wait by more than a call, and a tenant over its limit waits."""

import asyncio
import random
import time
from collections import Counter

import pytest

from fleet import Client, chat, percentile
from processes import NO_RESERVE, key_hash
from rawhttp import address_of

CALL_MS = 250
# By provider, the limits of the tenant that floods it. All are in one broker: what happens at one provider is nothing to the others.
PAIRS = {
    "limited": {"concurrency": 5},
    "rated": {"requests_per_minute": 60},
    "unlimited": {},
}


@pytest.mark.timeout(60)
def test_a_flood_is_its_tenants_own(start, http):
    """8 permits at each provider; one tenant calls now and then, alone at first and then beside 24 clients of another."""
    simulators = {name: start.simulator(concurrency=8, first_token=f"{CALL_MS}ms", output_tokens="2-2") for name in PAIRS}
    tenants = []
    for name, limits in PAIRS.items():
        for role in ("flood", "other"):
            key = key_hash(f"{name}-{role}")
            tenants.append({"id": f"{name}-{role}", "keys": [key], "limits": limits if role == "flood" else {}})
    broker = start.broker({"version": 1, "providers": {
        name: {"dialect": "openai", "base_url": simulators[name].openai_url, "limits": {"concurrency": 8}} for name in PAIRS},
        "routes": [{"models": [name], "to": [name]} for name in PAIRS], "tenants": tenants, "priorities": NO_RESERVE})
    address, rng = address_of(broker.url), random.Random(1)

    def fields(name, role, session):
        # Calls of different length, so that the places do not come free all at once.
        duration = rng.randrange(CALL_MS * 3 // 5, CALL_MS * 7 // 5)
        return [("Authorization", f"Bearer {name}-{role}"), ("x-tollgate-session", f"{name}-{role}-{session}"),
                ("x-sim-first-token-ms", str(duration))]

    durations = []

    async def flood(name, number, end, results):
        client = Client(address)
        while time.monotonic() < end:
            results.append(await client.call(chat(name), fields(name, "flood", number)))
        client.close()

    async def now_and_then(name, end, waits):
        tasks = []

        async def one(number):
            client = Client(address)
            result = await client.call(chat(name), fields(name, "other", number))
            client.close()
            assert result.status == 200, result.body
            waits.append(result.queue_ms)
            durations.append((result.ended - result.began) * 1000 - result.queue_ms)
        while time.monotonic() < end:
            tasks.append(asyncio.create_task(one(len(tasks))))
            await asyncio.sleep(0.1)  # Reason: the offered load has this pace.
        await asyncio.gather(*tasks)

    async def run():
        alone, beside, floods = ({name: [] for name in PAIRS} for _ in range(3))
        end = time.monotonic() + 2
        await asyncio.gather(*[now_and_then(name, end, alone[name]) for name in PAIRS])
        end = time.monotonic() + 4
        tasks = [asyncio.create_task(flood(name, number, end, floods[name])) for name in PAIRS for number in range(24)]
        await asyncio.sleep(0.6)  # Reason: the flood's first calls began together and would end together.
        await asyncio.gather(*[now_and_then(name, end, beside[name]) for name in PAIRS])
        # What the rate holds back now would take a minute.
        await asyncio.wait(tasks, timeout=1)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [end for end in ends if isinstance(end, Exception)]
        return alone, beside, floods

    alone, beside, floods = asyncio.run(run())
    # On a busy machine a call takes longer than at its provider.
    one_call = percentile(durations, 0.5)
    for name in PAIRS:
        before, after = percentile(alone[name], 0.95), percentile(beside[name], 0.95)
        statuses = Counter(result.status for result in floods[name])
        counted = http.get(simulators[name].url + "/sim/stats").json()
        print(f"\n{name}: p95 of the other's wait {before} ms alone, {after} ms beside the flood ({len(beside[name])} calls of "
              f"{one_call:.0f} ms); the flood got {dict(statuses)}, {counted['refused_total']} refused upstream")
        assert after - before < one_call
        # Over its limit it waits; nobody is refused.
        assert set(statuses) == {200} and counted["refused_total"] == 0
    # Its own permits; its first minute's requests and what came in since.
    assert 20 <= len(floods["limited"]) <= 5 * (5000 / (CALL_MS * 0.6) + 2)
    assert 50 <= len(floods["rated"]) <= 60 + 6
