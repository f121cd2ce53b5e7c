"""`http_version: "2"`: providers over HTTP/2 and TLS, with an authority of our own; and the refusal of HTTP/2 without TLS."""

import asyncio
import json
import socket
import ssl
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
    elif wish.startswith("half-"):
        half_an_answer(stream, wish[5:])
    elif wish == "refuse" and len(stream.connection.provider.received) == 1:
        stream.connection.do(lambda h2: h2.reset_stream(stream.number, 7))
    elif wish == "refuse-always":
        stream.connection.do(lambda h2: h2.reset_stream(stream.number, 7))
    elif wish == "endless":
        stream.head(200, [("content-type", "text/event-stream")])
        while not stream.reset.is_set():
            stream.data(FRAMES[0] * 100)
    elif wish == "floods":
        stream.head(200, [("content-type", "text/event-stream")])
        stream.data(FRAMES[0])
        try:
            for _ in range(200):
                stream.write(bytes([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]) * 500)
        except OSError:
            pass  # The broker may end the connection at any frame.
    elif wish == "goaway" and len(stream.connection.provider.received) == 1:
        # As a provider that restarts: this stream was not begun, and none after it will be.
        stream.connection.do(lambda h2: h2.close_connection(h2_error(), last_stream_id=0))
        stream.connection.raw.close()
    elif wish == "goaway-after":
        stream.answer(ANSWER)
        stream.connection.do(lambda h2: h2.close_connection())
    else:
        stream.answer(ANSWER)


