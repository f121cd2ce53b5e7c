"""Agents as they are on the wire: what their calls are for, whose they are, and which class that gives, with and without hints."""

import http.client as http_client
import json
import urllib.parse

import pytest

from processes import policy_for, record_of, run

MESSAGE = {"model": "claude-test", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}],
           "tools": [{"name": "Bash", "input_schema": {"type": "object"}}]}
RESPONSE = {"model": "gpt-test", "input": "hello"}
TERMINAL = "claude-cli/2.1.332 (external, cli)"
RUN = "claude-cli/2.1.332 (external, sdk-cli)"
TITLE_BETA = "redact-thinking-2026-02-12,structured-outputs-2025-12-15"


@pytest.fixture(scope="module")
def broker(start_for_module, simulator):
    return start_for_module.broker(policy_for(simulator.url, rules=[
        {"when": {"header": {"user-agent": "my-bot*"}, "no_header": ["x-claude-code-agent-id"]}, "kind": "headless",
         "session": "header:x-run-id"},
        {"when": {"header": {"user-agent": "batch*"}}, "session": "batch"},
        {"when": {"header": {"user-agent": "OpenAI*"}}, "only_unhinted": True, "priority": "low"},
    ]))


def claude(session, agent=TERMINAL, **fields):
    return {"user-agent": agent, "x-claude-code-session-id": session, "anthropic-version": "2023-06-01",
            **{name.replace("_", "-"): value for name, value in fields.items()}}


def codex(session, metadata, **fields):
    return {"user-agent": "codex_cli/0.163.0", "originator": "codex-tui", "session-id": session, "thread-id": session,
            "x-codex-turn-metadata": json.dumps(metadata),
            **{name.replace("_", "-"): value for name, value in fields.items()}}


def ask(http, broker, fields, path=None, body=None):
    path = path or ("/v1/messages" if "anthropic-version" in fields else "/v1/responses")
    body = body or (MESSAGE if path.startswith("/v1/messages") else RESPONSE)
    answer = http.post(broker.url + path, json=body, headers=fields)
    assert answer.status_code == 200, answer.text
    return record_of(http, broker, answer)


@pytest.mark.parametrize("hints", [False, True])
def test_claude_code(http, broker, hints):
    def hint(name, purpose=None):
        if not hints:
            return {}
        return {"x-claude-code-request-class": name, **({"x-claude-1p-request-class": purpose} if purpose else {})}

    session = f"claude-{hints}"
    turn = ask(http, broker, {**claude(session), **hint("main")})
    assert (turn["priority"], turn["kind"], turn["session"], turn["agent"]) == ("high", "turn", session, None)
    agent = ask(http, broker, {**claude(session, x_claude_code_agent_id="a2fe"), **hint("subagent", "blocking-subagent")})
    assert (agent["priority"], agent["session"], agent["agent"]) == ("normal", session, "a2fe")
    assert agent["kind"] == ("blocking-subagent" if hints else "subagent")
    title = ask(http, broker, {**claude(session, anthropic_beta=TITLE_BETA), **hint("auxiliary", "summary-extraction")},
                body={name: value for name, value in MESSAGE.items() if name != "tools"})
    assert (title["priority"], title["kind"]) == ("low", "title")
    count = ask(http, broker, {**claude(session), **hint("auxiliary")}, path="/v1/messages/count_tokens")
    assert (count["priority"], count["kind"], count["queued_ms"]) == ("high", "count", 0)
    compaction = ask(http, broker, {
        **claude(session), **hint("compaction", "main"), **({"x-claude-code-compaction": "manual"} if hints else {})})
    assert compaction["priority"] == "high"
    assert compaction["kind"] == ("compaction" if hints else "turn")
    run = ask(http, broker, {**claude(session + "-run", RUN), **hint("main")})
    assert (run["priority"], run["kind"]) == ("normal", "headless")
    if hints:
        shrunk = ask(http, broker, {**claude(session + "-run", RUN, x_claude_code_compaction="auto"), **hint("compaction")})
        assert (shrunk["priority"], shrunk["kind"]) == ("normal", "compaction")
        nobody = ask(http, broker, {**claude(session + "-new", x_claude_code_compaction="auto"), **hint("compaction")})
        assert nobody["priority"] == "low"


