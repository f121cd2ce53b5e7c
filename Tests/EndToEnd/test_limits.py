"""Bounds: body and header sizes, timeouts of both sides, slow readers, large answers with bounded memory."""

import json
import pathlib
import socket
import sys
import threading
import time

import pytest

from fleet import chat
from processes import policy_for
from rawhttp import Connection, address_of, exchange, request_bytes
from scripted import chunked, reply
from waiting import wait_until

JSON = [("Content-Type", "application/json")]


def memory_mib(child, kind="RssAnon"):
    """Resident memory of a process: its own, since the pages of its program come and go as code is run; with "VmRSS" all of it."""
    for line in pathlib.Path(f"/proc/{child.pid}/status").read_text().splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {kind}")


def body_of(size):
    body = json.dumps({"model": "gpt-test", "messages": [{"role": "user", "content": ""}]}).encode()
    return body.replace(b'"content": ""', b'"content": "' + b"x" * (size - len(body)) + b'"')


@pytest.mark.parametrize("size, status", [(65535, 200), (65536, 200), (65537, 413)])
def test_max_body(start, simulator, size, status):
    broker = start.broker(policy_for(simulator.url, max_body="64KiB"))
    body = body_of(size)
    assert len(body) == size
    answer = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, body)
    assert answer.status == status
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:30000], body[30000:])) + b"0\r\n\r\n"
    with Connection(address_of(broker.url)) as connection:
        connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces)
        answer = connection.answer("POST")
    assert answer.status == status
    if status == 413:
        assert "65536" in answer.body.decode() or "64 KiB" in answer.body.decode() or "64KiB" in answer.body.decode()
        assert json.loads(answer.body)["error"]["message"]


def test_too_large_by_content_length_is_refused_before_the_body(start, simulator):
    broker = start.broker(policy_for(simulator.url, max_body="64KiB"))
    with Connection(address_of(broker.url)) as connection:
        connection.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n")
        assert connection.answer("POST").status == 413
    with Connection(address_of(broker.url)) as connection:
        connection.send("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\nExpect: 100-continue\r\n\r\n")
        head = connection.head()
        assert head.status == 413, "must not ask for a body that it will refuse"


def test_slow_head_is_timed_out(broker):
    """The head must be whole within 10 s of its first byte."""
    began = time.monotonic()
    with Connection(address_of(broker.url), timeout=25) as connection:
        connection.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
        answer = connection.answer("POST")
    assert answer.status == 408
    assert time.monotonic() - began > 5


def upstream_timeouts(url, **timeouts):
    return policy_for(url, timeouts=timeouts, retry={"attempts": 1})


@pytest.mark.parametrize("path, body", [
    ("/v1/chat/completions", chat()),
    ("/v1/messages", b'{"model":"claude-x","max_tokens":3,"messages":[{"role":"user","content":"x"}]}')])
def test_provider_that_never_answers(start, path, body):
    silent = threading.Event()
    provider = start.provider(lambda *_: silent.wait(20) and b"")
    broker = start.broker(upstream_timeouts(provider.url, first_byte="300ms"))
    answer = exchange(address_of(broker.url), "POST", path, JSON, body)
    silent.set()
    assert answer.status == 504
    assert answer.first("x-tollgate-outcome") == "failed_upstream"
    assert json.loads(answer.body)["error"]["message"]


def test_provider_that_is_not_there(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    broker = start.broker(upstream_timeouts(f"http://127.0.0.1:{port}"))
    answer = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, chat())
    assert answer.status == 502
    assert answer.first("x-tollgate-outcome") == "failed_upstream"
    assert "refused" in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize("name, reply_bytes, status", [
    ("hangs up", b"", 502), ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 502),
    ("head cut", b"HTTP/1.1 200 OK\r\nContent-Le", 502)])
def test_provider_that_answers_nonsense(start, name, reply_bytes, status):
    def answer(received, connection):
        connection.send(reply_bytes)
        raise type(provider).Hangup
    provider = start.provider(answer)
    broker = start.broker(upstream_timeouts(provider.url))
    got = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, chat())
    assert got.status == status
    assert got.first("x-tollgate-outcome") == "failed_upstream"


