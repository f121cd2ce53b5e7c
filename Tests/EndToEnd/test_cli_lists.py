"""The commands that list: tables, JSON, watching, pipes that close, and help where one looks for it."""

import json
import re
import subprocess

import httpx
import pytest

from processes import BINARY, environment, policy_for, run
from rawhttp import Connection, address_of, request_bytes
from screens import Terminal
from waiting import wait_until

LISTS = [["status"], ["requests"], ["keys"], ["breakers"], ["budgets"], ["usage"]]
CALL = {"model": "gpt-test", "messages": []}


@pytest.fixture(scope="module")
def listed(start_for_module, simulator):
    """A broker with a few requests that have ended, and an operator's word about a key and a breaker."""
    broker = start_for_module.broker(policy_for(
        simulator.url, budgets=[{"usd": 500, "per": "month"}], limits={"concurrency": 50}))
    for session in ("alpha", "alpha", "beta"):
        answer = httpx.post(broker.url + "/v1/chat/completions", json=CALL, headers={"x-tollgate-session": session}, timeout=20)
        assert answer.status_code == 200
    assert run("breakers", "open", "anthropic", "--admin", broker.admin).returncode == 0
    assert run("keys", "disable", "anthropic/main", "--admin", broker.admin).returncode == 0
    return broker


def shown(broker, *arguments, **options):
    done = run(*arguments, "--admin", broker.admin, **options)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("command", LISTS, ids=lambda command: command[0])
def test_json_is_the_answer_of_the_api(listed, command):
    told = json.loads(shown(listed, *command, "--json"))
    assert {"status": "providers", "requests": "requests", "keys": "keys", "breakers": "breakers", "budgets": "budgets",
            "usage": "rows"}[command[0]] in told


def test_keys_and_breakers_as_json_have_the_apis_fields(listed, http):
    providers = http.get(listed.admin + "/api/v1/status").json()["providers"]
    keys = json.loads(shown(listed, "keys", "--json"))["keys"]
    assert keys == [{"provider": one["id"], **key} for one in providers for key in one["keys"]]
    breakers = json.loads(shown(listed, "breakers", "--json"))["breakers"]
    assert [(one["provider"], one["state"], one["reason"], one["until"], one["pause"]) for one in breakers] == [
        (one["id"], one["breaker"]["state"], one["breaker"]["reason"], one["breaker"]["until"], None) for one in providers]


@pytest.mark.parametrize("command", LISTS + [["prices"], ["--help"], ["top"], ["status", "--watch"], ["requests", "--watch", "--json"]],
                         ids=" ".join)
@pytest.mark.parametrize("reader", ["head -1", "true", "exec 0<&-; true"])
def test_a_pipe_that_closes_ends_it_quietly(listed, command, reader):
    """Also one that closes before anything is written; what repeats ends with its next look."""
    done = subprocess.run(
        ["bash", "-c", f'"$0" "$@" | ({reader}); echo "code ${{PIPESTATUS[0]}}"', BINARY, *command], capture_output=True, text=True,
        timeout=30, env=environment({"TOLLGATE_ADMIN": listed.admin}))
    assert done.stdout.splitlines()[-1] == "code 0" and done.stderr == "", done


def test_requests_by_session_tenant_state_and_number(listed):
    table = shown(listed, "requests")
    lines = table.splitlines()
    assert lines[0].split()[:5] == ["ID", "STATE", "CLASS", "TENANT", "SESSION"] and len(lines) == 4
    assert all(re.match(r"\w{26}  completed  normal", line) for line in lines[1:])
    alpha = shown(listed, "requests", "--session", "alpha").splitlines()
    assert len(alpha) == 3 and all(" alpha " in line for line in alpha[1:])
    assert shown(listed, "requests", "--tenant", "nobody") == "No requests.\n"
    assert shown(listed, "requests", "--state", "running") == "No requests.\n"
    assert len(shown(listed, "requests", "--state", "recent", "--limit", "1").splitlines()) == 2
    assert len(shown(listed, "requests", "--slowest").splitlines()) == 4
    # The ids are those that `explain` takes.
    number = lines[1].split()[0]
    assert shown(listed, "explain", number).startswith(number)
    session = json.loads(shown(listed, "requests", "--session", "beta", "--json"))["requests"]
    assert [one["session"] for one in session] == ["beta"]


