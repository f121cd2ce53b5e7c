"""Transports that break, each over real sockets: what the client gets, what the record says, and how often the provider was asked.

All faults are providers of one broker, each in both dialects; none of them opens a breaker here.
"""

import json
import socket
import ssl
import struct
import threading
from types import SimpleNamespace

import pytest

from certificates import make_certificate
from processes import policy_for, record_of
from rawhttp import Connection, address_of, exchange, request_bytes
from scripted import ScriptedProvider, chunked, reply
from waiting import wait_until

JSON = [("Content-Type", "application/json")]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FRAME = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
TIMEOUT_MS = 250


def reset(connection):
    """Ends with RST, as a crashed process or a firewall does."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ScriptedProvider.Hangup


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def silence(connection):
    """Waits until the broker has had enough."""
    connection.rest()
    raise ScriptedProvider.Hangup


def after(*parts, then):
    def answer(received, connection):
        for part in parts:
            connection.send(part)
        then(connection)
    return answer


def hang_up(connection):
    raise ScriptedProvider.Hangup


def endless_head(received, connection):
    connection.send(HEAD)
    line = b"x-filler: " + b"a" * 1000 + b"\r\n"
    while True:
        connection.send(line)


def dribble(received, connection):
    """Never silent, never done."""
    connection.send(STREAM_HEAD)
    while not connection.socket.settimeout(TIMEOUT_MS / 2500):
        connection.send(chunk(FRAME))
        try:
            if not connection.socket.recv(1):
                raise ScriptedProvider.Hangup
        except TimeoutError:
            pass  # The broker says nothing more: send on.


# What happens before the head of an answer: three attempts, then an error of our own.
BEFORE = {
    # name: (answer or URL, failure, status, words of the message)
    "refused": (None, "connect_refused", 502, "connection was refused"),
    "unnamed": (None, "resolve_failed", 502, "name does not resolve"),
    "untrusted": (None, "tls_failed", 502, "TLS handshake failed"),
    "no-tls": (None, "tls_failed", 502, "TLS handshake failed"),
    "reset": (lambda received, connection: reset(connection), "reset_before_response", 502, "closed the connection before it answered"),
    "hang-up": (lambda received, connection: hang_up(connection), "reset_before_response", 502, "closed the connection before it answered"),
    "half-a-head": (after(HEAD, then=hang_up), "reset_before_response", 502, "closed the connection before it answered"),
    "silent": (lambda received, connection: silence(connection), "first_byte_timed_out", 504, "did not begin to answer in time"),
    "endless-head": (endless_head, "malformed_response", 502, "not HTTP"),
    "not-http": (lambda received, connection: b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed_response", 502, "not HTTP"),
    "two-lengths": (lambda received, connection: HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "malformed_response", 502, "not HTTP"),
}

# What happens inside a stream: one attempt, and the dialect's own error frame at the end.
INSIDE = {
    "stream-reset": (after(STREAM_HEAD + chunk(FRAME), then=reset), "truncated", "broke off its answer"),
    "stream-cut": (after(STREAM_HEAD + chunk(FRAME), then=hang_up), "truncated", "broke off its answer"),
    "stream-cut-in-frame": (after(STREAM_HEAD + chunk(FRAME[:20]), then=hang_up), "truncated", "broke off its answer"),
    "stream-silent": (after(STREAM_HEAD + chunk(FRAME), then=silence), "idle_timed_out", "fell silent in the middle"),
    "stream-endless": (dribble, "total_timed_out", "did not finish its answer in time"),
    "stream-bad-chunk": (after(STREAM_HEAD + chunk(FRAME) + b"zz\r\n\r\n", then=hang_up), "malformed_response", "not HTTP"),
}

# The same inside a whole answer: it is cut off, never ended as if it were complete.
WHOLE = {
    "length-too-long": (after(HEAD + b'Content-Length: 100\r\n\r\n{"id"', then=hang_up), "truncated"),
    "length-reset": (after(HEAD + b'Content-Length: 100\r\n\r\n{"id"', then=reset), "truncated"),
    "chunks-cut": (after(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b'{"id"'), then=hang_up), "truncated"),
    "body-silent": (after(HEAD + b'Content-Length: 100\r\n\r\n{"id"', then=silence), "idle_timed_out"),
}

PASSED = {
    "length-too-short": HEAD + b"Content-Length: 2\r\n\r\n{}trailing rubbish",
    "early-hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + reply(body=b'{"ok":1}'),
    "redirect": reply(307, [("Location", "http://127.0.0.1:9/elsewhere")], b"moved", reason="Temporary Redirect"),
    "moved": reply(302, [("Location", "/v1/elsewhere")], b"", reason="Found"),
}


@pytest.fixture(scope="module")
def setting(start_for_module, tmp_path_factory):
    """The broker, and the scripted provider behind each fault."""
    folder = tmp_path_factory.mktemp("tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(folder))
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    encrypted, plain = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))

    def accept(listener, serve):
        while True:
            try:
                serve(listener.accept()[0])
            except ssl.SSLError:
                pass  # The broker does not trust the certificate, and says so.
            except OSError:
                return

    def shake_hands(accepted):
        with accepted, context.wrap_socket(accepted, server_side=True):
            pass

    def speak_plainly(accepted):
        with accepted:
            accepted.recv(4096)
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=accept, args=(encrypted, shake_hands), daemon=True).start()
    threading.Thread(target=accept, args=(plain, speak_plainly), daemon=True).start()
    urls = {
        "refused": "http://127.0.0.1:%d" % held.getsockname()[1], "unnamed": "http://no-such-host.invalid",
        "untrusted": "https://127.0.0.1:%d" % encrypted.getsockname()[1], "no-tls": "https://127.0.0.1:%d" % plain.getsockname()[1],
    }
    answers = {name: case[0] for name, case in (BEFORE | INSIDE | WHOLE).items() if case[0]}
    answers |= {name: (lambda received, connection, raw=raw: raw) for name, raw in PASSED.items()}
    providers = {name: start_for_module.provider(answer) for name, answer in answers.items()}
    urls |= {name: provider.url for name, provider in providers.items()}
    timeouts = {name: f"{TIMEOUT_MS}ms" for name in ("connect", "first_byte", "idle")} | {"total": "1s"}
    # A handshake that fails must have the time to: with a sanitizer, or on a busy machine, it takes longer than these.
    patience = {"connect": "20s", "total": "60s"}
    policy = {"version": 1, "providers": {}}
    for name, url in urls.items():
        for dialect, suffix in (("openai", "/v1"), ("anthropic", "")):
            policy["providers"][f"{dialect}-{name}"] = {
                "dialect": dialect, "base_url": url + suffix,
                "timeouts": timeouts | (patience if url.startswith("https:") else {}), "breaker": {"failures": 1000},
                "retry": {"attempts": 3, "base": "5ms", "max": "10ms"}}
    policy["routes"] = [{"models": ["*"], "to": ["openai-silent"]}]
    yield SimpleNamespace(broker=start_for_module.broker(policy), providers=providers, held=held)
    # Closing alone would leave `accept` waiting in its thread.
    for listener in (encrypted, plain):
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    held.close()


def target(dialect, name):
    return f"/p/{dialect}-{name}/v1/" + ("chat/completions" if dialect == "openai" else "messages")


def body(stream=False):
    return json.dumps({"model": "m", "max_tokens": 5, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}).encode()


def asked(setting, name):
    return len(setting.providers[name].received) if name in setting.providers else None


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("name", BEFORE)
def test_before_the_answer(setting, http, name, dialect):
    _, failure, status, words = BEFORE[name]
    before = asked(setting, name)
    answer = exchange(address_of(setting.broker.url), "POST", target(dialect, name), [*JSON, ("anthropic-version", "2023-06-01")], body())
    error = json.loads(answer.body)["error"]
    record = record_of(http, setting.broker, answer)
    print(f"\n{dialect}-{name}: {answer.status} {error}; {record['outcome']} after {[tried['failure'] for tried in record['tries']]}")
    assert answer.status == status
    assert answer.first("x-tollgate-outcome") == record["outcome"] == "failed_upstream"
    # The message names the provider and the cause.
    assert f"'{dialect}-{name}'" in error["message"] and words in error["message"], error
    assert error["type"] == ("server_error" if dialect == "openai" else "timeout_error" if status == 504 else "api_error")
    assert (json.loads(answer.body).get("type") == "error") == (dialect == "anthropic")
    # What was wholly sent is not sent again.
    tries = 1 if name == "silent" else 3
    assert [tried["failure"] for tried in record["tries"]] == [failure] * tries
    assert answer.first("x-tollgate-attempts") == str(tries) and record["attempts"] == tries
    if before is not None:
        assert asked(setting, name) - before == tries


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("name", INSIDE)
def test_inside_a_stream(setting, http, name, dialect):
    _, failure, words = INSIDE[name]
    before = asked(setting, name)
    answer = exchange(
        address_of(setting.broker.url), "POST", target(dialect, name), [*JSON, ("anthropic-version", "2023-06-01")], body(stream=True))
    record = record_of(http, setting.broker, answer)
    assert answer.status == 200
    frames = answer.body.split(b"\n\n")
    # What the provider sent, as far as it came, then one frame of ours, whole.
    assert answer.body.startswith(FRAME[:20])
    last = frames[-2].split(b"\n")
    error = json.loads(last[-1].removeprefix(b"data: "))
    print(f"\n{dialect}-{name}: ... {frames[-2].decode()}; {record['outcome']}, {record['tries'][0]['failure']}")
    assert last[0] == b"event: error" if dialect == "anthropic" else last[-1].startswith(b"data: {\"error\"")
    assert f"'{dialect}-{name}'" in error["error"]["message"] and words in error["error"]["message"]
    assert b"[DONE]" not in answer.body and b"message_stop" not in answer.body
    assert record["outcome"] == "truncated"
    assert [tried["failure"] for tried in record["tries"]] == [failure]
    assert asked(setting, name) - before == 1


@pytest.mark.parametrize("name", WHOLE)
def test_inside_a_whole_answer(setting, http, name):
    before = asked(setting, name)
    with Connection(address_of(setting.broker.url)) as connection:
        connection.send(request_bytes("POST", target("openai", name), JSON, body()))
        head = connection.head()
        assert head.status == 200
        rest = connection.rest()
    assert b'{"id"' in rest and not rest.endswith(b"0\r\n\r\n")
    record = record_of(http, setting.broker, head)
    assert (record["outcome"], [tried["failure"] for tried in record["tries"]]) == ("truncated", [WHOLE[name][1]])
    assert asked(setting, name) - before == 1


@pytest.mark.parametrize("name, status, content", [
    ("length-too-short", 200, b"{}"), ("early-hints", 200, b'{"ok":1}'), ("redirect", 307, b"moved"), ("moved", 302, b"")])
def test_what_is_passed_on(setting, http, name, status, content):
    """Bytes beyond the length are nobody's answer; interim answers stay here; a redirect is the client's to follow."""
    before = asked(setting, name)
    with Connection(address_of(setting.broker.url)) as connection:
        connection.send(request_bytes("POST", target("openai", name), JSON, body()))
        answer = connection.head()
        assert answer.status == status, "the first head is the final one"
        got = connection.exactly(int(answer.first("content-length")))
        assert got == content
        # And the connection goes on with the next answer, not with rubbish.
        connection.send(request_bytes("GET", "/v1/no-such-thing-anywhere", JSON))
        assert connection.head().status >= 400
    if status in (302, 307):
        assert answer.first("location") in ("http://127.0.0.1:9/elsewhere", "/v1/elsewhere")
    assert record_of(http, setting.broker, answer)["outcome"] == "completed"
    assert asked(setting, name) - before == 1


def test_huge_frame_passes(start):
    """One frame of 12 MiB, far beyond any buffer, reaches the client byte for byte."""
    frame = b"data: {\"choices\":[{\"delta\":{\"content\":\"" + b"x" * (12 << 20) + b"\"}}]}\n\n"
    provider = start.provider(chunked([frame[at:at + (1 << 20)] for at in range(0, len(frame), 1 << 20)] + [b"data: [DONE]\n\n"]))
    broker = start.broker(policy_for(provider.url, inject_usage=False))
    answer = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, body(stream=True))
    assert answer.body == frame + b"data: [DONE]\n\n"


@pytest.mark.parametrize("says_goodbye", [False, True])
def test_the_end_of_a_tls_connection_ends_an_answer_only_in_words(start, tmp_path, http, says_goodbye):
    """An answer without a length ends with the connection: by close_notify, and not by a FIN that anybody could have sent."""
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                accepted = listener.accept()[0]
            except OSError:
                return
            tls = context.wrap_socket(accepted, server_side=True)
            tls.recv(65536)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"choices\":[]}")
            if says_goodbye:
                try:
                    tls.unwrap()
                except OSError:
                    pass  # The broker may have closed first.
            tls.close()

    threading.Thread(target=serve, daemon=True).start()
    policy = policy_for("https://127.0.0.1:%d" % listener.getsockname()[1])
    for entry in policy["providers"].values():
        entry["ca_file"] = str(certificate[0])
    broker = start.broker(policy)
    with Connection(address_of(broker.url)) as client:
        client.send(request_bytes("POST", "/v1/chat/completions", [("Content-Type", "application/json")], body()))
        head = client.head()
        rest = client.rest() if not says_goodbye else b"".join(client.chunks())
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    wait_until(lambda: record_of(http, broker, head)["outcome"] is not None, "the end")
    assert record_of(http, broker, head)["outcome"] == ("completed" if says_goodbye else "truncated")
    if not says_goodbye:
        assert not rest.endswith(b"0\r\n\r\n")


def test_a_large_answer_over_tls_comes_whole_though_reads_are_bounded(start, tmp_path):
    """Many times what is read of a connection in one event, sent at once; the connection stays open, so nothing but reading on ends it."""
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    content, over = b'{"choices":[],"pad":"' + b"y" * 5_000_000 + b'"}', threading.Event()

    def serve():
        with context.wrap_socket(listener.accept()[0], server_side=True) as tls:
            tls.recv(65536)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            over.wait(20)

    threading.Thread(target=serve, daemon=True).start()
    policy = policy_for("https://127.0.0.1:%d" % listener.getsockname()[1], timeouts={"idle": "5s"})
    for entry in policy["providers"].values():
        entry["ca_file"] = str(certificate[0])
    try:
        answer = exchange(address_of(start.broker(policy).url), "POST", "/v1/chat/completions", JSON, body())
        assert (answer.status, answer.body) == (200, content)
    finally:
        over.set()
        listener.close()
