"""How far a budget is used up, told alike by the status, the sentence on top, the commands, the metrics, the log and webhooks."""

import shlex

import pytest

from processes import key_hash, policy_for, run
from test_budgets import ask, budgets, prices  # noqa: F401
from test_webhooks import Receiver, hook
from waiting import wait_until

# A call needs a cent, or 1,000 tokens: two fit, and something is left that is too little for a third.
KINDS = {
    "usd": ({"usd": 0.025, "per": "day"}, "usd/day", ""),
    "tokens": ({"tokens": 2500, "per": "day"}, "tokens/day/tokens", ""),
    "rolling": ({"usd": 0.025, "per": "5h"}, "rolling/5h", ""),
    "sessions": ({"usd": 0.025, "per": "day", "scope": "session"}, "sessions/session/x y/day",
                 " --budget 'sessions/session/x y/day'"),
}


def advised(shown, name):
    """The command that is proposed for a budget that refuses."""
    lines = [line.partition("; to let calls go on: tollgate ") for line in shown.splitlines()]
    return next(command for text, _, command in lines if command and text.startswith(f"budget {name} "))


def states(http, broker):
    return {name: row["state"] for name, row in budgets(http, broker).items()}


def headline(http, broker):
    return http.get(f"{broker.admin}/api/v1/status").json()["headline"]


@pytest.fixture()
def told():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_that_refuses_with_something_left_says_so(start, http, simulator, prices, told, kind):  # noqa: F811
    rule, name, named = KINDS[kind]
    broker = start.broker(policy_for(
        simulator.url, prices=prices, trust_tenant_header=True, webhooks=[hook(told, events=["budget"])],
        tenants=[{"id": kind, "budgets": [rule]}, {"id": "default"}]))

    def call():
        return ask(http, broker, kind, x_tollgate_session="x y").status_code

    def news():
        return [(one["subject"], one["state"]) for one in told.told if one["state"] != "warned"]

    assert [call(), call()] == [200, 200]
    assert states(http, broker)[name] in ("ok", "warned")
    assert "refuses calls" not in headline(http, broker)
    assert [call(), call()] == [429, 429]
    row = budgets(http, broker)[name]
    assert row["state"] == "refusing", row
    # A rolling window does not end; its pieces do.
    assert (row["window_ends"] is None) == (kind == "rolling")
    window = [line for line in http.get(f"{broker.admin}/metrics").text.splitlines() if line.startswith("tollgate_budget_window_left_seconds{")]
    assert bool(window) == (kind not in ("rolling", "sessions")), window
    unit = row["unit"]
    assert float(row[f"refused_need_{unit}"]) > float(row[f"remaining_{unit}"]) > 0
    assert row["text"].startswith(f"budget {name} refuses calls: ") and " left, the last one refused needed " in row["text"]
    assert f"budget {name} refuses calls: " in headline(http, broker).replace("'", "")
    for command in ("status", "budgets"):
        shown = run(command, "--admin", broker.admin, check=True).stdout
        assert f"{row['text']}; to let calls go on: tollgate budgets raise {kind} --{unit} " in shown, shown
        assert advised(shown, name).endswith(f" --until 1h{named}"), shown
        assert " refusing " in shown
    page = http.get(f"{broker.admin}/metrics").text
    line = f'tollgate_budget_refusing{{scope="{kind}",window="{rule["per"]}",unit="{unit}"}} 1'
    assert (line in page) == (kind != "sessions")
    wait_until(lambda: news() == [(name, "exceeded")], "one message")
    exceeded = [one["text"] for one in told.told if one["state"] == "exceeded"]
    assert exceeded[0].startswith(f"budget {name} refuses calls: ") and "used up" not in exceeded[0]
    wait_until(lambda: "a budget refuses calls that need more than is left of it" in broker.logs(), "a line in the log")

    more = "0.01" if unit == "usd" else "1000"
    words = ["budgets", "raise", kind, f"--{unit}", more, "--until", "2h"]
    if kind == "sessions":
        words += ["--budget", name]
    assert run(*words, "--admin", broker.admin).returncode == 0
    assert states(http, broker)[name] in ("ok", "warned")
    # Such a call would go through now.
    assert budgets(http, broker)[name][f"refused_need_{unit}"] is None
    assert "refuses calls" not in headline(http, broker)
    assert [call(), call()] == [200, 429]
    assert states(http, broker)[name] == "refusing"
    wait_until(lambda: news() == [(name, "exceeded")] * 2, "a second message")
    command = advised(run("budgets", "--admin", broker.admin, check=True).stdout, name)
    assert run(*shlex.split(command), "--admin", broker.admin).returncode == 0
    assert call() == 200


def test_the_command_that_is_proposed_raises_the_budget_that_refuses_and_no_other(start, http, simulator, prices):  # noqa: F811
    broker = start.broker(policy_for(
        simulator.url, prices=prices, trust_tenant_header=True, budgets=[{"usd": 0.105, "per": "day"}, {"usd": 900, "per": "month"}],
        tenants=[{"id": "acme", "budgets": [{"usd": 0.025, "per": "day"}, {"usd": 0.045, "per": "5h"}, {"usd": 7, "per": "month"}]}, {"id": "default"}]))
    raised = []
    for _ in range(40):
        if ask(http, broker, "acme").status_code == 200:
            continue
        before = budgets(http, broker)
        refusing = [name for name, row in before.items() if row["state"] in ("refusing", "used_up")]
        shown = run("status", "--admin", broker.admin, check=True).stdout
        assert len(refusing) == 1, refusing
        assert run(*shlex.split(advised(shown, refusing[0])), "--admin", broker.admin).returncode == 0
        after = budgets(http, broker)
        assert [name for name, row in after.items() if row["limit_usd"] != before[name]["limit_usd"]] == refusing
        # Another one may refuse the next call.
        assert after[refusing[0]]["state"] in ("ok", "warned")
        raised += refusing
    assert {"acme/day", "acme/5h", "broker/day"} <= set(raised), raised


