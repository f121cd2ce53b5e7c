"""What the broker has learned from its providers stands in the status, with its source and time, and is marked after a restart."""

import json
from datetime import datetime, timezone

from processes import policy_for, run
from scripted import reply

ANSWER = {"id": "c", "object": "chat.completion", "model": "gpt-test",
          "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
          "usage": {"prompt_tokens": 40, "completion_tokens": 5, "total_tokens": 45}}
LIMITS = [("x-ratelimit-limit-requests", "60"), ("x-ratelimit-remaining-requests", "59"), ("x-ratelimit-reset-requests", "1s")]


def ask(http, broker, text="word " * 40):
    answer = http.post(broker.openai_url + "/chat/completions",
                       json={"model": "gpt-test", "messages": [{"role": "user", "content": text}]})
    assert answer.status_code == 200
    return answer


def learned(http, broker, what):
    status = http.get(broker.admin + "/api/v1/status").json()
    assert status["learned_left_out"] == 0
    return [row for row in status["learned"] if row["what"] == what]


def test_a_header_that_lowers_a_limit_is_listed(start, http):
    provider = start.provider(reply(fields=LIMITS, body=json.dumps(ANSWER).encode()))
    broker = start.broker(policy_for(provider.url, learn_limits=True, limits={"requests_per_minute": 1000}))
    assert http.get(broker.admin + "/api/v1/status").json()["learned"] == []
    before = datetime.now(timezone.utc)
    ask(http, broker)
    row, = learned(http, broker, "requests_per_minute")
    since = datetime.fromisoformat(row.pop("since"))
    assert row == {"provider": "openai", "what": "requests_per_minute", "model": None, "key": None, "value": 60, "unit": "requests/min",
                   "from": "rate-limit headers"}
    assert abs((since - before).total_seconds()) < 10
    # For people: a table whose columns line up.
    shown = run("status", "--admin", broker.admin)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    head = next(line for line in lines if line.startswith("LEARNED"))
    line = next(line for line in lines if line.startswith("requests_per_minute"))
    assert head.index("FROM") == line.index("rate-limit headers")
    assert head.index("FOR") == line.index("openai")


def test_a_limit_that_headers_told_holds_after_a_restart(start, http, tmp_path):
    told = list(LIMITS)
    provider = start.provider(lambda received, connection: reply(fields=told, body=json.dumps(ANSWER).encode()))
    policy = policy_for(provider.url, learn_limits=True)
    store = ("--store", str(tmp_path / "ledger.db"))
    broker = start.broker(policy, *store)
    ask(http, broker)
    assert learned(http, broker, "requests_per_minute")[0]["from"] == "rate-limit headers"
    broker.stop()
    again = start.broker(policy, *store)
    row, = learned(http, again, "requests_per_minute")
    assert (row["value"], row["from"]) == (60, "rate-limit headers before the start, stored")
    bucket, = [bucket for provider in http.get(again.admin + "/api/v1/status").json()["providers"] if provider["id"] == "openai"
               for bucket in provider["buckets"]]
    # The call before the restart counts.
    assert bucket["capacity"] == 60 and bucket["available"] in (59, 60)
    # What the provider tells now takes its place, whatever it is.
    told[0] = ("x-ratelimit-limit-requests", "500")
    ask(http, again)
    row, = learned(http, again, "requests_per_minute")
    assert (row["value"], row["from"]) == (500, "rate-limit headers")


def test_what_was_learned_is_kept_and_marked(start, http, tmp_path):
    provider = start.provider(reply(body=json.dumps(ANSWER).encode()))
    policy = policy_for(provider.url)
    store = ("--store", str(tmp_path / "ledger.db"))
    broker = start.broker(policy, *store)
    for _ in range(10):
        ask(http, broker)
    before, = learned(http, broker, "input_estimate")
    assert (before["from"], before["calls"], before["stored_calls"], before["model"]) == ("usage of 10 calls", 10, 0, "gpt-test")
    output, = learned(http, broker, "output_normal")
    assert output["value"] >= 5
    broker.stop()
    again = start.broker(policy, *store)
    after, = learned(http, again, "input_estimate")
    assert (after["from"], after["calls"], after["stored_calls"]) == ("usage of 10 calls before the start, stored", 10, 10)
    assert after["value"] == before["value"]
    assert learned(http, again, "output_normal")[0]["value"] == output["value"]
    ask(http, again)
    assert learned(http, again, "input_estimate")[0]["from"] == "usage of 11 calls, 10 of them before the start, stored"
