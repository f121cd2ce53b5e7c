"""What is asked oddly is told what is allowed, and whoever has nobody to read it ends quietly: standard streams that are closed, parameters
given twice, more listeners than there is room for, charts while the ledger cannot be written."""

import json
import signal
import socket
import subprocess

import httpx
import pytest

from processes import BINARY, environment, policy_for, run
from rawhttp import Connection, address_of
from waiting import wait_until

CALL = {"model": "gpt-test", "messages": []}


@pytest.fixture(scope="module")
def asked(start_for_module, simulator):
    broker = start_for_module.broker(policy_for(
        simulator.url, trust_tenant_header=True, budgets=[{"usd": 5, "per": "hour"}],
        tenants=[{"id": "sessions", "budgets": [{"requests": 9, "per": "day", "scope": "session"}]},
                 {"id": "tokens", "budgets": [{"tokens": 99999, "per": "day"}]}, {"id": "none"}, {"id": "default"}]))
    answer = httpx.post(broker.url + "/v1/chat/completions", json=CALL, timeout=20,
                        headers={"x-tollgate-tenant": "sessions", "x-tollgate-session": "a"})
    assert answer.status_code == 200
    return broker, answer.headers["x-tollgate-request-id"]


# Each command, and whether it asks a broker.
COMMANDS = [
    ["--help"], ["help", "keys"], ["--version"], ["check", "--help"], ["status"], ["status", "--json"], ["status", "--watch"], ["top"],
    ["requests"], ["requests", "--watch"], ["requests", "--watch", "--json"], ["explain", "ID"], ["explain", "a"], ["explain", "ID", "--json"], ["keys", "--watch"], ["breakers", "--watch", "--json"], ["budgets", "--watch"], ["keys"], ["keys", "--json"], ["breakers"],
    ["breakers", "--json"], ["breakers", "auto", "openai"], ["keys", "enable", "openai/main"], ["budgets"], ["budgets", "--json"],
    ["budgets", "raise", "--broker", "--usd", "1", "--until", "1h"], ["usage"], ["usage", "--json"], ["usage", "--watch", "--json"],
    ["usage", "--format", "csv"], ["prices"], ["prices", "--yaml"], ["prices", "--json"], ["env", "openai"], ["reload"],
    ["fleet", "--help"], ["provider-simulator", "--help"], ["simulate", "--help"], ["demo", "--help"],
]


@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-", "2>&- | head -1 >/dev/null", "| true"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_whoever_has_no_reader_ends_quietly(asked, command, streams):
    broker, number = asked
    words = [number if word == "ID" else word for word in command]
    done = subprocess.run(
        ["bash", "-c", f'exec 9>&1; "$0" "$@" {streams}; echo "code ${{PIPESTATUS[0]}}" >&9', BINARY, *words], capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=30, env=environment({"TOLLGATE_ADMIN": broker.admin}))
    assert done.stdout.splitlines()[-1] == "code 0" and done.stderr == "", done


def test_a_refusal_keeps_its_code_without_streams(asked):
    for streams in (">&-", ">&- 2>&-"):
        done = subprocess.run(["bash", "-c", f'"$0" "$@" {streams}', BINARY, "status", "--admin", "127.0.0.1:1"], timeout=30)
        assert done.returncode == 1


def test_usage_is_watched_line_by_line(asked):
    broker, _ = asked
    watching = subprocess.Popen([BINARY, "usage", "--watch", "--json", "--admin", broker.admin], stdout=subprocess.PIPE, text=True, env=environment())
    try:
        told = [json.loads(watching.stdout.readline()) for _ in range(2)]
        assert all(one["total"]["requests"] == 1 for one in told)
    finally:
        watching.send_signal(signal.SIGTERM)
        watching.wait(10)


