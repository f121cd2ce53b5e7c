"""Limits that nobody wrote into the policy: found, used, and hardly ever passed.

Every provider here hides its limits in another way; they run side by side in one broker, for they all need the same minute.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from fleet import Client, chat, get_json
from rawhttp import address_of

WARM_UP = 60.0
MEASURED = 12.0


@dataclass
class Hidden:
    """A provider whose limits are not in the policy, and the load on it."""

    settings: dict
    clients: int
    # How much of what the provider allows must be used after a minute, and what share of the calls it may refuse.
    use: float = 0.90
    refused: float = 0.01
    policy: dict = field(default_factory=dict)
    text: str = "hello"
    cap: int | None = None


def hidden():
    call = {"first_token": "300ms", "output_tokens": "10-10"}
    tokens = {"first_token": "50ms", "output_tokens": "50-50", "tokens_per_minute": 60_000}
    speech = {"text": "word " * 80, "cap": 50}
    return {
        "permits": Hidden({**call, "concurrency": 12}, clients=24),
        "permits-untold": Hidden({**call, "concurrency": 12, "telling": "nothing"}, clients=24),
        "requests": Hidden({**call, "requests_per_minute": 600}, clients=16),
        "tokens": Hidden(tokens, clients=20, **speech),
    }


@dataclass
class Reading:
    """What a provider had counted at one moment."""

    at: float
    calls: int
    refused: int
    used: int
    in_flight_ns: int = 0


@pytest.mark.timeout(150)
def test_hidden_limits_are_found_within_a_minute(start):
    """No limits in the policy, demand above the limit: after a minute at least 90 % of it is used, under 1 % is refused."""
    cases = hidden()
    simulators = {name: start.simulator(**case.settings) for name, case in cases.items()}
    broker = start.broker({"version": 1, "providers": {
        name: {"dialect": "openai", "base_url": simulators[name].openai_url, "keys": [{"id": "main", "secret": "${SIM_KEY}"}],
               "learn_limits": True, **case.policy} for name, case in cases.items()},
        "routes": [{"models": [name], "to": [name]} for name in cases]})
    address = address_of(broker.url)

    async def client(name, number, end, results):
        case, connection = cases[name], Client(address)
        body = chat(name, max_tokens=case.cap, text=case.text)
        while time.monotonic() < end:
            result = await connection.call(body, [("x-tollgate-session", f"{name}-{number}")])
            results[name].append((result.ended, result.status))
        connection.close()

    async def read(name):
        counted = await get_json(address_of(simulators[name].url), "/sim/stats")
        bucket = counted["buckets"][0] if counted["buckets"] else {"used": 0}
        return Reading(time.monotonic(), counted["calls"], counted["refused_total"], bucket["used"])

    async def read_all():
        return dict(zip(cases, await asyncio.gather(*[read(name) for name in cases])))

    async def run():
        begin = time.monotonic()
        results = {name: [] for name in cases}
        tasks = [asyncio.create_task(client(name, number, begin + WARM_UP + MEASURED + 0.5, results))
                 for name, case in cases.items() for number in range(case.clients)]
        readings = []
        for seconds in (0, 15, 30, 45, WARM_UP, WARM_UP + MEASURED):
            await asyncio.sleep(max(0, begin + seconds - time.monotonic()))  # Reason: the measured span begins after a minute.
            readings.append(await read_all())
        await asyncio.wait(tasks, timeout=1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        logs = {name: await get_json(address_of(simulators[name].url), "/sim/calls") for name in cases}
        return results, readings, logs

    results, readings, logs = asyncio.run(run())

    def permit_use(name, since, until):
        """The part of the permits that calls held, by the provider's log. Freed late, a permit is used for as much longer."""
        lag = 0.2 if "permit_lag" in cases[name].settings else 0
        held = 0.0
        for record in logs[name]["calls"]:
            if record["status"] == 200:
                held += max(0.0, min(record["ended_ns"] / 1e9 + lag, until) - max(record["arrived_ns"] / 1e9, since))
        return held / (cases[name].settings["concurrency"] * (until - since))

    def figures(name, before, after):
        settings = cases[name].settings
        if "concurrency" in settings:
            use = permit_use(name, before.at, after.at)
        else:
            per_minute = settings.get("tokens_per_minute") or settings["requests_per_minute"]
            use = (after.used - before.used) / (per_minute / 60 * (after.at - before.at))
        return use, (after.refused - before.refused) / max(1, after.calls - before.calls)

    failed = []
    for name, case in cases.items():
        spans = [figures(name, before[name], after[name]) for before, after in zip(readings, readings[1:])]
        use, refused = spans[-1]
        statuses = Counter(status for _, status in results[name])
        print(f"\n{name}: after a minute {use:.1%} used, {refused:.2%} refused of {readings[-1][name].calls - readings[-2][name].calls} calls; "
              f"before, each 15 s: {', '.join(f'{u:.0%} / {r:.1%}' for u, r in spans[:-1])}; clients got {dict(statuses)}")
        if use < case.use or refused > case.refused or set(statuses) != {200}:
            failed.append(name)
    assert not failed
