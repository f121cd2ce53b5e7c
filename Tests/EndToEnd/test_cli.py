"""The command line: versions, help, mistakes, exit codes and streams."""

import re
import signal
import socket

import httpx
import pytest

from processes import ROOT, policy_for, run, write_policy
from scripted import reply
from waiting import wait_until

COMMANDS = ["serve", "check", "demo", "status"]


def test_version():
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\d+\.\d+\.\d+", done.stdout)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *[[command, "--help"] for command in COMMANDS], ["help", "serve"]])
def test_help_goes_to_standard_output(arguments):
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "USAGE" in done.stdout


def test_help_names_every_command():
    text = run("--help").stdout
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("arguments", [["--bogus"], ["bogus"], ["serve", "--bogus"], ["check"], ["demo", "--seconds", "many"],
                                       ["serve", "--policy"]])
def test_wrong_usage_is_2_and_goes_to_standard_error(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr


@pytest.mark.parametrize("arguments, meant", [
    (["serv"], "serve"), (["stauts"], "status"), (["keys", "disabel", "openai/main"], "disable"),
    (["serve", "--polcy", "policy.yaml"], "--policy")])
def test_a_misspelt_word_gets_the_one_that_was_meant(arguments, meant):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Did you mean '{meant}'?" in done.stderr


def test_a_word_that_is_like_no_command_gets_no_guess():
    done = run("bogus")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'bogus'" in done.stderr and "Did you mean" not in done.stderr


def test_check_of_a_good_policy_says_nothing(tmp_path):
    done = run("check", write_policy(tmp_path, policy_for("http://127.0.0.1:9")))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("policy", sorted(path.name for path in (ROOT / "policies").glob("*.yaml")))
def test_check_of_the_policies_that_come_with_it(policy):
    path = ROOT / "policies" / policy
    names = set(re.findall(r"\$\{(\w+)\}", path.read_text()))
    done = run("check", path, env={name: "http://127.0.0.1:9" if name.endswith("_URL") else "x" for name in names})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_names_every_mistake_with_its_place(tmp_path):
    text = """version: 1
listn: [127.0.0.1:1]
providers:
  openai:
    dialect: openia
    base_url: https://api.openai.com/v1
    keys: [{id: main, secret: "${NOT_SET_ANYWHERE}"}]
    limits: {concurrency: many}
routes:
  - {models: ["*"], to: [nobody]}
"""
    path = write_policy(tmp_path, text)
    done = run("check", path)
    assert done.returncode == 1
    output = done.stdout + done.stderr
    lines = [line for line in output.splitlines() if ": error: " in line]
    places = {}
    for line in lines:
        match = re.match(rf"{re.escape(str(path))}:(\d+):(\d+): error: (.+)", line)
        assert match, line
        places.setdefault(int(match[1]), []).append(match[3])
    assert set(places) >= {2, 5, 7, 8, 10}, output
    assert "listn" in places[2][0]
    assert "anthropic" in places[5][0], "must say what is allowed"
    assert "NOT_SET_ANYWHERE" in places[7][0]


def test_check_of_a_missing_file(tmp_path):
    done = run("check", tmp_path / "nowhere.yaml")
    assert done.returncode == 1
    assert "nowhere.yaml" in done.stderr + done.stdout


def test_check_of_several_files(tmp_path):
    good = write_policy(tmp_path, policy_for("http://127.0.0.1:9"), "good.yaml")
    bad = write_policy(tmp_path, "version: 2\n", "bad.yaml")
    done = run("check", good, bad)
    assert done.returncode == 1
    assert "bad.yaml" in done.stdout + done.stderr and "good.yaml" not in done.stdout + done.stderr


def test_serve_with_a_bad_policy(tmp_path):
    path = write_policy(tmp_path, "version: 1\nproviders: 7\n")
    done = run("serve", "--policy", path, "--listen", "127.0.0.1:0", "--admin", "off")
    assert done.returncode == 1
    assert re.search(r"policy\.yaml:2:\d+: error: providers", done.stderr), done.stderr


def test_serve_without_policy_and_without_keys():
    done = run("serve", "--listen", "127.0.0.1:0", "--admin", "off", "--store", "memory:")
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr


def test_serve_without_policy_uses_the_keys_of_the_environment(start, http):
    broker = start.broker(None, env={"OPENAI_API_KEY": "sk-x", "ANTHROPIC_API_KEY": "sk-y"})
    providers = {entry["id"] for entry in http.get(broker.admin + "/api/v1/status").json()["providers"]}
    assert providers == {"openai", "anthropic"}


def test_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--policy", write_policy(tmp_path, policy_for("http://127.0.0.1:9")), "--listen",
                   f"127.0.0.1:{port}", "--admin", "off", "--store", "memory:")
    assert done.returncode == 1
    assert str(port) in done.stderr and "in use" in done.stderr