@pytest.mark.parametrize("arguments, said", [
    (["requests", "--limit", "0"], "--limit"), (["requests", "--state", "asleep"], "asleep"), (["status", "--every", "0"], "--every"),
    (["usage", "--json", "--format", "csv"], "not both"), (["help", "nonesuch"], "no command 'nonesuch'"),
    (["help", "keys", "disabel"], "Did you mean 'disable'?"), (["check", "--policy", "x.yaml"], "the file is an argument")])
def test_wrong_usage(arguments, said):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "") and said in done.stderr


@pytest.mark.parametrize("command", LISTS, ids=lambda command: command[0])
def test_how_often_is_said_of_what_is_watched(command):
    done = run(*command, "--every", "5")
    assert (done.returncode, done.stdout) == (2, "") and "--every" in done.stderr and "give --watch too" in done.stderr


def test_an_empty_variable_is_told():
    done = run("status", env={"TOLLGATE_ADMIN": ""})
    assert (done.returncode, done.stdout) == (2, "") and "TOLLGATE_ADMIN: the variable is set and empty" in done.stderr


@pytest.mark.parametrize("command, flags", [
    ("keys", ["--json", "--admin"]), ("breakers", ["--json"]), ("budgets", ["--json"]), ("usage", ["--by", "--since", "--watch"])])
@pytest.mark.parametrize("form", [["{}", "--help"], ["help", "{}"]])
def test_help_of_a_command_has_the_flags_of_its_usual_form(command, flags, form):
    done = run(*[word.format(command) for word in form])
    assert (done.returncode, done.stderr) == (0, "")
    assert all(flag in done.stdout for flag in flags) and "SUBCOMMANDS:" in done.stdout


def test_status_begins_with_the_sentence_of_the_api(listed, http):
    headline = http.get(listed.admin + "/api/v1/status").json()["headline"]
    assert "anthropic" in headline
    assert shown(listed, "status").splitlines()[0] == headline


def test_states_have_reason_end_and_what_to_do(listed):
    assert re.search(r"^breaker of anthropic open since \d\d:\d\d:\d\d: by hand; to try now: tollgate breakers auto anthropic$",
                     shown(listed, "breakers"), re.M)
    assert "anthropic/main is disabled; to try now: tollgate keys enable anthropic/main" in shown(listed, "keys")
    assert re.search(r"^openai +0 of 50, 5 kept for high ", shown(listed, "status"), re.M)


