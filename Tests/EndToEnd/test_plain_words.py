"""What the tool says is so: dashboard, API and commands agree, states have their reasons, and nothing of a client steers a terminal."""

import contextlib
import datetime
import re
import signal

import pytest

from processes import policy_for, record_of, run
from waiting import wait_until

PRICES = "version: test\nmodels:\n  \"sim-*\": {input: 10, output: 0}\n"
# About 1,000 tokens in, one cent.
CENT = "toll " * 800
HOSTILE = "a\x1b[31mb\u009b2Jc\u202ed\u2066e\u200bf\ng"


def ask(http, broker, text="hello", model="sim-cent", path="/v1/chat/completions", **fields):
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return http.post(broker.url + path, headers=headers,
                     json={"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 5})


@pytest.fixture
def priced(tmp_path):
    (tmp_path / "prices.yaml").write_text(PRICES)
    return {"prices": str(tmp_path / "prices.yaml"), "budgets": [{"usd": 0.015, "per": "day"}]}


def test_dashboard_and_commands_agree_on_a_raised_limit(start, http, simulator, browser, priced):
    broker = start.broker(policy_for(simulator.url, **priced))
    assert run("budgets", "raise", "--broker", "--usd", "3", "--until", "2h", "--admin", broker.admin).returncode == 0
    budget = http.get(broker.admin + "/api/v1/budgets").json()["budgets"][0]
    assert (budget["limit_usd"], budget["raised_usd"]) == ("3.015000000", "3.000000000")
    listed = run("budgets", "--admin", broker.admin).stdout
    assert re.search(r"broker/day +ok +\$0\.00 +\$0\.00 +\$3\.015 +\$3\.00 ", listed), listed
    assert re.search(r"broker/\* is raised by \$3\.00 until (20\d\d-\d\d-\d\d )?\d\d:\d\d", listed), listed
    with browser.page(broker.admin + "/#/who?by=budgets") as page:
        page.wait("document.querySelector('.budget .gauge-value')")
        assert page.text(".budget .gauge-value") == "$0.00 of $3.01"


def test_raised_budget_is_not_used_up_after_a_restart(start, http, simulator, priced, tmp_path):
    policy, store = policy_for(simulator.url, **priced), tmp_path / "ledger.db"
    broker = start.broker(policy, "--store", store)
    assert run("budgets", "raise", "--broker", "--usd", "3", "--until", "2h", "--admin", broker.admin).returncode == 0
    assert [ask(http, broker, CENT).status_code for _ in range(3)] == [200] * 3
    broker.signal(signal.SIGTERM)
    assert broker.wait() == 0
    again = start.broker(policy, "--store", store)
    row = http.get(again.admin + "/api/v1/budgets").json()["budgets"][0]
    assert float(row["spent_usd"]) > 0.015 and row["limit_usd"] == "3.015000000"
    assert ask(http, again).status_code == 200
    assert not [line for line in again.stderr if "budget" in line and "warning" in line]


def test_refusal_of_a_budget_says_what_the_call_was_reckoned_to_cost(start, http, simulator, priced):
    broker = start.broker(policy_for(simulator.url, **priced))
    assert ask(http, broker, CENT).status_code == 200
    message = ask(http, broker, CENT).json()["error"]["message"]
    assert re.search(r"cannot pay for this request: it is reckoned to cost \$0\.01\d*, \$0\.01\d* of \$0\.015 is spent", message), message


@pytest.mark.parametrize("path, fields, header, value, allowed", [
    ("/v1/chat/completions", {"x_tollgate_kind": "stear"}, "x-tollgate-kind", "stear", "steer"),
    ("/v1/chat/completions", {"x_tollgate_priority": "urgent"}, "x-tollgate-priority", "urgent", "high, normal, low"),
    ("/v1/chat/completions", {"x_tollgate_timeout": "soon"}, "x-tollgate-timeout", "soon", "seconds"),
    ("/v1/chat/completions", {"x_tollgate_prioriy": "high"}, "x-tollgate-prioriy", "high", "priority"),
    ("/v1/chat/completions", {"priority": "u=9"}, "priority", "u=9", "u=0 to u=7"),
    ("/x/priority=lo/v1/chat/completions", {}, "x-tollgate-priority", "lo", "high, normal, low"),
    ("/x/kind=stear,session=s/v1/chat/completions", {}, "x-tollgate-kind", "stear", "steer"),
    ("/v1/chat/completions", {"x_tollgate_kind": "x" * 500}, "x-tollgate-kind", "x" * 125 + "...", "steer")])
def test_hint_that_nobody_knows_is_named(http, broker, path, fields, header, value, allowed):
    answer = ask(http, broker, path=path, **fields)
    assert answer.status_code == 200
    (hint,) = record_of(http, broker, answer)["unknown_hints"]
    assert (hint["header"], hint["value"]) == (header, value) and allowed in hint["allowed"]
    told = run("explain", answer.headers["x-tollgate-request-id"], "--admin", broker.admin).stdout
    assert re.search(rf"unknown hint {header}: {re.escape(value)} \(allowed: .*{allowed}", told), told


def test_known_hints_are_not_named(http, broker):
    answer = ask(http, broker, x_tollgate_priority="low", x_tollgate_kind="steer", x_tollgate_session="s", x_tollgate_timeout="30",
                 priority="u=1")
    assert record_of(http, broker, answer)["unknown_hints"] == []


def test_story_is_told_in_the_order_in_which_it_happened(start, http):
    simulator = start.simulator(first_token="1ms", output_tokens="2-2")
    broker = start.broker(policy_for(simulator.url, retry={"attempts": 3, "base": "1ms", "max": "5ms", "budget": "100%"}))
    http.post(simulator.url + "/sim/faults", json={"fault": "500", "times": 2})
    answer = ask(http, broker)
    assert answer.headers["x-tollgate-attempts"] == "3"
    story = record_of(http, broker, answer)
    assert {wait["after_attempts"] for wait in story["waits"]} <= {1, 2} and story["waits"]
    lines = run("explain", story["id"], "--admin", broker.admin).stdout.splitlines()
    kinds = [match[1] for line in lines if (match := re.match(r"  +\+\d+ ms  (waited|attempt \d)", line))]
    order = [word for word in kinds if word.startswith("attempt")]
    assert order == ["attempt 1", "attempt 2", "attempt 3"]
    assert kinds[0] == "attempt 1" and "waited" in kinds[1:-1] and kinds[-1] == "attempt 3", kinds
    times = [int(match[1]) for line in lines if (match := re.match(r"  +\+(\d+) ms", line))]
    assert times == sorted(times)


def test_what_is_wrong_stands_on_top_with_how_bad_it_is(start, http, simulator):
    broker = start.broker(policy_for(simulator.url))
    for key in ("openai/main", "anthropic/main"):
        assert run("keys", "disable", key, "--admin", broker.admin).returncode == 0

    problems = http.get(broker.admin + "/api/v1/status").json()["problems"]
    assert [one["severity"] for one in problems] == ["critical", "critical"]
    lines = run("status", "--admin", broker.admin).stdout.splitlines()
    assert [line for line in lines if line.startswith(("critical: ", "warning: "))] == [f"critical: {one['text']}" for one in problems]


def test_limits_of_keys_are_the_providers_places(start, simulator):
    keys = [{"id": "main", "secret": "${SIM_KEY}"}, {"id": "two", "secret": "${SIM_KEY}"}]
    broker = start.broker(policy_for(simulator.url, quota="per_key", limits={"concurrency": 20}, keys=keys))
    status = run("status", "--admin", broker.admin).stdout
    assert re.search(r"^openai +0 of 40 \(2 keys of 20\) ", status, re.M), status


def test_nothing_spent_is_not_unknown(start, http, simulator, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text('version: x\nmodels:\n  "sim-cent": {input: 10000, output: 0}\n')
    broker = start.broker(policy_for(simulator.url, prices=str(prices), trust_tenant_header=True,
                                     tenants=[{"id": "acme"}, {"id": "idle"}, {"id": "free"}, {"id": "*"}]))
    for who, model in (("acme", "sim-cent"), ("free", "no-price"), ("stranger", "sim-cent")):
        assert ask(http, broker, model=model, **{"x-tollgate-tenant": who}).status_code == 200
    rows = {row["id"]: (row["spent_usd"], row["unpriced_calls"]) for row in http.get(broker.admin + "/api/v1/status").json()["tenants"]}
    cost = rows["acme"][0]
    assert float(cost) > 0 and rows["acme"][1] == 0
    assert rows["idle"] == ("0.000000000", 0) and rows["free"] == ("0.000000000", 1)
    # Calls of tenants that the policy does not list are counted together.
    assert rows["stranger"] == (None, None)
    lines = {line.split()[0]: line for line in run("status", "--admin", broker.admin).stdout.splitlines() if line}
    assert lines["idle"].endswith(" $0.00") and lines["free"].endswith(" $0.00 + 1 unpriced") and lines["stranger"].endswith(" -")
    assert "$" in lines["acme"] and "unpriced" not in lines["acme"]


def test_keys_and_breakers_give_their_reasons(start, http, simulator):
    broker = start.broker(policy_for(simulator.url))
    assert run("keys", "disable", "openai/main", "--admin", broker.admin).returncode == 0
    assert run("breakers", "open", "anthropic", "--admin", broker.admin).returncode == 0
    openai, anthropic = http.get(broker.admin + "/api/v1/status").json()["providers"]
    assert {"id": "main", "state": "disabled", "until": None, "reason": "operator", "in_flight": 0}.items() <= openai["keys"][0].items()
    assert anthropic["keys"][0]["reason"] is None
    since = anthropic["breaker"].pop("since")
    assert re.match(r"20\d\d-.*Z$", since) and anthropic["breaker"] == {"state": "open", "reason": "operator", "until": None}
    assert re.search(r"openai/main .* disabled .* by hand$", run("keys", "--admin", broker.admin).stdout, re.M)
    assert re.search(r"anthropic +open +- +- +by hand$", run("breakers", "--admin", broker.admin).stdout, re.M)
    status = run("status", "--admin", broker.admin, env={"TZ": "UTC"}).stdout
    since = datetime.datetime.fromisoformat(since).strftime("%H:%M")
    assert re.search(rf"breaker of anthropic open since (\S+ )?{since}(:\d\d)?: by hand; to try now: tollgate breakers auto anthropic", status), status


def test_open_breaker_says_why_and_until_when(start, http, simulator):
    broker = start.broker(policy_for("http://127.0.0.1:9", breaker={"failures": 1, "recovery": "60s", "when_open": "reject"},
                                     retry={"attempts": 1, "base": "1ms", "max": "1ms", "budget": "0%"}))
    assert ask(http, broker).status_code >= 500
    breaker = http.get(broker.admin + "/api/v1/status").json()["providers"][0]["breaker"]
    assert breaker["state"] == "open" and breaker["reason"].startswith("1 failure: ") and re.match(r"20\d\d-.*Z$", breaker["until"])
    since, until = (datetime.datetime.fromisoformat(breaker[name]).strftime("%H:%M:%S") for name in ("since", "until"))
    status = run("status", "--admin", broker.admin, env={"TZ": "UTC"}).stdout
    # Across midnight it has its date.
    assert re.search(rf"breaker of openai open since (\S+ {since[:5]}|{since}) until (\S+ {until[:5]}|{until}): {re.escape(breaker['reason'])}; next try in (\d+ s|1 m); "
                     "to try now: tollgate breakers auto openai", status), status


@pytest.mark.parametrize("arguments", [
    ["explain", ""],
    ["keys", "disable", ""], ["keys", "disable", "/"], ["breakers", "open", ""], ["budgets", "raise", "", "--usd", "1", "--until", "1h"],
    ["tenant-key", ""], ["status", "--admin", ""], ["usage", "--store", ""], ["simulate", "--policy", "", "--workload", ""],
    ["serve", "--listen", ""], ["serve", "--store", ""], ["fleet", "--base-url", "", "--profile", "demo"],
    ["provider-simulator", "--listen", ""], ["demo", "--seconds", ""]])
def test_empty_and_odd_arguments_are_a_wrong_usage(broker, arguments):
    admin = ["--admin", broker.admin] if arguments[0] in ("explain", "keys", "breakers", "budgets") else []
    done = run(*arguments, *admin)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ") and "Decoding" not in done.stderr and "\x1b" not in done.stderr


@pytest.mark.parametrize("arguments, said", [
    (["serve", "--policy", "", "--admin", "off"], "the path of a file is empty"), (["check", ""], "the path of a file is empty"),
    (["prices", ""], "the model '' has no price"), (["keys", "disable", "openai/a b%2f"], "has no key 'a b%2f'"),
    (["breakers", "open", "a/b?c"], "there is no provider 'a/b?c'"),
    (["budgets", "raise", "a b&c", "--usd", "1", "--until", "1h"], "tenant 'a b&c' has no budget"),
    (["explain", "01ARYZ6S41TSV4RRFFQ69G5FAV"], "is not known"),
    *((["explain", odd], "no session of a request") for odd in ("nonsense", "../../healthz", "x" * 5000, "\x1b[2J"))])
def test_odd_names_are_answered_with_a_sentence(broker, arguments, said):
    admin = [] if arguments[0] in ("serve", "check", "prices") else ["--admin", broker.admin]
    done = run(*arguments, *admin)
    assert (done.returncode, done.stdout) == (1, "") and said in done.stderr and "\x1b" not in done.stderr, done.stderr


def test_commands_name_their_own_words_for_the_token(start, simulator):
    broker = start.broker(policy_for(simulator.url, admin={"token": "boss-token-0123456789"}))
    for token, said in ((None, "asks for its admin token"), ("", "asks for its admin token"), ("wrong", "does not know the token")):
        done = run("status", "--admin", broker.admin, *(["--token", token] if token is not None else []))
        assert done.returncode == 1 and said in done.stderr
        assert "--token TOKEN" in done.stderr and "TOLLGATE_ADMIN_TOKEN" in done.stderr
    assert run("status", "--admin", broker.admin, env={"TOLLGATE_ADMIN_TOKEN": "boss-token-0123456789"}).returncode == 0


def test_answer_of_something_else_is_told_in_a_sentence(simulator):
    for command in (["status"], ["top"], ["budgets"], ["keys"], ["explain", "01ARYZ6S41TSV4RRFFQ69G5FAV"]):
        done = run(*command, "--admin", simulator.url)
        assert done.returncode == 1 and "Decoding" not in done.stderr and done.stderr.startswith("tollgate: "), done.stderr


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_of_a_client_steers_a_terminal_or_a_log(start, http, simulator, tmp_path, log_format):
    broker = start.broker(policy_for(simulator.url), "--log-format", log_format, "--store", tmp_path / "ledger.db")
    answer = http.post(broker.url + "/x/session=" + "%1b%5b2J%c2%9b%e2%80%ae/v1/chat/completions", json={
        "model": HOSTILE, "messages": []}, headers={"x-tollgate-kind": "k\x9b".encode("latin-1")})
    assert answer.status_code == 200
    request = answer.headers["x-tollgate-request-id"]
    wait_until(lambda: any(request in line for line in broker.stderr), "the line of the log")
    shown = "\n".join(broker.stderr)
    for command in (["explain", request], ["usage", "--by", "model,session"], ["usage", "--by", "model,session", "--format", "json"],
                    ["status"], ["status", "--json"]):
        done = run(*command, "--admin", broker.admin)
        assert done.returncode == 0, done.stderr
        shown += done.stdout
    with contextlib.closing(http.get(broker.admin + "/api/v1/requests")) as requests:
        shown += requests.text
    hidden = re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]", shown)
    assert not hidden, hidden
    assert r"\u001b" in shown and r"\u202e" in shown
