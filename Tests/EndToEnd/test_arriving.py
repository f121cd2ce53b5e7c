"""Calls that do not get on: a client that hangs while it sends its body, and a provider that takes calls and does not answer."""

import json
import threading

import httpx

from processes import policy_for, run
from rawhttp import Connection, address_of
from scripted import reply
from waiting import wait_until

ANSWER = json.dumps({"id": "c", "object": "chat.completion", "model": "m",
                     "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
                     "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}}).encode()
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()


def status(http, broker):
    return http.get(broker.admin + "/api/v1/status").json()


def listed(http, broker, state):
    return http.get(f"{broker.admin}/api/v1/requests?state={state}").json()["requests"]


def test_a_body_that_does_not_come_is_arriving(start, http):
    broker = start.broker(policy_for(start.provider(reply(body=ANSWER)).url))
    assert status(http, broker)["arriving"] == 0
    with Connection(address_of(broker.url)) as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)
                    + BODY[:9])
        one, = wait_until(lambda: listed(http, broker, "queued"), "the call")
        assert (one["state"], one["arriving"], one["waits_for"]) == ("queued", True, None)
        told = status(http, broker)
        assert (told["arriving"], told["running"], told["queued"]) == (1, 0, {"high": 0, "normal": 0, "low": 0})
        assert "arriving 1" in run("status", "--admin", broker.admin, check=True).stdout
        row = run("requests", "--admin", broker.admin, check=True).stdout.splitlines()[1]
        assert "  arriving  " in row and row.rstrip().endswith("the rest of its body"), row
        shown = run("explain", one["id"], "--admin", broker.admin, check=True).stdout
        assert shown.splitlines()[0].endswith("  arriving") and "its body is still on the way" in shown
        client.send(BODY[9:])
        assert client.answer().status == 200
    told = status(http, broker)
    assert told["arriving"] == 0
    assert [(entry["state"], entry["arriving"]) for entry in listed(http, broker, "recent")] == [("ended", False)]
    assert "arriving" not in run("status", "--admin", broker.admin, check=True).stdout


def test_whoever_leaves_meanwhile_or_is_refused_is_counted_no_more(start, http):
    broker = start.broker(policy_for(start.provider(reply(body=ANSWER)).url))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{"
    clients = [Connection(address_of(broker.url)) for _ in range(3)]
    for client in clients:
        client.send(head)
    wait_until(lambda: status(http, broker)["arriving"] == 3, "three bodies on the way")
    for client in clients:
        client.close()
    wait_until(lambda: status(http, broker)["arriving"] == 0, "none")
    # Bodies that no call can be made of, and a method without a body.
    for body in (b"{", b"[]"):
        assert http.post(broker.url + "/v1/chat/completions", content=body).status_code >= 400
    assert http.get(broker.url + "/v1/models").status_code in (200, 502, 503)
    assert status(http, broker)["arriving"] == 0


def test_a_provider_that_hangs_is_told_before_the_call_ends(start, http):
    go, hangs = threading.Event(), threading.Event()

    def answer(received, connection):
        if hangs.is_set():
            go.wait(60)
        return reply(body=ANSWER)

    broker = start.broker(policy_for(start.provider(answer).url))

    def call():
        return httpx.post(broker.url + "/v1/chat/completions", content=BODY, headers={"content-type": "application/json"}, timeout=60).status_code

    for _ in range(12):
        assert call() == 200
    assert all(one["slow_start"] is None for one in status(http, broker)["providers"])
    hangs.set()
    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    slow = wait_until(lambda: status(http, broker)["providers"][0]["slow_start"], "the provider to be told", timeout=25)
    assert slow["calls"] in (1, 2) and slow["longest_ms"] > 10_000 and slow["usual_ms"] < 1000
    wait_until(lambda: status(http, broker)["providers"][0]["slow_start"]["calls"] == 2, "both")
    told = status(http, broker)
    assert "2 calls at openai have waited up to 1" in told["headline"] and "where nine of ten have it within" in told["headline"]
    assert "which: tollgate requests --state running --slowest" in run("status", "--admin", broker.admin, check=True).stdout
    go.set()
    for caller in callers:
        caller.join()
    wait_until(lambda: status(http, broker)["providers"][0]["slow_start"] is None, "the end")
    assert "for a first byte" not in status(http, broker)["headline"]
