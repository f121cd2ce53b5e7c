"""The configuration files among the examples: they parse, and calls shaped as those clients make them pass."""

import json
import tomllib

import zstandard

from processes import ROOT, record_of

EXAMPLES = ROOT / "examples"


def test_every_example_says_what_it_is():
    folders = [folder for folder in EXAMPLES.iterdir() if folder.is_dir()]
    assert {"curl", "python-sdk", "claude-code", "codex", "multi-tenant"} <= {folder.name for folder in folders}
    for folder in folders:
        assert (folder / "README.md").read_text().startswith("# "), folder


def test_claude_code(http, broker):
    env = json.loads((EXAMPLES / "claude-code/settings.json").read_text())["env"]
    assert env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:4141"
    assert env["CLAUDE_CODE_GATEWAY_HINT_HEADERS"] == "1", "without it every call is of the same class"
    assert "ANTHROPIC_CUSTOM_HEADERS" not in env, "a class set by hand wins over every hint"
    body = {"model": "claude-test", "max_tokens": 32000, "stream": True, "system": [{"type": "text", "text": "x"}],
            "messages": [{"role": "user", "content": "hello"}], "metadata": {"user_id": "u"}}
    fields = {"authorization": f"Bearer {env['ANTHROPIC_AUTH_TOKEN']}", "anthropic-version": "2023-06-01",
              "anthropic-beta": "claude-code-20250219,some-new-beta", "x-claude-code-session-id": "session-7"}
    answer = http.post(broker.url + "/v1/messages?beta=true", json=body, headers={**fields, "x-claude-code-request-class": "main"})
    assert answer.status_code == 200
    assert "event: message_stop" in answer.text
    assert answer.headers["x-tollgate-priority"] == "high"
    record = record_of(http, broker, answer)
    assert record["session"] == "session-7"
    # A compaction is for whom its session's last turn was.
    for session, request_class, priority in (
            ("session-7", "main", "high"), ("session-7", "subagent", "normal"), ("session-7", "compaction", "high"),
            ("session-8", "compaction", "low")):
        answer = http.post(broker.url + "/v1/messages?beta=true", json=body, headers={
            **fields, "x-claude-code-request-class": request_class, "x-claude-code-session-id": session})
        assert answer.headers["x-tollgate-priority"] == priority
    counted = http.post(broker.url + "/v1/messages/count_tokens?beta=true", headers=fields, json={
        "model": "claude-test", "messages": body["messages"]})
    assert counted.json()["input_tokens"] > 0
    assert http.head(broker.url + "/api/hello").status_code == 200


def test_codex(http, broker):
    provider = tomllib.loads((EXAMPLES / "codex/config.toml").read_text())["model_providers"]["tollgate"]
    assert provider["base_url"] == "http://127.0.0.1:4141/v1"
    assert provider["wire_api"] == "responses"
    body = {"model": "gpt-test", "instructions": "x", "input": [{"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "hello"}]}], "stream": True, "store": False, "prompt_cache_key": "thread-1"}
    fields = {"authorization": "Bearer any", "session_id": "thread-1", "originator": "codex_cli_rs",
              "x-codex-turn-metadata": json.dumps({"request_kind": "turn", "thread_source": "user"})}
    plain = http.post(broker.url + "/v1/responses", json=body, headers=fields)
    assert plain.status_code == 200, plain.text
    assert "event: response.completed" in plain.text
    # The simulator reads no zstd and answers whole; what counts is that the broker read the body and passed it on.
    packed = http.post(broker.url + "/v1/responses", content=zstandard.compress(json.dumps(body).encode()), headers={
        **fields, "content-type": "application/json", "content-encoding": "zstd"})
    assert packed.status_code == 200, packed.text
    assert "http_headers" not in provider, "a class set by hand wins over every hint"
    for answer in (plain, packed):
        assert answer.headers["x-tollgate-priority"] == "high"
        record = record_of(http, broker, answer)
        assert (record["session"], record["model"]) == ("thread-1", "gpt-test")
