"""Token budgets and agents that ask for far more output than they use: the budget is used up, and hardly anything is refused.

Providers side by side in one broker, which count what is read or
produced, as Anthropic does, one of them in tokens that are smaller than our estimate's.
"""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from fleet import Client, get_json, percentile
from rawhttp import address_of

WARM_UP = 10.0
MEASURED = 25.0
CAP = 32_000


@dataclass
class Case:
    dialect: str
    dimension: str
    per_minute: int
    agents: int
    ratio: float = 1.0


CASES = {
    "counts output": Case("anthropic", "output_tokens", 150_000, agents=40),
    "counts input": Case("anthropic", "input_tokens", 400_000, agents=40, ratio=1.4),
    "counts both": Case("anthropic", "tokens", 400_000, agents=40),
}


def body(case, model, rng):
    """A coding agent's call: mostly a cap of 32k, now and then a small one; 1 to 12 KB of prompt."""
    text = "word " * int(rng.triangular(200, 2400, 500))
    cap = CAP if rng.random() < 0.85 else rng.choice((256, 1024, 4096))
    return json.dumps({"model": model, "max_tokens": cap, "messages": [{"role": "user", "content": text}]}).encode()


@pytest.mark.timeout(120)
def test_budgets_are_used_up_whatever_the_caps_say(start):
    """At least 95 % of each budget is used, under 0.1 % of the calls refused, and no call for its cap of 32k alone."""
    names = {name: f"provider-{number}" for number, name in enumerate(CASES)}
    simulators = {
        name: start.simulator(first_token="50ms", tokens_per_second=2000, token_ratio=case.ratio,
                              **{f"{case.dimension}_per_minute": case.per_minute}) for name, case in CASES.items()}
    broker = start.broker({"version": 1, "providers": {
        names[name]: {
            "dialect": case.dialect, "base_url": simulators[name].url + ("/v1" if case.dialect == "openai" else ""),
            "keys": [{"id": "main", "secret": "${SIM_KEY}"}], "limits": {f"{case.dimension}_per_minute": case.per_minute},
        } for name, case in CASES.items()},
        "routes": [{"models": [names[name]], "to": [names[name]]} for name in CASES],
        # The calls that wait at the end are cut off by us, not by the broker.
        "priorities": {"normal": {"max_wait": "280s"}, "high": {"max_wait": "280s"}}})
    address = address_of(broker.url)

    async def agent(name, number, end, results):
        case, rng, connection = CASES[name], random.Random(number), Client(address)
        priority = "high" if number % 4 == 0 else "normal"
        while time.monotonic() < end:
            # What the call will produce: 400 on average, seldom more than 1,500; nobody but the simulator knows.
            output = max(1, int(rng.lognormvariate(5.8, 0.6)))
            fields = [("x-tollgate-session", f"{name}-{number}"), ("x-tollgate-priority", priority),
                      ("x-sim-output-tokens", str(output))]
            path = "/v1/chat/completions"
            if case.dialect == "anthropic":
                fields.append(("anthropic-version", "2023-06-01"))
                path = "/v1/messages"
            results[name].append(await connection.call(body(case, names[name], rng), fields, path))
        connection.close()

    async def counted(name):
        return await get_json(address_of(simulators[name].url), "/sim/stats")

    async def all_counted():
        return time.monotonic(), dict(zip(CASES, await asyncio.gather(*[counted(name) for name in CASES])))

    async def run():
        begin = time.monotonic()
        results = {name: [] for name in CASES}
        tasks = [asyncio.create_task(agent(name, number, begin + WARM_UP + MEASURED, results))
                 for name, case in CASES.items() for number in range(case.agents)]
        readings = []
        for seconds in (WARM_UP, WARM_UP + MEASURED):
            await asyncio.sleep(max(0, begin + seconds - time.monotonic()))  # Reason: the measured span has this length.
            readings.append(await all_counted())
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        wrong = [end for end in ends if isinstance(end, Exception)]
        assert not wrong, wrong
        return results, readings

    results, ((before_at, before), (after_at, after)) = asyncio.run(run())

    def bucket(reading, name):
        return next(entry for entry in reading[name]["buckets"] if entry["dimension"] == CASES[name].dimension)

    failed = []
    for name, case in CASES.items():
        used = bucket(after, name)["used"] - bucket(before, name)["used"]
        share = used / (case.per_minute / 60 * (after_at - before_at))
        calls, refused = after[name]["calls"], after[name]["refused_total"]
        statuses = Counter(result.status for result in results[name])
        waits = [result.queue_ms for result in results[name]] or [0]
        print(f"\n{name}: {calls} calls, {share:.1%} of the refill used in {after_at - before_at:.0f} s ({bucket(after, name)['used_share']:.1%} of all "
              f"since the start), refused {refused} ({refused / max(1, calls):.2%}), clients got {dict(statuses)}, wait p50 "
              f"{percentile(waits, 0.5)} ms, output {after[name]['tokens']['output'] / max(1, after[name]['completed']):.0f} a call")
        if share < 0.95 or refused > calls * 0.001 or set(statuses) != {200}:
            failed.append(name)
    assert not failed