def test_stream_that_falls_silent_ends(start):
    """After the first byte the broker can only break off: never a clean end of a broken answer."""
    silent = threading.Event()

    def answer(received, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.send(b"9\r\ndata: {}\n\r\n")
        silent.wait(20)
    provider = start.provider(answer)
    broker = start.broker(upstream_timeouts(provider.url, idle="300ms"))
    with Connection(address_of(broker.url)) as connection:
        connection.send(request_bytes("POST", "/v1/chat/completions", JSON, chat(stream=True)))
        try:
            body = connection.answer("POST").body
            assert b'"error"' in body, "a clean end without a word"
        except EOFError:
            body = b"data: {}"
    silent.set()
    assert b"data: {}" in body


def test_cut_body_is_not_passed_as_whole(start):
    def answer(received, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":")
        raise type(provider).Hangup
    provider = start.provider(answer)
    broker = start.broker(upstream_timeouts(provider.url))
    with Connection(address_of(broker.url)) as connection:
        connection.send(request_bytes("POST", "/v1/chat/completions", JSON, chat()))
        with pytest.raises((EOFError, ConnectionResetError)):
            connection.answer("POST")


def test_redirect_is_passed_not_followed(start):
    provider = start.provider(reply(307, [("Location", "http://127.0.0.1:1/elsewhere")], b"{}", "Temporary Redirect"))
    broker = start.broker(upstream_timeouts(provider.url))
    answer = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, chat())
    assert answer.status == 307
    assert answer.first("location") == "http://127.0.0.1:1/elsewhere"
    assert len(provider.received) == 1


@pytest.mark.timeout(90)
@pytest.mark.parametrize("streamed", [False, True])
def test_slow_reader_slows_the_provider_and_costs_bounded_memory(start, streamed):
    total, step = 64 << 20, 1 << 16
    sent = [0]

    def answer(received, connection):
        kind = b"text/event-stream" if streamed else b"application/octet-stream"
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, total))
        connection.socket.settimeout(60)
        line = b"data: " + b"x" * (step - 8) + b"\n\n"
        while sent[0] < total:
            connection.send(line)
            sent[0] += step
    provider = start.provider(answer)
    broker = start.broker(policy_for(provider.url, inject_usage=False))
    before = memory_mib(broker)
    with Connection(address_of(broker.url), timeout=60) as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.send(request_bytes("POST", "/v1/chat/completions", JSON, chat(stream=streamed)))
        assert connection.head().status == 200
        seen = []

        def stands_still():
            seen.append(sent[0])
            return len(seen) > 60 and seen[-1] == seen[-60] > 0
        wait_until(stands_still, "the provider to be slowed down", timeout=30)
        grown = memory_mib(broker) - before
        print(f"\nslow reader: the provider could send {sent[0] / (1 << 20):.1f} MiB, memory grew by {grown:.1f} MiB")
        assert sent[0] < total / 2
        assert grown < 24
        rest = connection.buffer
        count = len(rest)
        connection.buffer = b""
        while count < total:
            data = connection.socket.recv(1 << 20)
            assert data, "the answer ended early"
            count += len(data)
    assert count == total


def test_many_idle_connections(start, simulator, http):
    broker = start.broker(policy_for(simulator.url))
    before = memory_mib(broker)
    idle = [Connection(address_of(broker.url)) for _ in range(500)]
    assert http.post(broker.url + "/v1/chat/completions", content=chat(), headers=dict(JSON)).status_code == 200
    print(f"\n500 idle connections cost {(memory_mib(broker) - before) * 1024 / 500:.1f} KiB each")
    for connection in idle:
        connection.close()
    assert memory_mib(broker) - before < 40


def test_large_frames_pass(start):
    frame = b"data: " + json.dumps({"choices": [], "pad": "y" * 3_000_000}).encode() + b"\n\n"
    provider = start.provider(chunked([frame, b"data: [DONE]\n\n"]))
    broker = start.broker(policy_for(provider.url))
    answer = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, chat(stream=True))
    assert answer.body == frame + b"data: [DONE]\n\n"


def test_compressed_request_bomb_is_bounded(start, simulator):
    """256 MiB of blanks in a quarter of a MB of gzip: it unfolds to more than a hundred times its size, and is refused."""
    import zlib
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b" " * (1 << 20)
    body = b"".join(packer.compress(block) for _ in range(256)) + packer.flush()
    broker = start.broker(policy_for(simulator.url))
    before = memory_mib(broker)
    answer = exchange(address_of(broker.url), "POST", "/v1/chat/completions", [*JSON, ("Content-Encoding", "gzip")], body)
    assert (answer.status, answer.first("x-tollgate-outcome")) == (413, "rejected_too_large")
    # AddressSanitizer keeps freed memory for a while; 256 MiB unpacked would be well above this all the same.
    assert memory_mib(broker) - before < 200
    assert sys.getsizeof(body) < 1 << 20
