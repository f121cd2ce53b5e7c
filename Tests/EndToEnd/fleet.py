"""Many clients at once over plain asyncio sockets: cheap enough that hundreds of them do not disturb what is measured."""

import asyncio
import json
import time
from dataclasses import dataclass

from rawhttp import address_of, request_bytes


@dataclass
class Result:
    status: int
    fields: dict
    body: bytes
    began: float
    first_byte: float
    ended: float
    number: int = 0

    @property
    def queue_ms(self):
        return int(self.fields.get("x-tollgate-queue-ms", "-1"))


def chat(model="gpt-test", stream=False, max_tokens=None, text="hello"):
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    if stream:
        body["stream"] = True
    if max_tokens:
        body["max_tokens"] = max_tokens
    return json.dumps(body).encode()


class Client:
    """One keep-alive connection; `call` takes the whole answer."""

    def __init__(self, address):
        self.address = address
        self.reader = self.writer = None

    async def open(self):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(*self.address, limit=1 << 22)
        return self

    def abort(self):
        """Ends the connection at once, as a killed process does."""
        if self.writer:
            self.writer.transport.abort()
            self.reader = self.writer = None

    def close(self):
        if self.writer:
            self.writer.close()
            self.reader = self.writer = None

    async def send(self, body, fields=(), path="/v1/chat/completions"):
        await self.open()
        self.writer.write(request_bytes("POST", path, [("Content-Type", "application/json"), *fields], body))

    async def call(self, body, fields=(), path="/v1/chat/completions", number=0):
        began = time.monotonic()
        await self.send(body, fields, path)
        head = await self.reader.readuntil(b"\r\n\r\n")
        first_byte = time.monotonic()
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        answer = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines[1:] if line}
        content = b""
        if answer.get("transfer-encoding") == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n")), 16):
                content += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readuntil(b"\r\n")
        else:
            content = await self.reader.readexactly(int(answer.get("content-length", 0)))
        if answer.get("connection", "").lower() == "close":
            self.close()
        return Result(status, answer, content, began, first_byte, time.monotonic(), number)


async def get_json(address, path):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request_bytes("GET", path, [("Connection", "close")]))
    raw = await reader.read()
    writer.close()
    head, body = raw.split(b"\r\n\r\n", 1)
    if b"chunked" in head.lower():
        parts, rest = [], body
        while True:
            size, rest = rest.split(b"\r\n", 1)
            if int(size, 16) == 0:
                break
            parts.append(rest[:int(size, 16)])
            rest = rest[int(size, 16) + 2:]
        body = b"".join(parts)
    return json.loads(body)


async def _providers(broker, name):
    status = await get_json(address_of(broker.admin), "/api/v1/status")
    return [provider for provider in status["providers"] if name in (None, provider["id"])]


async def queued(broker, name=None):
    """Calls that wait, at all providers or at one."""
    return sum(sum(provider["queued"].values()) for provider in await _providers(broker, name))


async def in_flight(broker, name=None):
    """Calls that run, at all providers or at one."""
    return sum(provider["in_flight"] for provider in await _providers(broker, name))


async def reach(condition, what, timeout=10.0):
    """Like `wait_until`, for a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        result = await condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"waited {timeout} s for: {what}; last seen {result!r}"
        await asyncio.sleep(0.005)  # Reason: the poll of a condition that has an end.


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
