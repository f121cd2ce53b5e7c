"""The admin plane: health, metrics, status, requests, reload and drain, by HTTP and by signals."""

import asyncio
import re
import signal
import threading

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleet import Client, chat
from processes import policy_for, write_policy
from rawhttp import address_of, exchange
from waiting import wait_until

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "hello"}]}


def status(http, broker):
    return http.get(broker.admin + "/api/v1/status").json()


def provider(http, broker, name="openai", **headers):
    answer = http.get(broker.admin + "/api/v1/status", headers=headers).json()
    return next(entry for entry in answer["providers"] if entry["id"] == name)


def in_background(http, broker, **fields):
    """Sends one call that the simulator holds for a while; returns the thread and a list that will have its answer."""
    answers = []

    def call():
        try:
            answers.append(http.post(broker.url + "/v1/chat/completions", json=CHAT, headers=fields))
        except httpx.TransportError as error:
            answers.append(error)
    thread = threading.Thread(target=call)
    thread.start()
    return thread, answers


def test_health_and_readiness(http, broker):
    assert http.get(broker.admin + "/healthz").status_code == 200
    assert http.get(broker.admin + "/readyz").status_code == 200


def test_admin_is_not_on_the_data_port(http, broker):
    for path in ("/healthz", "/metrics", "/api/v1/status"):
        assert http.get(broker.url + path).status_code == 404


def test_changes_only_by_post(http, broker):
    for path in ("/api/v1/drain", "/api/v1/reload"):
        answer = http.get(broker.admin + path)
        assert answer.status_code == 405
        assert "POST" in answer.headers["allow"]
    assert http.post(broker.admin + "/healthz").status_code == 405
    assert http.get(broker.admin + "/nothing").status_code == 404


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/dashboard.js", "/api/v1/status", "/api/v1/requests", "/api/v1/usage",
                                  "/api/v1/budgets", "/api/v1/ledger", "/api/v1/events"])
def test_head_gets_what_get_does_without_the_body(http, broker, path):
    head = http.head(broker.admin + path)
    with http.stream("GET", broker.admin + path) as answer:
        assert (head.status_code, head.headers["content-type"]) == (answer.status_code, answer.headers["content-type"]) == (
            200, answer.headers["content-type"])
    assert head.content == b""


@pytest.mark.parametrize("path", ["/api/v1/led%67er", "/api/v1/us%61ge", "/ap%69/v1/status", "/health%7a", "/api/v1/ledger/", "/api/v1/usage/"])
def test_a_path_may_be_written_in_other_ways(http, broker, path):
    assert http.get(broker.admin + path).status_code == 200
    assert http.post(broker.admin + path).status_code == 405


@pytest.mark.parametrize("path", ["/api/v1/led%2Fger", "/api%2Fv1/ledger", "/api/v1%2Fledger"])
def test_an_escaped_slash_divides_nothing(http, broker, path):
    assert http.get(broker.admin + path).status_code == 404


def test_status_shape(http, broker):
    http.post(broker.url + "/v1/chat/completions", json=CHAT)
    shown = status(http, broker)
    assert shown["draining"] is False
    assert shown["version"]
    assert isinstance(shown["tenants"], list) and isinstance(shown["budgets"], list)
    entry = next(entry for entry in shown["providers"] if entry["id"] == "openai")
    assert entry["in_flight"] == 0
    assert entry["concurrency_limit"] is None or entry["concurrency_limit"] >= 0
    assert set(entry["queued"]) == {"high", "normal", "low"}
    assert {"state", "reason", "until"} <= set(entry["breaker"])
    assert entry["breaker"]["state"] == "closed"
    assert entry["keys"][0]["id"] == "main"
    assert {"id", "state", "until", "in_flight"} <= set(entry["keys"][0])
    assert "sk-simulated" not in str(shown)


def test_status_of_buckets_and_queues(start, http):
    simulator = start.simulator(first_token="30s")
    broker = start.broker(policy_for(simulator.url, limits={
        "concurrency": 1, "requests_per_minute": 600, "tokens_per_minute": 60000}))
    clients = [Client(address_of(broker.url)) for _ in range(3)]

    async def run():
        for client in clients:
            await client.send(chat(max_tokens=40_000), [("x-tollgate-priority", "low")])
        await asyncio.to_thread(wait_until, lambda: provider(http, broker)["queued"]["low"] == 2, "two queued calls")
        return provider(http, broker)

    entry = asyncio.run(run())
    assert entry["in_flight"] == 1 and entry["concurrency_limit"] == 1
    buckets = {bucket["dimension"]: bucket for bucket in entry["buckets"]}
    assert {"requests", "tokens"} <= set(buckets)
    assert buckets["requests"]["capacity"] > 0
    assert buckets["tokens"]["available"] < buckets["tokens"]["capacity"]


