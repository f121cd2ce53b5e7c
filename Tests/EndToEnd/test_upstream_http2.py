"""`http_version: "2"`: providers over HTTP/2 and TLS, with an authority of our own; and the refusal of HTTP/2 without TLS."""

import asyncio
import json
import threading
import time
from types import SimpleNamespace

import h2.errors
import pytest

from certificates import make_certificate
from fleet import Client, chat
from h2provider import H2Provider
from processes import policy_for, record_of, run, write_policy
from rawhttp import Connection, address_of, exchange, request_bytes
from waiting import wait_until

JSON = [("Content-Type", "application/json")]
ANSWER = json.dumps({"id": "x", "object": "chat.completion", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}).encode()
FRAMES = [b'data: {"choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % number for number in range(20)] + [b"data: [DONE]\n\n"]


def answer(stream):
    """By the request's `x-wish`."""
    wish = stream.fields.get("x-wish", "")
    if wish == "stream":
        stream.head(200, [("content-type", "text/event-stream")])
        for frame in FRAMES:
            stream.data(frame)
        stream.data(b"", end=True)
    elif wish == "large":
        stream.answer(b"x" * 3_000_000)
    elif wish == "hold":
        stream.head(200, [("content-type", "text/event-stream")])
        stream.data(FRAMES[0])
        stream.reset.wait(20)
    elif wish == "silent":
        stream.reset.wait(20)
    elif wish == "late":
        stream.reset.wait(0.2)
        stream.answer(ANSWER)
    elif wish == "reset":
        stream.connection.do(lambda h2: h2.reset_stream(stream.number, 2))
    elif wish == "reset-inside":
        stream.head(200, [("content-type", "text/event-stream")])
        stream.data(FRAMES[0])
        stream.reset.wait(0.05)
        stream.connection.do(lambda h2: h2.reset_stream(stream.number, 2))
    elif wish == "goaway" and len(stream.connection.provider.received) == 1:
        # As a provider that restarts: this stream was not begun, and none after it will be.
        stream.connection.do(lambda h2: h2.close_connection(h2_error(), last_stream_id=0))
        stream.connection.raw.close()
    elif wish == "goaway-after":
        stream.answer(ANSWER)
        stream.connection.do(lambda h2: h2.close_connection())
    else:
        stream.answer(ANSWER)


def h2_error():
    return h2.errors.ErrorCodes.NO_ERROR


@pytest.fixture
def setting(start, tmp_path):
    certificate = make_certificate(tmp_path)
    provider = H2Provider(certificate, answer)
    policy = policy_for(provider.url, timeouts={"connect": "2s", "first_byte": "5s", "idle": "5s"}, retry={"base": "5ms", "max": "10ms"})
    for entry in policy["providers"].values():
        entry |= {"http_version": "2", "ca_file": str(certificate[0])}
    yield SimpleNamespace(broker=start.broker(policy), provider=provider)
    provider.close()


def call(setting, wish="", stream=False):
    return exchange(address_of(setting.broker.url), "POST", "/v1/chat/completions", [*JSON, ("x-wish", wish)], chat(stream=stream))


def test_calls_streams_and_large_answers(setting, http):
    reply = call(setting)
    assert (reply.status, reply.body) == (200, ANSWER)
    record = record_of(http, setting.broker, reply)
    assert (record["outcome"], record["input_tokens"], record["output_tokens"]) == ("completed", 7, 3)
    request = setting.provider.received[0]
    assert request.fields[":method"] == "POST" and request.fields[":path"] == "/v1/chat/completions"
    assert request.fields["authorization"].startswith("Bearer ")
    assert request.body == chat()
    assert call(setting, "stream", stream=True).body == b"".join(FRAMES)
    assert call(setting, "large").body == b"x" * 3_000_000
    assert len(setting.provider.connections) == 1, "the connection is kept"


def test_concurrent_calls_share_a_connection(setting, http):
    async def run():
        return await asyncio.gather(*[Client(address_of(setting.broker.url)).call(chat(stream=number % 2 == 0), [
            ("x-wish", "stream" if number % 2 == 0 else "late")]) for number in range(60)])

    began = time.monotonic()
    results = asyncio.run(run())
    seconds = time.monotonic() - began
    print(f"\nHTTP/2: 60 concurrent calls of up to 0.2 s in {seconds:.2f} s over {len(setting.provider.connections)} connection(s)")
    assert {result.status for result in results} == {200}
    assert all(result.body == (b"".join(FRAMES) if number % 2 == 0 else ANSWER) for number, result in enumerate(results))
    assert len(setting.provider.connections) <= 2
    assert seconds < 5


def test_a_client_that_leaves_ends_its_stream_alone(setting, http):
    with Connection(address_of(setting.broker.url)) as waiting:
        waiting.send(request_bytes("POST", "/v1/chat/completions", [*JSON, ("x-wish", "silent")], chat()))
        with Connection(address_of(setting.broker.url)) as reading:
            reading.send(request_bytes("POST", "/v1/chat/completions", [*JSON, ("x-wish", "hold")], chat(stream=True)))
            reading.until(b"data: ")
            wait_until(lambda: len(setting.provider.received) == 2, "both requests")
            left = time.monotonic()
        for stream in setting.provider.received:
            if stream.fields["x-wish"] == "hold":
                assert stream.reset.wait(2)
        print(f"\nHTTP/2: the provider saw the stream end after {(time.monotonic() - left) * 1000:.0f} ms")
        assert call(setting).body == ANSWER, "the connection goes on"
    for stream in setting.provider.received[:2]:
        assert stream.reset.wait(2)
    assert len(setting.provider.connections) == 1
    def idle():
        status = http.get(setting.broker.admin + "/api/v1/status").json()
        return all(entry["in_flight"] == 0 for entry in status["providers"])
    wait_until(idle, "no call in flight")


@pytest.mark.parametrize("wish", ["goaway", "goaway-after"])
def test_goaway_loses_no_call(setting, http, wish):
    """A provider that sends GOAWAY before it began a request, or behind an answer: the next attempt goes over a new connection."""
    first, second = call(setting, wish), call(setting)
    record = record_of(http, setting.broker, first)
    print(f"\n{wish}: {first.status}, attempts {[(tried['status'], tried['failure']) for tried in record['tries']]}, "
          f"{len(setting.provider.connections)} connections")
    assert (first.status, first.body) == (200, ANSWER)
    assert (second.status, second.body) == (200, ANSWER)
    assert len(setting.provider.connections) == 2


def test_a_stream_that_is_reset(setting, http):
    """Before the answer: tried again, then an error of ours. Inside: the error frame, and no second attempt."""
    before = call(setting, "reset")
    record = record_of(http, setting.broker, before)
    assert (before.status, before.first("x-tollgate-outcome")) == (502, "failed_upstream")
    assert [tried["failure"] for tried in record["tries"]] == ["reset_before_response"] * 3
    assert len(setting.provider.received) == 3
    inside = call(setting, "reset-inside", stream=True)
    assert inside.status == 200 and inside.body.startswith(FRAMES[0])
    assert b'"error"' in inside.body and b"broke off its answer" in inside.body
    assert record_of(http, setting.broker, inside)["outcome"] == "truncated"
    assert len(setting.provider.received) == 4


def test_a_provider_that_only_speaks_http_1(start, tmp_path, simulator, http):
    """ALPN decides: where the provider does not offer HTTP/2, the calls go over HTTP/1.1."""
    import socket
    import ssl
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["http/1.1"])
    listener = socket.create_server(("127.0.0.1", 0))
    heads = []

    def serve():
        while True:
            try:
                accepted = listener.accept()[0]
            except OSError:
                return
            with context.wrap_socket(accepted, server_side=True) as tls:
                heads.append(tls.recv(65536))
                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(ANSWER) + ANSWER)

    threading.Thread(target=serve, daemon=True).start()
    policy = policy_for("https://127.0.0.1:%d" % listener.getsockname()[1])
    for entry in policy["providers"].values():
        entry |= {"http_version": "2", "ca_file": str(certificate[0])}
    broker = start.broker(policy)
    reply = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, chat())
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    assert (reply.status, reply.body) == (200, ANSWER)
    assert heads[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")


def test_check_refuses_http_2_without_tls(tmp_path):
    policy = policy_for("http://127.0.0.1:9")
    for entry in policy["providers"].values():
        entry["http_version"] = "2"
    path = write_policy(tmp_path, policy)
    done = run("check", path)
    assert done.returncode == 1
    mistakes = [line for line in (done.stdout + done.stderr).splitlines() if "http_version" in line]
    assert len(mistakes) == 2
    for name, line in zip(("openai", "anthropic"), mistakes):
        assert line.startswith(f"{path}:") and f"error: providers.{name}.http_version" in line
        assert "h2c" in line and "https://" in line
