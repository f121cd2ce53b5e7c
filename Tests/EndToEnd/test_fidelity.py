"""Bodies and headers pass byte for byte: each case is asked from the provider directly and through the broker, and compared."""

import gzip
import json
import zlib

import pytest
import zstandard

from processes import PROVIDER_KEY, policy_for
from rawhttp import address_of, exchange
from scripted import chunked, reply

UNICODE = "Grüße, 日本語, 🚦👩‍💻🇩🇪, שלום, \u2028\u0000 end"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}


def pretty(value):
    """JSON as no serialiser would write it again: odd spacing, repeated and unknown fields, escapes of both kinds."""
    text = json.dumps(value, indent=3, ensure_ascii=False)
    return (text[:-1] + ' ,"zz_unknown" : {"a":1e2,"a":-0.0, "deep":[[[]]]},\t"\\u00e9\\/" : "\\ud83d\\ude00/" }\r\n').encode()


CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": UNICODE}]}
MESSAGES = {"model": "claude-test", "max_tokens": 32, "messages": [{"role": "user", "content": UNICODE}]}
COMPLETION = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-test", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": UNICODE}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": [
    {"type": "text", "text": UNICODE}], "stop_reason": "end_turn", "usage": {"input_tokens": 9, "output_tokens": 3}}


def sse(*events, separator="\n"):
    frames = []
    for event in events:
        name, data = event if isinstance(event, tuple) else (None, event)
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        frames.append(((f"event: {name}{separator}" if name else "") + f"data: {text}{separator}{separator}").encode())
    return frames


def chat_chunk(content, **more):
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test",
            "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}], **more}


