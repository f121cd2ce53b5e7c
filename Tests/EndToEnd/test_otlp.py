"""OpenTelemetry: spans and metrics at a collector that checks them, traces that go on to providers, and collectors in trouble."""

import json
import signal
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from certificates import make_certificate
from collector import CLIENT, INTERNAL, SERVER, Collector, attributes
from fleet import chat
from h2provider import H2Provider
from processes import policy_for, record_of, write_policy
from rawhttp import address_of, exchange
from scripted import reply
from waiting import wait_until

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
JSON = [("Content-Type", "application/json")]
ANSWER = json.dumps({"id": "x", "object": "chat.completion", "model": "gpt-6-mini-2026", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}).encode()
SECRET = "otlp-token-that-nobody-may-see"
RETRY = {"base": "5ms", "max": "10ms", "budget": "100%"}


def otlp(collector, **changes):
    return {"endpoint": collector if isinstance(collector, str) else collector.url, "sample": "100%"} | changes


def policy(provider, collector, **changes):
    return policy_for(provider.url, retry=changes.pop("retry", RETRY), otlp=otlp(collector, **changes.pop("otlp", {})), **changes)


def call(broker, *fields, model="gpt-6-mini", session=None):
    named = [("x-tollgate-session", session)] if session else []
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    return exchange(address_of(broker.url), "POST", "/v1/chat/completions", [*JSON, *named, *fields], body)


def sent(provider, name, number=-1):
    """The values of a field in what a provider got."""
    return [value for field, value in provider.received[number].fields if field.lower() == name]


def stop(broker):
    """What waits is told at the end."""
    broker.signal(signal.SIGTERM)
    assert broker.wait() == 0


def dropped(http, broker):
    families = {family.name: family for family in text_string_to_metric_families(http.get(broker.admin + "/metrics").text)}
    return families["tollgate_otlp_dropped"].samples[0].value


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


def test_a_call_is_a_tree_of_spans(start, http, collector):
    go = threading.Event()
    answers = [lambda: (go.wait(20), reply(body=ANSWER))[1], lambda: reply(503, body=b"{}", reason="Later"), lambda: reply(body=ANSWER)]
    provider = start.provider(lambda received, connection: answers.pop(0)())
    broker = start.broker(policy(provider, collector, limits={"concurrency": 1}), "--log-format", "json")
    first = threading.Thread(target=call, args=(broker,))
    first.start()
    wait_until(lambda: len(provider.received) == 1, "the first call runs")
    results = []
    second = threading.Thread(target=lambda: results.append(call(broker, ("traceparent", PARENT), ("tracestate", "a=1,b=2"), session="s1")))
    second.start()
    wait_until(lambda: http.get(broker.admin + "/api/v1/status").json()["queued"]["normal"] == 1, "the second one waits")
    go.set()
    for thread in (first, second):
        thread.join(20)
    assert results[0].status == 200
    request = results[0].first("x-tollgate-request-id")
    assert http.get(f"{broker.admin}/api/v1/requests/{request}").json()["trace_id"] == TRACE
    stop(broker)
    assert any(json.loads(line).get("trace_id") == TRACE for line in broker.stderr if line.startswith("{"))

    root, children = next((root, children) for root, children in collector.calls() if root.trace == TRACE)
    assert (root.name, root.kind, root.parent) == ("POST /v1/chat/completions", SERVER, CALLER)
    assert root.proto.trace_state == "a=1,b=2" and root.proto.flags == 0x301 and not root.is_error
    expected = {"http.request.method": "POST", "url.path": "/v1/chat/completions", "url.scheme": "http", "http.route": "/v1/chat/completions",
                "http.response.status_code": 200, "tollgate.request.id": request, "tollgate.outcome": "completed", "tollgate.tenant": "default",
                "tollgate.attempts": 2, "gen_ai.conversation.id": "s1", "gen_ai.request.model": "gpt-6-mini", "tollgate.priority": "normal"}
    assert root.attributes.items() >= expected.items() and root.attributes["tollgate.queued_ms"] >= 0
    # Usage stands at attempts alone, so that sums count it once.
    assert not [name for name in root.attributes if name.startswith("gen_ai.usage")]

    waits = [span for span in children if span.kind == INTERNAL]
    tries = [span for span in children if span.kind == CLIENT]
    assert len(waits) + len(tries) == len(children) and len(tries) == 2
    assert waits[0].name == "queue provider_concurrency" or waits[0].name.startswith("queue ")
    assert any(span.attributes["tollgate.blocker"] == "provider_concurrency" and span.attributes["tollgate.provider"] == "openai" for span in waits)
    assert all(span.attributes["tollgate.priority"] == "normal" for span in waits)
    for span in children:
        assert span.trace == TRACE and root.start <= span.start <= span.end <= root.end
    # A wait before the first attempt, and each attempt after the one before.
    assert waits[0].end <= tries[0].start <= tries[0].end <= tries[1].start
    failed, good = tries
    port = int(provider.url.rsplit(":", 1)[1])
    for number, span in enumerate(tries, 1):
        assert span.name == "chat gpt-6-mini"
        assert span.attributes.items() >= {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-6-mini", "gen_ai.conversation.id": "s1",
            "server.address": "127.0.0.1", "server.port": port, "tollgate.provider": "openai", "tollgate.key": "main",
            "tollgate.attempt": number}.items()
        assert [event.name for event in span.proto.events] == ["first_byte"]
        assert span.start <= span.proto.events[0].time_unix_nano <= span.end
        # The id that the provider was sent.
        assert sent(provider, "traceparent", number) == [f"00-{TRACE}-{span.id}-01"]
        assert sent(provider, "tracestate", number) == ["a=1,b=2"]
    assert failed.is_error and failed.attributes["error.type"] == "503" and failed.attributes["http.response.status_code"] == 503
    assert "gen_ai.usage.input_tokens" not in failed.attributes
    assert not good.is_error and "error.type" not in good.attributes and good.attributes["http.request.resend_count"] == 1
    assert good.attributes.items() >= {"gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3, "gen_ai.response.model": "gpt-6-mini-2026",
                                       "http.response.status_code": 200, "tollgate.verdict": "success"}.items()


