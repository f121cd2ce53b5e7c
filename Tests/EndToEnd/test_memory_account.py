"""The account of memory: bodies beyond it wait, then the youngest gives way; small urgent calls pass; nothing else grows unseen."""

import gzip
import json
import os
import re
import socket
import threading
import time

import h2.config
import h2.connection
import h2.events
import httpx

from processes import policy_for
from rawhttp import Connection, address_of, exchange, request_bytes
from scripted import reply
from test_limits import JSON, memory_mib
from waiting import wait_until

MIB = 1 << 20
IS_SANITIZED = "ASAN_OPTIONS" in os.environ or "TSAN_OPTIONS" in os.environ
ANSWER = json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()


STREAMING = b'{"model":"m","stream":true,"messages":[]}'


def provider(start):
    return start.provider(reply(body=ANSWER))


def body_of(size, model="gpt-test"):
    start = json.dumps({"model": model, "messages": [{"role": "user", "content": ""}]}).encode()
    return start.replace(b'"content": ""', b'"content": "' + b"x" * (size - len(start)) + b'"')


def head_of(size, fields=()):
    whole = request_bytes("POST", "/v1/chat/completions", [*JSON, ("content-length", str(size)), *fields])
    return whole.replace(b"Content-Length: 0\r\n", b"")


def held(http, broker, use=None):
    page = http.get(broker.admin + "/metrics").text
    found = dict(re.findall(r'tollgate_memory_bytes\{use="(\w+)"\} (\d+)', page))
    return int(found[use]) if use else sum(map(int, found.values()))


def most_held(http, broker, clients, use=None):
    """The most that was held while the clients ran."""
    seen = []

    def is_over():
        seen.append(held(http, broker, use))
        return not any(thread.is_alive() for thread in clients)

    wait_until(is_over, "the clients to end", 60)
    return max(seen)


def test_bodies_beyond_the_account_wait_and_the_youngest_gives_way(start, http):
    broker = start.broker(policy_for(provider(start).url, memory="8MiB"))
    address = address_of(broker.url)
    body, late_body = body_of(7 * MIB), body_of(3 * MIB)
    with Connection(address) as old, Connection(address, timeout=20) as late:
        old.send(head_of(len(body)))
        old.send(body[:6 * MIB])
        wait_until(lambda: held(http, broker, "bodies") >= 6 * MIB, "the first body to come")
        late.send(head_of(len(late_body)))
        sender = threading.Thread(target=lambda: send_all(late.socket, late_body), daemon=True)
        began = time.monotonic()
        sender.start()
        wait_until(lambda: held(http, broker, "bodies") >= 7 * MIB, "the account to be full")
        for _ in range(5):
            urgent = exchange(address, "POST", "/v1/chat/completions", [*JSON, ("x-tollgate-priority", "high")], body_of(60_000))
            assert urgent.status == 200
        assert held(http, broker) <= 8 * MIB
        status = http.get(broker.admin + "/api/v1/status").json()["memory"]
        assert status["limit_bytes"] == 8 * MIB and status["held_bytes"] <= 8 * MIB
        refused = late.answer("POST")
        assert 4.5 < time.monotonic() - began
        assert refused.status == 503 and refused.first("x-tollgate-outcome") == "rejected_no_capacity"
        assert refused.first("retry-after")
        old.send(body[6 * MIB:])
        assert old.answer("POST").status == 200
    wait_until(lambda: held(http, broker, "bodies") == 0, "the memory to come back")
    assert held(http, broker, "retry") == held(http, broker, "queued") == 0


def send_all(sock, data):
    try:
        sock.sendall(data)
    except OSError:
        pass  # It may have been refused before it was sent.


def test_a_crowd_of_slow_bodies_is_answered_within_the_account(start, http):
    """24 bodies of 4 MiB for 16 MiB of memory, each in pieces."""
    broker = start.broker(policy_for(provider(start).url, memory="16MiB"))
    address = address_of(broker.url)
    before = memory_mib(broker, "VmRSS")
    body = body_of(4 * MIB)
    statuses = []

    def client():
        with Connection(address, timeout=60) as connection:
            connection.send(head_of(len(body)))
            try:
                for at in range(0, len(body), 256 << 10):
                    connection.send(body[at:at + (256 << 10)])
            except OSError:
                pass  # It may be refused before it was sent; the answer says so.
            statuses.append(connection.answer("POST").status)

    clients = [threading.Thread(target=client, daemon=True) for _ in range(24)]
    for thread in clients:
        thread.start()
    most = most_held(http, broker, clients)
    assert len(statuses) == 24 and set(statuses) <= {200, 503} and 200 in statuses
    assert most <= 16 * MIB
    if not IS_SANITIZED:
        assert memory_mib(broker, "VmHWM") - before < 16 * 1.25 + 24


