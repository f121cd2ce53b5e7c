"""A provider that answers with exactly the bytes that a test gives it and keeps every byte that it was sent."""

import socket
import threading
from dataclasses import dataclass

from rawhttp import Connection, Message


@dataclass
class Received(Message):
    """One request as it stood on the wire."""

    method: str
    target: str
    fields: list
    body: bytes
    head: bytes


class ScriptedProvider:
    """`answer(received, connection)` returns the bytes to send, or sends them itself and returns None; a returned answer keeps
    the connection open. Raise `Hangup` to end the connection."""

    class Hangup(Exception):
        pass

    def __init__(self, answer, port=0):
        self.answer = answer if callable(answer) else lambda received, connection: answer
        self.received = []
        self.connections = 0
        self.left = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.url = "http://127.0.0.1:%d" % self._listener.getsockname()[1]
        self._open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        # Closing alone would leave `accept` waiting in its thread.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for connection in list(self._open):
            try:
                connection.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()

    def _accept(self):
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection.__new__(Connection)
            connection.socket, connection.buffer = accepted, b""
            self.connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            while True:
                received = self._receive(connection)
                self.received.append(received)
                answer = self.answer(received, connection)
                if answer is not None:
                    connection.send(answer)
        except (EOFError, OSError, ScriptedProvider.Hangup):
            pass
        finally:
            self._open.discard(connection)
            connection.close()
            self.left.release()

    @staticmethod
    def _receive(connection):
        head = connection.until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        fields = [(line.split(":", 1)[0], line.split(":", 1)[1].strip()) for line in lines[1:] if line]
        values = {name.lower(): value for name, value in fields}
        if values.get("expect", "").lower() == "100-continue":
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if values.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(connection.chunks())
        else:
            body = connection.exactly(int(values.get("content-length", "0")))
        return Received(method, target, fields, body, head)


# An answer without a date would get one on its way, as RFC 9110 section 6.6.1 asks for.
DATE = "Date: Fri, 20 Nov 2026 08:00:00 GMT"


def reply(status=200, fields=(), body=b"", reason="OK", content_type="application/json"):
    """An answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status} {reason}", DATE]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name}: {value}" for name, value in fields]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def chunked(parts, status=200, fields=(), reason="OK", content_type="text/event-stream; charset=utf-8"):
    """An answer in chunks, one for each part."""
    lines = [f"HTTP/1.1 {status} {reason}", DATE, f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in fields]
    lines.append("Transfer-Encoding: chunked")
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part)
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body + b"0\r\n\r\n"
