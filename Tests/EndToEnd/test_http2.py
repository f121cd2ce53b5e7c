"""HTTP/2 by prior knowledge: libraries, load, misuse."""

import json
import re
import socket
import subprocess

import h2.config
import h2.connection
import h2.errors
import h2.events
import httpx
import pytest

from rawhttp import address_of
from waiting import wait_until

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "hello"}]}
BODY = json.dumps(CHAT).encode()


class Peer:
    """A client connection that leaves every liberty to the test."""

    def __init__(self, broker, **config):
        self.socket = socket.create_connection(address_of(broker.url), timeout=15)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8", **config))
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def post(self, path="/v1/chat/completions", body=BODY, fields=(), end=True):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "localhost"),
                                      ("content-type", "application/json"), *fields])
        self.h2.send_data(stream, body, end_stream=end)
        self.flush()
        return stream

    def events(self):
        """Events until the other side ends the connection."""
        while True:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return
            if not data:
                return
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                yield event
            self.flush()

    def answers(self, *streams):
        """Status, fields and body of each stream."""
        answers = {stream: [None, {}, b""] for stream in streams}
        left = set(streams)
        for event in self.events():
            if isinstance(event, h2.events.ResponseReceived):
                fields = dict(event.headers)
                answers[event.stream_id][:2] = [int(fields[":status"]), fields]
            elif isinstance(event, h2.events.DataReceived):
                answers[event.stream_id][2] += event.data
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                left.discard(event.stream_id)
            elif isinstance(event, h2.events.ConnectionTerminated):
                raise AssertionError(f"the connection was ended: {event}")
            if not left:
                return answers
        raise AssertionError(f"the connection ended with {left} unanswered")

    def goaway(self):
        """The error code with which the other side ends the connection; None where it just ends."""
        code = None
        for event in self.events():
            if isinstance(event, h2.events.ConnectionTerminated):
                code = event.error_code
        return code


def test_httpx(broker):
    with httpx.Client(http1=False, http2=True, timeout=20, trust_env=False) as client:
        answer = client.post(broker.url + "/v1/chat/completions", json=CHAT)
        assert answer.http_version == "HTTP/2"
        assert answer.json()["choices"]
        with client.stream("POST", broker.url + "/v1/chat/completions", json={**CHAT, "stream": True}) as stream:
            assert b"".join(stream.iter_raw()).endswith(b"data: [DONE]\n\n")


def test_many_streams_on_one_connection(broker):
    with Peer(broker) as peer:
        streams = [peer.post(fields=[("x-sim-field", f"x-number: {n}")]) for n in range(50)]
        answers = peer.answers(*streams)
    assert [int(answers[stream][1]["x-number"]) for stream in streams] == list(range(50))
    assert all(json.loads(answer[2])["choices"] for answer in answers.values())


def test_large_bodies_both_ways(broker):
    with Peer(broker) as peer:
        body = json.dumps({**CHAT, "pad": "x" * 300_000}).encode()
        stream = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(stream, [(":method", "POST"), (":path", "/v1/chat/completions"), (":scheme", "http"),
                                      (":authority", "localhost"), ("x-sim-body", "1000000")])
        sent = 0
        while sent < len(body):
            size = min(peer.h2.local_flow_control_window(stream), peer.h2.max_outbound_frame_size, len(body) - sent)
            if size:
                peer.h2.send_data(stream, body[sent:sent + size], end_stream=sent + size == len(body))
                sent += size
                peer.flush()
            else:
                peer.h2.receive_data(peer.socket.recv(65536))
        assert len(peer.answers(stream)[stream][2]) == 1_000_000


def test_reset_stream_frees_its_place(broker, http):
    with Peer(broker) as peer:
        stream = peer.post(fields=[("x-sim-first-token-ms", "20000")])

        def in_flight():
            return sum(p["in_flight"] for p in http.get(broker.admin + "/api/v1/status").json()["providers"])
        wait_until(lambda: in_flight() == 1, "one call in flight")
        peer.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        peer.flush()
        wait_until(lambda: in_flight() == 0, "no call in flight")
        other = peer.post()
        assert peer.answers(other)[other][0] == 200


