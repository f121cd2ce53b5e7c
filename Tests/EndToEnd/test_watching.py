"""What is shown to people and machines: the headline, classes, sessions, alerts, tokens that only read, and the log's level."""

import json
import re
import threading

import httpx
import pytest

from processes import key_hash, policy_for, run, write_policy
from scripted import reply
from waiting import wait_until

ADMIN, READER = {"authorization": "Bearer all-of-it"}, {"authorization": "Bearer only-reads"}
CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "hello"}]}


def status(http, broker, headers=None):
    return http.get(broker.admin + "/api/v1/status", headers=headers).json()


@pytest.fixture
def crowd(start, http, simulator):
    """A broker with one permit, which a call holds until the end, and a way to let calls of a class wait; their number is the depth."""
    broker = start.broker(policy_for(
        simulator.url, limits={"concurrency": 1}, priorities={"high": {"reserve": "0%"}}, alerts={"queue": {"warning": 2, "critical": 4}}))
    client = httpx.Client(timeout=60)
    threads = []

    def send(priority, session, **fields):
        headers = {"x-tollgate-priority": priority, "x-tollgate-session": session, "x-sim-first-token-ms": "30000", **fields}

        def call():
            try:
                client.post(broker.url + "/v1/chat/completions", json=CHAT, headers=headers)
            except httpx.TransportError:
                # The broker ends before the call does.
                return
        threads.append(threading.Thread(target=call))
        threads[-1].start()
    send("normal", "holder")
    wait_until(lambda: status(http, broker)["running"] == 1, "the permit to be taken")
    yield broker, send
    broker.stop()
    for thread in threads:
        thread.join(20)
    client.close()


def test_one_look_says_who_waits_how_long_and_for_what(crowd, http):
    broker, send = crowd
    assert status(http, broker)["headline"].endswith("; nothing is failing")
    send("low", "first")
    wait_until(lambda: status(http, broker)["queued"]["low"] == 1, "the first to wait")
    send("low", "second")
    seen = wait_until(lambda: (now := status(http, broker))["queued"]["low"] == 2 and now["classes"]["low"]["oldest_ms"] > 100 and now,
                      "two to wait for a tenth of a second")
    low = seen["classes"]["low"]
    assert (low["queued"], low["waits_for"]["blocker"], low["waits_for"]["provider"]) == (2, "provider_concurrency", "openai")
    assert seen["classes"]["high"] == {"queued": 0, "oldest_ms": None, "predicted_wait_ms": seen["classes"]["high"]["predicted_wait_ms"],
                                       "waits_for": None}
    assert "; 2 low calls wait, the oldest for " in seen["headline"]
    assert " for a permit of openai" in seen["headline"]
    shown = run("status", "--admin", broker.admin).stdout
    # The terminal says the same; the time has gone on, and the call that they wait for has run longer than was thought.
    first, then = (re.sub(r"about [^;]+", "about T", line.split(" low calls wait")[0]) for line in (seen["headline"], shown.splitlines()[0]))
    assert first == then == "a high call would wait about T; 2", (first, then)
    assert " for a permit of openai" in shown.splitlines()[0]


def test_what_is_failing_stands_in_the_headline(start, http, simulator):
    broker = start.broker(policy_for(simulator.url))
    assert http.post(f"{broker.admin}/api/v1/breakers/openai/open").status_code == 200
    assert status(http, broker)["headline"] == "the breaker of openai is open (by hand); high calls wait 0 ms"
    assert http.post(f"{broker.admin}/api/v1/keys/anthropic/main/disable").status_code == 200
    assert status(http, broker)["headline"] == (
        "every key of anthropic is disabled by hand; the breaker of openai is open (by hand)")