def test_without_a_collector_the_fields_go_on_as_they_came(start):
    provider = start.provider(reply(body=ANSWER))
    broker = start.broker(policy_for(provider.url))
    for values in [[PARENT], ["00-nonsense", PARENT], ["  00-" + "0" * 32 + "-x"], []]:
        call(broker, *[("TraceParent", value) for value in values], ("TraceState", "a=1"), ("tracestate", "b=2"))
        assert sent(provider, "traceparent") == [value.strip() for value in values]
        assert sent(provider, "tracestate") == ["a=1", "b=2"]


def test_what_is_no_traceparent_begins_a_trace(start, collector):
    provider = start.provider(reply(body=ANSWER))
    broker = start.broker(policy(provider, collector))
    wrong = [[], [PARENT.upper()], [PARENT, PARENT], ["ff" + PARENT[2:]], ["00-" + "0" * 32 + PARENT[35:]], ["x" * 5_000], [""]]
    for values in wrong:
        assert call(broker, *[("traceparent", value) for value in values], ("tracestate", "a=1")).status == 200
        assert len(sent(provider, "traceparent")) == 1 and not sent(provider, "tracestate")
        assert TRACE not in sent(provider, "traceparent")[0]
    # Of a version to come, what is known of it.
    call(broker, ("traceparent", "cc" + PARENT[2:] + "-more"), ("tracestate", "a=1"))
    assert sent(provider, "traceparent")[0].startswith(f"00-{TRACE}-") and sent(provider, "tracestate") == ["a=1"]
    stop(broker)
    roots = [root for root, _ in collector.calls()]
    assert len(roots) == len(wrong) + 1 and len({root.trace for root in roots}) == len(roots)
    assert [root.parent for root in roots] == [""] * len(wrong) + [CALLER] and roots[0].proto.flags == 0x101


@pytest.mark.parametrize("sample", ["0%", "100%"])
def test_who_decides_what_is_told(start, collector, sample):
    provider = start.provider(reply(body=ANSWER))
    broker = start.broker(policy(provider, collector, otlp={"sample": sample}))
    flags = []
    for fields in [[], [("traceparent", PARENT)], [("traceparent", PARENT[:-1] + "0")]]:
        call(broker, *fields)
        flags.append(sent(provider, "traceparent")[0][-2:])
    own = "01" if sample == "100%" else "00"
    assert flags == [own, "01", "00"]
    stop(broker)
    # A client's decision wins over the share.
    assert [root.parent for root, _ in collector.calls()] == ([""] if sample == "100%" else []) + [CALLER]
    # Metrics know of all.
    assert sum(point.count for point in collector.metrics()["gen_ai.client.operation.duration"]) == 3