def test_the_dashboard_proposes_the_same_raise(start, http, browser, simulator, prices):  # noqa: F811
    broker = start.broker(policy_for(simulator.url, prices=prices, budgets=[{"usd": 0.025, "per": "day"}]))
    answers = [http.post(f"{broker.openai_url}/chat/completions", json={
        "model": "sim-cent", "messages": [{"role": "user", "content": "toll " * 800}], "max_tokens": 5}).status_code for _ in range(3)]
    assert answers == [200, 200, 429]
    command = shlex.split(advised(run("budgets", "--admin", broker.admin, check=True).stdout, "broker/day"))
    assert command[:4] == ["budgets", "raise", "--broker", "--usd"]
    with browser.page(broker.admin + "/#/who?by=budgets") as page:
        page.click(".budget button.act")
        page.wait("document.getElementById('raise-more')")
        assert float(page.js("document.getElementById('raise-more').value")) == float(command[4])


def test_a_client_keys_budget_and_one_of_requests(start, http, simulator, prices):  # noqa: F811
    """A call needs one request: of those nothing is left when it is refused."""
    key = "tg-" + "k" * 43
    broker = start.broker(policy_for(simulator.url, prices=prices, tenants=[{
        "id": "acme", "keys": [key_hash(key)],
        "budgets": [{"usd": 0.025, "per": "day", "scope": "client_key"}, {"requests": 3, "per": "day"}]}]))

    def call(text="toll " * 800):
        return http.post(f"{broker.openai_url}/chat/completions", headers={"authorization": f"Bearer {key}"}, json={
            "model": "sim-cent", "messages": [{"role": "user", "content": text}], "max_tokens": 5}).status_code

    assert [call(), call(), call()] == [200, 200, 429]
    own = next(name for name, row in budgets(http, broker).items() if row["scope"] == "client_key")
    # Four fifths of three, in whole requests, are two.
    assert states(http, broker) == {own: "refusing", "acme/day/requests": "warned"}
    # A smaller call is let in: it does not refuse every call.
    assert call("hi") == 200
    assert states(http, broker)["acme/day/requests"] == "used_up" and states(http, broker)[own] in ("ok", "warned")
    assert call("hi") == 429
    assert budgets(http, broker)["acme/day/requests"]["text"] == "budget acme/day/requests is used up: 3 of 3 requests are used, calls are refused"
    assert "budget acme/day/requests is used up" in headline(http, broker)


def test_budgets_of_many_sessions_crowd_out_nothing(start, http, simulator, prices):  # noqa: F811
    broker = start.broker(policy_for(
        simulator.url, prices=prices, trust_tenant_header=True, budgets=[{"usd": 500, "per": "month"}],
        tenants=[{"id": "many", "budgets": [{"usd": 0.015, "per": "day", "scope": "session"}]}, {"id": "default"}]))
    for number in range(12):
        assert ask(http, broker, "many", x_tollgate_session=f"s{number:02}").status_code == 200
    assert ask(http, broker, "many", x_tollgate_session="s07").status_code == 429
    shown = run("status", "--admin", broker.admin, check=True).stdout
    rows = [line for line in shown.splitlines() if line.startswith("many/session/")]
    assert len(rows) == 5 and rows[0].startswith("many/session/s07/day")
    assert "broker/month" in shown
    assert "and 7 more of sessions and client keys: tollgate budgets, or tollgate budgets --session NAME for one" in shown
    every = run("budgets", "--admin", broker.admin, check=True).stdout
    assert every.count("\nmany/session/") == 12
    one = run("budgets", "--session", "s03", "--admin", broker.admin, check=True).stdout
    assert "many/session/s03/day" in one and one.count("many/session/") == 1
    assert "broker/month" not in run("budgets", "--tenant", "many", "--admin", broker.admin, check=True).stdout
    assert run("budgets", "--session", "nobody", "--admin", broker.admin, check=True).stdout == "No budget of that name.\n"
    refused = run("budgets", "--json", "--tenant", "many", "--admin", broker.admin)
    assert refused.returncode == 2 and "--json gives the whole answer" in refused.stderr


@pytest.mark.parametrize("then, does", [("reject", "calls are refused"), ("low", "calls go down to low"), ("warn", "calls go on")])
def test_what_is_used_up_stands_on_top_whatever_follows(start, http, simulator, then, does):
    broker = start.broker(policy_for(
        simulator.url, trust_tenant_header=True, tenants=[{"id": "acme", "budgets": [{"requests": 1, "per": "1h", "on_exceed": then}]}]))
    assert ask(http, broker, "acme").status_code == 200
    row = budgets(http, broker)["acme/1h/requests"]
    assert (row["state"], row["window_ends"]) == ("used_up", None)
    assert f"budget acme/1h/requests is used up: 1 of 1 requests are used, {does}" in headline(http, broker)
    assert "nothing is failing" not in headline(http, broker)