def test_requests_in_each_state(start, http):
    simulator = start.simulator(first_token="1s", output_tokens="3-3")
    broker = start.broker(policy_for(simulator.url, limits={"concurrency": 1}))
    first, _ = in_background(http, broker, **{"x-tollgate-session": "one"})

    def listed(state):
        return http.get(f"{broker.admin}/api/v1/requests?state={state}").json()["requests"]
    running = wait_until(lambda: listed("running"), "a running request")[0]
    second, answers = in_background(http, broker, **{"x-tollgate-session": "two", "x-tollgate-kind": "compaction"})
    # It is in the list from its head on; its session and class are known once its body has been read.
    queued = wait_until(lambda: [each for each in listed("queued") if each["session"]], "a queued request")[0]
    assert (running["state"], running["outcome"], running["session"]) == ("running", None, "one")
    assert (queued["state"], queued["outcome"], queued["session"], queued["priority"], queued["kind"]) == (
        "queued", None, "two", "low", "compaction")
    for thread in (first, second):
        thread.join(20)
    wait_until(lambda: len(listed("recent")) == 2, "two ended requests")
    newest = listed("recent")[0]
    assert newest["id"] == answers[0].headers["x-tollgate-request-id"]
    assert {"id", "state", "outcome", "tenant", "session", "priority", "priority_reason", "kind", "model", "provider", "key",
            "queued_ms", "first_byte_ms", "total_ms", "attempts", "input_tokens", "output_tokens", "estimated",
            "cost_usd"} <= set(newest)
    assert (newest["state"], newest["outcome"], newest["provider"], newest["key"], newest["model"]) == (
        "ended", "completed", "openai", "main", "gpt-test")
    assert newest["output_tokens"] == 3 and newest["estimated"] is False
    assert newest["queued_ms"] > 0 and newest["total_ms"] >= newest["first_byte_ms"] >= newest["queued_ms"]
    assert len(http.get(broker.admin + "/api/v1/requests?state=recent&limit=1").json()["requests"]) == 1
    assert http.get(broker.admin + "/api/v1/requests?state=nonsense").status_code == 400
    assert http.get(broker.admin + "/api/v1/requests?limit=nonsense").status_code == 400


@pytest.mark.parametrize("path", ["drain?dry_run=true", "reload?x", "keys/openai/main/disable?x=1&x=2", "breakers/openai/open?for=1h"])
def test_a_command_with_a_word_too_many_does_nothing(start, http, simulator, path):
    broker = start.broker(policy_for(simulator.url))
    before = http.get(broker.admin + "/api/v1/audit").json()["changes"]
    refused = http.post(f"{broker.admin}/api/v1/{path}")
    name = path.split("?")[1].split("=")[0]
    assert refused.status_code == 400 and f"there is no parameter '{name}' here" in refused.text and "nothing was done" in refused.text
    status = http.get(broker.admin + "/api/v1/status").json()
    assert status["draining"] is False and status["providers"][0]["keys"][0]["state"] == "usable" and status["providers"][0]["breaker"]["state"] == "closed"
    assert http.get(broker.admin + "/api/v1/audit").json()["changes"] == before


@pytest.mark.parametrize("path", ["status", "me", "budgets", "ledger", "webhooks", "events", "log-level", "requests", "sessions?limit=1", "usage", "audit",
                                  "history?metric=calls", "/metrics"])
def test_a_question_with_a_word_too_many_is_not_answered(broker, http, path):
    target = path if path.startswith("/") else f"/api/v1/{path}"
    refused = http.get(f"{broker.admin}{target}{'&' if '?' in path else '?'}tenants=acme")
    assert refused.status_code == 400 and "there is no parameter 'tenants'" in refused.text, refused.text


def test_one_request_and_its_waits(start, http):
    simulator = start.simulator(first_token="300ms", output_tokens="3-3")
    broker = start.broker(policy_for(simulator.url, limits={"concurrency": 1}))
    threads = [in_background(http, broker) for _ in range(2)]
    for thread, _ in threads:
        thread.join(20)
    waited = max((answers[0] for _, answers in threads), key=lambda answer: int(answer.headers["x-tollgate-queue-ms"]))
    record = http.get(f"{broker.admin}/api/v1/requests/{waited.headers['x-tollgate-request-id']}")
    assert record.status_code == 200
    assert "openai" in record.text and "completed" in record.text
    assert http.get(broker.admin + "/api/v1/requests/01ARZ3NDEKTSV4RRFFQ69G5FAV").status_code == 404
    assert http.get(broker.admin + "/api/v1/requests/nonsense").status_code in (400, 404)


