"""What clients see of a broker that stops: everybody gets an answer, and nobody goes on sending into it."""

import json
import signal
import threading
import time

import h2.config
import h2.connection
import h2.events
import pytest

from fleet import chat
from processes import NO_RESERVE, policy_for
from rawhttp import Connection, address_of, exchange, request_bytes
from scripted import reply
from waiting import wait_until

JSON = [("Content-Type", "application/json")]
ANSWER = b'{"choices":[]}'
FRAME = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


class Held:
    """Answers when told; a request with `x-wish: stream` gets its head and one frame at once."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, received, connection):
        if received.first("x-wish") == "stream":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n"
                            % (len(FRAME), FRAME))
        self.go.wait(20)
        return reply(body=ANSWER) if received.first("x-wish") != "stream" else b""


@pytest.fixture
def held(start):
    answer = Held()
    answer.provider = start.provider(answer)
    yield answer
    answer.go.set()


def begin(broker, wish="", dialect="openai", session="s"):
    connection = Connection(address_of(broker.url))
    model = "claude-x" if dialect == "anthropic" else "gpt-test"
    body = json.dumps({"model": model, "max_tokens": 5, "stream": wish == "stream",
                       "messages": [{"role": "user", "content": "hi"}]}).encode()
    connection.send(request_bytes(
        "POST", PATHS[dialect], [*JSON, ("x-wish", wish), ("x-tollgate-session", session)], body))
    return connection


def queued(http, broker):
    providers = http.get(broker.admin + "/api/v1/status").json()["providers"]
    return sum(sum(entry["queued"].values()) for entry in providers)


def test_everybody_gets_an_answer_when_the_time_is_up(start, http, held):
    broker = start.broker(policy_for(held.provider.url, limits={"concurrency": 2}, priorities=NO_RESERVE, drain_timeout="500ms"))
    running = [begin(broker), begin(broker)]
    wait_until(lambda: len(held.provider.received) == 2, "two calls at the provider")
    waiting = [begin(broker, session=str(number)) for number in range(20)]
    wait_until(lambda: queued(http, broker) == 20, "twenty that wait")
    broker.signal(signal.SIGTERM)
    for connection in running + waiting:
        answer = connection.answer()
        assert answer.status == 503 and answer.first("x-tollgate-outcome") == "rejected_draining"
        assert 1 <= int(answer.first("retry-after")) <= 60
        assert b'"error"' in answer.body
    assert broker.wait(10) == 0
    assert len(held.provider.received) == 2


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_cut_stream_ends_with_an_error_frame(start, http, held, dialect):
    broker = start.broker(policy_for(held.provider.url, drain_timeout="300ms"))
    connection = begin(broker, "stream", dialect)
    connection.until(b"data: ")
    broker.signal(signal.SIGTERM)
    rest = connection.rest()
    assert b"shutting down" in rest and b'"error"' in rest
    assert rest.endswith(b"0\r\n\r\n"), "the answer's framing is whole"
    assert broker.wait(10) == 0


class HTTP2Client:
    """One cleartext HTTP/2 connection."""

    def __init__(self, address):
        self.connection = Connection(address)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events = []
        self.flush()

    def flush(self):
        self.connection.send(self.h2.data_to_send())

    def post(self, body, fields=()):
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, [
            (":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/v1/chat/completions"),
            ("content-type", "application/json"), *fields])
        self.h2.send_data(number, body, end_stream=True)
        self.flush()
        return number

    def until(self, kind, stream=None):
        """The first event of this kind; reads on as long as it takes."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and (stream is None or event.stream_id == stream):
                    return event
            data = self.connection.socket.recv(65536)
            if not data:
                raise EOFError(f"ended after {self.events}")
            self.events += self.h2.receive_data(data)
            if self.h2.state_machine.state is h2.connection.ConnectionState.CLOSED:
                # This library takes GOAWAY for the end of the streams that run, which it is not (RFC 9113 section 6.8).
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            self.flush()


def test_a_cut_stream_over_http2(start, http, held):
    broker = start.broker(policy_for(held.provider.url, drain_timeout="300ms"))
    client = HTTP2Client(address_of(broker.url))
    number = client.post(chat(stream=True), [("x-wish", "stream")])
    client.until(h2.events.DataReceived, number)
    broker.signal(signal.SIGTERM)
    client.until(h2.events.StreamEnded, number)
    text = b"".join(event.data for event in client.events if isinstance(event, h2.events.DataReceived))
    assert text.startswith(FRAME) and b"shutting down" in text
    assert broker.wait(10) == 0


