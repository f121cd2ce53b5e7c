"""HTTP/1.1 on bare sockets: requests that no library would send, and answers with every byte as it came."""

import socket
from dataclasses import dataclass, field


class Message:
    """What has `fields`, in order and with names as written."""

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def first(self, name):
        return next(iter(self.all(name)), None)


@dataclass
class Answer(Message):
    """An answer as it stood on the wire."""

    version: str
    status: int
    reason: str
    fields: list
    body: bytes = b""
    framing: str = ""
    chunks: list = field(default_factory=list)


class Connection:
    """One TCP (or Unix) connection with a buffer."""

    def __init__(self, address, timeout=15.0):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def _more(self):
        data = self.socket.recv(65536)
        self.buffer += data
        return bool(data)

    def until(self, mark):
        """Bytes up to and with `mark`; EOFError where the other side ends first."""
        while mark not in self.buffer:
            if not self._more():
                raise EOFError(f"connection ended after {self.buffer[:200]!r}")
        end = self.buffer.index(mark) + len(mark)
        taken, self.buffer = self.buffer[:end], self.buffer[end:]
        return taken

    def exactly(self, count):
        while len(self.buffer) < count:
            if not self._more():
                raise EOFError(f"connection ended {count - len(self.buffer)} bytes early")
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def rest(self):
        """Everything until the other side ends the connection."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def ended(self):
        """True where the other side closes without another byte."""
        return self.rest() == b""

    def chunks(self):
        """The chunks of a body up to and with its trailers, which are skipped."""
        chunks = []
        while size := int(self.until(b"\r\n").split(b";")[0], 16):
            chunks.append(self.exactly(size))
            self.exactly(2)
        while self.until(b"\r\n") != b"\r\n":
            pass
        return chunks

    def head(self):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, reason = (lines[0] + " ").split(" ", 2)
        fields = [tuple(part.strip() if index else part for index, part in enumerate(line.split(":", 1)))
                  for line in lines[1:] if line]
        return Answer(version, int(status), reason.strip(), fields)

    def answer(self, method="GET"):
        """One whole final answer; interim ones are skipped."""
        answer = self.head()
        while 100 <= answer.status < 200:
            answer = self.head()
        if method == "HEAD" or answer.status in (204, 304):
            answer.framing = "none"
        elif (answer.first("transfer-encoding") or "").lower() == "chunked":
            answer.framing = "chunked"
            answer.chunks = self.chunks()
            answer.body = b"".join(answer.chunks)
        elif answer.first("content-length") is not None:
            answer.framing = "length"
            answer.body = self.exactly(int(answer.first("content-length")))
        else:
            answer.framing = "close"
            answer.body = self.rest()
        return answer


def request_bytes(method, target, fields=(), body=b"", host="127.0.0.1"):
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def exchange(address, method, target, fields=(), body=b""):
    """One request on a connection of its own."""
    with Connection(address) as connection:
        connection.send(request_bytes(method, target, fields, body))
        return connection.answer(method)


def address_of(url):
    host, port = url.split("//")[1].split("/")[0].rsplit(":", 1)
    return host.strip("[]"), int(port)
