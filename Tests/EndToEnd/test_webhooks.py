"""Webhooks over a real receiver: signatures, retries, order, receivers that hang or go away, reloads, and the end."""

import hashlib
import hmac
import json
import signal
import threading

from processes import policy_for, run, write_policy
from scripted import ScriptedProvider, reply
from waiting import wait_until

SECRET = "hook-secret-that-is-longer-than-one-block-of-sha-256-so-that-it-is-hashed-first"


class Receiver(ScriptedProvider):
    """Answers what `answers` says, one after the other, and 200 after that. Checks each signature."""

    def __init__(self, *answers, port=0):
        self.answers = list(answers)
        self.lock = threading.Lock()
        self.told = []
        super().__init__(self.serve, port)

    def serve(self, received, connection):
        fields = {name.lower(): value for name, value in received.fields}
        stamp, digest = (part.split("=", 1)[1] for part in fields["x-tollgate-signature"].split(","))
        signed = hmac.new(SECRET.encode(), stamp.encode() + b"." + received.body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(digest, signed)
        with self.lock:
            answer = self.answers.pop(0) if self.answers else reply(body=b"thanks")
            self.told.append(json.loads(received.body))
        return answer(connection) if callable(answer) else answer


def policy(*hooks, provider="http://127.0.0.1:9", **changes):
    return policy_for(provider, webhooks=list(hooks), **changes)


def hook(receiver, path="/in?key=query-secret", **changes):
    return {"url": receiver.url + path, "secret": SECRET, "events": ["breaker", "outage", "key"]} | changes


def listed(http, broker):
    answer = http.get(broker.admin + "/api/v1/webhooks")
    assert answer.status_code == 200 and SECRET not in answer.text and "query-secret" not in answer.text
    return answer.json()


def results(http, broker):
    return [delivery["result"] for delivery in listed(http, broker)["deliveries"]]


def open_breaker(http, broker, name="openai", how="open"):
    assert http.post(f"{broker.admin}/api/v1/breakers/{name}/{how}").status_code == 200


def test_messages_are_signed_in_order_and_listed(start, http):
    receiver = Receiver()
    broker = start.broker(policy(hook(receiver)))
    open_breaker(http, broker)
    open_breaker(http, broker, how="close")
    wait_until(lambda: len(receiver.told) == 4, "four messages")
    for event, states in [("breaker", ["open", "closed"]), ("outage", ["began", "ended"])]:
        assert [told["state"] for told in receiver.told if told["event"] == event] == states
    assert set(receiver.told[0]) == {"id", "event", "at", "subject", "state", "text"}
    assert {told["subject"] for told in receiver.told} == {"openai"}
    wait_until(lambda: results(http, broker) == ["delivered"] * 4, "four deliveries")
    report = listed(http, broker)
    assert report["webhooks"] == [
        {"url": receiver.url + "/…", "events": ["breaker", "key", "outage"], "format": "json", "pending": 0, "delivered": 4, "failed": 0, "dropped": 0}
    ]
    assert all(delivery["status"] == 200 and delivery["attempts"] == 1 for delivery in report["deliveries"])
    receiver.close()


def test_what_is_refused_is_tried_again(start, http):
    receiver = Receiver(
        reply(500, body=b"x" * 100_000, reason="Trouble"), reply(429, [("Retry-After", "1")], reason="Slow down"),
        reply(503, reason="Later"))
    broker = start.broker(policy(hook(receiver, events=["breaker"])))
    open_breaker(http, broker)
    open_breaker(http, broker, how="close")
    wait_until(lambda: results(http, broker) == ["delivered", "delivered"], "both delivered", timeout=20)
    # The second waited for the first.
    assert [told["state"] for told in receiver.told] == ["open"] * 4 + ["closed"]
    assert len({told["id"] for told in receiver.told}) == 2
    receiver.close()


def test_a_redirect_is_not_followed(start, http):
    elsewhere = Receiver()
    receiver = Receiver(reply(307, [("Location", elsewhere.url + "/")], reason="Elsewhere"))
    broker = start.broker(policy(hook(receiver, events=["outage"])))
    open_breaker(http, broker)
    wait_until(lambda: results(http, broker) == ["failed"], "it is given up")
    assert listed(http, broker)["deliveries"][0]["error"] == "the receiver answered 307"
    assert not elsewhere.received
    wait_until(lambda: "a webhook was not told" in broker.logs(), "a line in the log")
    assert SECRET not in broker.logs() and "query-secret" not in broker.logs()
    for one in (receiver, elsewhere):
        one.close()


def test_a_receiver_that_hangs_holds_up_no_other(start, http):
    go = threading.Event()
    slow = Receiver(*[lambda connection: (go.wait(30), reply())[1]] * 8)
    quick = Receiver()
    broker = start.broker(policy(hook(slow), hook(quick)))
    for _ in range(3):
        open_breaker(http, broker)
        open_breaker(http, broker, how="close")
    wait_until(lambda: len(quick.told) == 12, "all messages at the quick one")
    # The last one's answer may still be on its way to the broker.
    wait_until(lambda: listed(http, broker)["webhooks"][1]["pending"] == 0, "the quick one's answers")
    report = listed(http, broker)
    assert [one["pending"] for one in report["webhooks"]] == [12, 0]
    # Nothing that is being sent, or waits for one before it, is told to be tried at a time that has passed.
    assert {one["next_at"] for one in report["deliveries"]} == {None}
    assert 1 <= len(slow.received) <= 4
    go.set()
    for one in (slow, quick):
        one.close()


def test_a_receiver_that_goes_away_and_comes_back(start, http):
    receiver = Receiver()
    broker = start.broker(policy(hook(receiver, events=["outage"])))
    port = int(receiver.url.rsplit(":", 1)[1])
    receiver.close()
    open_breaker(http, broker)
    entry = wait_until(
        lambda: next((one for one in listed(http, broker)["deliveries"] if one["attempts"] and one["error"]), None), "a failed try")
    assert entry["result"] == "waiting" and entry["next_at"] and entry["status"] is None
    back = Receiver(port=port)
    wait_until(lambda: results(http, broker) == ["delivered"], "delivered after all", timeout=20)
    assert [told["state"] for told in back.told] == ["began"]
    back.close()


def test_a_reload_keeps_what_waits(start, http):
    go = threading.Event()
    receiver = Receiver(lambda connection: (go.wait(30), reply(500, reason="Trouble"))[1])
    broker = start.broker(policy(hook(receiver, events=["outage"])))
    open_breaker(http, broker)
    wait_until(lambda: receiver.received, "the first try")
    other = Receiver()
    write_policy(broker.policy_file.parent, policy(hook(other, events=["key"]), hook(receiver, events=["key"])))
    assert http.post(broker.admin + "/api/v1/reload").status_code == 200
    go.set()
    wait_until(lambda: results(http, broker) == ["delivered"], "delivered by the second try")
    assert http.post(f"{broker.admin}/api/v1/keys/openai/main/disable").status_code == 200
    wait_until(lambda: other.told and len(receiver.told) == 3, "both were told of the key")
    assert other.told[0]["event"] == "key" and other.told[0]["state"] == "disabled"
    for one in (receiver, other):
        one.close()


def test_the_end_tells_what_is_left(start, http):
    receiver = Receiver(reply(500, reason="Trouble"))
    broker = start.broker(policy(hook(receiver, events=["outage"])))
    open_breaker(http, broker)
    wait_until(lambda: listed(http, broker)["deliveries"][0]["status"] == 500, "the first answer")
    broker.signal(signal.SIGTERM)
    assert broker.wait() == 0
    assert [told["state"] for told in receiver.told] == ["began", "began"]
    receiver.close()


def test_slack_gets_a_text(start, http):
    received = []
    receiver = ScriptedProvider(lambda message, connection: (received.append(message), reply(body=b"ok"))[1])
    broker = start.broker(policy({"url": receiver.url + "/services/T/B/slack-secret", "format": "slack", "events": ["key"]}))
    assert http.post(f"{broker.admin}/api/v1/keys/openai/main/disable").status_code == 200
    wait_until(lambda: received, "a message")
    assert set(json.loads(received[0].body)) == {"text"}
    assert "openai/main" in json.loads(received[0].body)["text"]
    assert "x-tollgate-signature" not in {name.lower() for name, _ in received[0].fields}
    assert listed(http, broker)["webhooks"][0]["url"] == receiver.url + "/services/…"
    receiver.close()


def test_a_webhook_that_takes_nothing_is_a_problem_of_the_status(start, http):
    receiver = Receiver(reply(500), reply(500))
    broker = start.broker(policy(hook(receiver)))
    assert http.get(broker.admin + "/api/v1/status").json()["problems"] == []
    open_breaker(http, broker)

    def problems():
        return [(one["what"], one["provider"], one["text"]) for one in http.get(broker.admin + "/api/v1/status").json()["problems"]]
    told = ("webhook_away", None, f"the webhook {receiver.url}/… does not take messages: the receiver answered 500")
    wait_until(lambda: problems() == [told], "the problem")
    assert told[2] in run("status", "--admin", broker.admin).stdout
    wait_until(lambda: problems() == [], "its end", timeout=20)
    receiver.close()


def test_a_webhook_that_refuses_later_is_a_line_of_the_log_for_each_change(start, http):
    receiver = Receiver(reply(200), reply(500), reply(503), reply(200), reply(410))
    broker = start.broker(policy(hook(receiver, events=["key"])))

    def turn(verb, told, result="delivered"):
        assert http.post(f"{broker.admin}/api/v1/keys/openai/main/{verb}").status_code == 200
        wait_until(lambda: len(receiver.told) == told and results(http, broker)[0] == result, f"{verb} to be told", timeout=20)

    away, back = "the webhook does not take messages", "the webhook takes messages again"
    turn("disable", 1)
    assert away not in broker.logs() and back not in broker.logs()
    # Refused twice, then taken.
    turn("enable", 4)
    wait_until(lambda: back in broker.logs(), "the end in the log")
    assert (broker.logs().count(away), broker.logs().count(back)) == (1, 1)
    line = next(line for line in broker.logs().splitlines() if away in line)
    assert "the receiver answered 500" in line and receiver.url in line and "query-secret" not in broker.logs()
    # And once more, for good.
    turn("disable", 5, "failed")
    wait_until(lambda: broker.logs().count(away) == 2, "the second outage in the log")
    assert [one["what"] for one in http.get(broker.admin + "/api/v1/status").json()["problems"] if one["what"].endswith("away")] == ["webhook_away"]
    assert broker.logs().count(back) == 1
    receiver.close()
