"""Standard streams that are closed, full, on a full disk, unread or gone: a broker serves on and counts what is lost; a command ends quietly."""

import contextlib
import fcntl
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import termios

import httpx
import pytest

from processes import BINARY, environment, policy_for, run, write_policy
from waiting import wait_until

F_SETPIPE_SZ = 1031
CALL = {"model": "gpt-test", "messages": [{"role": "user", "content": "hello"}]}


class Serving:
    """A broker on unix sockets, so that nothing has to be read from its streams."""

    def __init__(self, folder, policy, around="{}", flags=(), **streams):
        self.data, self.admin = folder / "data.sock", folder / "admin.sock"
        command = [BINARY, "serve", "--policy", str(write_policy(folder, policy)), "--listen", f"unix:{self.data}",
                   "--admin", f"unix:{self.admin}", "--store", "memory:", *flags]
        if around != "{}":
            command = ["bash", "-c", around.format("exec " + shlex.join(command))]
        self.process = subprocess.Popen(command, env=environment(), **streams)
        wait_until(lambda: self.process.poll() is not None or self.is_ready(), "the broker's sockets")
        assert self.process.poll() is None, f"ended with {self.process.returncode}"

    def is_ready(self):
        with contextlib.suppress(httpx.TransportError):
            return self.get("/readyz").status_code == 200
        return False

    def _client(self, path):
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=5)

    def get(self, path):
        with self._client(self.admin) as client:
            return client.get(path)

    def call(self, count=1):
        with self._client(self.data) as client:
            for _ in range(count):
                assert client.post("/v1/chat/completions", json=CALL).status_code == 200

    def reload(self):
        """By signal and by the API: both write operator lines; the API's answer comes after its line."""
        self.process.send_signal(signal.SIGHUP)
        with self._client(self.admin) as client:
            assert client.post("/api/v1/reload").status_code == 200

    def lost(self):
        return int(re.search(r"^tollgate_log_lines_dropped_total (\d+)", self.get("/metrics").text, re.M)[1])

    def end(self):
        """Drains; at its end it waits for a reader only shortly."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def serve(tmp_path, simulator):
    with contextlib.ExitStack() as stack:
        def start(around="{}", flags=(), **streams):
            serving = Serving(tmp_path, policy_for(simulator.url), around, flags, **streams)
            stack.callback(serving.close)
            return serving
        yield start


@contextlib.contextmanager
def unread_pipe(size=4096, reader=True):
    """A small pipe that nobody reads, or that has no reader."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, F_SETPIPE_SZ, size)
    if not reader:
        os.close(reading)
    try:
        yield reading, writing
    finally:
        os.close(writing)
        if reader:
            os.close(reading)


def serves_on(serving, at_least_lost=1):
    serving.call(5)
    serving.reload()
    serving.call(5)
    wait_until(lambda: serving.lost() >= at_least_lost, "lost lines in the metric")
    serving.lost_last = serving.lost()
    serving.end()


def test_full_disk(serve):
    with open("/dev/full", "w") as full:
        # Two start lines, ten calls, two reloads.
        serves_on(serve(stdout=full, stderr=full), at_least_lost=14)


def test_a_full_standard_output_is_told_once_on_standard_error(serve):
    reading, writing = os.pipe()
    with open("/dev/full", "w") as full:
        serving = serve(stdout=full, stderr=writing)
    os.close(writing)
    serves_on(serving, at_least_lost=2)
    with os.fdopen(reading) as stream:
        told = [line for line in stream if "standard output cannot be written" in line]
    assert len(told) == 1 and "warning" in told[0] and "No space left on device" in told[0]


def test_a_standard_output_without_a_reader_is_no_trouble(serve):
    """As after `tollgate serve | head -1`."""
    reading, writing = os.pipe()
    with unread_pipe(reader=False) as (_, closed):
        serving = serve(stdout=closed, stderr=writing)
    os.close(writing)
    serves_on(serving, at_least_lost=2)
    with os.fdopen(reading) as stream:
        assert "standard output" not in stream.read()