def test_a_share_of_the_traces(start, collector):
    provider = start.provider(reply(body=ANSWER))
    broker = start.broker(policy(provider, collector, otlp={"sample": "50%"}))
    for _ in range(60):
        call(broker)
    told = {sent(provider, "traceparent", number)[0].split("-")[1] for number in range(60) if sent(provider, "traceparent", number)[0].endswith("01")}
    stop(broker)
    assert {root.trace for root, _ in collector.calls()} == told and 0 < len(told) < 60


def test_over_http2_the_field_is_sent_once(start, collector, tmp_path):
    certificate = make_certificate(tmp_path)
    got = []
    provider = H2Provider(certificate, lambda stream: (got.append(stream.fields), stream.answer(ANSWER)))
    made = policy(provider, collector)
    for entry in made["providers"].values():
        entry |= {"http_version": "2", "ca_file": str(certificate[0])}
    broker = start.broker(made)
    try:
        assert call(broker, ("traceparent", PARENT), ("tracestate", "a=1")).status == 200
    finally:
        provider.close()
    stop(broker)
    _, children = collector.calls()[0]
    attempt = next(span for span in children if span.kind == CLIENT)
    assert got[0]["traceparent"] == f"00-{TRACE}-{attempt.id}-01" and got[0]["tracestate"] == "a=1"


def test_a_field_of_the_policy_stays(start, collector):
    provider = start.provider(reply(body=ANSWER))
    made = policy(provider, collector)
    made["providers"]["openai"]["headers"] = {"traceparent": "of-the-policy"}
    broker = start.broker(made)
    call(broker, ("traceparent", PARENT))
    assert sent(provider, "traceparent") == ["of-the-policy"]


def test_hostile_names_stay_text(start, collector):
    provider = start.provider(reply(body=ANSWER))
    broker = start.broker(policy(provider, collector))
    names = ["\x00\x1b[31m\u202e<b>\"\\", "m" * 4_096, "\U0001f600" * 1_000, "</script>\u2028"]
    for name in names:
        assert call(broker, model=name, session="<img src=x>\u00ff").status == 200
    exchange(address_of(broker.url), "POST", "/p/openai/v1/<x>/" + "y" * 2_000, JSON, b"{}")
    exchange(address_of(broker.url), "BREW", "/v1/chat/completions", JSON, chat())
    stop(broker)
    calls = collector.calls()
    for (root, children), name in zip(calls, names):
        model = root.attributes["gen_ai.request.model"]
        # Whole where it is short; a long one is cut as it is read, maybe within a character.
        assert model == name if len(name) <= 100 else name.startswith(model.rstrip("\ufffd")) and 128 <= len(model.encode()) <= 1_024
        assert len(root.attributes["gen_ai.conversation.id"]) <= 256
        assert all(len(span.name.encode()) <= 1_024 for span in children)
    for root, _ in calls[len(names):]:
        assert root.name in ("POST", "HTTP", "HTTP /v1/chat/completions")
    # No name of a client's is a property of a metric.
    for points in collector.metrics().values():
        for point in points:
            assert attributes(point).get("gen_ai.request.model", "other") in ("other", "none")


def test_refusals_are_calls_too(start, collector):
    provider = start.provider(reply(400, body=b'{"error":{"message":"no"}}', reason="Bad"))
    made = policy(provider, collector, limits={"concurrency": 1})
    broker = start.broker(made)
    assert call(broker).status == 400
    assert exchange(address_of(broker.url), "GET", "/nothing/here", [], b"").status == 404
    stop(broker)
    (asked, tries), (unknown, none) = collector.calls()
    # What the client did wrong is an error of the attempt, not of ours.
    assert not asked.is_error and asked.attributes["tollgate.outcome"] == "upstream_error" and tries[-1].attributes["error.type"] == "400"
    assert unknown.name == "GET" and unknown.attributes["http.response.status_code"] == 404 and not none and not unknown.is_error


