"""Names of providers that move: a failed connect is followed by a fresh look-up."""

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fleet import chat
from processes import policy_for
from rawhttp import address_of, exchange

JSON = [("Content-Type", "application/json")]
ANSWER = b'{"choices":[]}'
# Answers for one name with the address that a file holds now.
RESOLVER = r"""
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef int (*resolve)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  char address[64] = "";
  resolve next = (resolve)dlsym((void *)-1L, "getaddrinfo");
  if(node && strcmp(node, "moving.test") == 0) {
    FILE *file = fopen(getenv("MOVING_TEST"), "r");
    if(file) { if(!fgets(address, sizeof address, file)) address[0] = 0; fclose(file); }
    return next(address, service, hints, found);
  }
  return next(node, service, hints, found);
}
"""


@pytest.fixture
def resolver(tmp_path):
    """The environment of a process for which `moving.test` is what the file says."""
    (tmp_path / "resolver.c").write_text(RESOLVER)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "resolver.so", tmp_path / "resolver.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(tmp_path / "resolver.so"), "MOVING_TEST": str(tmp_path / "address")}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_):
        pass


def test_a_name_that_has_moved_is_looked_up_again_after_a_failed_connect(start, tmp_path, resolver):
    server = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = tmp_path / "address"
    # Nobody listens on this port here.
    address.write_text("127.0.0.1")
    broker = start.broker(policy_for("http://moving.test:%d" % server.server_port, retry={"attempts": 1}), env=resolver)

    def call():
        return exchange(address_of(broker.url), "POST", "/v1/chat/completions", JSON, chat()).status

    try:
        assert call() == 502
        address.write_text("127.0.0.2")
        assert call() == 200
        assert call() == 200
    finally:
        server.shutdown()
        server.server_close()
