"""TLS towards providers, by counts at a provider of ours: handshakes, sessions that were taken up again, and who is trusted."""

import hashlib
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
from types import SimpleNamespace

import pytest

from certificates import make_signed
from processes import policy_for, record_of
from rawhttp import Connection, address_of, exchange, request_bytes
from waiting import wait_until

JSON = [("Content-Type", "application/json")]
CONTENT = b'{"choices":[]}'


def body(filler="hello"):
    return json.dumps({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": filler}]}).encode()


class TLSProvider:
    """Speaks HTTP/1.1 over TLS; `answer(connection, number, body)` sends the answer to the connection's nth request, from 0."""

    def __init__(self, certificate, answer, version=None):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.certificate, certificate.key)
        if version:
            self.context.minimum_version = self.context.maximum_version = version
        self.answer = answer
        # For each handshake that came about, whether it took up a session.
        self.handshakes = []
        self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                accepted = self.listener.accept()[0]
            except OSError:
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(accepted,), daemon=True).start()

    def serve(self, accepted):
        try:
            tls = self.context.wrap_socket(accepted, server_side=True)
        except OSError:
            return
        self.handshakes.append(tls.session_reused)
        stream = tls.makefile("rb")
        try:
            number = 0
            while stream.readline():
                length = 0
                while (line := stream.readline().strip()):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line[15:])
                content = stream.read(length)
                self.requests += 1
                self.answer(tls, number, content)
                number += 1
        except OSError:
            pass  # The broker has left, or `answer` ends the connection in this way.
        finally:
            tls.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def whole(content=CONTENT, close=False):
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s" % (
        len(content), b"Connection: close\r\n" if close else b"", content)


def keeps(tls, number, content):
    tls.sendall(whole())


@pytest.fixture
def authority(tmp_path):
    return make_signed(tmp_path, "authority", is_authority=True)


@pytest.fixture
def provider(authority, tmp_path):
    """Makes providers with a certificate of the authority, unless another is given; closes them."""
    made = []

    def make(answer=keeps, certificate=None, version=None):
        made.append(TLSProvider(certificate or make_signed(tmp_path, "server", authority), answer, version))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def broker_of(start, authority):
    """Starts a broker with that provider, which trusts the authority."""
    def make(provider, name="127.0.0.1", ca_file=True, **settings):
        policy = policy_for(f"https://{name}:{provider.port}", **settings)
        for entry in policy["providers"].values():
            if ca_file:
                entry["ca_file"] = str(authority.certificate)
        return start.broker(policy)
    return make


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@VERSIONS
def test_a_kept_alive_connection_shakes_hands_once(provider, broker_of, version):
    server = provider(version=version)
    broker = broker_of(server)
    for _ in range(50):
        answer = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, body())
        assert (answer.status, answer.body) == (200, CONTENT)
    assert (server.requests, len(server.handshakes)) == (50, 1)


@VERSIONS
@pytest.mark.parametrize("calls", [1, 3], ids=["each", "every third"])
def test_connections_that_come_back_take_up_a_session(provider, broker_of, version, calls):
    """The provider ends its connections after one call, and after three: the last two are past libcurl."""
    server = provider(lambda tls, number, content: tls.sendall(whole(close=number == calls - 1)), version=version)
    broker = broker_of(server)
    for _ in range(40 * calls):
        assert exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, body()).status == 200
    assert (server.requests, len(server.handshakes)) == (40 * calls, 40)
    reconnects = server.handshakes[1:]
    assert sum(reconnects) >= 0.95 * len(reconnects), server.handshakes


@VERSIONS
@pytest.mark.parametrize("surplus", ["another answer", "rubbish", "a byte", "goodbye"])
def test_what_follows_an_answer_in_the_same_segment_is_no_callers(provider, broker_of, version, surplus):
    """OpenSSL then holds records that no event tells of: the connection must not serve another call."""
    over = threading.Event()

    def answer(tls, number, content):
        if number < 2:  # From the third call on the connection's TLS is ours, not libcurl's.
            return keeps(tls, number, content)
        tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        keeps(tls, number, content)
        if surplus == "another answer":
            tls.sendall(whole(b'{"choices":["of another caller"]}'))
        elif surplus == "rubbish":
            tls.sendall(b"EXTRA")
        elif surplus == "a byte":
            tls.sendall(b"H")
        else:
            tls.setblocking(False)
            with pytest.raises(ssl.SSLWantReadError):  # The goodbye is sent; the broker's own is not waited for.
                tls.unwrap()
            tls.setblocking(True)
        tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        # An end of the connection would be an event.
        over.wait(30)

    server = provider(answer, version=version)
    broker = broker_of(server)
    for _ in range(8):
        answered = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, body())
        assert (answered.status, answered.body) == (200, CONTENT)
    over.set()
    assert (server.requests, len(server.handshakes)) == (8, 3)