FAMILIES = {
    "tollgate_requests": "counter", "tollgate_queue_depth": "gauge", "tollgate_queue_bytes": "gauge",
    "tollgate_queue_wait_seconds": "histogram", "tollgate_inflight": "gauge", "tollgate_concurrency_limit": "gauge",
    "tollgate_bucket_available": "gauge", "tollgate_bucket_capacity": "gauge", "tollgate_breaker_state": "gauge",
    "tollgate_key_state": "gauge", "tollgate_upstream_responses": "counter", "tollgate_time_to_first_byte_seconds": "histogram",
    "tollgate_overhead_seconds": "histogram", "tollgate_tokens": "counter", "process_resident_memory_bytes": "gauge",
}


def families(http, broker):
    answer = http.get(broker.admin + "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(found, family, sample, **labels):
    return sum(entry.value for entry in found[family].samples
               if entry.name == sample and all(entry.labels.get(name) == wanted for name, wanted in labels.items()))


def test_metrics(start, http, simulator):
    broker = start.broker(policy_for(simulator.url, limits={"concurrency": 5, "requests_per_minute": 6000}))
    for _ in range(3):
        http.post(broker.url + "/v1/chat/completions", json=CHAT, headers={"x-tollgate-priority": "high"})
    http.post(broker.url + "/v1/chat/completions", json=CHAT, headers={"x-sim-fault": "400"})
    found = families(http, broker)
    for name, kind in FAMILIES.items():
        assert name in found, f"{name} is missing"
        assert found[name].type == kind, name
    assert value(found, "tollgate_requests", "tollgate_requests_total", provider="openai", priority="high", outcome="completed") == 3
    assert value(found, "tollgate_requests", "tollgate_requests_total", provider="openai", priority="normal") == 1
    assert value(found, "tollgate_queue_wait_seconds", "tollgate_queue_wait_seconds_count", priority="high") == 3
    assert value(found, "tollgate_upstream_responses", "tollgate_upstream_responses_total", provider="openai", status="400") == 1
    assert value(found, "tollgate_concurrency_limit", "tollgate_concurrency_limit", provider="openai") == 5
    assert value(found, "tollgate_inflight", "tollgate_inflight", provider="openai") == 0
    assert value(found, "tollgate_tokens", "tollgate_tokens_total", provider="openai", type="output") == 15
    assert value(found, "tollgate_bucket_capacity", "tollgate_bucket_capacity", provider="openai", dimension="requests") > 0
    assert value(found, "tollgate_breaker_state", "tollgate_breaker_state", provider="openai") == 0


def test_metric_labels_never_come_from_free_text(http, broker):
    http.post(broker.url + "/v1/chat/completions", json=CHAT, headers={
        "x-tollgate-session": "secret-session", "x-tollgate-priority": "secret-priority", "x-tollgate-kind": "secret-kind"})
    text = http.get(broker.admin + "/metrics").text
    assert "secret" not in text


def test_token(start, http, simulator):
    broker = start.broker(policy_for(simulator.url, admin={"token": "${ADMIN_TOKEN}"}), env={"ADMIN_TOKEN": "admin-secret"})
    assert http.get(broker.admin + "/api/v1/status").status_code == 401
    assert http.get(broker.admin + "/api/v1/status", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert http.get(broker.admin + "/api/v1/status", headers={"authorization": "Bearer admin-secret"}).status_code == 200
    assert http.post(broker.admin + "/api/v1/drain").status_code == 401
    # The name of the scheme may be written as one likes, the token may not.
    for shown, status in (("bearer admin-secret", 200), ("BEARER  admin-secret", 200), ("bearer Admin-secret", 401), ("Bearer", 401),
                          ("admin-secret", 401), ("Basic admin-secret", 401), ("Bearer:admin-secret", 401)):
        assert http.get(broker.admin + "/api/v1/status", headers={"authorization": shown}).status_code == status, shown
    # A load balancer has no token.
    assert http.get(broker.admin + "/healthz").status_code == 200


@pytest.mark.parametrize("fields, status", [
    ({"origin": "https://evil.example"}, 403), ({"origin": "null"}, 403), ({"sec-fetch-site": "cross-site"}, 403),
    ({"sec-fetch-site": "same-site", "origin": "HOST"}, 403), ({"origin": "HOST"}, 200), ({"sec-fetch-site": "same-origin", "origin": "HOST"}, 200),
    # A proxy with another name before us: the browser says that the page is ours.
    ({"sec-fetch-site": "same-origin", "origin": "https://tollgate.example"}, 200), ({}, 200)])
def test_pages_of_other_sites_change_nothing_with_a_token_either(start, http, simulator, fields, status):
    broker = start.broker(policy_for(simulator.url, admin={"token": "admin-secret"}))
    shown = {name: broker.admin if value == "HOST" else value for name, value in fields.items()}
    answer = http.post(broker.admin + "/api/v1/breakers/openai/open", headers={"authorization": "Bearer admin-secret", **shown})
    assert answer.status_code == status
    assert provider(http, broker, authorization="Bearer admin-secret")["breaker"]["state"] == ("open" if status == 200 else "closed")


@pytest.mark.parametrize("by", ["http", "signal"])
def test_reload(start, http, simulator, by):
    broker = start.broker(policy_for(simulator.url, limits={"concurrency": 3}))

    def reload():
        if by == "http":
            return http.post(broker.admin + "/api/v1/reload")
        broker.signal(signal.SIGHUP)
        return None
    write_policy(broker.policy_file.parent, policy_for(simulator.url, limits={"concurrency": 7}))
    answer = reload()
    assert answer is None or answer.status_code == 200, answer.text
    wait_until(lambda: provider(http, broker)["concurrency_limit"] == 7, "the new limit")

    broken = broker.policy_file.read_text().replace("concurrency: 7", "concurrency: many", 1)
    broker.policy_file.write_text(broken)
    answer = reload()
    if answer is not None:
        assert answer.status_code in (400, 422)
        assert re.search(r"policy\.yaml:\d+:\d+: error: .*concurrency", answer.text), answer.text
    else:
        broker.wait_for_line(r"policy\.yaml:\d+:\d+: error: .*concurrency")
    assert provider(http, broker)["concurrency_limit"] == 7
    assert http.post(broker.url + "/v1/chat/completions", json=CHAT).status_code == 200


def test_reload_keeps_what_runs(start, http):
    simulator = start.simulator(first_token="600ms", output_tokens="3-3")
    broker = start.broker(policy_for(simulator.url, limits={"concurrency": 1}))
    calls = [in_background(http, broker, **{"x-tollgate-session": str(n)}) for n in range(3)]
    wait_until(lambda: sum(provider(http, broker)["queued"].values()) == 2, "two queued calls")
    write_policy(broker.policy_file.parent, policy_for(simulator.url, limits={"concurrency": 3}))
    assert http.post(broker.admin + "/api/v1/reload").status_code == 200
    for thread, answers in calls:
        thread.join(20)
        assert answers[0].status_code == 200
    assert http.get(simulator.url + "/sim/stats").json()["peak"] >= 2


@pytest.mark.parametrize("by", ["http", "signal"])
def test_drain(start, http, by):
    simulator = start.simulator(first_token="1s", output_tokens="3-3")
    broker = start.broker(policy_for(simulator.url, limits={"concurrency": 2}))
    thread, answers = in_background(http, broker)
    wait_until(lambda: provider(http, broker)["in_flight"] == 1, "one call in flight")
    keep_alive = http.get(broker.admin + "/readyz")
    assert keep_alive.status_code == 200
    if by == "http":
        assert http.post(broker.admin + "/api/v1/drain").status_code in (200, 202)
    else:
        broker.signal(signal.SIGTERM)
    wait_until(lambda: http.get(broker.admin + "/readyz").status_code == 503, "not ready")
    told = status(http, broker)
    assert told["draining"] is True
    # No new call waits: neither place tells a wait.
    assert [told["classes"][name]["predicted_wait_ms"] for name in ("high", "normal", "low")] == [None] * 3
    assert "tollgate_predicted_wait_seconds{" not in http.get(broker.admin + "/metrics").text
    try:
        refused = exchange(address_of(broker.url), "POST", "/v1/chat/completions", [("Content-Type", "application/json")], chat())
        assert refused.status == 503
        assert refused.first("x-tollgate-outcome") == "rejected_draining"
        assert int(refused.first("retry-after")) >= 1
    except ConnectionRefusedError:
        pass  # No longer listening says the same to a load balancer.
    thread.join(20)
    assert answers[0].status_code == 200 and answers[0].json()["choices"]
    assert broker.wait(15) == 0


def test_drain_has_an_end(start, http):
    simulator = start.simulator(first_token="60s")
    broker = start.broker(policy_for(simulator.url, drain_timeout="500ms"))
    thread, answers = in_background(http, broker)
    wait_until(lambda: provider(http, broker)["in_flight"] == 1, "one call in flight")
    broker.signal(signal.SIGTERM)
    assert broker.wait(15) == 0
    thread.join(20)
    assert answers, "the client must learn of the end"


def test_second_signal_stops_at_once(start, http):
    simulator = start.simulator(first_token="60s")
    broker = start.broker(policy_for(simulator.url, drain_timeout="60s"))
    thread, _ = in_background(http, broker)
    wait_until(lambda: provider(http, broker)["in_flight"] == 1, "one call in flight")
    broker.signal(signal.SIGINT)
    wait_until(lambda: http.get(broker.admin + "/readyz").status_code == 503, "not ready")
    broker.signal(signal.SIGINT)
    broker.wait(5)
    thread.join(20)
