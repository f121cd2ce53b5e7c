"""Who may call at all: pages of other sites, foreign names, WebSockets, preflights, and looks at the front door."""

import gzip
import json

import httpx
import pytest
from processes import key_hash, policy_for
from rawhttp import Connection, address_of, exchange, request_bytes
from scripted import reply

CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
JSON = [("content-type", "application/json")]


@pytest.fixture(scope="module")
def provider(start_for_module):
    return start_for_module.provider(reply(body=b'{"id":"1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'))


@pytest.fixture(scope="module")
def open_broker(start_for_module, provider):
    return start_for_module.broker(policy_for(provider.url, cors={"origins": ["https://app.example"]}, hosts=["gateway.lan"]))


def ask(broker, host, fields=(), method="POST", target="/v1/chat/completions", body=CHAT):
    with Connection(address_of(broker.url)) as connection:
        connection.send(request_bytes(method, target, [*JSON, *fields], body, host=host))
        return connection.answer(method)


def test_pages_of_other_sites_spend_nothing(open_broker, provider):
    before = len(provider.received)
    for host, fields in [("127.0.0.1", [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]),
                         ("127.0.0.1", [("sec-fetch-site", "cross-site")]), ("evil.example:4141", []),
                         ("127.0.0.1", [("origin", "null")])]:
        answer = ask(open_broker, host, fields)
        assert answer.status == 403, (host, fields)
        assert answer.first("x-tollgate-outcome") == "rejected_origin"
        assert not [name for name, _ in answer.fields if name.lower().startswith("access-control-")]
    assert len(provider.received) == before


def test_this_machines_pages_and_listed_ones_may(open_broker):
    for host, fields in [("localhost", [("origin", "http://localhost:3000")]), ("gateway.lan", []), ("x.localhost:1", []),
                         ("host.docker.internal:4141", []), ("127.0.0.1", [("origin", "https://app.example")])]:
        answer = ask(open_broker, host, fields)
        assert answer.status == 200, (host, fields)
        assert answer.first("access-control-allow-origin") == (dict(fields).get("origin") or None)


def test_unix_sockets_are_not_checked(start, provider, tmp_path):
    path = f"unix:{tmp_path}/d.sock"
    broker = start.broker(policy_for(provider.url), listen=(path,))
    transport = httpx.HTTPTransport(uds=path.removeprefix("unix:"))
    with httpx.Client(transport=transport) as client:
        answer = client.post("http://evil.example/v1/chat/completions", content=CHAT,
                             headers={"origin": "https://evil.example", "content-type": "application/json"})
    assert answer.status_code == 200
    assert broker.process.poll() is None


def test_preflights_are_answered_here(open_broker, provider, http):
    before = len(provider.received)
    asked = [("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")]
    allowed = ask(open_broker, "localhost", [("origin", "http://localhost:5173"), *asked], "OPTIONS", body=b"")
    assert allowed.status == 204
    assert allowed.first("access-control-allow-origin") == "http://localhost:5173"
    assert allowed.first("access-control-allow-headers") == "authorization"
    refused = ask(open_broker, "localhost", [("origin", "https://evil.example"), *asked], "OPTIONS", body=b"")
    assert refused.status == 403
    assert not [name for name, _ in refused.fields if name.lower().startswith("access-control-")]
    assert len(provider.received) == before


def test_with_tenants_preflights_need_no_key(start, provider):
    broker = start.broker(policy_for(provider.url, tenants=[{"id": "acme", "keys": [key_hash("tg-k")]}]))
    fields = [("origin", "http://localhost:5173"), ("access-control-request-method", "POST")]
    assert ask(broker, "127.0.0.1", fields, "OPTIONS", body=b"").status == 204
    # Whoever shows a key is no page that happens to run here.
    keyed = ask(broker, "gateway.example", [("authorization", "Bearer tg-k"), ("origin", "https://other.example")])
    assert keyed.status == 200
    assert keyed.first("access-control-allow-origin") is None
    assert ask(broker, "127.0.0.1", [("origin", "http://localhost:5173")]).status == 401


