"""What the benchmarks measure and what they measure against: a provider, HAProxy, nginx and Tollgate, each a process of ours.

Needs nothing but Python and the Debian packages haproxy, nginx-light and nghttp2-client. Every process that was started is ended
by its id, whatever happens.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=90):
    """Waits until the condition holds; ends the program if it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    sys.exit(f"{what}: not within {seconds} s")


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def need(*tools):
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)} (Debian: haproxy nginx-light nghttp2-client)")


def build(is_static=True):
    """Builds the release binary, as it ships or with Swift's libraries beside it, and returns its path."""
    command = ["swift", "build", "-c", "release", "--product", "tollgate"] + ["--static-swift-stdlib"] * is_static
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    folder = subprocess.run(command + ["--show-bin-path"], cwd=ROOT, check=True, capture_output=True, text=True)
    return pathlib.Path(folder.stdout.strip()) / "tollgate"


class Process:
    """A process of ours, with what /proc knows of it and of its children."""

    # The authority that signed a provider's certificate; None: it speaks in the clear.
    ca_file = None

    def __init__(self, name, command, port, folder, environment=None):
        self.name = name
        self.port = port
        self.log = open(folder / f"{name}-{port}.log", "wb")
        self.child = subprocess.Popen(
            [str(part) for part in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env={**os.environ, **(environment or {})})

    def wait_until_ready(self):
        wait_for(self.name, lambda: self.child.poll() is not None or listens(self.port))
        if self.child.poll() is not None:
            with open(self.log.name, errors="replace") as log:
                sys.exit(f"{self.name} ended at once:\n" + log.read()[-2000:])

    def family(self):
        """Its process ids: itself and all below."""
        found, todo = [], [self.child.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            try:
                for thread in os.listdir(f"/proc/{pid}/task"):
                    todo += [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{thread}/children").read_text().split()]
            except OSError:
                pass
        return found

    def cpu_seconds(self):
        """User and system time of the family, threads that ended included."""
        ticks = 0
        for pid in self.family():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def resident_bytes(self):
        return sum(int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in self.family())

    def end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.log.close()


class Stage:
    """A folder and the processes in it; leaves neither behind."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-bench-"))
        # nginx's workers run as somebody else when root starts it.
        self.folder.chmod(0o755)
        self.processes = []

    def __enter__(self):
        # So that a terminated benchmark still ends what it started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name, command, port, environment=None):
        process = Process(name, command, port, self.folder, environment)
        self.processes.append(process)
        process.wait_until_ready()
        return process

    def end(self, process):
        self.processes.remove(process)
        process.end()

    # What is started.

    def provider(self, is_tls=False):
        """nginx that answers every POST with an OpenAI-shaped body of 2 KiB, or of 200 KiB where `x-answer: 200k` asks for it; over TLS
        with a certificate for `localhost`, signed by the authority in the process's `ca_file`."""
        home = self.folder / ("provider-tls" if is_tls else "provider")
        home.mkdir()
        for name, size in (("2k", 2 << 10), ("200k", 200 << 10)):
            (home / name).write_text(answer(size))
        port = free_port()
        tls = ""
        if is_tls:
            make_certificate(home)
            tls = "ssl_certificate certificate.pem; ssl_certificate_key key.pem; ssl_session_cache shared:tls:1m;"
        (home / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid provider.pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600; client_body_buffer_size 1m; client_max_body_size 64m;
  {temporary_paths("provider")} {tls}
  map $http_x_answer $answer {{ default /2k; 200k /200k; }}
  open_file_cache max=8;
  server {{
    listen 127.0.0.1:{port} {"ssl" if is_tls else ""} backlog=4096; default_type application/json; root {home};
    error_page 405 =200 $answer;
    location / {{ rewrite ^ $answer break; }}
  }}
}}
""")
        process = self.start(home.name, ["nginx", "-p", home, "-c", home / "nginx.conf"], port)
        process.ca_file = home / "certificate.pem" if is_tls else None
        return process

    def nginx(self, provider):
        home = pathlib.Path(tempfile.mkdtemp(dir=self.folder, prefix="nginx-"))
        home.chmod(0o755)
        port, port2 = free_port(), free_port()
        tls = f"""proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on;
  proxy_ssl_trusted_certificate {provider.ca_file};""" if provider.ca_file else ""
        server = f"""default_type application/json;
    location / {{ proxy_pass {scheme(provider)}://provider; proxy_http_version 1.1; proxy_set_header Connection ""; }}"""
        (home / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid nginx.pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600; client_body_buffer_size 1m; client_max_body_size 64m;
  {temporary_paths("nginx")} {tls}
  upstream provider {{ server 127.0.0.1:{provider.port}; keepalive 512; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; {server} }}
  server {{ listen 127.0.0.1:{port2} http2 backlog=4096; {server} }}
}}
""")
        process = self.start("nginx", ["nginx", "-p", home, "-c", home / "nginx.conf"], port)
        process.h2_port = port2
        return process

    def haproxy(self, provider):
        port, port2 = free_port(), free_port()
        path = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "haproxy.cfg"
        tls = f"ssl verify required ca-file {provider.ca_file} verifyhost localhost sni str(localhost)" if provider.ca_file else ""
        path.write_text(f"""
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  bind 127.0.0.1:{port2} proto h2
  default_backend provider
backend provider
  server provider 127.0.0.1:{provider.port} pool-max-conn 512 {tls}
""")
        process = self.start("haproxy", ["haproxy", "-db", "-f", path], port)
        process.h2_port = port2
        return process

    def tollgate(self, provider, binary, log="off", policy="", more=""):
        """The broker with limits on every dimension, none of which the load reaches, and `more` lines of policy."""
        port = free_port()
        # A folder of its own: an older binary does not open a newer one's ledger.
        path = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "policy.yaml"
        path.write_text(policy or f"""
version: 1
listen: ["127.0.0.1:{port}"]
store: "memory:"
providers:
  bench:
    dialect: openai
    base_url: {scheme(provider)}://{"localhost" if provider.ca_file else "127.0.0.1"}:{provider.port}/v1
    {f"ca_file: {provider.ca_file}" if provider.ca_file else ""}
    keys: [{{id: main, secret: "sk-benchmark"}}]
    limits:
      concurrency: 512
      requests_per_minute: 100000000
      tokens_per_minute: 1000000000000
    timeouts: {{connect: 5s, first_byte: 300s, idle: 120s, total: 900s}}
routes:
  - {{models: ["*"], to: [bench]}}
priorities:
  high: {{queue: 20000}}
  normal: {{queue: 20000}}
{more}
""")
        process = self.start(
            "tollgate",
            [binary, "serve", "--policy", path, "--listen", f"127.0.0.1:{port}", "--admin", "off", "--log-format", log,
             "--store", f"{path}.db"], port)
        process.h2_port = port
        return process


def temporary_paths(name):
    return " ".join(
        f"{kind}_temp_path {name}-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


def scheme(provider):
    return "https" if provider.ca_file else "http"


def make_certificate(home):
    """A certificate for `localhost` that is its own authority, `certificate.pem`, and its key, `key.pem`."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=home, check=True, capture_output=True)


def answer(size):
    """A chat completion of about that many bytes."""
    def body(filler):
        return json.dumps({
            "id": "chatcmpl-benchmark", "object": "chat.completion", "created": 1760000000, "model": "gpt-benchmark",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * filler}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 480, "completion_tokens": 120, "total_tokens": 600},
        })
    return body(max(0, size - len(body(0))))


def question(size):
    """A chat request of about that many bytes."""
    def body(filler):
        words = ("The quick brown fox jumps over the lazy dog. " * (filler // 45 + 1))[:filler]
        return json.dumps({
            "model": "gpt-benchmark",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": words}],
            "max_tokens": 256, "temperature": 0.2,
        })
    return body(max(0, size - len(body(0))))
