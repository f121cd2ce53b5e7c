"""`tollgate top` on a real terminal: what is seen, what keys and signals do, and that the terminal is given back as it was."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import time

import pytest

from processes import BINARY, NO_RESERVE, policy_for, run
from screens import Terminal
from scripted import ScriptedProvider
from waiting import wait_until

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
HOSTILE = "\x1b[2Jnight\u202egnp.exe日本".encode("unicode_escape")


@pytest.fixture
def terminal():
    """Opens terminals and closes them after the test."""
    with contextlib.ExitStack() as stack:
        def open_one(*arguments, **options):
            one = Terminal(*arguments, **options)
            stack.callback(one.close)
            return one
        yield open_one


class Calls:
    """Calls that are sent and whose answers nobody reads."""

    def __init__(self, port):
        self.port, self.sockets = port, []

    def send(self, session, **fields):
        body = b'{"model": "gpt-test", "messages": [{"role": "user", "content": "hello"}]}'
        lines = [b"POST /v1/chat/completions HTTP/1.1", b"host: localhost", b"content-type: application/json",
                 b"content-length: %d" % len(body), b"x-tollgate-session: " + session,
                 *(f"x-tollgate-{name}: {value}".encode() for name, value in fields.items())]
        one = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        one.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.sockets.append(one)

    def close(self):
        for one in self.sockets:
            one.close()


@pytest.fixture(scope="module")
def busy(start_for_module):
    """One call runs, three wait, in sessions of their own."""
    provider = start_for_module.provider(lambda received, connection: wait_for_end(connection))
    broker = start_for_module.broker(policy_for(provider.url, limits={"concurrency": 1, "requests_per_minute": 100},
                                                priorities=NO_RESERVE, budgets=[{"usd": 500, "per": "month"}]))
    calls = Calls(broker.port)
    calls.send(b"first")
    wait_until(lambda: provider.received, "the call that runs")
    calls.send(b"second", priority="low")
    calls.send(b"third", priority="high")
    calls.send(HOSTILE)
    yield broker
    calls.close()


def wait_for_end(connection):
    """Answers nothing until the other side has gone."""
    with contextlib.suppress(OSError):
        connection.socket.settimeout(120)
        connection.socket.recv(1)
    raise ScriptedProvider.Hangup


def opened(terminal, broker, *flags, **options):
    one = terminal("top", "--admin", broker.admin, *flags, **options)
    one.shows("q quit", "running 1, waiting 3")
    return one


def given_back(one, code=0):
    """The program has ended, and the terminal is as it was."""
    assert one.wait() == code
    raw = one.written()
    assert raw.count(ENTER) == raw.count(LEAVE) >= 1
    assert raw.rstrip().endswith(LEAVE)
    assert b"\x1b[?25h" in raw[raw.rindex(b"\x1b[?25l"):]
    assert one.settings() == one.before


@pytest.mark.parametrize("columns, rows", [(80, 24), (120, 40)])
def test_fills_the_screen(terminal, busy, columns, rows):
    one = opened(terminal, busy, columns=columns, rows=rows)
    one.shows("first", "second", "third", "queued", "running")
    lines = one.lines()
    assert lines[0].startswith(" tollgate 0.") and re.search(r"\d\d:\d\d:\d\d$", lines[0])
    providers = next(index for index, line in enumerate(lines) if line.startswith("PROVIDER"))
    assert re.match(r"openai +1 of 1.* 3 +.*closed +1$", lines[providers + 1]), lines[providers + 1]
    assert any(line.startswith("STATE") and "SESSION" in line for line in lines)
    classes = next(index for index, line in enumerate(lines) if line.startswith("CLASS"))
    assert [line.split()[:2] for line in lines[classes + 1:classes + 4]] == [["high", "1"], ["normal", "1"], ["low", "1"]]
    # The sentence of the dashboard and of `tollgate status`.
    assert lines[1].startswith("1 high call waits, for ") and "openai" in lines[1]
    assert lines[-1].startswith("q quit")
    # A row for each call, the selected one reversed.
    assert sum(bool(re.match(r"(queued|running) +(high|normal|low) ", line)) for line in lines) == 4
    one.type("q")
    given_back(one)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_every_list_is_readable_at_every_width(terminal, busy, columns):
    one = terminal("top", "--admin", busy.admin, columns=columns, rows=24)
    one.shows("running", "waiting")
    for key, title, headings in [
            ("2", "Sessions", ["SESSION", "RUNNING", "WAITING"]), ("3", "Tenants", ["TENANT", "RUNNING", "WAITING", "SPENT"]),
            ("4", "Budgets", ["BUDGET", "USED", "LIMIT"]), ("5", "Keys", ["KEY", "STATE", "LEFT", "REASON"]),
            ("6", "Limits", ["LIMIT OF", "DIMENSION", "USED", "AVAILABLE"]), ("1", "Requests", ["STATE", "CLASS", "WAITED", "SESSION", "WAITS FOR"])]:
        one.type(key)
        one.shows(f"{key} {title}", *headings)
        lines = one.lines()
        names = next(line for line in lines if all(heading in line for heading in headings))
        assert "…" not in names, lines
        # All lists are named, if only by their numbers.
        tabs = next(line for line in lines if f"{key} {title}" in line)
        assert all(f"{number} " in tabs for number in range(1, 7)), tabs


def test_only_what_changes_is_written(terminal, busy):
    one = opened(terminal, busy)
    one.shows("first", "third")
    written = len(one.written())
    seconds = one.lines()[0][-8:]
    # Two more seconds on the clock.
    wait_until(lambda: one.lines()[0][-8:] > seconds, "the next second")
    wait_until(lambda: one.lines()[0][-8:] > seconds and one.written().count(b"\x1b[?2026h") >= 5, "frames")
    frames = one.written()[written:].split(b"\x1b[?2026h")[1:]
    assert frames and max(map(len, frames)) < 900, frames
    assert b"\x1b[2J" not in one.written()[written:]


def test_resizes(terminal, busy):
    one = opened(terminal, busy, columns=80, rows=24)
    one.resize(120, 40)
    one.shows("first", "TOKENS")
    wait_until(lambda: one.lines()[39].startswith("q quit"), "the last line at its new place")
    one.resize(38, 9)
    one.shows("This terminal is 38x9")
    one.resize(40, 10)
    wait_until(lambda: one.lines()[9].startswith("q quit"), "the smallest picture")
    one.type("q")
    given_back(one)


def test_sorts_filters_and_lists(terminal, busy):
    one = opened(terminal, busy)
    one.shows("first", "second", "third")
    one.type("/second\r")
    one.shows("only second", "second")
    one.hides("third")
    one.type("x")
    one.shows("third", "first")
    one.type("/class:high tenant:default\r")
    one.shows("third")
    one.hides("second")
    one.type("xs")
    one.shows("by time")
    one.type("w")
    one.shows("running by time")
    one.hides("third")
    for key, part in (("3", "WEIGHT"), ("4", "broker/month"), ("5", "openai/main"), ("6", "requests"), ("2", "AGENTS")):
        one.type(key)
        one.shows(part)
    # A session's requests by Enter.
    one.shows("second", "third")
    one.type("/third\r")
    one.hides("second")
    one.type("\r")
    one.shows("only tenant:default session:third", "STATE")
    one.type("q")
    given_back(one)


def test_enter_tells_the_story(terminal, busy):
    one = opened(terminal, busy)
    one.shows("third", "second")
    one.type("/third\r")
    one.shows("only third")
    one.hides("second")
    one.type("\r")
    told = one.shows("POST /v1/chat/completions", "session third", "high priority")
    number = re.search(r"Request (\w{26})", told)[1]
    # The same text as the command's.
    first = run("explain", number, "--admin", busy.admin).stdout.splitlines()[0]
    assert first in told
    # Escape, whose bytes may begin a sequence.
    one.type("\x1b")
    one.shows("only third", "q quit")
    one.type("?")
    one.shows("Ctrl-L", "quit")
    one.type("q")
    given_back(one)


def test_pause_keeps_the_picture(terminal, busy):
    one = opened(terminal, busy)
    one.type("p")
    one.shows("PAUSED")
    one.type("p")
    one.hides("PAUSED")
    one.type(b"\x03")
    given_back(one)


def test_names_of_clients_steer_nothing(terminal, busy):
    one = opened(terminal, busy, columns=200, rows=40)
    one.shows("night")
    assert "\u202e".encode() not in one.written()
    # Everything is cleared once at the start, and once for the first picture.
    assert one.written().count(b"\x1b[2J") == 2
    one.type("q")
    given_back(one)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(terminal, busy, number):
    one = opened(terminal, busy)
    one.signal(number)
    given_back(one)


@pytest.mark.parametrize("controlling", [True, False])
def test_a_dropped_connection_ends_it(terminal, busy, controlling):
    """With SIGHUP, and where nothing but the failing read tells."""
    one = opened(terminal, busy, controlling=controlling)
    one.hang_up()
    assert one.wait() == 0


@pytest.mark.parametrize("how", ["key", "signal"])
def test_stops_and_goes_on(terminal, busy, how):
    """Ctrl-Z in a shell, a command there, and back."""
    one = terminal(program=["bash", "--norc", "--noprofile", "-i"])
    one.type(f"{BINARY} top --admin {busy.admin}\n")
    one.shows("q quit", "running 1, waiting 3")
    if how == "key":
        one.type(b"\x1a")
    else:
        shell = one.process.pid
        child, = pathlib.Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        os.kill(int(child), signal.SIGTSTP)
    wait_until(lambda: b"Stopped" in one.written(), "the shell's word")
    one.type("stty -a; echo back-$((1+1))\n")
    wait_until(lambda: b"back-2" in one.written(), "a command of the shell")
    told = one.written()[one.written().rindex(LEAVE):]
    assert {b"isig", b"icanon", b"echo", b"icrnl", b"opost"} <= set(told.split()), told
    entered = one.written().count(ENTER)
    one.type("fg\n")
    wait_until(lambda: one.written().count(ENTER) > entered, "the screen again")
    one.shows("q quit", "running 1, waiting 3")
    one.type("q")
    wait_until(lambda: one.written().count(ENTER) == one.written().count(LEAVE), "the end")
    one.type("exit\n")
    assert one.wait() == 0


def test_a_broker_that_goes_and_comes_back(terminal, start, simulator):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = f"127.0.0.1:{taken.getsockname()[1]}"
    policy = policy_for(simulator.url)
    broker = start.broker(policy, admin=admin)
    one = terminal("top", "--admin", broker.admin)
    one.shows("q quit", "openai", "running 0, waiting 0")
    broker.process.kill()
    broker.process.wait(10)
    told = one.shows("STALE", "no broker answers", "the picture is of")
    # The last picture stays.
    assert "openai" in told and "running 0, waiting 0" in told
    start.broker(policy, admin=admin)
    one.hides("STALE", timeout=20)
    one.shows("running 0, waiting 0")
    one.type("q")
    given_back(one)


def test_without_a_broker_there_is_no_screen(terminal):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    one = terminal("top", "--admin", f"127.0.0.1:{port}")
    assert one.wait() == 1
    wait_until(lambda: b"no broker answers" in one.written(), "the reason")
    assert ENTER not in one.written() and one.settings() == one.before


def test_one_question_a_second_at_most(terminal, busy, http):
    status = http.get(busy.admin + "/api/v1/status").content
    times = []

    def answer(received, connection):
        times.append((time.monotonic(), received.target))
        if received.target == "/api/v1/events":
            connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: snapshot\ndata: " + status + b"\n\n")
            return wait_for_end(connection)
        body = b'{"requests": []}'
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    fake = ScriptedProvider(answer)
    try:
        one = terminal("top", "--admin", fake.url)
        one.shows("q quit")
        # Each of these wants something new at once.
        for key in "wwww12c1cww1":
            one.type(key)
        wait_until(lambda: len(times) >= 4, "questions")
        one.type("q")
        given_back(one)
    finally:
        fake.close()
    gaps = [later[0] - earlier[0] for earlier, later in zip(times, times[1:])]
    # The timers never fire early; what comes late makes the next gap smaller, so there is some room.
    assert min(gaps) > 0.5, times


def test_colours_only_where_they_are_wanted(terminal, start, simulator):
    broker = start.broker(policy_for("http://127.0.0.1:9", retry={"attempts": 1}))
    assert run("breakers", "open", "openai", "--admin", broker.admin).returncode == 0
    coloured = terminal("top", "--admin", broker.admin)
    coloured.shows("breaker of openai open")
    assert re.search(rb"\x1b\[[0-9;]*3[1-6]m", coloured.written())
    plain = terminal("top", "--admin", broker.admin, env={"NO_COLOR": "1"})
    plain.shows("breaker of openai open")
    assert not re.search(rb"\x1b\[[0-9;]*3[1-6]m", plain.written())


def test_on_a_dumb_terminal_and_in_a_pipe_it_prints_lines(terminal, start, busy):
    dumb = terminal("top", "--admin", busy.admin, env={"TERM": "dumb"})
    wait_until(lambda: dumb.written().count(b"running 1, waiting 3") >= 2, "two looks")
    assert b"\x1b" not in dumb.written()
    piped = start.child("top", "--admin", busy.admin)
    wait_until(lambda: sum("running 1, waiting 3" in line for line in piped.stdout) >= 2, "two looks")
    assert not any("\x1b" in line for line in piped.stdout)
