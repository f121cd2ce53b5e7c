"""Numbers that cannot be true: a provider that gives them is cut, marked and told of once; books that hold them start and report."""

import asyncio
import json
import os
import re
import signal
import sqlite3

import httpx
import pytest

from fleet import Client
from processes import policy_for, record_of, run
from rawhttp import address_of
from scripted import reply

NUMBERS = ["9007199254740992", "9223372036854775807", "18446744073709551615", "1e400", "1e19", "-1", "4.62e9",
           "1e-9223372036854775808", "-0", "9" * 5000]
ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "word " * 40}]}
CHAT = "/v1/chat/completions"
# Ten thousand take a minute on an idle machine: they are for `scripts/test --all`.
CALLS = 10_000 if "TOLLGATE_SEEDS" in os.environ else 1_000


def crowd(url, calls):
    """Sends as many of both kinds, one after the other on each of 16 connections."""
    body = [json.dumps(ASKED).encode(), json.dumps(ASKED | {"stream": True}).encode()]

    async def client(number):
        connection = Client(address_of(url))
        for call in range(number, calls, 16):
            result = await connection.call(body[call // 16 % 2])
            assert result.status == 200, result
        connection.close()

    async def everybody():
        await asyncio.gather(*[client(number) for number in range(16)])

    asyncio.run(everybody())


@pytest.mark.timeout(300)
def test_a_provider_with_hostile_numbers_is_survived_marked_and_told_of_once(start, tmp_path):
    turn = iter(range(10**6))

    def answers(received, connection):
        number = NUMBERS[next(turn) % len(NUMBERS)]
        fields = [("x-ratelimit-limit-tokens", number), ("x-ratelimit-remaining-tokens", number), ("retry-after", number)]
        if b'"stream"' in received.body:
            body = f'data: {{"choices":[{{"delta":{{"content":"x"}}}}],"usage":{{"prompt_tokens":{number},"completion_tokens":{number}}}}}\n\n'
            return reply(body=body.encode() + b"data: [DONE]\n\n", content_type="text/event-stream", fields=fields)
        usage = f'{{"prompt_tokens":{number},"completion_tokens":{number},"cost":{number},"seconds":{number}}}'
        return reply(body=f'{{"choices":[],"usage":{usage}}}'.encode(), fields=fields)

    provider = start.provider(answers)
    store = ("--store", str(tmp_path / "t.db"))
    policy = policy_for(provider.url, budgets=[{"usd": 1000000, "per": "day", "on_exceed": "warn"}])
    broker = start.broker(policy, *store)
    marked = 0
    for number in range(4 * len(NUMBERS)):
        answer = httpx.post(broker.url + CHAT, json=ASKED | ({"stream": True} if number % 2 else {}), timeout=20)
        assert answer.status_code == 200
        story = record_of(httpx, broker, answer)
        assert story["input_tokens"] <= 2**40 and story["output_tokens"] <= 2**40
        assert story["cost_usd"] is None or float(story["cost_usd"]) <= 1000
        marked += story["impossible_numbers"]
        assert not story["impossible_numbers"] or story["estimated"]
    metrics = httpx.get(f"{broker.admin}/metrics").text
    assert f'tollgate_impossible_numbers_total{{source="usage"}} {marked}\n' in metrics
    assert marked >= 2 * len(NUMBERS)
    # The same through everything, again and again.
    crowd(broker.url, CALLS - 4 * len(NUMBERS))
    metrics = httpx.get(f"{broker.admin}/metrics").text
    counted = re.search(r'tollgate_impossible_numbers_total\{source="usage"\} (\d+)\n', metrics)
    assert int(counted[1]) >= CALLS // 2
    for kind in ("stale_head", "endless_pass", "abandoned_lease", "refused_entry"):
        assert f'tollgate_our_bugs_total{{kind="{kind}"}} 0\n' in metrics
    assert httpx.get(f"{broker.admin}/api/v1/usage").status_code == 200
    broker.signal(signal.SIGTERM)
    assert broker.wait() == 0
    # Once for counts and prices, once for limits.
    assert sum("numbers that cannot be true" in line for line in broker.stderr) == 2
    broker = start.broker(policy, *store)
    assert httpx.get(f"{broker.admin}/api/v1/usage").json()["total"]["attempts"] == CALLS
    for bucket in httpx.get(f"{broker.admin}/api/v1/status").json()["providers"][0]["buckets"]:
        assert bucket["available"] >= -5 * bucket["capacity"]


def test_a_ledger_that_an_earlier_version_poisoned_starts_and_reports(start, simulator, tmp_path):
    path = tmp_path / "t.db"
    policy = policy_for(simulator.url, budgets=[{"usd": 10, "per": "month", "on_exceed": "warn"}])
    broker = start.broker(policy, "--store", str(path))
    for _ in range(3):
        assert httpx.post(broker.url + CHAT, json=ASKED, timeout=20).status_code == 200
    broker.signal(signal.SIGTERM)
    assert broker.wait() == 0
    books = sqlite3.connect(path)
    columns = [row[1] for row in books.execute("PRAGMA table_info(calls)")]
    values = {"id": "id + step.value", "request_low": "request_low + step.value", "cost": "4611686018400000000",
              "input_tokens": "9007199254740992", "output_tokens": "9223372036854775807"}
    books.execute(
        "WITH RECURSIVE step(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM step WHERE value < 1200) "
        f"INSERT INTO calls ({', '.join(columns)}) SELECT {', '.join(values.get(name, name) for name in columns)} "
        "FROM step, (SELECT * FROM calls ORDER BY id DESC LIMIT 1)")
    books.commit()
    books.close()
    broker = start.broker(policy, "--store", str(path))
    total = httpx.get(f"{broker.admin}/api/v1/usage").json()["total"]
    assert total["attempts"] == 1203
    assert total["input_tokens"] >= 1200 * 2**40
    assert float(total["cost_usd"]) >= 1200 * 1000
    assert "tollgate_budget_spent_usd" in httpx.get(f"{broker.admin}/metrics").text
    assert httpx.post(broker.url + CHAT, json=ASKED, timeout=20).status_code == 200
    report = run("usage", "--store", str(path), "--format", "json")
    assert json.loads(report.stdout)["total"]["attempts"] >= 1203