CHAT_STREAM = sse(*[chat_chunk(UNICODE[i:i + 3], obfuscation="x" * i) for i in range(0, len(UNICODE), 3)],
                  {**chat_chunk(""), "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}},
                  "[DONE]")
RESPONSES_STREAM = sse(
    ("response.created", {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "status": "in_progress"}}),
    ("keepalive", {"type": "keepalive", "sequence_number": 1}),
    ("response.output_text.delta", {"type": "response.output_text.delta", "delta": UNICODE, "sequence_number": 2}),
    ("response.completed", {"type": "response.completed", "sequence_number": 3, "response": {
        "id": "r", "status": "completed", "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}}))
MESSAGES_STREAM = [b": hello\n\n", *sse(
    ("message_start", {"type": "message_start", "message": {**MESSAGE, "content": [], "usage": {
        "input_tokens": 25, "output_tokens": 1}}}),
    ("ping", '{"type": "ping"}'),
    ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": UNICODE}}),
    ("new_event_of_2027", {"type": "new_event_of_2027", "x": [1, 2]}),
    ("message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}}),
    ("message_stop", {"type": "message_stop"}))]
SPLIT = b"".join(CHAT_STREAM)

OPENAI_ERROR = pretty({"error": {"message": "Rate limit reached. Please try again in 1.2s.", "type": "tokens", "param": None,
                                 "code": "rate_limit_exceeded"}})
ANTHROPIC_ERROR = pretty({"type": "error", "error": {"type": "invalid_request_error", "message": UNICODE}, "request_id": "req_9"})
LIMITS = [("x-ratelimit-limit-requests", "60"), ("X-RateLimit-Remaining-Tokens", "149984"), ("x-ratelimit-reset-tokens", "6m0s"),
          ("openai-processing-ms", "12"), ("x-request-id", "req_abc"), ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"),
          ("x-odd", "  inner  spaces; \"quoted\", comma"), ("x-empty", "")]
CHAT_PATH, MESSAGES_PATH = "/v1/chat/completions", "/v1/messages"
ASK = json.dumps(CHAT).encode()
ASK_STREAM = json.dumps({**CHAT, "stream": True, "stream_options": {"include_usage": True}}).encode()
ASK_CLAUDE = json.dumps(MESSAGES).encode()
ASK_CLAUDE_STREAM = json.dumps({**MESSAGES, "stream": True}).encode()
BIG = json.dumps({**CHAT, "messages": [{"role": "user", "content": "word " * 210_000}]}).encode()

# name: (method, path, request fields, request body, the provider's answer)
CASES = {
    "chat": ("POST", CHAT_PATH, (), ASK, reply(body=pretty(COMPLETION))),
    "chat with limit headers": ("POST", CHAT_PATH, (), ASK, reply(fields=LIMITS, body=pretty(COMPLETION))),
    "chat stream": ("POST", CHAT_PATH, (), ASK_STREAM, chunked(CHAT_STREAM)),
    "chat stream in single bytes": ("POST", CHAT_PATH, (), ASK_STREAM, chunked([SPLIT[i:i + 1] for i in range(len(SPLIT))])),
    "chat stream with CRLF": ("POST", CHAT_PATH, (), ASK_STREAM, chunked(sse(chat_chunk("a"), "[DONE]", separator="\r\n"))),
    "chat stream without its end": ("POST", CHAT_PATH, (), ASK_STREAM, chunked(CHAT_STREAM[:-1] + [b"data: {\"cut"])),
    "responses": ("POST", "/v1/responses", (), json.dumps({"model": "gpt-test", "input": UNICODE}).encode(), reply(
        body=pretty({"id": "resp_1", "object": "response", "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}))),
    "responses stream": ("POST", "/v1/responses", (), json.dumps({"model": "gpt-test", "input": "x", "stream": True}).encode(),
                         chunked(RESPONSES_STREAM)),
    "completions": ("POST", "/v1/completions", (), b'{"model":"gpt-test","prompt":["a","b"]}', reply(
        body=pretty({"object": "text_completion", "choices": [], "usage": {"prompt_tokens": 2, "total_tokens": 2}}))),
    "embeddings": ("POST", "/v1/embeddings", (), b'{"model":"text-embedding-3-small","input":["a",[1,2]],"encoding_format":"base64"}',
                   reply(body=pretty({"object": "list", "data": [{"embedding": "AAAA", "index": 0}],
                                      "usage": {"prompt_tokens": 8, "total_tokens": 8}}))),
    "messages": ("POST", MESSAGES_PATH, (("anthropic-version", "2023-06-01"),), ASK_CLAUDE, reply(body=pretty(MESSAGE))),
    "messages with query": ("POST", MESSAGES_PATH + "?beta=true", (), ASK_CLAUDE, reply(body=pretty(MESSAGE))),
    "messages stream": ("POST", MESSAGES_PATH, (), ASK_CLAUDE_STREAM, chunked(MESSAGES_STREAM)),
    "count_tokens": ("POST", MESSAGES_PATH + "/count_tokens", (), ASK_CLAUDE, reply(body=b'{"input_tokens":  14}\n')),
    "gzip": ("POST", CHAT_PATH, (("Accept-Encoding", "gzip, deflate"),), ASK,
             reply(fields=[("Content-Encoding", "gzip")], body=gzip.compress(pretty(COMPLETION), mtime=0))),
    "gzip in chunks": ("POST", CHAT_PATH, (("Accept-Encoding", "gzip"),), ASK, chunked(
        [gzip.compress(pretty(COMPLETION), mtime=0)[i:i + 7] for i in range(0, 400, 7)], fields=[("Content-Encoding", "gzip")],
        content_type="application/json")),
    "gzip stream": ("POST", CHAT_PATH, (("Accept-Encoding", "gzip"),), ASK_STREAM, chunked(
        [gzip.compress(b"".join(CHAT_STREAM), mtime=0)], fields=[("Content-Encoding", "gzip")])),
    "request of 1 MB": ("POST", CHAT_PATH, (), BIG, reply(body=pretty(COMPLETION))),
    "answer of 1 MB": ("POST", CHAT_PATH, (), ASK, reply(body=pretty({**COMPLETION, "pad": "ü" * 500_000}))),
    "answer of 1 MB in chunks": ("POST", CHAT_PATH, (), ASK, chunked(
        [pretty({**COMPLETION, "pad": "ü" * 500_000})], content_type="application/json")),
    "error 400": ("POST", MESSAGES_PATH, (), ASK_CLAUDE, reply(400, [("request-id", "req_9")], ANTHROPIC_ERROR, "Bad Request")),
    "error 409": ("POST", CHAT_PATH, (), ASK, reply(409, LIMITS, OPENAI_ERROR, "Conflict")),
    "error 404": ("POST", CHAT_PATH, (), ASK, reply(404, (), OPENAI_ERROR, "Not Found")),
    "error 422 that is no JSON": ("POST", CHAT_PATH, (), ASK, reply(422, (), b"\xff\xfe no", "Nope", "text/plain")),
    "error 422 that is a page": ("POST", CHAT_PATH, (), ASK, reply(422, (), b"<html>\xff\xfe no</html>", "Nope", "text/html")),
    "error 403 that is a page": ("POST", CHAT_PATH, (), ASK, reply(403, (), b"<html>\xff\xfe no</html>", "Nope", "text/html")),
    "error 404 that is a page": ("POST", CHAT_PATH, (), ASK, reply(404, (), b"<html>\xff\xfe no</html>", "Nope", "text/html")),
    "no body": ("POST", CHAT_PATH, (), ASK, reply(204, (), b"", "No Content", None).replace(b"Content-Length: 0\r\n", b"")),
    "empty body": ("POST", CHAT_PATH, (), ASK, reply(200, (), b"")),
    "binary": ("POST", "/v1/audio/speech", (), b'{"model":"tts-1","input":"x","voice":"alloy"}',
               reply(body=bytes(range(256)) * 300, content_type="audio/mpeg")),
    "GET with query": ("GET", "/v1/files?limit=3&after=%2Fx%20y&empty=", (), b"", reply(body=b'{"data":[]}')),
    "DELETE": ("DELETE", "/v1/responses/resp_1", (), b"", reply(body=b'{"deleted":true}')),
    "odd path": ("GET", "/v1/files/a%2Fb/c/d//e", (), b"", reply(body=b"{}")),
    "multipart": ("POST", "/v1/audio/transcriptions", (("Content-Type", "multipart/form-data; boundary=zz"),),
                  b'--zz\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--zz--\r\n', reply(body=b'{"text":"x"}')),
    "request gzip": ("POST", CHAT_PATH, (("Content-Encoding", "gzip"),), gzip.compress(ASK), reply(body=pretty(COMPLETION))),
    "request zstd": ("POST", "/v1/responses", (("Content-Encoding", "zstd"),),
                     zstandard.compress(b'{"model":"gpt-test","input":"x","stream":true}'), chunked(RESPONSES_STREAM)),
    "request with odd fields": ("POST", CHAT_PATH, (), pretty({**CHAT, "temperature": 1.0, "top_p": 1e-5, "n": 1}),
                                reply(body=pretty(COMPLETION))),
}


@pytest.fixture(scope="module")
def pair(start_for_module):
    """The scripted provider and a broker in front of it."""
    provider = start_for_module.provider(lambda received, _: CASES[received.first("x-case")][4])
    return provider, start_for_module.broker(policy_for(provider.url, inject_usage=False))


def passed(fields):
    return [(name.lower(), value) for name, value in fields
            if name.lower() not in HOP_BY_HOP and not name.lower().startswith("x-tollgate-")]


ATTEMPTS = {"error 403 that is a page": 3}
"""Where it is not one: a page for people is no word of the API, so the call is tried again, and the last page passed on."""


@pytest.mark.parametrize("case", CASES)
def test_answer_and_request_pass_unchanged(pair, case):
    provider, broker = pair
    method, path, fields, body, _ = CASES[case]
    content = () if any(name.lower() == "content-type" for name, _ in fields) else (("Content-Type", "application/json"),)
    fields = [("X-Case", case), ("Authorization", "Bearer client-key"), ("User-Agent", "OpenAI/Python 3"),
              ("X-Stainless-Lang", "python"), ("X-Odd", "a,  b;c=\"d\""), *content, *fields]
    seen = len(provider.received)
    direct = exchange(address_of(provider.url), method, path, fields, body)
    through = exchange(address_of(broker.url), method, path, fields, body)

    assert through.status == direct.status
    assert through.body == direct.body
    assert passed(through.fields) == passed(direct.fields)
    assert (through.framing == "length") == (direct.framing == "length")
    assert through.first("x-tollgate-request-id")

    of_direct, *attempts = provider.received[seen:]
    assert len(attempts) == ATTEMPTS.get(case, 1)
    for of_broker in attempts:
        assert (of_broker.method, of_broker.target, of_broker.body) == (of_direct.method, of_direct.target, of_direct.body)
        replaced = {"authorization", "x-api-key", "host"}
        assert [f for f in passed(of_broker.fields) if f[0] not in replaced] == [f for f in passed(of_direct.fields) if f[0] not in replaced]
        is_claude = path.startswith("/v1/messages")
        secret = of_broker.first("x-api-key") if is_claude else of_broker.first("authorization")
        assert secret in (PROVIDER_KEY, f"Bearer {PROVIDER_KEY}")
        assert "client-key" not in of_broker.head.decode("latin-1")
        assert of_broker.first("host") == provider.url.split("//")[1]


def test_hints_and_hop_by_hop_fields_end_at_the_broker(pair):
    provider, broker = pair
    fields = [("X-Case", "chat"), ("x-tollgate-priority", "high"), ("X-Tollgate-Session", "s"), ("Connection", "keep-alive, x-private"),
              ("X-Private", "1"), ("Keep-Alive", "timeout=5"), ("TE", "trailers"), ("Content-Type", "application/json")]
    answer = exchange(address_of(broker.url), "POST", CHAT_PATH, fields, ASK)
    assert answer.status == 200
    names = {name.lower() for name, _ in provider.received[-1].fields}
    assert not names & {"x-tollgate-priority", "x-tollgate-session", "x-private", "keep-alive", "te"}


def test_usage_is_asked_for_and_taken_out_again(start):
    """`inject_usage`: the provider is asked for usage; the client, who did not ask, gets the stream without the extra frame."""
    stream = CHAT_STREAM
    provider = start.provider(lambda *_: chunked(stream))
    broker = start.broker(policy_for(provider.url, inject_usage=True))
    ask = b'{"model":"gpt-test", "stream":true ,"messages":[{"role":"user","content":"x"}]}'
    answer = exchange(address_of(broker.url), "POST", CHAT_PATH, [("Content-Type", "application/json")], ask)
    sent = json.loads(provider.received[0].body)
    assert sent["stream_options"]["include_usage"] is True
    assert {key: sent[key] for key in ("model", "stream", "messages")} == json.loads(ask)
    assert answer.body == b"".join(stream[:-2] + stream[-1:])

    asked = exchange(address_of(broker.url), "POST", CHAT_PATH, [("Content-Type", "application/json")], ASK_STREAM)
    assert provider.received[1].body == ASK_STREAM
    assert asked.body == b"".join(stream)


def test_frames_pass_as_they_come(start):
    """Each frame reaches the client before the provider sends the next."""
    import threading
    go_on = threading.Semaphore(0)
    frames = sse(*[chat_chunk(str(n)) for n in range(5)])

    def answer(received, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for frame in frames:
            connection.send(b"%x\r\n%s\r\n" % (len(frame), frame))
            assert go_on.acquire(timeout=10), "the client did not get the frame"
        connection.send(b"0\r\n\r\n")

    from rawhttp import Connection, request_bytes
    provider = start.provider(answer)
    broker = start.broker(policy_for(provider.url, inject_usage=False))
    with Connection(address_of(broker.url)) as connection:
        connection.send(request_bytes("POST", CHAT_PATH, [("Content-Type", "application/json")], ASK_STREAM))
        head = connection.head()
        assert head.status == 200
        for frame in frames:
            size = int(connection.until(b"\r\n"), 16)
            assert connection.exactly(size) == frame
            connection.exactly(2)
            go_on.release()
        assert connection.until(b"\r\n\r\n") == b"0\r\n\r\n"


def test_zlib_is_passed_on(start):
    body = zlib.compress(pretty(COMPLETION))
    provider = start.provider(reply(fields=[("Content-Encoding", "deflate"), ("Vary", "Accept-Encoding")], body=body))
    broker = start.broker(policy_for(provider.url))
    answer = exchange(address_of(broker.url), "POST", CHAT_PATH, [("Content-Type", "application/json")], ASK)
    assert answer.body == body