HALF = b'{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"ha'
# What a broken provider, or one that restarts, says in the middle of an answer.
BREAKS = {
    "ping": bytes([0, 0, 7, 6, 0, 0, 0, 0, 0]) + b"1234567",
    "settings": bytes([0, 0, 5, 4, 0, 0, 0, 0, 0]) + b"12345",
    "hpack": bytes([0, 0, 1, 1, 4, 0, 0, 0, 0, 0xFF]),
    "garbage": b"HTTP/1.1 200 OK\r\n\r\n" * 20,
    "data-on-0": bytes([0, 0, 1, 0, 0, 0, 0, 0, 0, 1]),
    "no-error": bytes([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
    "cancel": bytes([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8]),
    "close": b"",
}


def half_an_answer(stream, how):
    kind = "text/event-stream" if how.endswith("+stream") else "application/json"
    stream.head(200, [("content-type", kind)])
    stream.data(FRAMES[0] if how.endswith("+stream") else HALF)
    how = how.removesuffix("+stream")
    stream.write(BREAKS[how])
    if how == "close":
        stream.connection.raw.shutdown(2)


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
    assert seconds < 30 * 0.2, "before thirty late calls one after another would have ended"


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


@pytest.mark.parametrize("how", list(BREAKS))
@pytest.mark.parametrize("stream", [False, True])
def test_half_an_answer_is_never_whole(setting, http, how, stream):
    wish = f"half-{how}{'+stream' if stream else ''}"
    with Connection(address_of(setting.broker.url)) as client:
        client.send(request_bytes("POST", "/v1/chat/completions", [*JSON, ("x-wish", wish)], chat(stream=stream)))
        head = client.head()
        if stream:
            body = b"".join(client.chunks())
            assert body.startswith(FRAMES[0]) and b'"error"' in body
        else:
            rest = client.rest()
            assert HALF in rest and not rest.endswith(b"0\r\n\r\n"), "the client must see that it is not all"
    wait_until(lambda: record_of(http, setting.broker, head)["outcome"] is not None, "the end")
    assert record_of(http, setting.broker, head)["outcome"] == "truncated"
    assert len(setting.provider.received) == 1, "no second attempt"
    assert call(setting).body == ANSWER


def breaker(http, broker):
    return next(entry["breaker"] for entry in http.get(broker.admin + "/api/v1/status").json()["providers"] if entry["id"] == "openai")


def test_a_refused_stream_is_sent_again_at_once(setting, http):
    reply = call(setting, "refuse")
    record = record_of(http, setting.broker, reply)
    assert (reply.status, reply.body, record["attempts"]) == (200, ANSWER, 1)
    assert len(setting.provider.received) == 2
    assert len(setting.provider.connections) == 1


def test_a_provider_that_refuses_for_ever_fails_the_call(setting, http):
    reply = call(setting, "refuse-always")
    assert reply.status == 502
    record = record_of(http, setting.broker, reply)
    assert [tried["failure"] for tried in record["tries"]] == ["reset_before_response"] * 3
    assert len(setting.provider.received) == 12, "four tries in each attempt"


def in_parallel(setting, count, wish):
    async def run():
        return await asyncio.gather(*[
            Client(address_of(setting.broker.url)).call(chat(), [("x-wish", wish), ("x-tollgate-session", str(number))])
            for number in range(count)])

    return asyncio.run(run())


@pytest.mark.parametrize("how", ["cut", "goaway"])
def test_one_connection_that_ends_is_one_event(start, tmp_path, http, how):
    """Twenty calls run on it: the breaker (five failures) stays closed, the retry budget holds, all are answered."""
    certificate = make_certificate(tmp_path)
    lock = threading.Lock()

    def answers(stream):
        connection = stream.connection
        if connection.number > 0:
            return stream.answer(ANSWER)
        with lock:
            if len(connection.streams) < 20 or connection.provider.connections[0].sent < 0:
                return None
            connection.sent = -10**9
        if how == "goaway":
            connection.do(lambda h2: h2.close_connection(h2_error(), last_stream_id=0))
        connection.raw.shutdown(2)
        return None

    provider = H2Provider(certificate, answers)
    policy = policy_for(provider.url, timeouts={"connect": "5s"}, retry={"base": "5ms", "max": "10ms"}, breaker={"failures": 5})
    for entry in policy["providers"].values():
        entry |= {"http_version": "2", "ca_file": str(certificate[0])}
    broker = start.broker(policy)
    try:
        results = in_parallel(SimpleNamespace(broker=broker), 20, "")
        assert [result.status for result in results] == [200] * 20
        assert breaker(http, broker)["state"] == "closed"
        tries = {record["attempts"] for record in http.get(broker.admin + "/api/v1/requests?state=recent&limit=50").json()["requests"]}
        assert tries == ({1} if how == "goaway" else {2})
    finally:
        provider.close()


def test_a_client_that_does_not_read_stops_the_provider(setting, http):
    with Connection(address_of(setting.broker.url)) as client:
        client.send(request_bytes("POST", "/v1/chat/completions", [*JSON, ("x-wish", "endless")], chat(stream=True)))
        client.until(b"data: ")
        connection = setting.provider.connections[0]
        sizes = []

        def rests():
            sizes.append(connection.sent)
            return len(sizes) > 5 and sizes[-6] == sizes[-1]

        wait_until(rests, "the provider is stopped", 20)
        print(f"\nHTTP/2: a provider gets rid of {sizes[-1] / 1048576:.1f} MiB to a client that reads nothing")
        assert sizes[-1] < 12 << 20, "sockets' buffers and ours; the window of the stream was 32 MiB once"
        assert call(setting).body == ANSWER, "the others on the connection go on"
        client.exactly(sizes[-1])
        wait_until(lambda: connection.sent > sizes[-1], "and goes on when it reads")


@pytest.mark.parametrize("limits, connections", [((10, 100), 2), ((0, 100), 2), ((5, 5), 4), ((1, 1), 20)])
def test_calls_find_places_where_the_provider_has_them(start, tmp_path, limits, connections):
    """By connection: the streams that it takes at a time (later ones take as many as the last of these)."""
    certificate = make_certificate(tmp_path)
    go = threading.Event()

    def answers(stream):
        go.wait(10)
        stream.answer(ANSWER)

    provider = H2Provider(certificate, answers, settings=lambda number: {3: limits[min(number, 1)]})
    policy = policy_for(provider.url, timeouts={"connect": "5s", "first_byte": "20s"})
    for entry in policy["providers"].values():
        entry |= {"http_version": "2", "ca_file": str(certificate[0])}
    broker = start.broker(policy)
    threading.Thread(target=lambda: (wait_until(lambda: len(provider.received) == 20, "all twenty"), go.set()), daemon=True).start()
    try:
        results = in_parallel(SimpleNamespace(broker=broker), 20, "")
        assert [result.status for result in results] == [200] * 20
        assert len(provider.connections) == connections
    finally:
        go.set()
        provider.close()


def test_a_provider_that_takes_no_streams_is_waited_for_as_long_as_connecting_may_take(start, tmp_path, http):
    certificate = make_certificate(tmp_path)
    provider = H2Provider(certificate, answer, settings=lambda number: {3: 0})
    policy = policy_for(provider.url, timeouts={"connect": "500ms", "first_byte": "60s"}, retry={"attempts": 1})
    for entry in policy["providers"].values():
        entry |= {"http_version": "2", "ca_file": str(certificate[0])}
    broker = start.broker(policy)
    try:
        reply = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, chat())
        assert reply.status == 504
        assert [tried["failure"] for tried in record_of(http, broker, reply)["tries"]] == ["connect_timed_out"]
        assert len(provider.connections) == 2, "no more than two are tried"
    finally:
        provider.close()


def test_an_early_answer_reaches_the_client(start, tmp_path):
    """The provider answers before it has read the body, which its windows stop: every answer comes whole."""
    certificate = make_certificate(tmp_path)
    refusal = b'{"error":{"message":"too large"}}'
    provider = H2Provider(certificate, lambda stream: None, early=lambda stream: stream.answer(refusal, 413))
    policy = policy_for(provider.url)
    for entry in policy["providers"].values():
        entry |= {"http_version": "2", "ca_file": str(certificate[0])}
    broker = start.broker(policy)
    try:
        for _ in range(10):
            reply = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, chat(text="x" * 1_000_000))
            assert (reply.status, reply.body) == (413, refusal)
        assert len(provider.connections) == 1
    finally:
        provider.close()


