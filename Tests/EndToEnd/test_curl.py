"""curl against the broker: HTTP/1.1, HTTP/2 by prior knowledge, streams, HEAD, 100-continue, Unix socket, prefixes."""

import json
import subprocess

from processes import policy_for

CHAT = json.dumps({"model": "gpt-test", "messages": [{"role": "user", "content": "hello"}]})


def curl(*arguments, data=None):
    command = ["curl", "-sS", "--max-time", "20", "--noproxy", "*", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def post(url, *more, body=CHAT):
    return curl(url, "-H", "Content-Type: application/json", "-d", body, *more)


def test_http1(broker):
    assert json.loads(post(broker.url + "/v1/chat/completions"))["choices"]


def test_http2_by_prior_knowledge(broker):
    out = post(broker.url + "/v1/chat/completions", "--http2-prior-knowledge", "-w", "\n%{http_version} %{http_code}")
    body, code = out.rsplit(b"\n", 1)
    assert code == b"2 200"
    assert json.loads(body)["choices"]


def test_stream(broker):
    body = json.dumps({**json.loads(CHAT), "stream": True})
    for version in ("--http1.1", "--http2-prior-knowledge"):
        frames = post(broker.url + "/v1/chat/completions", "-N", version, body=body).split(b"\n\n")
        assert frames[-1] == b"" and frames[-2] == b"data: [DONE]"


def test_keep_alive(broker):
    url = broker.url + "/v1/chat/completions"
    out = curl("-H", "Content-Type: application/json", "-d", CHAT, "-o", "/dev/null", url, "-o", "/dev/null", url,
               "-o", "/dev/null", url, "-w", "%{num_connects} ")
    assert out.split() == [b"1", b"0", b"0"]


def test_expect_100_continue(broker):
    body = json.dumps({"model": "gpt-test", "messages": [{"role": "user", "content": "x" * 1_100_000}]}).encode()
    out = curl(broker.url + "/v1/chat/completions", "-H", "Content-Type: application/json", "-H", "Expect: 100-continue",
               "--data-binary", "@-", data=body)
    assert json.loads(out)["choices"]


def test_chunked_upload(broker):
    out = curl(broker.url + "/v1/chat/completions", "-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked",
               "--data-binary", "@-", data=CHAT.encode())
    assert json.loads(out)["choices"]


def test_head(broker):
    """A probe is answered here, anything else as a GET would be; neither has a body, for which curl would wait."""
    assert curl("-I", broker.url + "/api/hello").startswith(b"HTTP/1.1 200")
    assert curl("-I", broker.url + "/nothing/here").startswith(b"HTTP/1.1 404")


def test_unknown_path_answers_in_the_openai_shape(broker):
    out = curl(broker.url + "/nothing/here", "-w", "\n%{http_code}")
    body, code = out.rsplit(b"\n", 1)
    assert code == b"404"
    assert json.loads(body)["error"]["message"]


def test_unix_socket(start, simulator, tmp_path):
    path = tmp_path / "tollgate.sock"
    start.broker(policy_for(simulator.url), listen=("127.0.0.1:0", f"unix:{path}"))
    assert json.loads(post("http://localhost/v1/chat/completions", "--unix-socket", str(path)))["choices"]
    assert json.loads(post("http://localhost/v1/chat/completions", "--unix-socket", str(path), "--http2-prior-knowledge"))["choices"]


def test_hints_in_the_path(broker):
    out = post(broker.url + "/x/priority=high,session=s1,kind=steer/v1/chat/completions", "-D", "-", "-o", "/dev/null")
    assert b"x-tollgate-priority: high" in out.lower()


def test_provider_in_the_path(broker):
    for prefix in ("/p/openai", "/x/provider=openai", "/x/priority=low/p/openai"):
        out = post(broker.url + prefix + "/v1/chat/completions", "-D", "-", "-o", "/dev/null")
        assert b"x-tollgate-provider: openai" in out.lower(), prefix


def test_unknown_provider_in_the_path(broker):
    out = post(broker.url + "/p/nobody/v1/chat/completions", "-w", "\n%{http_code}")
    body, code = out.rsplit(b"\n", 1)
    assert code in (b"404", b"400")
    assert "nobody" in json.loads(body)["error"]["message"]
