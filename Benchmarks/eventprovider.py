"""A provider that answers each POST with a stream of server-sent events, at a pace, on a thread of its own."""

import collections
import json
import select
import socket
import threading
import time

HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n")


def event(choices, **rest):
    data = b"data: " + json.dumps({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": "gpt-benchmark",
        "choices": choices, **rest}).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


WORD = event([{"index": 0, "delta": {"content": " word"}, "finish_reason": None}])
LAST = event([], usage={"prompt_tokens": 480, "completion_tokens": 120, "total_tokens": 600}) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
# Events are sent each millisecond, to as many streams in turn: 10,000 a second.
PER_TICK = 10
TICK = 0.001


class EventProvider:
    """Each event is a write of its own; a stream has `events` of them, and one with usage."""

    ca_file = None

    def __init__(self, events):
        self.events = events
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.poll = select.epoll()
        self.poll.register(self.listener, select.EPOLLIN)
        self.connections = {}
        self.requests = {}
        # Connection and events that are left, the next one in turn first.
        self.streams = collections.deque()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        tick = time.monotonic()
        while True:
            wait = tick - time.monotonic() if self.streams else 1
            for descriptor, _ in self.poll.poll(max(0, wait)):
                if descriptor == self.listener.fileno():
                    self.accept()
                else:
                    self.read(descriptor)
            now = time.monotonic()
            if now < tick:
                continue
            # What was missed is not made up for: the streams would come in heaps.
            tick = max(tick + TICK, now)
            for _ in range(min(PER_TICK, len(self.streams))):
                self.tell(*self.streams.popleft())

    def accept(self):
        connection, _ = self.listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections[connection.fileno()] = connection
        self.requests[connection.fileno()] = b""
        self.poll.register(connection, select.EPOLLIN)

    def read(self, descriptor):
        connection = self.connections[descriptor]
        try:
            piece = connection.recv(65536)
        except OSError:
            piece = b""
        if not piece:
            del self.connections[descriptor]
            connection.close()
            return
        request = self.requests[descriptor] = self.requests[descriptor] + piece
        head, mark, body = request.partition(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if mark and len(body) >= sum(lengths):
            self.requests[descriptor] = b""
            self.send(connection, HEAD)
            self.streams.append((connection, self.events))

    def tell(self, connection, left):
        """Sends a stream's next event, unless its reader has gone."""
        if connection.fileno() < 0:
            return
        self.send(connection, WORD if left else LAST)
        if left:
            self.streams.append((connection, left - 1))

    def send(self, connection, data):
        try:
            connection.sendall(data)
        except OSError:
            # Its reader has gone, which is heard of by reading.
            pass