def test_nothing_listens_until_everything_can(tmp_path):
    """Whoever reads that the data port listens may rely on the admin port."""
    path = tmp_path / "t.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--policy", write_policy(tmp_path, policy_for("http://127.0.0.1:9")), "--listen", f"unix:{path}",
                   "--admin", f"127.0.0.1:{port}", "--store", "memory:")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(port) in done.stderr and "in use" in done.stderr
    assert not path.exists()


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "127.0.0.1:-1", "unix:"])
def test_wrong_listen_address(tmp_path, address):
    done = run("serve", "--policy", write_policy(tmp_path, policy_for("http://127.0.0.1:9")), "--listen", address,
               "--admin", "off", "--store", "memory:")
    assert done.returncode in (1, 2)
    assert done.stderr


@pytest.mark.parametrize("flags, word", [
    (["--listen", "0.0.0.0:0", "--admin", "off"], "tenants"),
    (["--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"], "token")])
def test_listener_outside_loopback_needs_its_guard(tmp_path, flags, word):
    done = run("serve", "--policy", write_policy(tmp_path, policy_for("http://127.0.0.1:9")), *flags, "--store", "memory:")
    assert done.returncode == 1
    assert word in done.stderr


def test_missing_key_in_the_environment(tmp_path):
    policy = policy_for("http://127.0.0.1:9", keys=[{"id": "main", "secret": "${NOT_SET_ANYWHERE}"}])
    done = run("serve", "--policy", write_policy(tmp_path, policy), "--listen", "127.0.0.1:0", "--admin", "off", "--store", "memory:")
    assert done.returncode == 1
    assert "NOT_SET_ANYWHERE" in done.stderr


def test_a_variable_without_its_braces(tmp_path):
    path = write_policy(tmp_path, policy_for("http://127.0.0.1:9", keys=[{"id": "main", "secret": "$SIM_KEY"}]))
    for done in (run("check", path), run("serve", "--policy", path, "--listen", "127.0.0.1:0", "--admin", "off", "--store", "memory:")):
        assert done.returncode == 1
        assert "${SIM_KEY}" in done.stdout + done.stderr


def test_start_prints_one_line_for_each_listener(start, simulator, tmp_path):
    path = tmp_path / "t.sock"
    broker = start.broker(policy_for(simulator.url), listen=("127.0.0.1:0", f"unix:{path}"))
    lines = [line for line in broker.stdout if "listening on" in line]
    assert len([line for line in lines if "(data)" in line]) == 2
    assert len([line for line in lines if "(admin)" in line]) == 1
    assert any(str(path) in line for line in lines)


def test_stale_socket_file_is_replaced_and_removed_at_the_end(start, simulator, tmp_path):
    path = tmp_path / "t.sock"
    old = socket.socket(socket.AF_UNIX)
    old.bind(str(path))
    old.close()
    broker = start.broker(policy_for(simulator.url), listen=("127.0.0.1:0", f"unix:{path}"))
    broker.signal(signal.SIGTERM)
    assert broker.wait() == 0
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_an_idle_broker_with_0(start, simulator, number):
    broker = start.broker(policy_for(simulator.url))
    broker.signal(number)
    assert broker.wait(10) == 0


def test_status_command(start, http, simulator):
    broker = start.broker(policy_for(simulator.url))
    http.post(broker.url + "/v1/chat/completions", json={"model": "gpt-test", "messages": []})
    done = run("status", "--admin", broker.admin)
    assert done.returncode == 0, done.stderr
    assert "openai" in done.stdout and "anthropic" in done.stdout


def test_status_as_json_is_one_question_and_its_answer(start):
    """Whatever else another version has changed in it: only what the exit code needs is read."""
    for ledger, code in (("ok", 0), ("the disk is full", 1)):
        body = b'{"ledger": "%s", "providers": "of another shape"}' % ledger.encode()
        provider = start.provider(reply(body=body))
        done = run("status", "--json", "--admin", provider.url)
        assert (done.returncode, done.stdout, done.stderr) == (code, body.decode() + "\n", "")
        assert len(provider.received) == 1