def test_a_flood_of_control_frames_ends_its_connection_alone(setting, http):
    flooded = call(setting, "floods", stream=True)
    assert flooded.status == 200 and b'"error"' in flooded.body
    assert record_of(http, setting.broker, flooded)["outcome"] == "truncated"
    assert call(setting).body == ANSWER


def only_connections(start, tmp_path, serve, **changes):
    """A broker whose provider shakes hands and then does as `serve(tls)` says to each connection."""
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    accepted = []

    def run(raw):
        try:
            with context.wrap_socket(raw, server_side=True) as tls:
                serve(tls)
        except OSError:
            pass  # How a connection ends is the test's to look at.

    def accept():
        while True:
            try:
                accepted.append(listener.accept()[0])
            except OSError:
                return
            threading.Thread(target=run, args=(accepted[-1],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    policy = policy_for("https://127.0.0.1:%d" % listener.getsockname()[1], **changes)
    for entry in policy["providers"].values():
        entry |= {"http_version": "2", "ca_file": str(certificate[0])}
    return SimpleNamespace(broker=start.broker(policy), accepted=accepted, close=lambda: listener.shutdown(socket.SHUT_RDWR))


SETTINGS, GOAWAY = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), bytes([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("said", [SETTINGS + GOAWAY, b""])
def test_a_provider_that_ends_each_new_connection_is_one_failure_each_time(start, tmp_path, http, said):
    """As over HTTP/1.1: an attempt is one connection, and a backoff follows."""

    def serve(tls):
        if said:
            tls.sendall(said)
        else:
            # The client has spoken, and found nothing to read.
            tls.recv(65536)

    setting = only_connections(
        start, tmp_path, serve, timeouts={"connect": "3s", "first_byte": "20s"}, retry={"attempts": 3, "base": "5ms", "max": "10ms"})
    try:
        reply = call(setting)
        assert reply.status == 502
        assert [tried["failure"] for tried in record_of(http, setting.broker, reply)["tries"]] == ["reset_before_response"] * 3
        assert len(setting.accepted) == 3
    finally:
        setting.close()


def test_calls_that_wait_in_vain_together_are_one_event(start, tmp_path, http):
    """Nothing comes of the connection: twenty calls, a breaker of five failures, which stays closed."""
    setting = only_connections(
        start, tmp_path, lambda tls: tls.recv(65536) and tls.recv(65536), timeouts={"connect": "1s", "first_byte": "20s"},
        retry={"attempts": 1}, breaker={"failures": 5})
    try:
        results = in_parallel(setting, 20, "")
        assert [result.status for result in results] == [504] * 20
        assert breaker(http, setting.broker)["state"] == "closed"
    finally:
        setting.close()


def test_a_connection_that_never_says_what_it_takes_is_closed(start, tmp_path):
    closed = threading.Event()

    def serve(tls):
        while tls.recv(65536):
            pass
        closed.set()

    setting = only_connections(start, tmp_path, serve, timeouts={"connect": "500ms", "first_byte": "20s"}, retry={"attempts": 1})
    try:
        assert call(setting).status == 504
        assert closed.wait(5), "nobody waits for it any more"
    finally:
        setting.close()


def test_a_broken_provider_that_reads_nothing_is_left_at_once(start, tmp_path, http):
    """It stops reading in the middle of a body and floods: the goodbye cannot go out, and is not waited for."""
    left = threading.Event()

    def early(stream):
        connection = stream.connection
        # As long as it holds this, nothing is read.
        with connection.lock:
            # Far less than the body fits into what lies between.
            connection.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            connection.h2.increment_flow_control_window(30 << 20)
            connection.flush()
            stream.reset.wait(0.3)
            try:
                connection.raw.sendall(bytes([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]) * 200_000)
            except OSError:
                pass  # The broker may end the connection at any frame.
            left.wait(15)

    certificate = make_certificate(tmp_path)
    provider = H2Provider(certificate, answer, early=early, settings=lambda number: {4: 30 << 20})
    policy = policy_for(provider.url, timeouts={"connect": "2s", "first_byte": "10s"}, retry={"attempts": 1})
    for entry in policy["providers"].values():
        entry |= {"http_version": "2", "ca_file": str(certificate[0])}
    broker = start.broker(policy)
    try:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * (20 << 20)}]}).encode()
        began = time.monotonic()
        reply = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, body)
        print(f"\nHTTP/2: left a broken provider after {time.monotonic() - began:.2f} s")
        assert reply.status == 502
        assert [tried["failure"] for tried in record_of(http, broker, reply)["tries"]] == ["reset_before_response"]
    finally:
        left.set()
        provider.close()


def test_a_provider_that_only_speaks_http_1(start, tmp_path, simulator, http):
    """ALPN decides: where the provider does not offer HTTP/2, the calls go over HTTP/1.1."""
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
