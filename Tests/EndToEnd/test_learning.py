"""What a minute of traffic shows: limits that nobody wrote down are found, and token budgets are used up whatever the caps say.

Every provider of the first part hides its limits in another way; they run side by side in one broker, for they all need the same minute,
and the other parts run meanwhile.
"""

import asyncio
import itertools
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from fleet import Client, chat, get_json, percentile
from processes import policy_for
from promises import promised
from rawhttp import address_of

MINUTE = 60.0
AFTERWARDS = 12.0


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
        "permits-late": Hidden({**call, "concurrency": 12, "permit_lag": "200ms"}, clients=24, policy={"settle_lag": "200ms"}),
        "requests": Hidden({**call, "requests_per_minute": 600}, clients=16),
        "tokens": Hidden(tokens, clients=20, **speech),
        # A rate that nobody tells is used to 100 % over a minute, but unevenly: each touch closes the provider for seconds.
        "tokens-retry-after": Hidden(
            {**tokens, "burst": "5s", "telling": "retry-after"}, clients=20, use=0.6, refused=0.02, **speech),
    }


@dataclass
class Reading:
    """What a provider had counted at one moment."""

    at: float
    calls: int
    refused: int
    used: int
    in_flight_ns: int = 0


@pytest.fixture(scope="module")
def minute(start_for_module):
    """The traffic at the hidden limits, which runs in a thread while other tests do; `result()` waits for its end."""
    cases = hidden()
    simulators = {name: start_for_module.simulator(**case.settings) for name, case in cases.items()}
    broker = start_for_module.broker({"version": 1, "providers": {
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
        tasks = [asyncio.create_task(client(name, number, begin + MINUTE + AFTERWARDS + 0.5, results))
                 for name, case in cases.items() for number in range(case.clients)]
        readings = []
        for seconds in (0, 15, 30, 45, MINUTE, MINUTE + AFTERWARDS):
            await asyncio.sleep(max(0, begin + seconds - time.monotonic()))  # Reason: the measured span begins after a minute.
            readings.append(await read_all())
        await asyncio.wait(tasks, timeout=1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        logs = {name: await get_json(address_of(simulators[name].url), "/sim/calls") for name in cases}
        return results, readings, logs

    ended = []
    thread = threading.Thread(target=lambda: ended.append(asyncio.run(run())), daemon=True)
    thread.start()

    def result():
        thread.join(MINUTE + AFTERWARDS + 30)
        assert ended, "the traffic did not end"
        return ended[0]

    yield SimpleNamespace(cases=cases, result=result)
    thread.join(MINUTE + AFTERWARDS + 30)


WARM_UP = 10.0
MEASURED = 25.0
CAP = 32_000


@dataclass
class Budget:
    dialect: str
    dimension: str
    per_minute: int
    agents: int
    ratio: float = 1.0


# One charges the cap when a call begins, as OpenAI does; the others count what is read or produced, as Anthropic does, one of them in
# tokens that are smaller than those of our estimate.
BUDGETS = {
    "charges the cap": Budget("openai", "tokens", 3_000_000, agents=60),
    "counts output": Budget("anthropic", "output_tokens", 150_000, agents=40),
    "counts input": Budget("anthropic", "input_tokens", 400_000, agents=40, ratio=1.4),
    "counts both": Budget("anthropic", "tokens", 400_000, agents=40),
}


def body(case, model, rng):
    """A coding agent's call: mostly a cap of 32k, now and then a small one; 1 to 12 KB of prompt."""
    text = "word " * int(rng.triangular(200, 2400, 500))
    cap = CAP if rng.random() < 0.85 else rng.choice((256, 1024, 4096))
    return json.dumps({"model": model, "max_tokens": cap, "messages": [{"role": "user", "content": text}]}).encode()


@pytest.mark.timeout(120)
def test_budgets_are_used_up_whatever_the_caps_say(start, minute):
    """At least 95 % of each budget is used, under 0.1 % of the calls refused, and no call for its cap of 32k alone."""
    names = {name: f"provider-{number}" for number, name in enumerate(BUDGETS)}
    simulators = {
        name: start.simulator(first_token="50ms", tokens_per_second=2000, token_ratio=case.ratio,
                              **{f"{case.dimension}_per_minute": case.per_minute}) for name, case in BUDGETS.items()}
    broker = start.broker({"version": 1, "providers": {
        names[name]: {
            "dialect": case.dialect, "base_url": simulators[name].url + ("/v1" if case.dialect == "openai" else ""),
            "keys": [{"id": "main", "secret": "${SIM_KEY}"}], "limits": {f"{case.dimension}_per_minute": case.per_minute},
        } for name, case in BUDGETS.items()},
        "routes": [{"models": [names[name]], "to": [names[name]]} for name in BUDGETS],
        # The calls that wait at the end are cut off by us, not by the broker.
        "priorities": {"normal": {"max_wait": "280s"}, "high": {"max_wait": "280s"}}})
    address = address_of(broker.url)

    async def agent(name, number, end, results):
        case, rng, connection = BUDGETS[name], random.Random(number), Client(address)
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
        return time.monotonic(), dict(zip(BUDGETS, await asyncio.gather(*[counted(name) for name in BUDGETS])))

    async def run():
        begin = time.monotonic()
        results = {name: [] for name in BUDGETS}
        tasks = [asyncio.create_task(agent(name, number, begin + WARM_UP + MEASURED, results))
                 for name, case in BUDGETS.items() for number in range(case.agents)]
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
        return next(entry for entry in reading[name]["buckets"] if entry["dimension"] == BUDGETS[name].dimension)

    failed = []
    for name, case in BUDGETS.items():
        used = bucket(after, name)["used"] - bucket(before, name)["used"]
        share = used / (case.per_minute / 60 * (after_at - before_at))
        calls, refused = after[name]["calls"], after[name]["refused_total"]
        statuses = Counter(result.status for result in results[name])
        waits = [result.queue_ms for result in results[name]] or [0]
        print(f"\n{name}: {calls} calls, {share:.1%} of the refill used in {after_at - before_at:.0f} s ({bucket(after, name)['used_share']:.1%} of all "
              f"since the start), refused {refused} ({refused / max(1, calls):.2%}), clients got {dict(statuses)}, wait p50 "
              f"{percentile(waits, 0.5)} ms, output {after[name]['tokens']['output'] / max(1, after[name]['completed']):.0f} a call")
        promised(f"{name}: used of the refill", share, "", least=0.95)
        if refused > max(1, calls * 0.001) or set(statuses) != {200}:
            failed.append(name)
    assert not failed


@pytest.mark.timeout(150)
def test_three_times_the_token_budget(start, minute, http):
    """Offered load of 3 times an enforced token budget, mixed sizes, 20 % high: nothing refused, the budget used."""
    per_minute, seconds = 120_000, 20.0
    simulator = start.simulator(tokens_per_minute=per_minute, first_token="20ms", output_tokens="40-40")
    policy = policy_for(simulator.url, limits={"tokens_per_minute": per_minute}, learn_limits=True)
    broker = start.broker(policy)
    address = address_of(broker.url)
    sizes = itertools.cycle([50, 200, 500, 100, 300])

    async def loop(number, end, done):
        client = Client(address)
        priority = "high" if number % 5 == 0 else "normal"
        while time.monotonic() < end:
            text = "word " * (next(sizes) * 4 // 5)
            result = await client.call(chat(max_tokens=40, text=text), [
                ("x-tollgate-priority", priority), ("x-tollgate-session", f"s{number}"), ("x-tollgate-timeout", "60")])
            done.append(result)
        client.abort()

    async def run():
        end, done = time.monotonic() + seconds, []
        tasks = [asyncio.create_task(loop(n, end, done)) for n in range(30)]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done

    http.post(simulator.url + "/sim/reset")
    done = asyncio.run(run())
    counted = http.get(simulator.url + "/sim/stats").json()
    bucket = next(bucket for bucket in counted["buckets"] if bucket["dimension"] in ("tokens", "tokens_per_minute"))
    errors = Counter(result.status for result in done if result.status != 200)
    print(f"\ntokens: {len(done)} calls, refused {counted['refused_total']} of {counted['calls']}, used {bucket['used_share']:.1%} of the "
          f"budget, client errors {dict(errors)}")
    assert counted["refused_total"] <= max(1, counted["calls"] * 0.001)
    assert not errors
    promised("three times the token budget: used", bucket["used_share"], "", least=0.95)


@pytest.mark.timeout(150)
def test_hidden_limits_are_found_within_a_minute(minute):
    """No limits in the policy, demand above the limit: after a minute at least 90 % of it is used, under 1 % is refused."""
    cases = minute.cases
    results, readings, logs = minute.result()

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
        # A machine that stalls the clients asks for less than the limit, and finds it later.
        promised(f"{name}: used after a minute", use, "", least=case.use)
        if refused > case.refused or set(statuses) != {200}:
            failed.append(name)
    assert not failed