def test_sessions_and_their_agents_are_counted_where_their_calls_stand(crowd, http):
    broker, send = crowd
    send("normal", "tree", **{"x-claude-code-agent-id": "sub"})
    send("high", "other")
    wait_until(lambda: sum(status(http, broker)["queued"].values()) == 2, "both to wait")
    page = http.get(broker.admin + "/api/v1/sessions").json()
    assert page["left_out"] == 0
    assert [(row["session"], row["running"], row["waiting"]) for row in page["sessions"] if row["session"] == "holder"] == [("holder", 1, 0)]
    assert {row["session"] for row in page["sessions"] if row["waiting"] == 1} == {"tree", "other"}
    only = http.get(broker.admin + "/api/v1/sessions", params={"search": "TREE"}).json()["sessions"]
    assert [row["session"] for row in only] == ["tree"] and only[0]["agents"][0]["waiting"] == 1
    asked = http.get(broker.admin + "/api/v1/requests", params={"session": "other"}).json()["requests"]
    assert [(row["session"], row["priority"], row["state"]) for row in asked] == [("other", "high", "queued")]
    slowest = http.get(broker.admin + "/api/v1/requests", params={"sort": "slowest", "limit": 1}).json()["requests"]
    assert [row["session"] for row in slowest] == ["holder"]
    high = http.get(broker.admin + "/api/v1/requests", params={"priority": "high", "provider": "openai"}).json()["requests"]
    assert high == [], "it has no provider yet"


def test_a_deep_queue_is_an_alert_and_tells_listeners_once(crowd, http):
    broker, send = crowd
    told = []

    def listen():
        with httpx.stream("GET", broker.admin + "/api/v1/events", timeout=60) as events:
            try:
                for line in events.iter_lines():
                    if line.startswith("data: ") and '"subject":"alert"' in line:
                        told.append(json.loads(line[6:]))
            except httpx.TransportError:
                # The broker has ended.
                return
    listener = threading.Thread(target=listen)
    listener.start()
    for number in range(2):
        send("low", f"s{number}")
    alert = wait_until(lambda: status(http, broker)["alerts"], "the alert")[0]
    assert (alert["name"], alert["severity"], alert["text"]) == ("queue_depth", "warning", "2 requests wait, 2 or more are too many")
    for number in range(2):
        send("low", f"t{number}")
    wait_until(lambda: [one["severity"] for one in status(http, broker)["alerts"]] == ["critical"], "the second threshold")
    wait_until(lambda: len(told) == 2, "both to be told")
    assert [(one["name"], one["state"]) for one in told] == [("queue_depth", "warning"), ("queue_depth", "critical")]
    assert "4 requests wait, 4 or more are too many" in status(http, broker)["headline"]
    broker.stop()
    listener.join(20)


@pytest.fixture
def guarded(start, simulator):
    return start.broker(policy_for(
        simulator.url, admin={"listen": "127.0.0.1:0", "token": "all-of-it", "read_token": "only-reads"}))


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/status", "/api/v1/requests", "/api/v1/sessions", "/api/v1/budgets", "/api/v1/usage",
                                  "/api/v1/ledger", "/api/v1/me", "/api/v1/log-level"])
def test_the_read_token_reads(guarded, http, path):
    assert http.get(guarded.admin + path).status_code == 401
    assert http.get(guarded.admin + path, headers=READER).status_code == 200


def test_the_read_token_changes_nothing(guarded, http):
    for path in ("reload", "drain", "keys/openai/main/disable", "breakers/openai/open", "log-level?level=debug",
                 "budgets/raise?usd=1&until=3999999999"):
        answer = http.post(f"{guarded.admin}/api/v1/{path}", headers=READER)
        assert (answer.status_code, answer.json()["error"]["message"]) == (403, "the read token may only read"), path
    assert http.get(guarded.admin + "/api/v1/me", headers=READER).json() == {"can_change": False, "tenant": None, "token": "read"}
    assert http.get(guarded.admin + "/api/v1/me", headers=ADMIN).json() == {"can_change": True, "tenant": None, "token": "admin"}
    with http.stream("GET", guarded.admin + "/api/v1/events", headers=READER) as events:
        assert next(events.iter_lines()) == "event: snapshot"
    shown = status(http, guarded, READER)
    assert shown["providers"][0]["keys"][0]["state"] == "usable" and not shown["draining"]