def test_metrics_say_what_prometheus_says(start, http, collector):
    simulator = start.simulator(first_token="1ms", output_tokens="5-5")
    broker = start.broker(policy_for(simulator.url, otlp=otlp(collector)))
    for number in range(7):
        priority = "high" if number < 2 else "low"
        body = chat(model="gpt-6-mini", stream=number % 2 == 0)
        assert exchange(address_of(broker.url), "POST", "/v1/chat/completions", [*JSON, ("x-tollgate-priority", priority)], body).status == 200
    families = {family.name: family.samples for family in text_string_to_metric_families(http.get(broker.admin + "/metrics").text)}
    stop(broker)
    metrics = collector.metrics()

    def counted(name, **labels):
        return sum(one.value for one in families[name.removesuffix("_count").removesuffix("_total")]
                   if one.name == name and labels.items() <= one.labels.items())

    for priority in ("high", "normal", "low"):
        point = next(one for one in metrics["tollgate.queue.wait"] if attributes(one)["tollgate.priority"] == priority)
        assert point.count == sum(point.bucket_counts) == counted("tollgate_queue_wait_seconds_count", priority=priority)
        assert list(point.explicit_bounds) == sorted(point.explicit_bounds) and len(point.bucket_counts) == len(point.explicit_bounds) + 1
    duration = metrics["gen_ai.client.operation.duration"]
    assert sum(one.count for one in duration) == counted("tollgate_requests_total") == 7
    assert sum(one.count for one in metrics["gen_ai.server.time_to_first_token"]) == counted("tollgate_time_to_first_byte_seconds_count") == 7
    for kind, types in [("input", ("input", "cache_read", "cache_write")), ("output", ("output",))]:
        points = [one for one in metrics["gen_ai.client.token.usage"] if attributes(one)["gen_ai.token.type"] == kind]
        assert sum(one.sum for one in points) == sum(counted("tollgate_tokens_total", type=one) for one in types)
        assert sum(one.count for one in points) == 7
    assert duration[0].start_time_unix_nano < duration[0].time_unix_nano
    assert attributes(duration[0]).items() >= {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "tollgate.provider": "openai"}.items()
    assert {attributes(one)["tollgate.priority"] for one in metrics["tollgate.queue.depth"]} == {"high", "normal", "low"}


def test_fields_are_sent_and_the_secret_is_shown_nowhere(start, http, collector):
    provider = start.provider(reply(body=ANSWER))
    made = policy(provider, collector, otlp={"headers": {"Authorization": "Bearer ${OTLP_TOKEN}", "x-scope": "team"}})
    broker = start.broker(made, "--log-level", "debug", env={"OTLP_TOKEN": SECRET})
    request = record_of(http, broker, call(broker))
    assert http.post(broker.admin + "/api/v1/reload").status_code == 200
    shown = json.dumps(request) + "".join(http.get(broker.admin + path).text for path in ("/api/v1/status", "/metrics", "/api/v1/audit"))
    stop(broker)
    for number in range(len(collector.received)):
        assert sent(collector, "authorization", number) == ["Bearer " + SECRET] and sent(collector, "x-scope", number) == ["team"]
    assert collector.spans() and SECRET not in broker.logs() + shown
    assert not [name for name, _ in provider.received[0].fields if name.lower() == "x-scope"]
    assert SECRET not in "".join(received.body.decode() for received in collector.received)


def test_a_collector_that_is_away_and_comes_back(start, http):
    gone = Collector()
    port = int(gone.url.rsplit(":", 1)[1])
    gone.close()
    provider = start.provider(reply(body=ANSWER))
    broker = start.broker(policy(provider, f"http://127.0.0.1:{port}"))
    assert call(broker).status == 200
    wait_until(lambda: "the collector does not take what it is told" in broker.logs(), "the outage in the log", timeout=20)
    (problem,) = http.get(broker.admin + "/api/v1/status").json()["problems"]
    assert problem["what"] == "collector_away" and problem["provider"] is None and problem["since"]
    assert problem["text"].startswith(f"the collector http://127.0.0.1:{port} does not take what it is told: connect_refused")
    for _ in range(3):
        assert call(broker).status == 200
    back = Collector(port=port)
    wait_until(lambda: len(back.calls()) == 4, "all calls after all", timeout=40)
    wait_until(lambda: "the collector takes what it is told again" in broker.logs(), "the end of the outage")
    assert dropped(http, broker) == 0
    assert http.get(broker.admin + "/api/v1/status").json()["problems"] == []
    stop(broker)
    # One line for each, however many tries there were.
    assert broker.logs().count("the collector does not take") == 1 and broker.logs().count("the collector takes") == 1
    back.close()