def test_reader_that_went_away_before_the_start(serve):
    with unread_pipe(reader=False) as (_, writing):
        serves_on(serve(stdout=writing, stderr=writing), at_least_lost=14)


def test_reader_that_goes_away_while_it_serves(serve):
    reading, writing = os.pipe()
    serving = serve(stdout=writing, stderr=writing)
    os.close(writing)
    os.close(reading)
    serves_on(serving)


def test_descriptors_that_are_not_open_at_the_start(serve):
    # /dev/null takes their place: nothing is lost that anybody asked for, and no socket gets a log line.
    serving = serve(around="{} <&- >&- 2>&-")
    assert {os.readlink(f"/proc/{serving.process.pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
    serves_on(serving, at_least_lost=0)
    assert serving.lost_last == 0


def test_full_pipe_that_nobody_reads_holds_up_no_call(serve):
    with unread_pipe() as (reading, writing):
        os.write(writing, b"x" * 4096)
        serving = serve(stdout=writing, stderr=writing)
        for _ in range(20):
            serving.reload()
            serving.call(2)
        assert serving.lost() == 0, "the queue holds them for a reader who is late"
        serving.end()


def test_reader_that_is_late_gets_every_start_line_in_order(serve):
    reading, writing = os.pipe()
    serving = serve(stdout=writing, stderr=subprocess.DEVNULL)
    os.close(writing)
    serving.end()
    with os.fdopen(reading) as stream:
        assert re.findall(r"listening on \S+ \((\w+)\)", stream.read()) == ["data", "admin"]


def test_lines_of_the_last_moment_are_written_before_the_end(serve):
    reading, writing = os.pipe()
    serving = serve(stdout=subprocess.DEVNULL, stderr=writing)
    os.close(writing)
    serving.call(3)
    serving.end()
    with os.fdopen(reading) as stream:
        text = stream.read()
    assert text.count(" completed 200 POST /v1/chat/completions") == 3
    assert "info: draining" in text


def test_terminal_that_hangs_up(serve):
    master, terminal = pty.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    serving = serve(stdin=terminal, stdout=terminal, stderr=terminal, preexec_fn=take_terminal)
    os.close(terminal)
    # The window closes: the kernel sends SIGHUP, which means "reload", and every write is EIO from now on.
    os.close(master)
    serves_on(serving)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log_file_at_its_size_limit_and_truncated_later(serve, tmp_path, log_format):
    log = tmp_path / "log"
    # 4 KiB at most; without a care SIGXFSZ would end the process.
    serving = serve(f"ulimit -f 4; {{}} 2>>{log}", ["--log-format", log_format], stdout=subprocess.DEVNULL)
    wait_until(lambda: serving.call(10) or serving.lost(), "lost lines")
    assert log.stat().st_size == 4096
    os.truncate(log, 0)
    serving.call(2)
    wait_until(lambda: log.read_text().count("/v1/chat/completions") >= 2, "new lines")
    first, notice, *calls = log.read_text().splitlines()
    assert first == "", "the line that was cut has its end"
    if log_format == "json":
        told = json.loads(notice)
        assert (told["level"], told["message"], int(told["lines"])) == ("warning", "log lines were lost before this", serving.lost())
        assert [json.loads(line)["outcome"] for line in calls] == ["completed"] * 2
    else:
        assert re.search(rf' warning: log lines were lost before this lines="{serving.lost()}"$', notice)
        assert all(" completed 200 POST " in line for line in calls)
    serving.end()


# Commands


@pytest.fixture(scope="module")
def served(start_for_module, simulator):
    """A broker with something to tell, and the id of a request."""
    broker = start_for_module.broker(policy_for(simulator.url))
    with httpx.Client() as client:
        answer = client.post(broker.url + "/v1/chat/completions", json=CALL)
    return broker, answer.headers["x-tollgate-request-id"]


def commands(broker, request, folder):
    admin = ["--admin", broker.admin]
    policy = write_policy(folder, policy_for("http://127.0.0.1:9"))
    return {
        "status": ["status", *admin], "status --json": ["status", "--json", *admin], "top": ["top", *admin],
        "usage": ["usage", *admin], "usage csv": ["usage", "--format", "csv", *admin], "budgets": ["budgets", *admin],
        "keys": ["keys", *admin], "breakers": ["breakers", *admin], "explain": ["explain", request, *admin],
        "tenant-key": ["tenant-key", "acme"], "prices": ["prices"], "prices --yaml": ["prices", "--yaml"],
        "simulate": ["simulate", "--policy", policy, "--workload", "cancel-storm"], "--help": ["--help"],
        "serve --help": ["serve", "--help"], "--version": ["--version"], "reload": ["reload", *admin],
        "fleet": ["fleet", "--base-url", broker.openai_url, "--profile", "leave", "--seconds", "0.1", "--drain", "1", "--json"],
    }


NAMES = ["status", "status --json", "top", "usage", "usage csv", "budgets", "keys", "breakers", "explain", "tenant-key", "prices",
         "prices --yaml", "simulate", "--help", "serve --help", "--version", "reload", "fleet"]


def start_command(arguments, stdout):
    return subprocess.run([BINARY, *map(str, arguments)], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=30,
                          env=environment())


@pytest.mark.parametrize("name", NAMES)
def test_closed_pipe_ends_a_command_quietly(served, tmp_path, name):
    with unread_pipe(reader=False) as (_, writing):
        done = start_command(commands(*served, tmp_path)[name], writing)
    noise = done.stderr if name != "tenant-key" else ""
    assert (done.returncode, noise) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_full_disk_is_told_by_a_command(served, tmp_path, name):
    with open("/dev/full", "w") as full:
        done = start_command(commands(*served, tmp_path)[name], full)
    assert done.returncode == 1
    assert "tollgate: standard output cannot be written: No space left on device" in done.stderr


@pytest.mark.parametrize("name", ["status", "tenant-key", "prices"])
def test_command_without_standard_streams(served, tmp_path, name):
    command = shlex.join([BINARY, *map(str, commands(*served, tmp_path)[name])])
    assert subprocess.run(["bash", "-c", f"{command} <&- >&- 2>&-"], timeout=30, env=environment()).returncode == 0


@pytest.mark.parametrize("arguments, code", [(["check", "nowhere.yaml"], 1), (["--bogus"], 2), (["status", "--admin", "127.0.0.1:9"], 1)])
@pytest.mark.parametrize("reader", [True, False])
def test_errors_into_a_stream_that_nobody_reads_keep_their_exit_code(arguments, code, reader):
    with unread_pipe(reader=reader) as (_, writing):
        if reader:
            os.write(writing, b"x" * 4096)
        done = subprocess.run([BINARY, *arguments], stdout=subprocess.DEVNULL, stderr=writing, timeout=30, env=environment())
    assert done.returncode == code


def test_simulated_provider_without_readers(start, http, tmp_path):
    """Its only line tells the address, so this one is given a port that was free a moment ago."""
    import socket
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with unread_pipe(reader=False) as (_, writing):
        process = subprocess.Popen([BINARY, "provider-simulator", "--listen", f"127.0.0.1:{port}"], stdout=writing, stderr=writing,
                                   env=environment())
    try:
        def answers():
            with contextlib.suppress(httpx.TransportError):
                return http.get(f"http://127.0.0.1:{port}/sim/stats").status_code == 200
        wait_until(answers, "the simulated provider")
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_demo_ends_with_its_reader_and_takes_its_children_along(tmp_path):
    process = subprocess.Popen([BINARY, "demo", "--seconds", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=environment({"TMPDIR": str(tmp_path)}))
    assert "Tollgate" in process.stdout.readline()
    process.stdout.close()
    try:
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []
