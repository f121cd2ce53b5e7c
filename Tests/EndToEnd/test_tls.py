"""TLS on the data port: a certificate of our own, ALPN for both protocols, old versions refused, the cleartext port's strictness."""

import json
import socket
import ssl
import subprocess

import pytest
from certificates import make_certificate
from processes import policy_for

CHAT = json.dumps({"model": "gpt-test", "messages": [{"role": "user", "content": "hello"}]})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Paths of a self-signed certificate for 127.0.0.1 and of its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls_broker(start_for_module, simulator, certificate):
    return start_for_module.broker(policy_for(simulator.url, tls={"certificate": str(certificate[0]), "key": str(certificate[1])}))


def context(certificate, *protocols):
    made = ssl.create_default_context(cafile=str(certificate[0]))
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made


@pytest.mark.parametrize("offered, chosen", [
    (["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2"), ([], None)])
def test_alpn(tls_broker, certificate, offered, chosen):
    with socket.create_connection(("127.0.0.1", tls_broker.port), timeout=10) as raw:
        with context(certificate, *offered).wrap_socket(raw, server_hostname="127.0.0.1") as tls:
            assert tls.selected_alpn_protocol() == chosen
            assert tls.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("flag, version", [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl(tls_broker, certificate, flag, version):
    assert tls_broker.url.startswith("https://")
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "20", "--noproxy", "*", flag, "--cacert", str(certificate[0]), "-H",
         "Content-Type: application/json", "-d", CHAT, "-w", "\n%{http_version} %{http_code}",
         tls_broker.url + "/v1/chat/completions"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    body, code = done.stdout.rsplit("\n", 1)
    assert code == f"{version} 200"
    assert json.loads(body)["choices"]


def test_stream_and_large_body(tls_broker, certificate):
    import httpx
    for http2 in (False, True):
        with httpx.Client(verify=context(certificate), http1=not http2, http2=http2, timeout=20, trust_env=False) as client:
            url = tls_broker.url + "/v1/chat/completions"
            answer = client.post(url, content=json.dumps({**json.loads(CHAT), "pad": "x" * 1_000_000}),
                                 headers={"content-type": "application/json", "x-sim-body": "1000000"})
            assert len(answer.content) == 1_000_000
            stream = client.post(url, json={**json.loads(CHAT), "stream": True})
            assert stream.content.endswith(b"data: [DONE]\n\n")


def test_the_404_names_base_urls_that_work_here(tls_broker, certificate):
    import httpx
    with httpx.Client(verify=context(certificate), timeout=20, trust_env=False) as client:
        message = client.get(tls_broker.url + "/nothing/here").json()["error"]["message"]
    assert f"OPENAI_BASE_URL={tls_broker.url}/v1 " in message and "http://" not in message


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_11_is_refused(tls_broker):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", tls_broker.port), timeout=10) as raw:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            old.wrap_socket(raw)


def test_cleartext_on_the_tls_port_ends_the_connection(tls_broker):
    with socket.create_connection(("127.0.0.1", tls_broker.port), timeout=15) as raw:
        raw.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = b""
        try:
            while more := raw.recv(65536):
                data += more
        except ConnectionResetError:
            pass  # A reset is as good an end as any.
    assert b"200 OK" not in data
    assert tls_broker.process.poll() is None


def test_missing_certificate_is_refused_at_start(start, simulator):
    from processes import write_policy
    import tempfile
    policy = policy_for(simulator.url, tls={"certificate": "nowhere.pem", "key": "nowhere-key.pem"})
    with tempfile.TemporaryDirectory() as folder:
        path = write_policy(folder, policy)
        child = start.child("serve", "--policy", path, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--store", "memory:")
        assert child.wait() == 1
    assert "nowhere.pem" in "\n".join(child.stderr)
