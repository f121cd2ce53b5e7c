"""What the broker takes of a client, h11 takes too, and reads the same in it: seeded requests, right and wrong, on bare sockets.

Two readers that disagree about where a request ends are how requests are smuggled past the one that checks. The broker may be the stricter
one; where it takes more than h11, that is on purpose and stands here:

- One empty line in front of a request is forgiven (RFC 9112 section 2.2).
- Blanks may stand between a chunk's size and its extension (RFC 9112 section 7.1.1).
- Of an absolute target, path and query are forwarded (RFC 9112 section 3.2.2); h11 gives it as it came.
"""

import os
import random
import re

import h11

from processes import policy_for
from rawhttp import Connection, address_of
from scripted import reply

# As in the Swift tests, more of them where there is time.
CASES = max(300, int(os.environ.get("TOLLGATE_SEEDS", "0")) // 20)
TARGET = "/v1/things/7?a=b%20c"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "post", "M-SEARCH", "G@T", ""]
TARGETS = [TARGET, TARGET, TARGET, "http://localhost" + TARGET, "/v1/a b", "/v1/#x", "*", "v1"]
VERSIONS = ["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 "]
FIELDS = ["X-T: a", "x-t: a, b", "X-T:  inner  blanks\t", "X-T:", "X-Tv: \u20ac\u00ff", "X-T : a", "X-T\t: a", " X-T: folded", "X T: a", "no colon",
          ": a", "X-T: a\x00b", "X-T: a\rb", "X-T: a\x0bb", "Host: b", "Expect: 100-continue", "Connection: x-gone", "X-T: a\nX-Tu: b",
          "Content-Length: 0", "Content-Length: +3", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip"]
LENGTHS = ["{n}", "{n}", "{n}", "0{n}", "{n}, {n}", "+{n}", "{n} 0", "0x{n}", ""]
CODINGS = ["chunked"] * 4 + ["Chunked", "gzip, chunked", "chunked, chunked", "xchunked", "chunked,"]
EXTENSIONS = [""] * 6 + [";a=b", ';a="b c"', " ;a", " ", ";\x00", "\t;a"]
TRAILERS = [""] * 6 + ["X-Sum: 1\r\n", "no colon\r\n", " folded: x\r\n", "X: a\x01\r\n", "X-Sum: 1\n"]


def request(draw):
    """Bytes that mean one request, most of them with one thing that is odd or wrong."""
    few = lambda choices: choices[0] if draw.random() < 0.8 else draw.choice(choices)
    lines = [" ".join([few(["POST", *METHODS]), few(TARGETS), few(VERSIONS)]), few(["Host: localhost", "Host: localhost:80", "Host: a b", "X-No-Host: h"]), "X-T1: 1"]
    lines += [draw.choice(FIELDS) for _ in range(draw.choice([0, 0, 1, 1, 2]))]
    body = draw.randbytes(draw.choice([0, 1, 5, 40]))
    framing = draw.choice(["none", "length", "chunked", "both"] + ["length", "chunked"] * 3)
    if framing in ("length", "both"):
        lines.append("Content-Length: " + few(LENGTHS).format(n=len(body)))
    if framing in ("chunked", "both"):
        lines.append("Transfer-Encoding: " + few(CODINGS))
    draw.shuffle(later := lines[1:])
    head = "\r\n".join([lines[0], *later, "", ""]).encode("utf-8")
    if framing == "chunked":
        cut = draw.randint(0, len(body))
        parts = [part for part in (body[:cut], body[cut:]) if part]
        sizes = [few([f"{len(part):x}", f"{len(part):X}", f"000{len(part):x}", f"0x{len(part):x}", f"{len(part) + 1:x}"]) for part in parts]
        body = b"".join((size + draw.choice(EXTENSIONS) + "\r\n").encode() + part + b"\r\n" for size, part in zip(sizes, parts))
        body += b"0" + draw.choice(EXTENSIONS).encode() + b"\r\n" + draw.choice(TRAILERS).encode() + b"\r\n"
    data = few([b"", b"\r\n", b"\n", b" "]) + head + body
    if draw.random() < 0.2:
        at = draw.randrange(len(data))
        data = data[:at] + draw.choice([b"", b"\r", b"\n", b" ", b"\x00", b":", b"0", b"\xff"]) + data[at + draw.choice([0, 1]):]
    return data


def by_h11(data):
    """Target, fields and body as h11 reads them; a text where it does not take them."""
    data = data.removeprefix(b"\r\n")
    data = re.sub(rb"(?m)^([0-9a-fA-F]+)[ \t]+;", rb"\1;", data)
    connection = h11.Connection(h11.SERVER)
    body = b""
    try:
        connection.receive_data(data)
        head = connection.next_event()
        if head is h11.NEED_DATA:
            return "incomplete"
        while True:
            event = connection.next_event()
            if type(event) is h11.Data:
                body += bytes(event.data)
            elif type(event) is h11.EndOfMessage:
                break
            else:
                return "incomplete"
    except h11.RemoteProtocolError as error:
        return f"refused: {error}"
    target = re.sub(rb"(?i)^https?://[^/?]*", b"", head.target)
    fields = [(name, value) for name, value in head.headers.raw_items() if name.lower().startswith(b"x-t")]
    return head.method, target, fields, body


def as_forwarded(received):
    """The same of what arrived at the provider."""
    fields = [line.split(b":", 1) for line in received.head.split(b"\r\n")[1:] if line]
    kept = [(name, value.strip(b" \t")) for name, value in fields if name.lower().startswith(b"x-t")]
    return received.method.encode(), received.target.encode(), kept, received.body


def answer_to(address, data, patience):
    """The status, and None where there is no answer."""
    with Connection(address, timeout=patience) as connection:
        try:
            connection.send(data)
            return connection.answer().status
        except (EOFError, OSError):
            return None


def test_what_is_taken_is_what_h11_takes(start):
    provider = start.provider(lambda received, connection: reply(body=b"{}"))
    broker = start.broker(policy_for(provider.url))
    address = address_of(broker.url)
    taken = refused = 0
    for seed in range(CASES):
        data = request(random.Random(seed))
        expected = by_h11(data)
        before = len(provider.received)
        status = answer_to(address, data, 10 if isinstance(expected, tuple) else 0.3)
        arrived = provider.received[before:]
        if arrived or status == 200:
            assert isinstance(expected, tuple), f"seed {seed}: {data!r} got {status}, by h11 it is {expected}"
        if arrived:
            assert as_forwarded(arrived[0]) == expected, f"seed {seed}: {data!r}"
            taken += 1
        else:
            refused += 1
    # Neither side of the comparison may have become empty.
    assert taken > CASES // 10 and refused > CASES // 10, (taken, refused)
