"""What was read from prompt caches, and what was lost: the reports by `cache` and the metrics."""

import json

from processes import policy_for, run
from scripted import reply


def answer(prompt, cached):
    return {"id": "c", "object": "chat.completion", "model": "gpt-test",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": 5, "total_tokens": prompt + 5,
                      "prompt_tokens_details": {"cached_tokens": cached}}}


def test_the_share_that_caches_gave_and_the_report_by_reason(start, http, tmp_path):
    provider = start.provider(reply(body=json.dumps(answer(1000, 750)).encode()))
    broker = start.broker(policy_for(provider.url), "--store", str(tmp_path / "ledger.db"))
    for _ in range(3):
        assert http.post(broker.openai_url + "/chat/completions",
                         json={"model": "gpt-test", "messages": [{"role": "user", "content": "hello"}]}).status_code == 200
    metrics = http.get(broker.admin + "/metrics").text
    assert 'tollgate_cache_read_share{provider="openai"} 0.75\n' in metrics
    assert "# TYPE tollgate_cache_lost_usd_total counter" in metrics
    report = http.get(broker.admin + "/api/v1/usage", params={"by": "cache"}).json()
    row, = report["rows"]
    assert (row["cache"], row["requests"], row["input_tokens"], row["cache_read_tokens"]) == ("", 3, 3000, 2250)
    for name in ("lost_tokens", "lost_by_waiting_tokens"):
        assert row[name] == report["total"][name] == 0
    for name in ("lost_usd", "lost_by_waiting_usd"):
        assert row[name] == "0.000000000"
    assert "lost_tokens" not in http.get(broker.admin + "/api/v1/usage", params={"by": "model"}).json()["total"]
    shown = run("usage", "--by", "cache", "--admin", broker.admin)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    head = next(line for line in lines if line.startswith("CACHE"))
    row = next(line for line in lines if line.startswith("-"))
    assert head.split()[-6:] == ["LOST", "LOST", "USD", "BY", "WAITING", "USD"]
    assert row.split()[-4:] == ["0", "$0.00", "-", "-"]
    # From the file too.
    broker.stop()
    stored = run("usage", "--by", "cache", "--store", str(tmp_path / "ledger.db"), "--format", "csv")
    assert stored.stdout.splitlines()[0].endswith(",cost_usd,lost_tokens,lost_usd,lost_by_waiting_tokens,lost_by_waiting_usd")


def message(prompt, read, written):
    usage = {"input_tokens": prompt - read - written, "cache_read_input_tokens": read, "cache_creation_input_tokens": written,
             "output_tokens": 5}
    return {"id": "m", "type": "message", "role": "assistant", "model": "claude-opus-5", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "hi"}], "usage": usage}


def test_why_input_was_not_read(start, http, tmp_path):
    """A conversation of 30,000 tokens that grows, whose system prompt then changes in one letter, and which the provider then forgets."""
    told = iter([(30_000, 0, 30_000), (30_500, 30_000, 500), (31_000, 0, 31_000), (31_500, 31_000, 500), (32_000, 0, 32_000),
                 (700, 0, 700)])
    provider = start.provider(lambda received, connection: reply(body=json.dumps(message(*next(told))).encode()))
    broker = start.broker(policy_for(provider.url), "--store", str(tmp_path / "ledger.db"))
    texts = ["%d " % number + "abcd" * 500 for number in range(60)]

    def ask(system, count, session="one"):
        body = {"model": "claude-opus-5", "max_tokens": 9, "system": system,
                "messages": [{"role": "user" if number % 2 == 0 else "assistant",
                              "content": [{"type": "text", "text": text} | (
                                  {"cache_control": {"type": "ephemeral"}} if number == count - 1 else {})]}
                             for number, text in enumerate(texts[:count])]}
        assert http.post(broker.url + "/v1/messages", json=body, headers={"x-tollgate-session": session}).status_code == 200

    ask("Today is Monday.", 51)
    ask("Today is Monday.", 53)
    ask("Today is Nonday.", 55)
    ask("Today is Nonday.", 57)
    ask("Today is Nonday.", 59)
    ask("Less than is ever cached.", 1, session="another")
    report = http.get(broker.admin + "/api/v1/usage", params={"by": "cache"}).json()
    rows = {row["cache"]: (row["requests"], row["lost_tokens"], row["lost_usd"], row["lost_by_waiting_tokens"])
            for row in report["rows"]}
    # What is lost costs a write (6.25) where a read costs 0.5: 5.75 USD for a million tokens.
    assert rows == {"first_call": (1, 30_000, "0.172500000", 0), "": (3, 0, "0.000000000", 0),
                    "prefix_changed": (1, 30_500, "0.175375000", 0), "provider": (1, 31_500, "0.181125000", 0)}
    metrics = http.get(broker.admin + "/metrics").text
    assert 'tollgate_cache_lost_usd_total{reason="provider"} 0.181125\n' in metrics
