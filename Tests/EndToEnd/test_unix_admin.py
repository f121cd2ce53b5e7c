"""A broker whose admin listener is a Unix socket: every command that talks to it, and what is said where nobody can."""

import json
import os
import signal
import socket
import tempfile

import pytest

from processes import Broker, policy_for, run, write_policy
from screens import Terminal
from waiting import wait_until


@pytest.fixture(scope="module")
def place():
    """A folder whose name leaves room for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="tg") as folder:
        yield folder


@pytest.fixture(scope="module")
def broker(place, simulator):
    one = Broker(write_policy(place, policy_for(simulator.url, budgets=[{"usd": 5, "per": "day"}])),
                 listen=("127.0.0.1:0", f"unix:{place}/data.sock"), admin=f"unix:{place}/a.sock")
    yield one
    one.stop()


@pytest.fixture(scope="module")
def call(broker):
    """One call through the data listener's socket, made by the fleet."""
    done = run("fleet", "--base-url", f"unix:{os.path.dirname(broker.admin[5:])}/data.sock", "--profile", "demo", "--seconds", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    assert "connection" not in json.dumps(json.loads(done.stdout)["groups"])
    return json.loads(run("requests", "--limit", "1", "--json", "--admin", broker.admin).stdout)["requests"][0]["id"]


@pytest.mark.parametrize("words", [
    ["status"], ["status", "--json"], ["requests"], ["requests", "--state", "recent"], ["explain", "ID"], ["explain", "ID", "--json"], ["keys"], ["breakers"],
    ["budgets"], ["usage"], ["keys", "disable", "anthropic/main"], ["keys", "enable", "anthropic/main"], ["breakers", "open", "anthropic"],
    ["breakers", "auto", "anthropic"], ["budgets", "raise", "--broker", "--usd", "1", "--until", "1h"], ["reload"]], ids=" ".join)
@pytest.mark.parametrize("by", ["flag", "variable"])
def test_commands_find_it(broker, call, words, by):
    words = [call if word == "ID" else word for word in words]
    done = run(*words, *(["--admin", broker.admin] if by == "flag" else []), env={"TOLLGATE_ADMIN": broker.admin} if by == "variable" else None)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout


def test_a_proxy_of_the_environment_is_none_of_it(broker):
    done = run("status", "--admin", broker.admin, env={"http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"})
    assert (done.returncode, done.stderr) == (0, "")


def test_top_watches_it(start, broker):
    one = Terminal("top", "--admin", broker.admin)
    try:
        one.shows("q quit", "openai")
        one.type("q")
        assert one.wait() == 0
    finally:
        one.close()
    lines = start.child("top", "--admin", broker.admin)
    wait_until(lambda: sum(line.startswith("PROVIDER") for line in lines.stdout) >= 2, "two looks")
    lines.signal(signal.SIGTERM)
    assert lines.wait(5) == 0 and lines.stderr == []


def test_drain_ends_it(place, simulator):
    one = Broker(write_policy(place, policy_for(simulator.url), name="drained.yaml"), admin=f"unix:{place}/drained.sock")
    try:
        done = run("drain", "--admin", one.admin)
        assert (done.returncode, done.stdout) == (0, "draining\n")
        assert one.wait(20) == 0
    finally:
        one.stop()


def test_nobody_is_there(place):
    """Each with what is wrong, and what to do."""
    open(f"{place}/file", "w").close()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{place}/left.sock")
    for path, why in [(f"{place}/none.sock", "there is no such file"), (f"{place}/file", "it is a file, no socket"), (place, "it is a folder, no socket"),
                      (f"{place}/file/x.sock", "there is no such file"), (f"{place}/left.sock", "nobody listens there any more")]:
        for command in (["status"], ["top"], ["keys", "--watch"], ["drain"]):
            done = run(*command, "--admin", f"unix:{path}")
            assert (done.returncode, done.stdout) == (1, "")
            assert f"no broker answers at unix:{path} ({why})" in done.stderr and "Is 'tollgate serve' running?" in done.stderr, done.stderr
    done = run("fleet", "--base-url", f"unix:{place}/none.sock", "--profile", "demo", "--seconds", "0.2", "--json")
    assert done.returncode == 1 and f"nothing answers at unix:{place}/none.sock (there is no such file)" in done.stderr


def test_a_socket_of_somebody_else(place, broker):
    """Root may use every socket, so that it asks as another user."""
    other = {"user": 65534} if os.geteuid() == 0 else {}
    os.chmod(broker.admin[5:], 0o400 if other else 0)
    try:
        assert "this user may not look into its folder" in run("status", "--admin", broker.admin, **other).stderr or not other
        os.chmod(place, 0o711)
        done = run("status", "--admin", broker.admin, **other)
        assert done.returncode == 1 and "this user may not use it: it belongs to the user of the broker" in done.stderr
    finally:
        os.chmod(place, 0o700)
        os.chmod(broker.admin[5:], 0o600)


@pytest.mark.parametrize("address, said", [
    ("unix:", "has no path; give unix:/PATH"), ("unix:a.sock", "does not begin with '/'; give unix:{cwd}/a.sock"),
    ("unix:/" + "x" * 107, "the socket's path has 108 bytes, allowed are 107 at most"), ("unix:a\x1b[2J", "does not begin with '/'")])
@pytest.mark.parametrize("by", ["--admin", "TOLLGATE_ADMIN"])
@pytest.mark.parametrize("command", [["status"], ["top"], ["requests", "--watch"], ["reload"]], ids=" ".join)
def test_a_path_that_cannot_be_one_is_wrong_usage(place, address, said, by, command):
    flags = ["--admin", address] if by == "--admin" else []
    done = run(*command, *flags, env={"TOLLGATE_ADMIN": address} if not flags else None, cwd=place)
    assert (done.returncode, done.stdout) == (2, "") and "\x1b" not in done.stderr
    assert f"{by}: " in done.stderr and said.format(cwd=os.path.realpath(place)) in done.stderr, done.stderr


def test_a_link_makes_a_long_path_short(place, broker):
    deep = os.path.join(place, "d" * 100)
    os.mkdir(deep)
    os.symlink(broker.admin[5:], f"{deep}/link")
    os.symlink(deep, f"{place}/short")
    assert run("status", "--admin", f"unix:{deep}/link").returncode == 2
    assert run("status", "--admin", f"unix:{place}/short/link").returncode == 0