def test_websockets_get_426_at_once(open_broker, provider):
    before = len(provider.received)
    fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
              ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
    with Connection(address_of(open_broker.url)) as connection:
        for _ in range(2):
            connection.send(request_bytes("GET", "/v1/responses", fields, host="127.0.0.1"))
            answer = connection.answer("GET")
            assert answer.status == 426
            assert answer.first("upgrade") == "HTTP/1.1"
            assert "upgrade" in answer.first("connection").lower()
            assert answer.first("x-tollgate-outcome") == "rejected_upgrade"
    assert len(provider.received) == before


def test_probes_are_no_requests(open_broker, provider, http):
    before = len(provider.received)
    listed = len(http.get(open_broker.admin + "/api/v1/requests", params={"limit": 1000}).json()["requests"])
    for target in ["/", "/health", "/api/hello"]:
        for method in ["GET", "HEAD"]:
            assert exchange(address_of(open_broker.url), method, target).status == 200
    assert len(provider.received) == before
    assert len(http.get(open_broker.admin + "/api/v1/requests", params={"limit": 1000}).json()["requests"]) == listed
    probes = next(line for line in http.get(open_broker.admin + "/metrics").text.splitlines()
                  if line.startswith("tollgate_probes_total "))
    assert float(probes.split()[1]) >= 6


def test_the_admin_port_refuses_other_sites_too(open_broker, http):
    drain = open_broker.admin + "/api/v1/keys/openai/none/disable"
    assert http.post(drain, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert http.post(drain, headers={"host": "evil.example"}).status_code == 403
    assert http.post(drain, headers={"origin": "https://evil.example"}).status_code == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert http.get(open_broker.admin + "/", headers=link).status_code == 200


def test_an_echoed_key_is_masked(start):
    def echo(received, connection):
        shown = received.first("authorization")
        return reply(400, [("x-echo", shown)], b'{"error":{"message":"bad key %s"}}' % shown.replace("/", "\\/").encode(), "No")

    provider = start.provider(echo)
    policy = policy_for(provider.url)
    policy["providers"]["openai"]["keys"] = [{"id": "main", "secret": "${ECHO_KEY}"}]
    broker = start.broker(policy, env={"ECHO_KEY": "sk-live/0123456789abcdef"})
    answer = ask(broker, "localhost", target="/v1/embeddings", body=b'{"model":"m","input":"x"}')
    assert answer.status == 400
    assert b"0123456789abcdef" not in answer.body and b"***" in answer.body
    assert answer.first("x-echo") == "Bearer ***"


SHOWN = "sk-live/0123456789abcdef"
GATEWAY = "gateway-secret-0123456789"


@pytest.mark.parametrize("coding", [None, "gzip"])
@pytest.mark.parametrize("status, padding", [(200, 0), (400, 0), (400, 2_000_000), (200, 40_000)])
def test_errors_of_any_status_and_coding_show_no_secret(start, coding, status, padding):
    text = json.dumps({"error": {"message": f"bad {SHOWN} or {GATEWAY}", "code": "invalid"}, "pad": " " * padding}).encode()
    fields = [("x-echo", f"{SHOWN} {GATEWAY}")] + ([("content-encoding", coding)] if coding else [])
    said = reply(status, fields, gzip.compress(text) if coding else text)
    provider = start.provider(lambda received, connection: said)
    policy = policy_for(provider.url)
    policy["providers"]["openai"].update(
        keys=[{"id": "main", "secret": "${ECHO_KEY}"}], headers={"x-gateway": "${GATEWAY}"}, retry={"attempts": 1})
    broker = start.broker(policy, env={"ECHO_KEY": SHOWN, "GATEWAY": GATEWAY})
    answer = ask(broker, "localhost", [("accept-encoding", "gzip")], target="/v1/embeddings", body=b'{"model":"m","input":"x"}')
    assert answer.status == status
    body = gzip.decompress(answer.body) if answer.first("content-encoding") == "gzip" else answer.body
    assert b"***" in body and answer.first("x-echo") == "*** ***"
    for secret in (SHOWN, GATEWAY):
        assert secret.encode() not in body and secret not in str(answer.fields)
    assert provider.received[0].first("x-gateway") == GATEWAY