def test_status_command_without_broker():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = run("status", "--admin", f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    assert str(port) in done.stderr


@pytest.mark.parametrize("arguments", [
    ["status"], ["top"], ["requests"], ["explain", "01KB0000000000000000000000"], ["keys"], ["breakers"], ["budgets"], ["usage"], ["reload"], ["drain"],
    ["budgets", "raise", "acme", "--usd", "1", "--until", "1h"], ["keys", "disable", "a/b"], ["breakers", "open", "a"]], ids=" ".join)
def test_every_command_tells_that_no_broker_answers(arguments):
    done = run(*arguments, "--admin", "127.0.0.1:9")
    assert done.returncode == 1 and "no broker answers at http://127.0.0.1:9" in done.stderr and "--admin" in done.stderr


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
def test_a_fleet_that_nobody_answers_fails_and_says_so(flags):
    done = run("fleet", "--base-url", "http://127.0.0.1:9/v1", "--profile", "steer", "--seconds", "0.5", "--drain", "0.5", *flags)
    assert done.returncode == 1 and done.stdout, done.stderr
    assert "nothing answers at http://127.0.0.1:9/v1" in done.stderr and "tollgate serve" in done.stderr


def test_a_fleet_without_its_simulator_fails_and_says_so(simulator):
    done = run("fleet", "--base-url", simulator.url + "/v1", "--profile", "steer", "--seconds", "0.5", "--drain", "5", "--direct",
               "--simulator-url", "http://127.0.0.1:9")
    assert done.returncode == 1 and "no provider simulator answers at http://127.0.0.1:9" in done.stderr


@pytest.mark.parametrize("arguments, option, value", [
    (["budgets", "raise", "acme", "--usd", "-1", "--until", "1h"], "--usd", "-1"),
    (["budgets", "raise", "acme", "--tokens", "-1000", "--until", "1h"], "--tokens", "-1000"),
    (["budgets", "raise", "acme", "--usd", "1", "--until", "-1h"], "--until", "-1h"),
    (["usage", "--since", "-24h"], "--since", "-24h"), (["requests", "--limit", "-5"], "--limit", "-5"), (["status", "--every", "-.5"], "--every", "-.5"),
    (["demo", "--seconds", "-3"], "--seconds", "-3")])
def test_a_value_that_begins_with_a_minus_is_named(arguments, option, value):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {option}: found '{value}', allowed are values that do not begin with '-'\n"), done.stderr


@pytest.mark.parametrize("command, more", [
    ("budgets", ["--frob"]), ("keys", ["--frob"]), ("breakers", ["--frob"]), ("usage", ["--frob"]), ("budgets", ["--usd", "1"])])
def test_the_usage_line_is_as_one_asked(command, more):
    done = run(command, *more)
    assert done.returncode == 2 and f"Usage: tollgate {command} [" in done.stderr, done.stderr
    # No flag is like it, so none is proposed.
    assert "Did you mean" not in done.stderr


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_access_log_has_one_line_for_each_request(start, http, simulator, log_format):
    import json
    broker = start.broker(policy_for(simulator.url), "--log-format", log_format)
    secret = "tell-nobody-this-prompt"
    ids = [http.post(broker.url + "/v1/chat/completions", json={"model": "gpt-test", "messages": [
        {"role": "user", "content": secret}]}, headers={"x-tollgate-session": "line\none".encode("unicode_escape")}
    ).headers["x-tollgate-request-id"] for _ in range(3)]

    def lines():
        return [line for line in broker.stdout + broker.stderr if any(one in line for one in ids)]
    wait_until(lambda: len(lines()) >= 3, "three lines in the log")
    assert len(lines()) == 3
    assert all("completed" in line for line in lines())
    if log_format == "json":
        assert [json.loads(line)["id"] for line in lines()] == ids
    everything = "\n".join(broker.stdout + broker.stderr)
    assert secret not in everything and "sk-simulated" not in everything


@pytest.mark.timeout(60)
def test_demo_runs_without_key_and_network(start):
    demo = start.child("demo", "--seconds", "3")
    # Both base URLs are served.
    openai = demo.wait_for_line(r"OPENAI_BASE_URL=(http://127\.0\.0\.1:\d+)/v1$")[1]
    assert demo.wait_for_line(r"ANTHROPIC_BASE_URL=(\S+)$")[1] == openai
    said = httpx.post(openai + "/v1/messages", timeout=20, headers={"anthropic-version": "2023-06-01", "x-tollgate-priority": "high"},
                      json={"model": "claude-test", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]})
    assert said.status_code == 200 and said.json()["type"] == "message"
    assert demo.wait(50) == 0
    output = "\n".join(demo.stdout)
    assert "http://127.0.0.1:" in output
    assert "steer" in output and "refused" in output
