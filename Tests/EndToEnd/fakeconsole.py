"""An admin console that answers for a made-up world (`fakeworld`), with the dashboard's files as they lie in the sources.

Also a way to work on the page without a build: `python Tests/EndToEnd/fakeconsole.py --port 4242 --trouble`."""

import argparse
import functools
import http.server
import json
import pathlib
import re
import threading
import urllib.parse

from fakeworld import World

FILES = pathlib.Path(__file__).resolve().parents[2] / "Sources/AdminConsole/Dashboard"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@functools.cache
def content_security_policy():
    """The one that the real console sends."""
    text = (FILES.parent / "Dashboard.swift").read_text()
    return "".join(re.findall(r'"([^"]*)"', re.search(r"contentSecurityPolicy =((?:\s*\+?\s*\"[^\"]*\")+)", text)[1]))


class FakeConsole:
    """Serves `world` on a free port. `tokens` maps a token to `admin`, `read` or a tenant's name; without it none is asked for.
    `missing` are parts of paths that get 404, as from a broker that does not have them."""

    def __init__(self, world, tokens=None, missing=(), port=0, pace=1.0):
        self.world, self.tokens, self.missing, self.pace = world, tokens, set(missing), pace
        self.posts, self.streams, self.halted = [], 0, threading.Event()
        self.cut = threading.Event()
        console = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                console.read(self)

            def do_POST(self):
                console.post(self)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.halted.set()
        self.cut.set()
        self.server.shutdown()
        self.server.server_close()

    # Answers

    @staticmethod
    def send(handler, status, body, content_type="application/json", fields=()):
        handler.send_response(status)
        handler.send_header("content-type", content_type)
        handler.send_header("cache-control", "no-store")
        handler.send_header("content-length", str(len(body)))
        for name, value in fields:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def json(self, handler, value, status=200):
        self.send(handler, status, json.dumps(value).encode())

    def error(self, handler, status, message):
        self.json(handler, {"error": {"message": message}}, status)

    def role(self, handler):
        """`admin`, `read`, a tenant's name, or None where the token is not known."""
        if self.tokens is None:
            return "admin"
        return self.tokens.get(handler.headers.get("authorization", "").removeprefix("Bearer "))

    def read(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        wanted = dict(urllib.parse.parse_qsl(url.query))
        file = FILES / (url.path.strip("/") or "dashboard.html")
        if file.parent == FILES and file.is_file():
            return self.send(handler, 200, file.read_bytes(), TYPES[file.suffix], [("content-security-policy", content_security_policy())])
        role = self.role(handler)
        if role is None:
            return self.error(handler, 401, "give the admin token: Authorization: Bearer TOKEN")
        parts = [urllib.parse.unquote(part) for part in url.path.split("/") if part][2:]
        if not parts or parts[0] in self.missing:
            return self.error(handler, 404, f"there is no {url.path} here")
        tenant = None if role in ("admin", "read") else role
        if parts == ["events"]:
            return self.stream(handler, tenant)
        if parts == ["requests"]:
            return self.json(handler, {"requests": self.world.listed(wanted | ({"tenant": tenant} if tenant else {}))})
        if parts[0] == "requests":
            story = self.world.story(parts[1])
            return self.json(handler, story) if story else self.error(handler, 404, f"request {parts[1]} is not known")
        answers = {
            "status": lambda: self.world.status(tenant), "sessions": lambda: self.world.sessions(wanted), "history": lambda: self.world.history(wanted),
            "usage": self.world.usage, "audit": lambda: {"changes": self.world.changes}, "budgets": lambda: {"budgets": self.world.status()["budgets"], "raises": []},
            "me": lambda: {"can_change": role == "admin", "tenant": tenant, "token": "none" if self.tokens is None else "tenant" if tenant else role}}
        if parts[0] not in answers:
            return self.error(handler, 404, f"there is no {url.path} here")
        self.json(handler, answers[parts[0]]())

    def stream(self, handler, tenant):
        self.streams += 1
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()
        handler.close_connection = True
        try:
            while not self.halted.is_set():
                handler.wfile.write(b"event: snapshot\ndata: " + json.dumps(self.world.status(tenant)).encode() + b"\n\n")
                handler.wfile.flush()
                if self.cut.wait(self.pace):
                    return
        except OSError:
            pass

    def post(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        if self.role(handler) != "admin":
            return self.error(handler, 403, "this token may only read")
        parts = [urllib.parse.unquote(part) for part in url.path.split("/") if part][2:]
        query = dict(urllib.parse.parse_qsl(url.query)) | (json.loads(body) if body else {})
        self.posts.append(url.path + ("?" + url.query if url.query else ""))
        status, answer = self.world.change(parts, query) or (200, self.world.status())
        self.json(handler, answer, status)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=4242)
    parser.add_argument("--providers", type=int, default=3)
    parser.add_argument("--tenants", type=int, default=8)
    parser.add_argument("--queued", type=int, default=24)
    parser.add_argument("--trouble", action="store_true")
    parser.add_argument("--hostile", action="store_true")
    asked = parser.parse_args()
    console = FakeConsole(World(asked.providers, asked.tenants, asked.queued, asked.trouble, asked.hostile), port=asked.port)
    print(console.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