def test_streams_of_one_connection_share_the_account(start, http):
    broker = start.broker(policy_for(provider(start).url, memory="8MiB"))
    body = body_of(2 * MIB)
    sock = socket.create_connection(address_of(broker.url), timeout=30)
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    peer.initiate_connection()
    fields = [(":method", "POST"), (":path", "/v1/chat/completions"), (":scheme", "http"), (":authority", "localhost"),
              ("content-type", "application/json")]
    left, answers, most = {}, {}, 0

    def post(data, *more):
        stream = peer.get_next_available_stream_id()
        peer.send_headers(stream, [*fields, ("content-length", str(len(data))), *more])
        left[stream] = memoryview(data)
        return stream

    def pump():
        for stream, data in list(left.items()):
            while data and (size := min(len(data), peer.local_flow_control_window(stream), 16_384)):
                peer.send_data(stream, bytes(data[:size]), end_stream=size == len(data))
                data = data[size:]
            left[stream] = data
            if not data:
                del left[stream]
        sock.sendall(peer.data_to_send())

    def take():
        for event in peer.receive_data(sock.recv(65536)):
            if isinstance(event, h2.events.ResponseReceived):
                answers[event.stream_id] = int(dict(event.headers)[":status"])
                left.pop(event.stream_id, None)
            elif isinstance(event, h2.events.StreamReset):
                left.pop(event.stream_id, None)

    streams = [post(body) for _ in range(16)]
    urgent = None
    deadline = time.monotonic() + 40
    while len(answers) < len(streams) + (urgent is not None) and time.monotonic() < deadline:
        pump()
        now = held(http, broker)
        most = max(most, now)
        if urgent is None and now > 5 * MIB:
            urgent = post(body_of(30_000), ("x-tollgate-priority", "high"))
            pump()
        take()
    sock.close()
    assert urgent is not None and answers[urgent] == 200
    assert {answers[stream] for stream in streams} <= {200, 503}
    assert sum(answers[stream] == 200 for stream in streams) >= 3
    assert most <= 8 * MIB


def test_texts_of_brackets_cost_no_list_of_tokens(start):
    broker = start.broker(policy_for(provider(start).url))
    address = address_of(broker.url)
    assert exchange(address, "POST", "/v1/chat/completions", JSON, body_of(100)).status == 200
    before = memory_mib(broker, "VmHWM")
    for piece in (b"[", b",", b"[],", b"1,"):
        text = (b'{"model":"gpt-test","x":[' + piece * (32 * MIB // len(piece)))[:32 * MIB]
        packed = gzip.compress(text, 1)
        answer = exchange(address, "POST", "/v1/chat/completions", [*JSON, ("Content-Encoding", "gzip")], packed)
        assert answer.status in (400, 413)
    if not IS_SANITIZED:
        # A copy of a hundred times what was sent, and tokens of one window.
        assert memory_mib(broker, "VmHWM") - before < 24
    answer = exchange(address, "POST", "/v1/chat/completions", JSON, text)
    assert answer.status == 400
    if not IS_SANITIZED:
        assert memory_mib(broker, "VmHWM") - before < 32 + 24


def test_frames_without_an_end_are_not_kept(start, http):
    def answer(received, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: ")
        for _ in range(64):
            connection.send(b"x" * (128 << 10))
        raise endless.Hangup

    endless = start.provider(answer)
    broker = start.broker(policy_for(endless.url))
    address = address_of(broker.url)
    with Connection(address) as warm:
        warm.send(request_bytes("POST", "/v1/chat/completions", [*JSON, ("Connection", "close")], STREAMING))
        assert len(warm.rest()) > 8 * MIB
    before = memory_mib(broker, "VmHWM")

    def client():
        with Connection(address, timeout=60) as connection:
            connection.send(request_bytes("POST", "/v1/chat/completions", [*JSON, ("Connection", "close")], STREAMING))
            while connection.socket.recv(1 << 20):
                pass

    clients = [threading.Thread(target=client, daemon=True) for _ in range(16)]
    for thread in clients:
        thread.start()
    most = most_held(http, broker, clients, "decoding")
    assert most <= 16 * MIB + (1 << 16)
    assert held(http, broker, "decoding") == 0
    if not IS_SANITIZED:
        assert memory_mib(broker, "VmHWM") - before < 48


def test_long_paths_leave_a_short_list(start, http):
    broker = start.broker(policy_for(provider(start).url))
    with Connection(address_of(broker.url)) as connection:
        for number in range(200):
            connection.send(request_bytes("GET", f"/{number}/" + "p" * 60_000))
            assert connection.answer().status == 404
    page = http.get(broker.admin + "/api/v1/requests?state=recent&limit=1000")
    assert len(page.json()["requests"]) == 200
    # Each has its path and a message that quotes the path, cut to 256 bytes each.
    assert len(page.content) < 200 * 1100
    assert all(len(request["path"].encode()) == 256 for request in page.json()["requests"])
    assert held(http, broker, "records") < 200 * 600


def test_invented_names_are_no_labels(start):
    policy = policy_for(provider(start).url, trust_tenant_header=True, tenants=[{"id": "acme"}, {"id": "*"}])
    broker = start.broker(policy)
    with httpx.Client(timeout=20, trust_env=False) as client:
        for number in range(60):
            tenant = "acme" if number % 2 else f"invented-{number}"
            model = "gpt-4o-mini" if number == 59 else f"invented-{number}"
            answer = client.post(
                broker.url + "/v1/chat/completions", headers={"x-tollgate-tenant": tenant},
                json={"model": model, "messages": []})
            assert answer.status_code == 200
        page = client.get(broker.admin + "/metrics").text
    assert "invented" not in page
    labels = set(re.findall(r'tollgate_tokens_total\{provider="openai",model="([^"]*)",tenant="([^"]*)"', page))
    assert labels == {("other", "other"), ("other", "acme"), ("gpt-4o-mini", "acme")}
