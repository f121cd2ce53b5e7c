"""Wrong requests on bare sockets: each gets its status and a reason, or a closed connection; never a crash, never a hang."""

import json

import pytest

from rawhttp import Connection, address_of, request_bytes

BODY = b'{"model":"gpt-test","messages":[{"role":"user","content":"x"}]}'
POST = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def with_length(length):
    return (POST + f"Content-Length: {length}\r\n\r\n").encode() + BODY


# name: (bytes on the wire, status)
CASES = {
    "content-length and transfer-encoding": (
        (POST + f"Content-Length: {len(BODY)}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").encode(), 400),
    "transfer-encoding before content-length": (
        (POST + f"Transfer-Encoding: chunked\r\nContent-Length: {len(BODY)}\r\n\r\n0\r\n\r\n").encode(), 400),
    "content-length twice, different": ((POST + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n").encode() + BODY, 400),
    "content-length twice, equal": (
        (POST + f"Content-Length: {len(BODY)}\r\nContent-Length: {len(BODY)}\r\n\r\n").encode() + BODY, 400),
    "content-length list": (with_length(f"{len(BODY)}, {len(BODY)}"), 400),
    "content-length negative": (with_length("-5"), 400),
    "content-length plus": (with_length("+5"), 400),
    "content-length hex": (with_length("0x10"), 400),
    "content-length empty": (with_length(""), 400),
    "content-length inner space": (with_length("1 2"), 400),
    "content-length too large for 64 bits": (with_length("99999999999999999999999"), 400),
    "transfer-encoding unknown": ((POST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n").encode(), 501),
    "transfer-encoding chunked twice": ((POST + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n").encode(), 400),
    "transfer-encoding that hides": ((POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n").encode(), 501),
    "transfer-encoding in HTTP/1.0": (
        (POST.replace("1.1", "1.0") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").encode(), 400),
    "chunk size not hex": ((POST + "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n").encode(), 400),
    "chunk size negative": ((POST + "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n").encode(), 400),
    "chunk size too large": ((POST + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n").encode(), 400),
    "chunk without its end": ((POST + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n").encode(), 400),
    "chunk size with LF only": ((POST + "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n").encode(), 400),
    "space before colon": ((POST + f"Content-Length : {len(BODY)}\r\n\r\n").encode() + BODY, 400),
    "folded field": ((POST + f"X-A: b\r\n c\r\nContent-Length: {len(BODY)}\r\n\r\n").encode() + BODY, 400),
    "bare CR in a field": ((POST + f"X-A: b\rc\r\nContent-Length: {len(BODY)}\r\n\r\n").encode() + BODY, 400),
    "bare LF ends a line": ((POST + f"X-A: b\nContent-Length: {len(BODY)}\r\n\r\n").encode() + BODY, 400),
    "NUL in a field": ((POST + "X-A: b\0c\r\nContent-Length: 0\r\n\r\n").encode(), 400),
    "NUL in the target": (b"GET /v1/\0models HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "control character in a name": ((POST + "X\x01A: b\r\nContent-Length: 0\r\n\r\n").encode(), 400),
    "field without colon": ((POST + "XA\r\nContent-Length: 0\r\n\r\n").encode(), 400),
    "empty field name": ((POST + ": x\r\nContent-Length: 0\r\n\r\n").encode(), 400),
    "no host": (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n", 400),
    "no version": (b"GET /v1/models\r\nHost: localhost\r\n\r\n", 400),
    "version 2.0": (b"GET /v1/models HTTP/2.0\r\nHost: localhost\r\n\r\n", (400, 505)),
    "version of nonsense": (b"GET /v1/models HTTQ/1.1\r\nHost: localhost\r\n\r\n", 400),
    "two spaces in the request line": (b"GET  /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "target without slash": (b"GET v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", (400, 501)),
    "method with odd bytes": (b"G(T /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "TLS on the cleartext port": (bytes.fromhex("16030100c8010000c40303") + b"\0" * 40, 400),
    "nonsense": (b"\x80\x01\x02\x03 hello\r\n\r\n", 400),
    "one huge field": ((POST + "X-A: " + "a" * 200_000 + "\r\n\r\n").encode(), 431),
    "too many fields": ((POST + "".join(f"X-{n}: 1\r\n" for n in range(2_000)) + "\r\n").encode(), 431),
    "huge target": (b"GET /v1/" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (414, 431)),
}


@pytest.mark.parametrize("case", CASES)
def test_status_and_reason(broker, case):
    data, expected = CASES[case]
    expected = expected if isinstance(expected, tuple) else (expected,)
    with Connection(address_of(broker.url)) as connection:
        try:
            connection.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The answer came before all of the request was taken.
        answer = connection.answer("POST")
        assert answer.status in expected
        message = json.loads(answer.body)["error"]["message"]
        assert len(message) > 10, "the reason must say what was wrong"
        assert connection.ended(), "the connection must end: nobody knows where the next request begins"
    assert broker.process.poll() is None


def test_refusal_is_anthropics_where_the_path_is(broker):
    with Connection(address_of(broker.url)) as connection:
        connection.send(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = connection.answer("POST")
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"


def test_smuggled_request_is_never_served(broker, simulator, http):
    before = http.get(simulator.url + "/sim/stats").json()["calls"]
    hidden = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    for data in ((POST + f"Content-Length: {len(hidden)}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").encode() + hidden,
                 (POST + f"Content-Length: 0\r\nContent-Length: {len(hidden)}\r\n\r\n").encode() + hidden):
        with Connection(address_of(broker.url)) as connection:
            connection.send(data)
            assert connection.answer("POST").status == 400
            assert connection.ended()
    assert http.get(simulator.url + "/sim/stats").json()["calls"] == before


def test_pipelined_requests_are_answered_in_order(broker):
    with Connection(address_of(broker.url)) as connection:
        for number in range(5):
            connection.send(request_bytes("POST", "/v1/chat/completions", [
                ("Content-Type", "application/json"), ("x-sim-first-token-ms", str(60 - 10 * number)),
                ("x-sim-field", f"x-number: {number}")], BODY))
        assert [connection.answer("POST").first("x-number") for _ in range(5)] == list("01234")


def test_http10_gets_no_chunks(broker):
    with Connection(address_of(broker.url)) as connection:
        body = BODY.replace(b"{", b'{"stream":true,', 1)
        connection.send(b"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        answer = connection.answer("POST")
        assert answer.status == 200
        assert answer.framing == "close"
        assert answer.body.endswith(b"data: [DONE]\n\n")


def test_request_in_single_bytes(broker):
    with Connection(address_of(broker.url)) as connection:
        for byte in request_bytes("POST", "/v1/chat/completions", [("Content-Type", "application/json")], BODY):
            connection.send(bytes([byte]))
        assert connection.answer("POST").status == 200


def test_connection_that_says_nothing_and_leaves(broker, http):
    for _ in range(50):
        Connection(address_of(broker.url)).close()
    with Connection(address_of(broker.url)) as connection:
        connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert http.get(broker.admin + "/healthz").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"model":7}', b'{"model":""}', b'{"messages":[]}',
                                  b'{"model":"gpt-test","messages":' + b"[" * 5000, b"\xff\xfe", b'{"model":"gpt-test"} trailing'])
def test_body_that_is_no_request_goes_to_the_provider_or_is_refused(broker, body):
    """The broker is no validator: what it cannot read passes unchanged, or gets a 400 or 404 with a reason."""
    with Connection(address_of(broker.url)) as connection:
        connection.send(request_bytes("POST", "/v1/chat/completions", [("Content-Type", "application/json")], body))
        answer = connection.answer("POST")
    assert answer.status in (200, 400, 404)
    assert answer.body
    if answer.status != 200:
        assert json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize("timeout", ["abc", "-1", "", "1e400", "0"])
def test_nonsense_in_our_own_headers_is_no_error(broker, http, timeout):
    answer = http.post(broker.url + "/v1/chat/completions", content=BODY, headers={
        "content-type": "application/json", "x-tollgate-timeout": timeout, "x-tollgate-session": "s" * 3000,
        "x-tollgate-kind": "\u00fc\u00fc".encode(), "x-tollgate-priority": "a,b"})
    assert answer.status_code == 200
    assert answer.headers["x-tollgate-priority"] == "normal"