@pytest.mark.parametrize("how", ["wrong host", "expired", "not valid yet", "signed by nobody", "not in the system"])
def test_who_is_not_trusted_gets_no_request(provider, broker_of, authority, tmp_path, how):
    certificate, trusts = {
        "wrong host": (lambda: make_signed(tmp_path, "x", authority, names=("other.example", "127.0.0.2")), True),
        "expired": (lambda: make_signed(tmp_path, "x", authority, days=(-3, -1)), True),
        "not valid yet": (lambda: make_signed(tmp_path, "x", authority, days=(1, 3)), True),
        "signed by nobody": (lambda: make_signed(tmp_path, "x"), True),
        "not in the system": (lambda: make_signed(tmp_path, "x", authority), False),
    }[how]
    server = provider(certificate=certificate())
    broker = broker_of(server, ca_file=trusts)
    answer = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, body())
    assert answer.status == 502
    assert "TLS handshake failed" in answer.body.decode()
    # A name is compared when the handshake is done, all else before.
    assert server.requests == 0 and (how == "wrong host" or server.handshakes == [])


def test_names_of_hosts_are_checked_too(provider, broker_of, authority, tmp_path):
    server = provider(certificate=make_signed(tmp_path, "named", authority, names=("localhost",)))
    assert exchange(address_of(broker_of(server, "localhost").url), "POST", "/v1/chat/completions", JSON, body()).status == 200
    assert exchange(address_of(broker_of(server).url), "POST", "/v1/chat/completions", JSON, body()).status == 502
    assert server.requests == 1


@VERSIONS
def test_large_bodies_pass_whole_on_a_connection_that_served_before(provider, broker_of, version):
    """Many TLS records each way, more than a socket holds, call after call on one connection."""
    answer = b'{"choices":[],"pad":"' + b"y" * 3_000_000 + b'"}'
    digests = []

    def echo(tls, number, content):
        digests.append(hashlib.sha256(content).hexdigest())
        tls.sendall(whole(answer if number % 2 else CONTENT))

    server = provider(echo, version=version)
    broker = broker_of(server)
    sent = []
    for number in range(6):
        request = body(filler="z" * (2_000_000 + number))
        sent.append(hashlib.sha256(request).hexdigest())
        got = exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, request)
        assert (got.status, got.body) == (200, answer if number % 2 else CONTENT)
    assert digests == sent and len(server.handshakes) == 1


@pytest.mark.parametrize("how, outcome", [("close_notify", "completed"), ("FIN", "truncated"), ("RST", "truncated")])
def test_how_a_connection_that_served_before_ends(provider, broker_of, http, how, outcome):
    """The second answer has no length, and so ends with the connection, if the provider says so in words."""
    def answer(tls, number, content):
        if number == 0:
            return tls.sendall(whole())
        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + CONTENT)
        if how == "close_notify":
            try:
                tls.unwrap()
            except OSError:
                pass  # The broker may have closed first.
        elif how == "RST":
            wait_until(lambda: heads, "the answer's head")
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise OSError

    heads = []
    server = provider(answer)
    broker = broker_of(server)
    assert exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, body()).status == 200
    with Connection(address_of(broker.url)) as client:
        client.send(request_bytes("POST", "/v1/chat/completions", JSON, body()))
        head = client.head()
        heads.append(head)
        if outcome == "completed":
            assert b"".join(client.chunks()) == CONTENT
        else:
            assert not client.rest().endswith(b"0\r\n\r\n")
    wait_until(lambda: record_of(http, broker, head)["outcome"] is not None, "the end")
    assert record_of(http, broker, head)["outcome"] == outcome
    assert len(server.handshakes) == 1


def test_a_connection_that_ended_while_idle_is_not_used_again(provider, broker_of):
    over = threading.Semaphore(0)

    def answer(tls, number, content):
        tls.sendall(whole())
        if number == 1:
            over.release()
            raise OSError

    server = provider(answer)
    broker = broker_of(server)
    for _ in range(3):
        for _ in range(2):
            assert exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, body()).status == 200
        assert over.acquire(timeout=20)
    assert (server.requests, len(server.handshakes)) == (6, 3)


def test_the_keys_of_a_connection_may_change_between_calls(broker_of, authority, tmp_path):
    """OpenSSL's own server asks for new keys (KeyUpdate of TLS 1.3) while the connection idles; it takes one connection at a time."""
    certificate = make_signed(tmp_path, "server", authority)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate.certificate, "-key", certificate.key, "-tls1_3", "-msg"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def until(mark):
        seen = b""
        while mark not in seen:
            piece = os.read(server.stdout.fileno(), 65536)
            assert piece, seen
            seen += piece

    try:
        until(b"ACCEPT")
        broker = broker_of(SimpleNamespace(port=port), timeouts={"first_byte": "10s"}, retry={"attempts": 1})
        for number in range(5):
            with Connection(address_of(broker.url)) as client:
                client.send(request_bytes("POST", "/v1/chat/completions", JSON, body(f"call {number}")))
                until(b"call %d" % number)
                server.stdin.write(whole())
                server.stdin.flush()
                assert (client.head().status, client.exactly(len(CONTENT))) == (200, CONTENT)
            if number in (2, 3):
                # Asked for, and told only.
                server.stdin.write(b"K\n" if number == 2 else b"k\n")
                server.stdin.flush()
                until(b"KeyUpdate")
    finally:
        server.kill()
        server.wait()