def test_charts_of_the_last_minutes_and_of_the_ledger_say_the_same(start, http, simulator, tmp_path):
    policy, store = policy_for(simulator.url), ("--store", tmp_path / "ledger.db")
    broker = start.broker(policy, *store)
    for number in range(6):
        assert http.post(broker.url + "/v1/chat/completions", json=CHAT, headers={"x-tollgate-priority": "high"}).status_code == 200

    def charts(broker, metric="calls,tokens,wait_p50", **more):
        answer = http.get(broker.admin + "/api/v1/history", params={"metric": metric, "since": "5m", **more})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def count(page, metric):
        chart = next(chart for chart in page["metrics"] if chart["metric"] == metric)
        return {tuple(series["labels"].values()): round(sum(value * chart["step_s"] / 60 for _, value in series["points"] if value), 3)
                for series in chart["series"]}
    recent = wait_until(lambda: count(page := charts(broker), "calls") == {("openai", "completed"): 6} and page, "the step to be over")
    spent = count(recent, "tokens")
    assert spent[("openai", "output")] == 30 and spent[("openai", "input")] > 0
    wait = next(chart for chart in recent["metrics"] if chart["metric"] == "wait_p50")
    assert [series["labels"]["priority"] for series in wait["series"] if any(value is not None for _, value in series["points"])] == ["high"]
    single = http.get(broker.admin + "/api/v1/history", params={"metric": "calls", "since": "5m"}).json()
    assert set(single) == {"metric", "step_s", "series", "pending", "marks"} and single["step_s"] == 5
    queued = wait_until(lambda: (page := charts(broker, "queued,in_use"))["metrics"][0]["series"] and page, "a slot to end")
    assert [series["labels"]["priority"] for series in queued["metrics"][0]["series"]] == ["high", "normal", "low"]
    broker.stop()
    # Another process knows the same from the ledger.
    again = start.broker(policy, *store)
    page = wait_until(lambda: count(page := charts(again), "calls") == {("openai", "completed"): 6} and page, "the ledger to tell")
    assert [mark["what"] for mark in page["marks"]][:1] == ["broker"]
    month = charts(again, since="30d")
    assert all(len(series["points"]) <= 400 for chart in month["metrics"] for series in chart["series"])


@pytest.mark.parametrize("query, says", [
    ({}, "metric: it is missing, allowed are wait_p50"), ({"metric": "speed"}, "metric: found 'speed', allowed are wait_p50"),
    ({"metric": "calls", "since": "soon"}, "since: found 'soon'"), ({"metric": "calls", "step": "0"}, "step: found '0'"),
    ({"metric": "calls", "colour": "red"}, "there is no parameter 'colour'"),
])
def test_a_wrong_question_about_the_past_gets_the_reason(broker, http, query, says):
    answer = http.get(broker.admin + "/api/v1/history", params=query)
    assert answer.status_code == 400 and answer.json()["error"]["message"].startswith(says), answer.text


def test_who_did_what_is_kept_and_shown(start, http, simulator):
    broker = start.broker(policy_for(simulator.url, budgets=[{"usd": 5, "per": "day"}]))
    for change in ("keys/openai/main/disable", "breakers/anthropic/open", "reload", "log-level?level=warning",
                   "budgets/raise?usd=2&until=3999999999"):
        assert http.post(f"{broker.admin}/api/v1/{change}").status_code == 200, change

    def changes():
        rows = http.get(broker.admin + "/api/v1/audit").json()["changes"]
        return [(row["subject"], row["state"], row["asked_by"], row["before"], row["after"]) for row in rows]
    seen = wait_until(lambda: len(rows := changes()) >= 6 and rows, "the changes to be written")
    assert [row[:3] for row in seen] == [
        ("budget", "raised", "admin"), ("log", "changed", "admin"), ("policy", "reloaded", "admin"), ("breaker", "open", "admin"),
        ("key", "disabled", "admin"), ("broker", "started", None)]
    assert seen[1][3:] == ("info", "warning") and seen[3][3:] == ("closed", "open") and seen[4][3:] == ("usable", "disabled")
    newest = http.get(broker.admin + "/api/v1/audit", params={"limit": 1}).json()["changes"]
    assert len(newest) == 1 and newest[0]["text"].startswith("budget broker/*: raised by $2") and newest[0]["text"].endswith(", by admin")
    assert http.get(broker.admin + "/api/v1/audit", params={"limit": 0}).status_code == 400