@pytest.fixture
def signals_end():
    """Commands begin with the usual effect of signals, also where whoever runs the tests ignores some, as `nohup` and shells do with what they
    run in the background: that is inherited."""
    ignored = [number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("command", [
    ["top"], ["status", "--watch"], ["usage", "--watch"], ["usage", "--watch", "--json"], ["requests", "--watch", "--json"], ["keys", "--watch"],
    ["breakers", "--watch"], ["budgets", "--watch", "--every", "3600"]], ids=" ".join)
def test_a_signal_is_the_usual_end_of_what_is_watched(start, asked, signals_end, command, number):
    child = start.child(*command, "--admin", asked[0].admin)
    wait_until(lambda: child.stdout, "a report")
    child.signal(number)
    assert child.wait(5) == 0 and child.stderr == []


@pytest.mark.parametrize("command", [["top"], ["status", "--watch"]], ids=" ".join)
def test_a_signal_ends_it_also_while_a_broker_says_nothing(start, signals_end, command):
    """A listener that takes no connection holds up the first look."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        child = start.child(*command, "--admin", "127.0.0.1:%d" % silent.getsockname()[1])
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(100).startswith(b"GET /api/v1/status")
            child.signal(signal.SIGTERM)
            assert child.wait(5) == 0 and child.stdout == child.stderr == []


def test_what_was_told_to_ignore_a_signal_does(start, asked):
    """As `nohup` does; the next look comes all the same."""
    watching = subprocess.Popen(["nohup", BINARY, "keys", "--watch", "--json", "--admin", asked[0].admin], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment())
    try:
        assert watching.stdout.readline()
        watching.send_signal(signal.SIGHUP)
        assert watching.stdout.readline() and watching.stdout.readline()
    finally:
        watching.send_signal(signal.SIGTERM)
        assert watching.wait(10) == 0


@pytest.mark.parametrize("question", [
    "requests?state=queued&state=running", "requests?limit=1&limit=1", "sessions?tenant=a&tenant=b", "usage?by=model&by=tenant",
    "history?metric=calls&metric=cost", "audit?limit=1&limit=2"])
def test_a_parameter_given_twice_is_refused(asked, http, question):
    answer = http.get(f"{asked[0].admin}/api/v1/{question}")
    name = question.split("?")[1].split("=")[0]
    assert answer.status_code == 400 and answer.json()["error"]["message"] == f"{name}: it is given more than once, allowed is once"


@pytest.mark.parametrize("parameters, said", [
    ("usd=1&usd=2&until=3999999999", "usd: it is given more than once"), ("usd=1&tokens=2&until=3999999999", "give one of usd, tokens and requests"),
    ("usd=1&until=1&until=3999999999", "until: it is given more than once")])
def test_a_raise_is_unambiguous(asked, http, parameters, said):
    answer = http.post(f"{asked[0].admin}/api/v1/budgets/raise?{parameters}")
    assert answer.status_code == 400 and said in answer.json()["error"]["message"]


@pytest.mark.parametrize("words, said", [
    (["sessions", "--requests", "5"], "tenant 'sessions' has no budget of its own in requests, but 'sessions/session/a/day/requests' (requests): name one by its id"),
    (["sessions", "--usd", "5"], "tenant 'sessions' has no budget of its own in usd, but 'sessions/session/a/day/requests' (requests): name one by its id"),
    (["tokens", "--usd", "5"], "tenant 'tokens' has no budget of its own in usd, but 'tokens/day/tokens' (tokens): give tokens=, or name one"),
    (["none", "--usd", "5"], "tenant 'none' has no budget"), (["nobody", "--usd", "5"], "tenant 'nobody' has no budget"),
    (["--broker", "--tokens", "5"], "the broker has no budget of its own in tokens, but 'broker/hour' (usd)"),
    (["tokens", "--usd", "5", "--budget", "tokens/day/tokens"], "the budget 'tokens/day/tokens' counts tokens: give tokens= instead of usd="),
    (["tokens", "--usd", "5", "--budget", "tokens/week"], "there is no budget 'tokens/week'")])
def test_a_raise_of_nothing_says_what_there_is(asked, words, said):
    done = run("budgets", "raise", *words, "--until", "1h", "--admin", asked[0].admin)
    assert (done.returncode, done.stdout) == (1, "") and said in done.stderr, done.stderr


def test_budgets_of_sessions_that_have_not_spent_yet(start, http, simulator):
    broker = start.broker(policy_for(simulator.url, trust_tenant_header=True, tenants=[
        {"id": "acme", "budgets": [{"usd": 9, "per": "day", "scope": "session"}]}, {"id": "default"}]))
    done = run("budgets", "raise", "acme", "--usd", "1", "--until", "1h", "--admin", broker.admin)
    assert done.returncode == 1 and "budgets for each session or client key only: one is listed once it has spent" in done.stderr


def test_a_raise_tells_its_end_with_a_zone_and_what_it_means_for_the_window(asked):
    broker, _ = asked
    done = run("budgets", "raise", "--broker", "--usd", "1", "--until", "2031-05-01T12:00:00Z", "--admin", broker.admin, env={"TZ": "Europe/Berlin"})
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "broker: raised by $1.00 until 2031-05-01 14:00:00 +02:00"
    assert second.startswith("broker/hour: its window ends at ") and "the raise holds in each window after it too" in second


def test_times_of_explain_and_usage_have_a_zone(asked):
    broker, number = asked
    zone = {"TZ": "Asia/Kolkata"}
    assert " +05:30  POST /v1/chat/completions" in run("explain", number, "--admin", broker.admin, env=zone).stdout.splitlines()[1]
    assert run("usage", "--admin", broker.admin, env=zone).stdout.splitlines()[0].count(" +05:30") == 2


@pytest.mark.parametrize("words, said", [
    (["breakers", "frob", "beta"], "Error: 'frob' is no subcommand of 'tollgate breakers'; there are 'list', 'open', 'close', 'auto'"),
    (["keys", "zzz"], "'zzz' is no subcommand of 'tollgate keys'"), (["budgets", "zzz", "acme"], "there are 'list', 'raise'"),
    (["breakers", "opne", "beta"], "Did you mean 'open'?"), (["usage", "\x1b[2J"], "no subcommand of 'tollgate usage'")])
def test_an_unknown_subcommand(words, said):
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "") and said in done.stderr and "\x1b" not in done.stderr


def test_help_of_breakers_says_how_it_ends():
    assert "tollgate breakers auto PROVIDER" in run("breakers", "open", "--help").stdout


def test_no_line_of_the_help_is_broken():
    lines = run("--help").stdout.splitlines()
    start = lines.index("Start with:")
    assert [line[:11] for line in lines[start + 1:start + 7]] == ["  tollgate "] * 6, lines


def test_listeners_leave_room_for_questions(asked, http):
    broker, _ = asked
    streams = []
    try:
        for _ in range(64):
            stream = Connection(address_of(broker.admin))
            stream.send(b"GET /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            streams.append(stream)
        for stream in streams:
            assert stream.head().status == 200
        refused = httpx.get(broker.admin + "/api/v1/events", timeout=20)
        assert refused.status_code == 503 and refused.headers["retry-after"] == "5" and "64 event streams are open" in refused.text
        assert run("status", "--admin", broker.admin).returncode == 0
        assert all(stream.until(b"\n\n") for stream in streams[:3])
    finally:
        for stream in streams:
            stream.close()

    def opens():
        with httpx.stream("GET", broker.admin + "/api/v1/events", timeout=20) as one:
            return one.status_code == 200

    wait_until(opens, "a stream once others have gone")


def test_tenants_leave_streams_to_the_operator(start, http, simulator):
    broker = start.broker(policy_for(simulator.url, tenants=[{"id": "acme"}, {"id": "other"}], admin={
        "token": "all-of-it", "tenant_tokens": [{"tenant": "acme", "token": "of-acme"}, {"tenant": "other", "token": "of-other"}]}))
    streams = []

    def opened(token):
        stream = Connection(address_of(broker.admin))
        streams.append(stream)
        stream.send(b"GET /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer " + token.encode() + b"\r\n\r\n")
        return stream.head().status

    try:
        assert [opened("of-other")] + [opened("of-acme") for _ in range(47)] == [200] * 48
        assert (opened("of-acme"), opened("of-other")) == (503, 503)
        assert [opened("all-of-it") for _ in range(17)] == [200] * 16 + [503]
    finally:
        for stream in streams:
            stream.close()