def test_the_start_of_a_drain_tells_every_client(start, http, held):
    broker = start.broker(policy_for(held.provider.url, drain_timeout="20s"))
    address = address_of(broker.url)
    idle = Connection(address)
    idle.send(request_bytes("GET", "/nothing-here"))
    assert idle.answer().first("connection") is None
    idle2, busy2 = HTTP2Client(address), HTTP2Client(address)
    idle2.until(h2.events.RemoteSettingsChanged)
    number = busy2.post(chat())
    running = begin(broker)
    wait_until(lambda: len(held.provider.received) == 2, "two calls at the provider")
    broker.signal(signal.SIGTERM)
    assert idle.ended(), "an idle connection is closed"
    idle2.until(h2.events.ConnectionTerminated)
    busy2.until(h2.events.ConnectionTerminated)
    late = Connection(address)
    late.send(request_bytes("POST", "/v1/chat/completions", JSON, chat()))
    answer = late.answer()
    assert (answer.status, answer.first("connection")) == (503, "close")
    assert late.ended()
    assert broker.process.poll() is None, "what runs is waited for"
    held.go.set()
    answer = running.answer()
    assert (answer.status, answer.body, answer.first("connection")) == (200, ANSWER, "close")
    busy2.until(h2.events.StreamEnded, number)
    assert broker.wait(10) == 0


def test_a_drain_does_not_wait_for_what_cannot_be_served(start, http):
    provider = start.provider(reply(500, body=b"{}", reason="Broken"))
    broker = start.broker(policy_for(
        provider.url, drain_timeout="30s", retry={"attempts": 1}, breaker={"failures": 2, "recovery": "60s"}))
    for _ in range(2):
        exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, chat())
    waiting = [begin(broker, session=str(number)) for number in range(20)]
    wait_until(lambda: queued(http, broker) == 20, "twenty behind the breaker")
    began = time.monotonic()
    broker.signal(signal.SIGTERM)
    for connection in waiting:
        answer = connection.answer()
        assert (answer.status, answer.first("x-tollgate-outcome")) == (503, "rejected_draining")
    assert broker.wait(20) == 0
    assert time.monotonic() - began < 15, "half of the drain's time at most"
    assert len(provider.received) == 2


def test_a_drain_says_what_it_waits_for_and_how_to_end_it(start, http, held):
    broker = start.broker(policy_for(held.provider.url, limits={"concurrency": 1}, priorities=NO_RESERVE))
    running = begin(broker)
    wait_until(lambda: len(held.provider.received) == 1, "a call at the provider")
    waiting = [begin(broker, session=str(number)) for number in range(2)]
    wait_until(lambda: queued(http, broker) == 2, "two that wait")
    broker.signal(signal.SIGINT)
    line = broker.wait_for_line(r"info: draining.*").string
    assert 'running="1"' in line and 'waiting="2"' in line and "another signal (Ctrl-C) ends them at once" in line
    held.go.set()
    assert [each.answer().status for each in [running, *waiting]] == [200, 200, 200]
    assert broker.wait(10) == 0
    assert len([line for line in broker.stderr if "draining" in line]) == 1


def test_a_drain_without_calls_waits_for_nothing(start, simulator):
    broker = start.broker(policy_for(simulator.url))
    broker.signal(signal.SIGINT)
    assert broker.wait(10) == 0
    assert not any("Ctrl-C" in line for line in broker.stderr)


def test_a_drain_grants_nothing_that_cannot_end(start, http):
    """Calls take about a second; with half of one left the next is not begun."""
    finish = threading.Event()

    def answer(received, connection):
        finish.wait(1)
        return reply(body=ANSWER)

    provider = start.provider(answer)
    broker = start.broker(policy_for(provider.url, limits={"concurrency": 1}, priorities=NO_RESERVE, drain_timeout="1500ms"))
    first = begin(broker)
    wait_until(lambda: len(provider.received) == 1, "a call at the provider")
    second = begin(broker, session="t")
    wait_until(lambda: queued(http, broker) == 1, "one that waits")
    broker.signal(signal.SIGTERM)
    assert first.answer().status == 200
    refused = second.answer()
    assert (refused.status, refused.first("x-tollgate-outcome")) == (503, "rejected_draining")
    assert broker.wait(10) == 0
    assert len(provider.received) == 1
