"""A provider that takes none of its keys: one line in the log, the status, and each answer say so, and so does its end. Keys are tried
at the start beside serving; a provider that does not answer then says nothing of its keys."""

import json
import time

from processes import run
from scripted import ScriptedProvider, reply
from waiting import wait_until

SECRETS = {"SECRET_ONE": "sk-refused-one-0123456789abcdef", "SECRET_TWO": "sk-refused-two-0123456789abcdef"}
REFUSAL = {"error": {"message": "Incorrect API key provided.", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}}
ANSWER = {"id": "c", "object": "chat.completion", "model": "m",
          "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
          "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}}
ALL = "every key of every provider is refused"
ONE = "every key of a provider is refused"
AGAIN = "a key of the provider is no longer refused"


class Vendor:
    """Takes the keys that are in `taken`; counts the lists of models that it was asked for."""

    def __init__(self, start):
        self.taken, self.checks, self.silent, self.given_up = set(), 0, False, []
        self.provider = start.provider(self._answer)
        self.url = self.provider.url

    def _answer(self, received, connection):
        if received.method == "GET":
            self.checks += 1
            if self.silent:
                # Nothing comes until the broker gives up.
                connection.socket.settimeout(30)
                connection.socket.recv(1)
                self.given_up.append(time.monotonic())
                raise ScriptedProvider.Hangup
        key = dict((name.lower(), value) for name, value in received.fields)["authorization"].removeprefix("Bearer ")
        if key not in self.taken:
            return reply(401, body=json.dumps(REFUSAL).encode(), reason="Unauthorized")
        return reply(body=json.dumps({"object": "list", "data": []} if received.method == "GET" else ANSWER).encode())


def policy_of(check=True, keys=("ONE", "TWO"), **vendors):
    return {"version": 1, "providers": {
        name: {"dialect": "openai", "base_url": vendor.url + "/v1", "check_keys": check, "retry": {"attempts": 3, "base": "1ms"},
               "keys": [{"id": key.lower(), "secret": "${SECRET_%s}" % key} for key in keys]} for name, vendor in vendors.items()},
        "routes": [{"models": [name + "-*"], "to": [name]} for name in vendors]}


def ask(http, broker, provider="sim"):
    return http.post(broker.openai_url + "/chat/completions",
                     json={"model": provider + "-m", "messages": [{"role": "user", "content": "hello"}]})


def lines(broker, text):
    return [line for line in broker.stderr if text in line]


def problems(http, broker):
    return http.get(broker.admin + "/api/v1/status").json()["problems"]


def key_lines(broker):
    return lines(broker, "key changed")


def test_all_keys_refused_at_the_start_is_one_line_and_stands_in_the_status(start, http):
    first, second = Vendor(start), Vendor(start)
    broker = start.broker(policy_of(sim=first, other=second), env=SECRETS)
    wait_until(lambda: lines(broker, ALL), "the line that says it")
    line, = lines(broker, ALL)
    for part in ("sim/one (SECRET_ONE)", "sim/two (SECRET_TWO)", "other/one (SECRET_ONE)", "Set SECRET_ONE to a valid key"):
        assert part in line
    assert first.checks == second.checks == 2
    assert key_lines(broker) == [] and lines(broker, ONE) == []
    found = problems(http, broker)
    assert [problem["provider"] for problem in found] == ["sim", "other"]
    assert found[0]["what"] == "keys_refused" and found[0]["since"].endswith("Z")
    assert found[0]["keys"] == [{"id": "one", "source": "SECRET_ONE", "reason": "refused"}, {"id": "two", "source": "SECRET_TWO", "reason": "refused"}]
    shown = run("status", "--admin", broker.admin)
    assert "'sim' refuses every key: one (SECRET_ONE), two (SECRET_TWO)." in shown.stdout.split("PROVIDER")[0]
    # Calls try them and are refused; nothing of this is said again.
    for _ in range(3):
        assert ask(http, broker).status_code == 401
    answer = ask(http, broker)
    assert answer.json() == REFUSAL
    assert answer.headers["x-tollgate-outcome"] == "rejected_no_capacity"
    assert answer.headers["x-tollgate-refused-key"] in ("sim/one (SECRET_ONE)", "sim/two (SECRET_TWO)")
    record = http.get(f"{broker.admin}/api/v1/requests/{answer.headers['x-tollgate-request-id']}").json()
    assert "(SECRET_" in record["message"] and "of 'sim'" in record["message"]
    assert len(lines(broker, ALL)) == 1 and key_lines(broker) == []
    for text in (*broker.stderr, shown.stdout, answer.text, str(answer.headers)):
        assert not any(secret in text for secret in SECRETS.values())


def test_one_of_two_refused_is_no_problem(start, http):
    vendor = Vendor(start)
    vendor.taken = {SECRETS["SECRET_TWO"]}
    broker = start.broker(policy_of(sim=vendor), env=SECRETS)
    wait_until(lambda: len(key_lines(broker)) == 1, "the line of the refused key")
    assert "sim/one" in key_lines(broker)[0]
    assert problems(http, broker) == [] and lines(broker, "every key of") == []
    assert ask(http, broker).status_code == 200


def test_refused_later_is_said_at_the_first_call_and_its_end_once(start, http):
    vendor, fine = Vendor(start), Vendor(start)
    fine.taken = vendor.taken = set(SECRETS.values())
    broker = start.broker(policy_of(sim=vendor, fine=fine), env=SECRETS)
    wait_until(lambda: vendor.checks == 2 and fine.checks == 2, "all checks")
    assert ask(http, broker).status_code == 200
    assert problems(http, broker) == []
    vendor.taken = set()
    assert ask(http, broker).status_code == 401
    wait_until(lambda: lines(broker, ONE), "the line that says it")
    assert "sim/one (SECRET_ONE), sim/two (SECRET_TWO)" in lines(broker, ONE)[0]
    # The first key may have been known before the call tried the last one.
    assert len(key_lines(broker)) <= 1
    assert [problem["provider"] for problem in problems(http, broker)] == ["sim"]
    assert ask(http, broker, "fine").status_code == 200
    # The operator tries a key again after its account was mended.
    vendor.taken = set(SECRETS.values())
    assert http.post(broker.admin + "/api/v1/keys/sim/one/enable").status_code == 200
    assert ask(http, broker).status_code == 200
    wait_until(lambda: lines(broker, AGAIN), "the line that says that it is over")
    assert problems(http, broker) == []
    for _ in range(3):
        assert ask(http, broker).status_code == 200
    assert len(lines(broker, AGAIN)) == len(lines(broker, ONE)) == 1
    # It has changed, so it is said again.
    vendor.taken = set()
    assert ask(http, broker).status_code == 401
    wait_until(lambda: len(lines(broker, ONE)) == 2, "the second line")


def test_a_provider_that_hangs_at_the_check_says_nothing(start, http):
    hanging, fine = Vendor(start), Vendor(start)
    hanging.silent = True
    hanging.taken = fine.taken = set(SECRETS.values())
    broker = start.broker(policy_of(sim=hanging, fine=fine), env=SECRETS)
    began = time.monotonic()
    wait_until(lambda: hanging.checks == 2, "the checks to begin")
    # The listeners answer meanwhile, also for this provider.
    assert ask(http, broker, "fine").status_code == 200
    assert ask(http, broker).status_code == 200
    assert not hanging.given_up, "the checks are still under way"
    # Both end by themselves, and leave no trace.
    wait_until(lambda: len(hanging.given_up) == 2, "the end of both checks")
    assert all(4 < at - began < 10 for at in hanging.given_up)
    assert key_lines(broker) == [] and problems(http, broker) == []
    assert ask(http, broker).status_code == 200


def test_without_check_keys_no_key_is_tried_before_the_first_call(start, http):
    vendor = Vendor(start)
    broker = start.broker(policy_of(check=False, keys=("ONE",), sim=vendor), env=SECRETS)
    assert problems(http, broker) == [] and vendor.checks == 0
    assert ask(http, broker).status_code == 401
    # A refusal orders a free call, which settles it.
    wait_until(lambda: lines(broker, ALL), "the line that says it")
    assert vendor.checks == 1
