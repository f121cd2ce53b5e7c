"""A provider that has no key left, by refusals or by an operator's hand: status, sentence, webhooks and clients say so, whose fault it is,
and who ends it."""

import json

import pytest

from processes import policy_for, run
from scripted import reply
from test_refused_keys import REFUSAL, SECRETS, Vendor, ask, policy_of, problems
from test_webhooks import Receiver, hook
from waiting import wait_until


@pytest.fixture()
def told():
    receiver = Receiver()
    yield receiver
    receiver.close()


def outages(told):
    return [(one["subject"], one["state"]) for one in told.told if one["event"] == "outage"]


def provider(http, broker):
    return http.get(broker.admin + "/api/v1/status").json()["providers"][0]


def change(http, broker, what):
    assert http.post(f"{broker.admin}/api/v1/{what}").status_code == 200


def begin(start, told, **options):
    vendor = Vendor(start)
    vendor.taken = set(SECRETS.values())
    policy = policy_of(sim=vendor, **options) | {"webhooks": [hook(told, events=["outage"])]}
    return vendor, start.broker(policy, env=SECRETS)


def test_all_keys_disabled_by_hand(start, http, told):
    _, broker = begin(start, told)
    assert (provider(http, broker)["state"], problems(http, broker)) == ("usable", [])
    change(http, broker, "keys/sim/one/disable")
    assert (provider(http, broker)["state"], problems(http, broker)) == ("usable", [])
    assert ask(http, broker).status_code == 200
    change(http, broker, "keys/sim/two/disable")
    one = provider(http, broker)
    assert (one["state"], one["until"], one["reason"]) == ("disabled", None, "no_usable_key")
    problem, = problems(http, broker)
    assert (problem["what"], problem["keys"]) == ("keys_disabled", [])
    assert problem["text"] == ("'sim' gets no calls: all its keys are disabled by hand: one, two. To use 'one' again: tollgate keys enable sim/one. "
                               "To use 'two' again: tollgate keys enable sim/two.")
    assert "every key of sim is disabled by hand" in http.get(broker.admin + "/api/v1/status").json()["headline"]
    shown = run("status", "--admin", broker.admin, check=True).stdout
    assert problem["text"] in shown and "sim gets no calls: it has no usable key" in shown
    answer = ask(http, broker)
    assert (answer.status_code, answer.headers["x-tollgate-outcome"]) == (503, "rejected_no_capacity")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    message = answer.json()["error"]["message"]
    assert "this broker's operator" in message and "each key of 'sim' was disabled by hand" in message, message
    assert "'tollgate keys enable sim/one' or 'tollgate keys enable sim/two'" in message and "try again in" not in message
    wait_until(lambda: outages(told) == [("sim", "began")], "the message that it began")
    assert told.told[0]["text"] == problem["text"]
    wait_until(lambda: "every key of every provider is disabled by hand" in broker.logs(), "a line in the log")
    change(http, broker, "keys/sim/two/enable")
    assert (provider(http, broker)["state"], problems(http, broker)) == ("usable", [])
    assert ask(http, broker).status_code == 200
    wait_until(lambda: outages(told) == [("sim", "began"), ("sim", "ended")], "the message that it ended")
    assert "a key of the provider is used again" in broker.logs() and "no longer refused" not in broker.logs()


def test_one_refused_and_one_disabled_by_hand(start, http, told):
    vendor, broker = begin(start, told)
    wait_until(lambda: vendor.checks == 2, "both checks")
    change(http, broker, "keys/sim/two/disable")
    vendor.taken = set()
    assert ask(http, broker).status_code == 401
    problem, = wait_until(lambda: problems(http, broker), "the problem")
    assert problem["what"] == "keys_refused" and problem["text"].endswith("tollgate keys enable sim/two.")
    assert provider(http, broker)["state"] == "disabled"
    wait_until(lambda: outages(told) == [("sim", "began")], "the message that it began")
    # The body is the provider's; whose key it is stands beside it.
    answer = ask(http, broker)
    assert answer.status_code == 401 and answer.json() == REFUSAL
    assert answer.headers["x-tollgate-refused-key"] == "sim/one (SECRET_ONE)"
    record = http.get(f"{broker.admin}/api/v1/requests/{answer.headers['x-tollgate-request-id']}").json()
    assert "the broker's own keys, not yours" in record["message"]
    vendor.taken = set(SECRETS.values())
    change(http, broker, "keys/sim/two/enable")
    assert provider(http, broker)["state"] == "usable" and ask(http, broker).status_code == 200
    wait_until(lambda: outages(told) == [("sim", "began"), ("sim", "ended")], "the message that it ended")


def test_without_the_providers_words_the_text_says_whose_key_it_is(start, http):
    huge = reply(401, body=json.dumps({"error": {"message": "Incorrect API key" + "x" * 70_000}}).encode(), reason="Unauthorized")
    vendor = start.provider(huge)
    policy = policy_of(sim=vendor, keys=("ONE",), check=False)
    broker = start.broker(policy, env=SECRETS)
    for _ in range(3):
        answer = ask(http, broker)
    assert answer.status_code == 401
    if "x-tollgate-refused-key" not in answer.headers:
        message = answer.json()["error"]["message"]
        assert "These are the broker's own keys, not yours" in message and "one' of 'sim' (SECRET_ONE)" in message


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_breaker_opened_by_hand_names_its_command(start, http, simulator, dialect):
    broker = start.broker(policy_for(simulator.url))
    change(http, broker, f"breakers/{dialect}/open")
    if dialect == "openai":
        answer = http.post(broker.url + "/v1/chat/completions", json={"model": "m", "messages": []})
    else:
        answer = http.post(broker.url + "/v1/messages", json={"model": "claude-m", "max_tokens": 1, "messages": []})
    assert answer.status_code == (503 if dialect == "openai" else 529) and "retry-after" in answer.headers
    message = answer.json()["error"]["message"]
    assert f"the breaker of '{dialect}' was opened by hand ('tollgate breakers auto {dialect}' ends that)" in message, message
    change(http, broker, f"breakers/{dialect}/auto")


def test_an_outage_of_two_causes_is_told_once(start, http, told):
    _, broker = begin(start, told)
    change(http, broker, "breakers/sim/open")
    for key in ("one", "two"):
        change(http, broker, f"keys/sim/{key}/disable")
    change(http, broker, "breakers/sim/auto")
    change(http, broker, "keys/sim/one/enable")
    wait_until(lambda: ("sim", "ended") in outages(told), "its end")
    assert outages(told) == [("sim", "began"), ("sim", "ended")]


def test_a_route_with_another_way_says_to_come_back(start, http):
    """The other provider's breaker closes by itself: then waiting helps."""
    vendor, down = Vendor(start), start.provider(reply(500, reason="Trouble"))
    vendor.taken = set(SECRETS.values())
    policy = policy_of(sim=vendor, check=False)
    policy["providers"]["down"] = {"dialect": "openai", "base_url": down.url + "/v1", "check_keys": False, "retry": {"attempts": 1},
                                   "keys": [{"id": "one", "secret": "${SECRET_ONE}"}], "breaker": {"failures": 1, "recovery": "300s", "when_open": "reject"}}
    policy["routes"] = [{"models": ["*"], "to": ["sim", "down"]}]
    broker = start.broker(policy, env=SECRETS)
    change(http, broker, "breakers/sim/open")
    assert ask(http, broker).status_code == 500
    answer = ask(http, broker)
    assert answer.status_code == 503 and "by hand" not in answer.json()["error"]["message"], answer.text