def on_terminal(*arguments, columns, **options):
    one = Terminal(*arguments, columns=columns, rows=60, **options)
    try:
        assert one.wait() == 0
        return one.lines(), one.written()
    finally:
        one.close()


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("command", LISTS, ids=lambda command: command[0])
def test_tables_are_as_wide_as_the_terminal_at_most(listed, command, columns):
    lines, written = on_terminal(*command, "--admin", listed.admin, columns=columns)
    heading = next(line for line in lines if re.match("(PROVIDER|ID|KEY|BUDGET|TENANT) ", line))
    # The row follows its heading at once: nothing was wrapped.
    assert lines[lines.index(heading) + 1].split()[0][:3] in ("ope", "bro", "def", "tot") or command == ["requests"]
    if command == ["requests"] and columns == 80:
        # The id is whole, what can be left out is, and the rest is not cut.
        assert len(lines[1].split()[0]) == 26 and "…" not in lines[1] and "WAITED" in heading.split() and "COST" not in heading.split()


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_sentences_are_broken_between_words(listed, columns):
    lines, written = on_terminal("status", "--admin", listed.admin, columns=columns)
    headline = run("status", "--admin", listed.admin).stdout.splitlines()[0]
    shown_lines = re.sub(rb"\x1b\[[\d;]*m", b"", written).decode().replace("\r", "").splitlines()
    count = next(number for number in range(1, 20) if len(" ".join(shown_lines[:number])) >= len(headline))
    assert len(headline) > 80 and count > 1
    assert " ".join(shown_lines[:count]) == headline and all(len(line) <= columns for line in shown_lines[:count])


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_watching_shows_the_headline_on_a_small_terminal(listed, columns):
    one = Terminal("status", "--watch", "--admin", listed.admin, columns=columns, rows=24)
    try:
        one.shows("PROVIDER")
        wait_until(lambda: one.written().count(b"\x1b[H") >= 3, "three reports")
        lines = one.lines()
        # Nothing was scrolled away, and the last row that is drawn counts what has no room.
        headline = run("status", "--admin", listed.admin).stdout.splitlines()[0]
        assert lines[0] and headline.startswith(lines[0]), lines
        last = [line for line in lines if line][-1]
        assert lines[23] == "" and (re.fullmatch(r"and \d+ more lines", last) or columns == 120), lines
        assert sum(line.startswith("tollgate ") for line in lines) == 1
    finally:
        one.close()


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_budgets_keep_what_matters_on_a_narrow_terminal(listed, columns):
    lines, _ = on_terminal("budgets", "--admin", listed.admin, columns=columns)
    at = next(index for index, line in enumerate(lines) if line.startswith("BUDGET "))
    assert {"BUDGET", "STATE", "LEFT", "LIMIT"} <= set(lines[at].split()) and "…" not in lines[at]
    assert lines[at + 1].startswith("broker/month ") and "ok" in lines[at + 1].split() and "$500.00" in lines[at + 1].split()
    assert "…" not in lines[at + 1]
    # The columns of the burn rate come with the first known rate, and have room on the widest too.
    assert any(line.startswith("on a wider terminal also: ") for line in lines) == (columns < 200)


def test_watching_draws_in_its_place(listed):
    one = Terminal("status", "--watch", "--admin", listed.admin, rows=40)
    try:
        one.shows("PROVIDER", "openai")
        wait_until(lambda: one.written().count(b"\x1b[H") >= 3, "three looks")
        assert one.written().count(b"\x1b[2J") == 1 and one.text().count("PROVIDER") == 1
    finally:
        one.close()


@pytest.mark.parametrize("command", LISTS, ids=lambda command: command[0])
def test_every_list_is_watched_one_document_a_line(start, listed, command):
    child = start.child(*command, "--watch", "--json", "--every", "1", "--admin", listed.admin)
    wait_until(lambda: len(child.stdout) >= 2, "two answers")
    name = {"status": "providers", "usage": "rows"}.get(command[0], command[0])
    assert all(name in json.loads(line) for line in child.stdout[:2])


@pytest.mark.parametrize("command, heading", [("keys", "KEY"), ("breakers", "PROVIDER"), ("budgets", "BUDGET")])
def test_lists_are_watched_in_their_place(listed, command, heading):
    one = Terminal(command, "--watch", "--admin", listed.admin, rows=40)
    try:
        wait_until(lambda: one.written().count(b"\x1b[H") >= 2, "two looks")
        assert one.written().count(b"\x1b[2J") == 1 and sum(line.startswith(heading + " ") for line in one.lines()) == 1
    finally:
        one.close()


def test_a_broker_that_goes_leaves_the_documents_alone(start, simulator):
    """What is no document is not among them."""
    broker = start.broker(policy_for(simulator.url))
    child = start.child("keys", "--watch", "--json", "--admin", broker.admin)
    wait_until(lambda: child.stdout, "an answer")
    broker.stop()
    wait_until(lambda: any("no broker answers" in line for line in child.stderr), "that it has gone")
    assert all("keys" in json.loads(line) for line in child.stdout)


def test_watching_in_a_pipe_is_one_report_after_the_other(start, listed):
    child = start.child("requests", "--watch", "--json", "--admin", listed.admin)
    wait_until(lambda: len(child.stdout) >= 2, "two answers")
    assert all(len(json.loads(line)["requests"]) == 3 for line in child.stdout[:2])


RED, YELLOW = b"\x1b[0;31m", b"\x1b[0;33m"