def test_a_collector_that_refuses_only_later_is_a_line_of_the_log_for_each_change(start, http):
    collector = Collector(reply(200), reply(503), reply(403, reason="No"), reply(403, reason="No"))
    provider = start.provider(reply(body=ANSWER))
    broker = start.broker(policy(provider, collector))
    away, lost, back = "what it is told; it is tried again", "what it is told, and it is dropped", "the collector takes what it is told again"

    def lines():
        return tuple(broker.logs().count(text) for text in (away, lost, back))

    assert call(broker).status == 200
    wait_until(lambda: len(collector.received) == 1, "the first documents", timeout=20)
    assert lines() == (0, 0, 0)
    # It refuses for now, then for good: that what it is told is lost is said too.
    assert call(broker).status == 200
    wait_until(lambda: dropped(http, broker) >= 2, "a refused batch", timeout=30)
    wait_until(lambda: lines() == (1, 1, 0), "both lines", timeout=20)
    first = dropped(http, broker)
    assert call(broker).status == 200
    wait_until(lambda: dropped(http, broker) > first, "another", timeout=30)
    assert lines() == (1, 1, 0)
    (problem,) = http.get(broker.admin + "/api/v1/status").json()["problems"]
    assert problem["what"] == "collector_away" and "403" in problem["text"]
    assert call(broker).status == 200
    wait_until(lambda: lines() == (1, 1, 1), "the end of the outage", timeout=30)
    assert http.get(broker.admin + "/api/v1/status").json()["problems"] == []
    stop(broker)
    collector.close()


def test_what_a_collector_answers(start, http):
    collector = Collector(
        reply(429, [("Retry-After", "1")], reason="Slow down"), reply(400, body=b"no" * 200_000, reason="Bad"),
        reply(307, [("Location", "http://127.0.0.1:9/")], reason="Elsewhere"), reply(body=b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"x"}}'))
    provider = start.provider(reply(body=ANSWER))
    broker = start.broker(policy(provider, collector))
    call(broker)
    # Sent again, then refused for good.
    wait_until(lambda: dropped(http, broker) >= 2, "a refused batch", timeout=30)
    first = dropped(http, broker)
    assert len(collector.received) == 2 and collector.received[0].body == collector.received[1].body
    call(broker)
    wait_until(lambda: dropped(http, broker) > first, "a redirect is not followed", timeout=30)
    second = dropped(http, broker)
    call(broker)
    wait_until(lambda: dropped(http, broker) == second + 1, "one span is rejected", timeout=30)
    assert call(broker).status == 200
    stop(broker)
    collector.close()


def test_a_collector_whose_certificate_is_not_trusted_gets_nothing(start, tmp_path):
    collector = H2Provider(make_certificate(tmp_path), lambda stream: stream.answer(b"{}"), protocols=("http/1.1",))
    provider = start.provider(reply(body=ANSWER))
    broker = start.broker(policy(provider, collector.url))
    assert call(broker).status == 200
    wait_until(lambda: "tls_failed" in broker.logs(), "the outage in the log", timeout=20)
    stop(broker)
    assert not collector.received
    collector.close()


def test_clear_text_over_a_network_gives_a_warning(start):
    provider = start.provider(reply(body=ANSWER))
    # An address that nobody has (RFC 5737).
    broker = start.broker(policy(provider, "http://192.0.2.1:4318/team/path-secret"))
    wait_until(lambda: "crosses the network in clear text" in broker.logs(), "the warning")
    assert "http://192.0.2.1:4318/team/" in broker.logs() and "path-secret" not in broker.logs()
    stop(broker)


def test_a_collector_that_hangs_does_not_hold_up_the_end(start):
    go = threading.Event()
    collector = Collector(*[lambda connection: (go.wait(60), reply())[1]] * 4)
    provider = start.provider(reply(body=ANSWER))
    broker = start.broker(policy(provider, collector))
    assert call(broker).status == 200
    stop(broker)
    go.set()
    collector.close()


def test_a_reload_changes_and_ends_it(start, http, collector):
    provider = start.provider(reply(body=ANSWER))
    made = policy(provider, collector, otlp={"sample": "0%"})
    broker = start.broker(made)

    def reload(**changes):
        write_policy(broker.policy_file.parent, made | changes)
        assert http.post(broker.admin + "/api/v1/reload").status_code == 200

    call(broker)
    assert sent(provider, "traceparent")[0].endswith("-00")
    other = Collector()
    reload(otlp=otlp(other))
    call(broker)
    assert sent(provider, "traceparent")[0].endswith("-01")
    # What waits is told once more when the policy names no collector.
    reload(otlp=None)
    wait_until(lambda: len(other.calls()) == 1, "what waited")
    call(broker, ("traceparent", "as it came"))
    assert sent(provider, "traceparent") == ["as it came"] and not collector.spans()
    reload(otlp=otlp(collector))
    call(broker)
    stop(broker)
    assert len(collector.calls()) == 1 and len(other.calls()) == 1
    other.close()
