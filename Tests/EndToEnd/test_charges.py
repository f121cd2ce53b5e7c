"""Usage is charged once: reading is free, batches and background responses by the first answer that shows their end, also
across a restart; what is not readable is not asked for; a timed-out call costs its input and is not repeated."""

import json
import signal

import httpx

from processes import policy_for, record_of
from scripted import ScriptedProvider, chunked, reply

PRICES = 'version: t\nmodels:\n  "m": {input: 1000, output: 1000, batch: {input: 500, output: 500}}\n'
DONE = {"id": "resp_1", "object": "response", "status": "completed", "model": "m",
        "usage": {"input_tokens": 121, "output_tokens": 400, "total_tokens": 521}}
RESULTS = b"".join(
    json.dumps({"custom_id": str(n), "result": {"type": "succeeded", "message": {
        "model": "m", "usage": {"input_tokens": 100, "output_tokens": 50}}}}).encode() + b"\n" for n in range(4))


def answers(received, connection):
    if received.target.endswith("/results"):
        return reply(body=RESULTS, content_type="application/x-jsonl")
    if received.method == "POST" and b'"background"' in received.body:
        return reply(body=json.dumps({"id": "resp_1", "status": "queued", "usage": None}).encode())
    return reply(body=json.dumps(DONE).encode())


def spent(broker):
    return httpx.get(f"{broker.admin}/api/v1/usage").json()["total"]


def test_what_was_begun_is_charged_once_and_the_ledger_knows(start, tmp_path):
    provider = start.provider(answers)
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    policy = policy_for(provider.url, prices=str(prices))
    store = ("--store", str(tmp_path / "t.db"))
    broker = start.broker(policy, *store)
    begun = httpx.post(f"{broker.url}/v1/responses", json={"model": "m", "input": "hi", "background": True},
                       headers={"accept-encoding": "br, gzip"})
    assert begun.json()["status"] == "queued"
    assert dict((n.lower(), v) for n, v in provider.received[0].fields)["accept-encoding"].strip() == "gzip"
    assert spent(broker)["cost_usd"] == "0.000000000"
    assert httpx.get(f"{broker.url}/v1/messages/batches/b_1/results").content == RESULTS
    assert spent(broker)["cost_usd"] == "0.300000000"
    broker.signal(signal.SIGKILL)
    broker.wait()
    broker = start.broker(policy, *store)
    for _ in range(2):
        httpx.get(f"{broker.url}/v1/messages/batches/b_1/results")
        httpx.get(f"{broker.url}/v1/responses/resp_1")
    total = spent(broker)
    assert total["cost_usd"] == "0.821000000"
    assert (total["input_tokens"], total["output_tokens"]) == (521, 600)


def test_a_timeout_after_sending_costs_its_input_once(start, tmp_path):
    def silent(received, connection):
        connection.rest()
        raise ScriptedProvider.Hangup

    provider = start.provider(silent)
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    broker = start.broker(policy_for(provider.url, prices=str(prices), timeouts={"first_byte": "200ms"}))
    answer = httpx.post(f"{broker.url}/v1/chat/completions", timeout=20,
                        json={"model": "m", "messages": [{"role": "user", "content": "word " * 400}]})
    assert answer.status_code == 504
    assert len(provider.received) == 1
    story = record_of(httpx, broker, answer)
    assert story["estimated"] is True and story["input_tokens"] >= 400
    assert float(story["cost_usd"]) > 0.4


def test_an_error_under_a_success_costs_nothing_and_zeros_beside_text_their_bytes(start, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    text = "word " * 400
    said = [
        chunked([b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n']),
        reply(body=b'{"error":{"message":"upstream exploded","code":502}}'),
        reply(body=json.dumps({"choices": [{"message": {"content": text}}], "usage": {
            "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}).encode()),
    ]
    provider = start.provider(lambda received, connection: said[len(provider.received) - 1])
    broker = start.broker(policy_for(provider.url, prices=str(prices)))

    def ask():
        answer = httpx.post(f"{broker.url}/v1/chat/completions", timeout=20, json={
            "model": "m", "stream": len(provider.received) == 0, "messages": [{"role": "user", "content": text}]})
        assert answer.status_code == 200
        return record_of(httpx, broker, answer)

    for _ in range(2):
        story = ask()
        assert float(story["cost_usd"]) == 0 and story["outcome"] != "completed"
    total = spent(broker)
    assert (total["requests"], total["input_tokens"], total["output_tokens"]) == (2, 0, 0)
    story = ask()
    assert story["estimated"] is True and story["input_tokens"] >= 400 and story["output_tokens"] == 500
    assert story["outcome"] == "completed"
