"""Which class a request gets, in the order of the reference: header, kind, rules, client hints, RFC 9218, tenant, default; clamp."""


import pytest

from processes import key_hash, policy_for, record_of

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "hello"}]}
EMBEDDING = {"model": "text-embedding-3-small", "input": "hello"}


@pytest.fixture(scope="module")
def plain(start_for_module, simulator):
    return start_for_module.broker(policy_for(
        simulator.url, kinds={"nightly-report": "low"}, rules=[
            {"when": {"path": "/v1/embeddings"}, "priority": "low"},
            {"when": {"header": {"user-agent": "*nightly*"}}, "priority": "low"},
            {"when": {"model": "gpt-vip*", "header": {"x-team": "core"}}, "priority": "high"},
        ]))


def priority(http, broker, fields, path="/v1/chat/completions", body=None):
    answer = http.post(broker.url + path, json=body or CHAT, headers=fields)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-tollgate-priority"]


@pytest.mark.parametrize("fields, expected", [
    ({}, "normal"),
    ({"x-tollgate-priority": "high"}, "high"),
    ({"x-tollgate-priority": "LoW"}, "low"),
    ({"x-tollgate-priority": "urgent"}, "normal"),
    ({"x-tollgate-priority": "urgent", "x-tollgate-kind": "steer"}, "high"),
    ({"x-tollgate-priority": "low", "x-tollgate-kind": "steer"}, "low"),
    ({"x-tollgate-kind": "steer"}, "high"),
    ({"x-tollgate-kind": "follow-up"}, "normal"),
    ({"x-tollgate-kind": "compaction"}, "low"),
    ({"x-tollgate-kind": "embedding"}, "normal"),
    ({"x-tollgate-kind": "background"}, "low"),
    ({"x-tollgate-kind": "nightly-report"}, "low"),
    ({"x-tollgate-kind": "unheard-of"}, "normal"),
    ({"user-agent": "my-nightly-job/1"}, "low"),
    ({"user-agent": "my-nightly-job/1", "x-tollgate-kind": "steer"}, "high"),
    ({"priority": "u=0"}, "high"),
    ({"priority": "u=2, i"}, "high"),
    ({"priority": "u=3"}, "normal"),
    ({"priority": "u=4"}, "normal"),
    ({"priority": "u=5"}, "low"),
    ({"priority": "u=7, i"}, "low"),
    ({"priority": "u=9"}, "normal"),
    ({"priority": "u=1", "user-agent": "nightly"}, "low"),
])
def test_headers(http, plain, fields, expected):
    assert priority(http, plain, fields) == expected


def test_rules_need_every_condition(http, plain):
    body = {**CHAT, "model": "gpt-vip-1"}
    assert priority(http, plain, {"x-team": "core"}, body=body) == "high"
    assert priority(http, plain, {"x-team": "web"}, body=body) == "normal"
    assert priority(http, plain, {"x-team": "core"}) == "normal"


def test_rule_by_path(http, plain):
    assert priority(http, plain, {}, "/v1/embeddings", EMBEDDING) == "low"
    assert priority(http, plain, {"x-tollgate-priority": "high"}, "/v1/embeddings", EMBEDDING) == "high"


@pytest.fixture(scope="module")
def tenanted(start_for_module, simulator):
    return start_for_module.broker(policy_for(simulator.url, default_priority="normal", tenants=[
        {"id": "batch", "keys": [key_hash("tg-batch")], "priority": "low", "max_priority": "normal"},
        {"id": "people", "keys": [key_hash("tg-people")], "priority": "high"}]))


@pytest.mark.parametrize("key, fields, expected", [
    ("tg-batch", {}, "low"),
    ("tg-batch", {"x-tollgate-priority": "normal"}, "normal"),
    ("tg-batch", {"x-tollgate-priority": "high"}, "normal"),
    ("tg-people", {}, "high"),
    ("tg-people", {"x-tollgate-kind": "compaction"}, "low"),
])
def test_tenant_and_clamp(http, tenanted, key, fields, expected):
    assert priority(http, tenanted, {"authorization": f"Bearer {key}", **fields}) == expected


def test_reason_is_kept(http, plain):
    answer = http.post(plain.url + "/v1/chat/completions", json=CHAT, headers={"x-tollgate-kind": "steer"})
    record = record_of(http, plain, answer)
    assert record["priority"] == "high"
    assert "kind" in record["priority_reason"] or "steer" in record["priority_reason"]


def test_trusted_tenant_header(start, http, simulator):
    broker = start.broker(policy_for(simulator.url, trust_tenant_header=True, tenants=[
        {"id": "platform", "keys": [key_hash("tg-platform")]}, {"id": "*", "priority": "low"}]))
    fields = {"authorization": "Bearer tg-platform", "x-tollgate-tenant": "customer-7"}
    answer = http.post(broker.url + "/v1/chat/completions", json=CHAT, headers=fields)
    assert answer.headers["x-tollgate-priority"] == "low"
    record = record_of(http, broker, answer)
    assert record["tenant"] == "customer-7"