def test_the_audit_has_money_in_the_one_form(start, http, simulator):
    """As everywhere for people; the numbers of a raise stand beside it."""
    broker = start.broker(policy_for(simulator.url, tenants=[{"id": "acme", "budgets": [{"usd": 1, "per": "day"}]}, {"id": "default"}]))
    assert http.post(f"{broker.admin}/api/v1/budgets/raise?tenant=acme&usd=50.5&until=3999999999").status_code == 200
    row = wait_until(lambda: [one for one in http.get(broker.admin + "/api/v1/audit").json()["changes"] if one["subject"] == "budget"], "the raise")[0]
    assert (row["before"], row["after"]) == ("acme/day: $1.00", "acme/day: $51.50")
    text = "budget acme/*: raised by $50.50 until 2096-10-02T07:06:39.000Z, acme/day: $1.00 → acme/day: $51.50"
    assert row["text"].startswith(text), row
    marks = wait_until(lambda: [one for one in http.get(broker.admin + "/api/v1/history", params={"metric": "cost", "since": "5m"}).json()["marks"]
                                if one["what"] == "budget"], "the mark")
    assert marks[0]["text"].startswith(text)


def test_the_level_of_the_log_changes_while_it_runs(start, http):
    provider = start.provider(reply(200, body=b'{"choices": []}'))
    broker = start.broker(policy_for(provider.url, log={"level": "warning"}))

    def call(model):
        assert http.post(broker.url + "/v1/chat/completions", json={**CHAT, "model": model}).status_code == 200
    call("quiet")
    assert http.get(broker.admin + "/api/v1/log-level").json() == {"level": "warning"}
    answer = http.post(broker.admin + "/api/v1/log-level", json={"level": "info"})
    assert answer.json() == {"level": "info"}
    call("loud")
    broker.wait_for_line("model=loud")
    assert "model=quiet" not in broker.logs()
    bad = http.post(broker.admin + "/api/v1/log-level", json={"level": "loud"})
    assert (bad.status_code, bad.json()["error"]["message"]) == (400, "level: found 'loud', allowed are debug, info, warning, error")


def test_a_stream_ends_with_its_token(start, http, simulator):
    tenants = [{"id": "acme", "keys": [key_hash("client-key")]}]
    admin = {"listen": "127.0.0.1:0", "token": "all-of-it", "read_token": "only-reads",
             "tenant_tokens": [{"tenant": "acme", "token": "of-acme"}, {"tenant": "acme", "token": "of-acme-too"}]}
    policy = policy_for(simulator.url, admin=admin, tenants=tenants)
    broker = start.broker(policy)
    ended, first = {}, {}

    def listen(token):
        with httpx.stream("GET", broker.admin + "/api/v1/events", headers={"authorization": f"Bearer {token}"}, timeout=60) as events:
            try:
                for line in events.iter_lines():
                    first.setdefault(token, line)
                ended[token] = "in order"
            except httpx.TransportError as error:
                ended[token] = repr(error)
    threads = [threading.Thread(target=listen, args=(token,)) for token in ("all-of-it", "only-reads", "of-acme", "of-acme-too")]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(first) == 4, "four listeners")
    admin["read_token"], admin["tenant_tokens"] = "another", admin["tenant_tokens"][1:]
    write_policy(broker.policy_file.parent, policy)
    assert http.post(broker.admin + "/api/v1/reload", headers=ADMIN).status_code == 200
    wait_until(lambda: len(ended) == 2, "the streams of the old tokens to end")
    assert ended == {"only-reads": "in order", "of-acme": "in order"}
    broker.stop()
    for thread in threads:
        thread.join(20)


def test_what_has_no_price_is_counted_and_not_shown_as_nothing(start, http, simulator):
    broker = start.broker(policy_for(simulator.url))
    for _ in range(2):
        assert http.post(broker.url + "/v1/chat/completions", json=CHAT).status_code == 200
    seen = wait_until(lambda: (now := status(http, broker))["unpriced_calls"] == 2 and now, "both to be counted")
    assert seen["spent_usd"] == "0.000000000"
    assert ", and 2 calls without a price" in run("status", "--admin", broker.admin).stdout