@pytest.fixture(scope="module")
def troubled(start_for_module, simulator):
    """A disabled key, an open breaker, a budget that is used up, one that calls wait for, and a call that waits for its place."""
    broker = start_for_module.broker(policy_for(
        simulator.url, limits={"concurrency": 1}, priorities={"high": {"reserve": "0%"}},
        budgets=[{"requests": 1, "per": "total", "on_exceed": "warn"}, {"requests": 90, "per": "5h"}, {"requests": 5000, "per": "total"}]))
    assert httpx.post(broker.url + "/v1/chat/completions", json=CALL, timeout=20).status_code == 200
    assert run("breakers", "open", "anthropic", "--admin", broker.admin).returncode == 0
    assert run("keys", "disable", "anthropic/main", "--admin", broker.admin).returncode == 0
    calls = [Connection(address_of(broker.url)) for _ in range(2)]
    for call in calls:
        call.send(request_bytes("POST", "/v1/chat/completions", [("content-type", "application/json"), ("x-sim-first-token-ms", "60000")],
                                json.dumps(CALL).encode()))
    wait_until(lambda: httpx.get(broker.admin + "/api/v1/status").json()["queued"]["normal"] == 1, "the one that waits")
    yield broker
    for call in calls:
        call.close()


@pytest.mark.parametrize("command, coloured", [
    ("status", [RED + b"open", RED + b"disabled"]),
    ("keys", [RED + b"disabled", RED + b"anthropic/main is disabled"]),
    ("breakers", [RED + b"open", RED + b"breaker of anthropic open since "]),
    ("budgets", [RED + b"used up"]),
    ("requests", [YELLOW + b"queued"])])
def test_states_have_colours_on_a_terminal_only(troubled, command, coloured):
    lines, written = on_terminal(command, "--admin", troubled.admin, columns=120)
    assert all(part in written for part in coloured), written
    # What is as usual has none, and what follows a coloured word neither.
    assert RED + b"usable" not in written and RED + b"closed" not in written and RED + b"ok" not in written
    assert written.count(RED) + written.count(YELLOW) == written.count(b"\x1b[0m")
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert b"\x1b" not in on_terminal(command, "--admin", troubled.admin, columns=120, env=plain)[1]
    assert "\x1b" not in shown(troubled, command)
    # Colours take no room: it is the same text.
    plain = on_terminal(command, "--admin", troubled.admin, columns=120, env={"NO_COLOR": "1"})[0]
    assert [line[:40] for line in lines if line.startswith(("anthropic", "broker/"))] == [
        line[:40] for line in plain if line.startswith(("anthropic", "broker/"))]


@pytest.mark.parametrize("columns", [40, 60])
@pytest.mark.parametrize("command", ["keys", "breakers", "budgets", "requests"])
def test_colours_end_where_a_line_is_cut(troubled, command, columns):
    _, written = on_terminal(command, "--admin", troubled.admin, columns=columns)
    assert b"\x1b[0" not in written.replace(RED, b"").replace(YELLOW, b"").replace(b"\x1b[0m", b"")
    assert written.count(RED) + written.count(YELLOW) == written.count(b"\x1b[0m") > 0


def test_windows_that_roll_have_no_end(troubled):
    ends = {line.split()[0]: line.split()[-1] for line in shown(troubled, "budgets").splitlines() if line.startswith("broker/")}
    assert ends["broker/5h/requests"] == "rolling" and ends["broker/total/requests"] == "never", ends


def test_what_an_operator_did_is_by_hand(troubled, http):
    for command in ("keys", "breakers", "status"):
        text = shown(troubled, command)
        assert "by hand" in text and "operator" not in text, text
    assert json.loads(shown(troubled, "breakers", "--json"))["breakers"][1]["reason"] == "operator"
    assert [one["reason"] for one in json.loads(shown(troubled, "keys", "--json"))["keys"]] == [None, "operator"]


def test_colours_on_a_terminal_only(listed):
    assert "\x1b" not in shown(listed, "status")
    _, written = on_terminal("status", "--admin", listed.admin, columns=80, env={"NO_COLOR": "1"})
    assert b"\x1b[" not in written.replace(b"\x1b[?", b"")