def test_h2load(broker, tmp_path):
    """2,000 requests over 4 connections with 25 streams each: all answered."""
    (tmp_path / "body.json").write_bytes(BODY)
    command = ["h2load", "-n", "2000", "-c", "4", "-m", "25", "-d", tmp_path / "body.json", "-H", "content-type: application/json",
               broker.url + "/v1/chat/completions"]
    done = subprocess.run(command, capture_output=True, timeout=50)
    text = done.stdout.decode()
    assert re.search(r"2000 succeeded, 0 failed, 0 errored, 0 timeout", text), text
    assert re.search(r"2000 2xx", text), text
    rate = re.search(r"finished in .*", text)
    print("\nh2load:", rate.group(0) if rate else "")


def plain(**config):
    """A peer that checks nothing of what it sends."""
    return {"validate_outbound_headers": False, "normalize_outbound_headers": False, **config}


@pytest.mark.parametrize("fields", [
    [(":method", "POST"), (":scheme", "http"), (":authority", "localhost")],
    [(":method", "POST"), (":path", "/v1/models"), (":scheme", "http"), (":authority", "localhost"), ("connection", "close")],
    [(":method", "POST"), (":path", "/v1/models"), (":scheme", "http"), (":authority", "localhost"), ("transfer-encoding", "chunked")],
    [(":method", "POST"), (":path", "/v1/models"), (":scheme", "http"), (":authority", "localhost"), ("Upper", "case")],
    [(":method", "POST"), (":path", "/v1/models"), (":scheme", "http"), (":authority", "localhost"), ("x", "a\r\nb: c")],
    [(":method", "POST"), (":path", "/v1/models"), (":scheme", "http"), (":authority", "localhost"), ("content-length", "7")],
    [(":method", "POST"), (":path", ""), (":scheme", "http"), (":authority", "localhost")],
    [(":method", "POST"), (":method", "GET"), (":path", "/v1/models"), (":scheme", "http"), (":authority", "localhost")],
    [("x", "y"), (":method", "POST"), (":path", "/v1/models"), (":scheme", "http"), (":authority", "localhost")],
], ids=["no path", "connection", "transfer-encoding", "upper case", "CR LF", "wrong length", "empty path", "two methods", "pseudo late"])
def test_malformed_request_is_refused(broker, fields):
    """Refused by a reset, a 400 or the end of the connection; the next connection works."""
    with Peer(broker, **plain()) as peer:
        stream = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(stream, fields, end_stream=fields[-1] != ("content-length", "7"))
        if fields[-1] == ("content-length", "7"):
            peer.h2.send_data(stream, b"abc", end_stream=True)
        peer.flush()
        refused = None
        for event in peer.events():
            if isinstance(event, h2.events.ResponseReceived):
                refused = dict(event.headers)[":status"]
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                refused = refused or event.error_code
            if refused is not None:
                break
        assert refused != "200"
    with Peer(broker) as peer:
        stream = peer.post()
        assert peer.answers(stream)[stream][0] == 200


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


@pytest.mark.parametrize("name, data", [
    ("ping", frame(6, 0, 0, b"\0" * 8)), ("settings", frame(4, 0, 0, b"\0\3\0\0\0\144")),
    ("window update of nothing", frame(8, 0, 0, b"\0\0\0\1")),
])
def test_control_frame_flood_does_not_hang_the_broker(broker, http, name, data):
    with Peer(broker) as peer:
        try:
            for _ in range(200):
                peer.socket.sendall(data * 500)
        except OSError:
            pass  # It may end the connection at any frame.
        assert http.get(broker.admin + "/healthz", timeout=5).status_code == 200
    assert http.post(broker.url + "/v1/chat/completions", json=CHAT).status_code == 200


def test_rapid_reset_ends_the_connection_or_is_bounded(broker, http):
    with Peer(broker) as peer:
        try:
            for _ in range(5000):
                stream = peer.h2.get_next_available_stream_id()
                peer.h2.send_headers(stream, [(":method", "GET"), (":path", "/v1/models"), (":scheme", "http"), (":authority", "localhost")])
                peer.h2.reset_stream(stream)
                peer.flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass  # It may end the connection at any stream.
    assert http.get(broker.admin + "/healthz", timeout=5).status_code == 200
    assert http.post(broker.url + "/v1/chat/completions", json=CHAT).status_code == 200


def test_wrong_preface(broker):
    with socket.create_connection(address_of(broker.url), timeout=15) as raw:
        raw.sendall(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + b"\0" * 64)
        data = b""
        try:
            while more := raw.recv(65536):
                data += more
        except ConnectionResetError:
            pass  # A reset is as good an end as any.
    assert broker.process.poll() is None
