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
    assert row.split()[-4:] == ["0", "0.000000000", "-", "0.000000000"]
    # From the file too.
    broker.stop()
    stored = run("usage", "--by", "cache", "--store", str(tmp_path / "ledger.db"), "--format", "csv")
    assert stored.stdout.splitlines()[0].endswith(",cost_usd,lost_tokens,lost_usd,lost_by_waiting_tokens,lost_by_waiting_usd")
