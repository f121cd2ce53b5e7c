"""Child processes of the tests: the broker and the provider simulator, started, watched and ended by their own id."""

import hashlib
import os
import pathlib
import re
import signal
import subprocess
import threading

import yaml

from rawhttp import Answer
from waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TOLLGATE_BINARY", str(ROOT / ".build/debug/tollgate"))
# The tools of those who work on it, beside the binary where nothing else is said.
DEV_BINARY = os.environ.get("TOLLGATE_DEV_BINARY", str(pathlib.Path(BINARY).with_name("tollgate-dev")))
PROVIDER_KEY = "sk-simulated-0001"

LISTENING = re.compile(r"listening on (?P<address>\S+) \((?P<role>data|admin|[^)]*)\)")


def environment(extra=None):
    """The test's own environment without anybody's keys, proxies or addresses."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS",
            "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE")
    values = {name: os.environ[name] for name in kept if name in os.environ}
    values["SIM_KEY"] = PROVIDER_KEY
    values.update(extra or {})
    return values


def run(*arguments, env=None, **options):
    """`tollgate` with these arguments, run to its end."""
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=30,
                          env=environment(env), **options)


class Child:
    """A running `tollgate` with its output read line by line."""

    running = []

    def __init__(self, *arguments, env=None, cwd=None):
        self.arguments = [BINARY, *map(str, arguments)]
        self.process = subprocess.Popen(
            self.arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            env=environment(env), cwd=cwd)
        self.stdout, self.stderr = [], []
        Child.running.append(self)
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self.stdout), (self.process.stderr, self.stderr))]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    @property
    def pid(self):
        return self.process.pid

    def wait_for_line(self, pattern, timeout=20.0):
        """The first match of `pattern` on either stream."""
        wanted = re.compile(pattern)

        def look():
            for line in list(self.stdout) + list(self.stderr):
                match = wanted.search(line)
                if match:
                    return match
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} before it printed /{pattern}/\n{self.logs()}")
            return None

        return wait_until(look, f"a line like /{pattern}/ from {self.arguments[1]}\n{self.logs()}", timeout)

    def addresses(self, role):
        found = [LISTENING.search(line) for line in self.stdout]
        return [match["address"] for match in found if match and match["role"] == role]

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=20.0):
        """The exit code."""
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(5)
        return code

    def stop(self, timeout=10.0):
        """Ends the process if it runs: asks twice (the second signal stops at once), then insists. Returns the exit code."""
        if self in Child.running:
            Child.running.remove(self)
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(1)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
            raise AssertionError(f"did not end {timeout} s after the second SIGTERM\n{self.logs()}") from None

    def logs(self):
        return "\n".join(["--- " + " ".join(self.arguments), "--- stdout", *self.stdout[-60:], "--- stderr", *self.stderr[-120:]])

    def check_health(self):
        """Fails if the process crashed, or if a sanitizer or the Swift runtime complained."""
        text = "\n".join(self.stderr)
        for mark in ("AddressSanitizer", "Fatal error", "runtime error:", "SUMMARY: "):
            assert mark not in text, f"{mark} in the log\n{text[-4000:]}"
        code = self.process.poll()
        assert code is None or code >= 0 or -code in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL), \
            f"ended by signal {-code}: {self.death()}"

    def death(self):
        """What the process said when it crashed."""
        said = [line for line in self.stderr if "Assertion" in line or "Fatal error" in line or re.search(r" in .*\.swift:\d+", line)]
        return "\n".join(said or self.stderr[-20:])


class Broker(Child):
    """`tollgate serve` on free ports of loopback."""

    def __init__(self, policy_file, *flags, listen=("127.0.0.1:0",), admin="127.0.0.1:0", env=None, cwd=None):
        self.policy_file = policy_file
        policy = ("--policy", policy_file) if policy_file else ()
        listeners = [part for address in listen for part in ("--listen", address)]
        super().__init__(
            "serve", *policy, *listeners, "--admin", admin, "--store", "memory:", *flags, env=env, cwd=cwd)
        try:
            self.wait_for_line(r"listening on \S+ \(data\)")
            if admin != "off":
                self.wait_for_line(r"listening on \S+ \(admin\)")
        except BaseException:
            self.process.kill()
            raise

    @property
    def url(self):
        return next(a for a in self.addresses("data") if a.startswith("http"))

    @property
    def admin(self):
        return self.addresses("admin")[0]

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    @property
    def openai_url(self):
        return self.url + "/v1"


class Simulator(Child):
    """`tollgate provider-simulator` on a free port; keyword `output_tokens="5"` becomes the flag `--output-tokens 5`."""

    def __init__(self, **settings):
        flags = [part for name, value in settings.items() for part in ("--" + name.replace("_", "-"), str(value))]
        super().__init__("provider-simulator", "--listen", "127.0.0.1:0", *flags)
        try:
            self.url = self.wait_for_line(r"listening on (http://\S+)")[1].rstrip("/")
        except BaseException:
            self.process.kill()
            raise

    @property
    def openai_url(self):
        return self.url + "/v1"


def write_policy(folder, policy, name="policy.yaml"):
    path = pathlib.Path(folder) / name
    path.write_text(policy if isinstance(policy, str) else yaml.safe_dump(policy, sort_keys=False))
    return path


def policy_for(url, **changes):
    """A policy with an `openai` and an `anthropic` provider at `url`. Keyword `limits`, `breaker`, `timeouts`, `retry`,
    `learn_limits`, `inject_usage`, `pass_through`, `keys` and `model_limits` go to both providers, the rest to the top level."""
    key = {"id": "main", "secret": "${SIM_KEY}"}
    of_provider = ("limits", "breaker", "timeouts", "retry", "learn_limits", "inject_usage", "pass_through", "keys",
                   "model_limits", "quota", "admission_tokens", "check_keys")
    # Scripted providers count what they are asked.
    shared = {"check_keys": False} | {name: changes.pop(name) for name in of_provider if name in changes}
    policy = {
        "version": 1,
        "providers": {
            "openai": {"dialect": "openai", "base_url": url + "/v1", "keys": [dict(key)], **shared},
            "anthropic": {"dialect": "anthropic", "base_url": url, "keys": [dict(key)], **shared},
        },
        "routes": [{"models": ["claude-*"], "to": ["anthropic"]}, {"models": ["*"], "to": ["openai"]}],
    }
    policy.update(changes)
    return policy


def key_hash(key):
    """A client key as policies hold it."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def record_of(http, broker, answer):
    """What the admin API tells of the request that got this answer, of httpx or of `rawhttp`."""
    request = answer.first("x-tollgate-request-id") if isinstance(answer, Answer) else answer.headers["x-tollgate-request-id"]
    return http.get(f"{broker.admin}/api/v1/requests/{request}").json()


# Every permit is for every class; without it the high class keeps a tenth for itself.
NO_RESERVE = {"high": {"reserve": "0%"}}