def test_codex(http, broker):
    turn = {"request_kind": "turn", "thread_source": "user", "turn_trigger": "user", "installation_id": "i1"}
    seen = {}
    for name, metadata, fields in [
            ("turn", turn, {}), ("headless", {**turn, "turn_trigger": "exec"}, {"session_id": "run", "thread_id": "run"}),
            ("subagent", {"request_kind": "turn", "thread_source": "subagent", "subagent_kind": "thread_spawn", "turn_trigger": "user"},
             {"thread_id": "t2", "x_codex_parent_thread_id": "root", "x_openai_subagent": "collab_spawn"}),
            ("review", {"request_kind": "turn", "thread_source": "subagent", "subagent_kind": "review"}, {"thread_id": "t3"}),
            ("title", {"request_kind": "turn", "thread_source": "thread_title"}, {"thread_id": "t4", "session_id": "t4"}),
            ("compaction", {"request_kind": "compaction", "thread_source": "user", "compaction": {"trigger": "auto"}}, {}),
            ("prewarm", {"request_kind": "prewarm"}, {}), ("memory", {"request_kind": "memory"}, {})]:
        record = ask(http, broker, codex("root", metadata, **fields))
        assert record["kind"] == name
        seen[name] = (record["priority"], record["session"], record["agent"])
    assert seen == {
        "turn": ("high", "root", None), "headless": ("normal", "run", None), "subagent": ("normal", "root", "t2"),
        "review": ("normal", "root", "t3"), "title": ("low", "t4", "t4"), "compaction": ("high", "root", None),
        "prewarm": ("low", "root", None), "memory": ("low", "root", None)}


def test_a_title_of_codex_belongs_to_the_session_of_the_turn_before_it(http, broker):
    turn = {"request_kind": "turn", "thread_source": "user", "turn_trigger": "user"}
    title = {"request_kind": "turn", "thread_source": "thread_title"}
    for session, machine in [("one", "m1"), ("two", "m2"), ("three", "m1")]:
        ask(http, broker, codex(session, {**turn, "installation_id": machine}))
    seen = [ask(http, broker, codex(f"title-{machine}", {**title, "installation_id": machine}))["session"]
            for machine in ["m1", "m2", "m3"]]
    assert seen == ["three", "two", "title-m3"]


def test_rules_with_kind_session_and_absent_fields(http, broker):
    bot = ask(http, broker, {"user-agent": "my-bot/1", "x-run-id": "r7"})
    assert (bot["priority"], bot["kind"], bot["session"], bot["priority_reason"]) == ("normal", "headless", "r7", "rule 1: kind headless")
    own = ask(http, broker, {"user-agent": "my-bot/1", "x-run-id": "r7", "x-tollgate-session": "mine"})
    assert own["session"] == "mine"
    other = ask(http, broker, {"user-agent": "my-bot/1", "x-claude-code-agent-id": "a"})
    assert other["kind"] is None
    assert ask(http, broker, {"user-agent": "batch/1"})["session"] == "batch"
    assert ask(http, broker, {"user-agent": "OpenAI/Python 3"})["priority"] == "low"
    assert ask(http, broker, {**codex("s", {"request_kind": "turn"}), "user-agent": "OpenAI/Codex"})["priority"] == "high"


def test_usage_and_explain_tell_the_agents_apart(http, broker):
    for agent in ["", "a1", "a2", "a2"]:
        record = ask(http, broker, claude("tree", **({"x_claude_code_agent_id": agent} if agent else {})))
    rows = http.get(f"{broker.admin}/api/v1/usage?by=session,agent").json()["rows"]
    assert {row["agent"]: row["requests"] for row in rows if row["session"] == "tree"} == {"": 1, "a1": 1, "a2": 2}
    told = run("explain", record["id"], "--admin", broker.admin).stdout
    assert "session tree, agent a2" in told and "kind subagent" in told


def on(connection, broker, fields=()):
    """One call on a connection that stays open; the id of its request."""
    connection.request("POST", "/v1/responses", json.dumps(RESPONSE), {"content-type": "application/json", **dict(fields)})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    return answer.getheader("x-tollgate-request-id")


def sessions_of(http, broker, ids):
    records = http.get(f"{broker.admin}/api/v1/requests?state=recent&limit=1000").json()["requests"]
    by_id = {record["id"]: record["session"] for record in records}
    return [by_id[one] for one in ids]


def test_clients_without_a_session_have_one_for_each_connection_and_eight_at_most(http, broker):
    address = urllib.parse.urlsplit(broker.url)
    pool = [http_connection(address) for _ in range(12)]
    fields = {"user-agent": "pool/1", "authorization": "Bearer sk-one"}
    sessions = sessions_of(http, broker, [on(one, broker, fields) for one in pool])
    assert len(set(sessions)) == 8
    assert all(name.startswith("pool-1~") and "sk-one" not in name for name in sessions)
    # The same connection, the same session.
    assert sessions_of(http, broker, [on(pool[3], broker, fields)]) == [sessions[3]]
    # Another program, another credential: others.
    for other in [{**fields, "user-agent": "other/1"}, {**fields, "authorization": "Bearer sk-two"}]:
        name = sessions_of(http, broker, [on(http_connection(address), broker, other)])[0]
        assert name not in sessions
    for one in pool:
        one.close()


def http_connection(address):
    return http_client.HTTPConnection(address.hostname, address.port, timeout=30)
