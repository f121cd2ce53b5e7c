"""A provider ends a kept-alive connection under a request: at once, and the request goes out again unseen; or after it had the time to
work on it, and the request is booked and goes out no more. The same over HTTP/1.1 and HTTP/2."""

import json
import threading
from types import SimpleNamespace

import pytest

from certificates import make_certificate
from fleet import chat
from h2provider import H2Provider
from processes import policy_for, record_of
from rawhttp import address_of, exchange
from scripted import ScriptedProvider
from test_upstream_http2 import ANSWER, breaker

JSON = [("Content-Type", "application/json")]
# Longer than the second that is "at once".
AT_WORK = 1.4


@pytest.fixture(params=["1.1", "2"])
def setting(request, start, tmp_path):
    """The broker, and a provider that ends the connection of its second request after `pause` seconds."""
    kept = SimpleNamespace(pause=0, seen=[], lock=threading.Lock(), protocol=request.param)

    def is_ended():
        with kept.lock:
            kept.seen.append(1)
            return len(kept.seen) == 2

    def over_http1(received, connection):
        if is_ended():
            threading.Event().wait(kept.pause)
            raise ScriptedProvider.Hangup
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER

    def over_http2(stream):
        if is_ended():
            stream.reset.wait(kept.pause)
            return stream.connection.raw.shutdown(2)
        return stream.answer(ANSWER)

    changes = {"limits": {"requests_per_day": 100}, "timeouts": {"connect": "5s", "first_byte": "20s"}, "retry": {"attempts": 3, "base": "5ms", "max": "10ms"}}
    if request.param == "2":
        certificate = make_certificate(tmp_path)
        provider = H2Provider(certificate, over_http2)
        policy = policy_for(provider.url, **changes)
        for entry in policy["providers"].values():
            entry |= {"http_version": "2", "ca_file": str(certificate[0])}
        kept.broker = start.broker(policy)
        yield kept
        provider.close()
    else:
        kept.broker = start.broker(policy_for(start.provider(over_http1).url, **changes))
        yield kept


def call(setting):
    return exchange(address_of(setting.broker.url), "POST", "/v1/chat/completions", JSON, chat())


def test_an_end_at_once_costs_nothing(setting, http):
    assert call(setting).body == ANSWER
    reply = call(setting)
    record = record_of(http, setting.broker, reply)
    assert (reply.status, reply.body, record["attempts"], record["outcome"]) == (200, ANSWER, 1, "completed")
    assert len(setting.seen) == 3
    assert breaker(http, setting.broker)["state"] == "closed"
    # The provider may have counted the second request twice: of 100 a day, 3 are gone.
    buckets = http.get(setting.broker.admin + "/api/v1/status").json()["providers"][0]["buckets"]
    assert [bucket["available"] for bucket in buckets] == [97]


def test_an_end_in_the_middle_of_the_work_is_booked_and_final(setting, http):
    assert call(setting).body == ANSWER
    setting.pause = AT_WORK
    reply = call(setting)
    record = record_of(http, setting.broker, reply)
    print(f"\nHTTP/{setting.protocol}: {reply.status}, {record['tries']}, {record['input_tokens']} tokens, estimated {record['estimated']}")
    assert (reply.status, record["outcome"]) == (502, "failed_upstream")
    assert [tried["failure"] for tried in record["tries"]] == ["reset_before_response"]
    assert len(setting.seen) == 2, "the provider runs it once"
    assert record["input_tokens"] > 0 and record["estimated"]
    assert json.loads(reply.body)["error"]["message"].count("closed the connection before it answered") == 1
