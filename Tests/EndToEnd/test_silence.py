"""Streams that think for minutes, and clients that give up: keepalives by raw sockets, HTTP/2, TLS and the vendors' SDKs, with a provider
that is silent until the test has seen them; and calls that are not sent when nobody would read their answer."""

import concurrent.futures
import json
import re
import socket
import ssl
import threading

import anthropic
import cohere
import httpx
import ollama
import openai
import pytest
from google import genai
from mistralai.client import Mistral

from certificates import make_certificate
from fleet import chat
from processes import policy_for, record_of, run
from rawhttp import Connection, address_of, exchange, request_bytes
from scripted import ScriptedProvider, reply
from waiting import wait_until

JSON = [("Content-Type", "application/json")]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
COMMENT = b": keepalive\n\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta(text):
    return b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"%s"},' \
           b'"finish_reason":null}]}\n\n' % text.encode()


END = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"


class Holding:
    """A provider that sends its head, and each next part only when the test says so."""

    def __init__(self, start, parts, head=HEAD):
        self.go = threading.Semaphore(0)
        self.parts = parts
        self.head = head
        self.provider = start.provider(self._answer)
        self.url = self.provider.url

    def _answer(self, received, connection):
        connection.send(self.head)
        for part in self.parts:
            self.go.acquire(timeout=30)
            connection.send(chunk(part))
        connection.send(b"0\r\n\r\n")


def silences(url, **changes):
    return policy_for(url, **({"keepalive": "1s", "inject_usage": False} | changes))


def read_until(stream, text, got):
    """Reads a stream of bytes until `got`, all that came of it, ends with `text`."""
    while not got.endswith(text):
        got += next(stream)
    return got


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("http2", [False, True])
def test_a_silent_stream_is_kept_alive(start, http, certificate, tls, http2):
    """The head, two silences, an event that comes in halves with a third silence behind it, and the end."""
    first, second = delta("hi"), delta("there")
    provider = Holding(start, [first[:9], first[9:], second + END + USAGE + DONE])
    changes = {"tls": {"certificate": str(certificate[0]), "key": str(certificate[1])}} if tls else {}
    broker = start.broker(silences(provider.url, **changes))
    trust = ssl.create_default_context(cafile=str(certificate[0])) if tls else True
    with httpx.Client(verify=trust, http1=not http2, http2=http2, timeout=20, trust_env=False) as client, \
            client.stream("POST", broker.url + "/v1/chat/completions", content=chat(stream=True), headers=dict(JSON)) as answer:
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2" if http2 else "HTTP/1.1")
        stream = answer.iter_raw()
        got = read_until(stream, COMMENT + COMMENT, b"")
        assert got == COMMENT + COMMENT
        provider.go.release()
        got = read_until(stream, first[:9], got)
        provider.go.release()
        got = read_until(stream, first + COMMENT, got)
        provider.go.release()
        rest = b"".join(stream)
    assert got + rest == COMMENT * 2 + first + COMMENT + second + END + USAGE + DONE
    record = record_of(http, broker, answer)
    assert record["outcome"] == "completed"
    assert (record["input_tokens"], record["output_tokens"]) == (3, 2)
    assert not any(name.lower() == "accept-encoding" for name, _ in provider.provider.received[0].fields)


def test_the_frame_that_only_we_asked_for_is_still_removed(start, http):
    provider = Holding(start, [delta("hi") + USAGE[:40], USAGE[40:] + DONE])
    broker = start.broker(silences(provider.url, inject_usage=True))
    with Connection(address_of(broker.url)) as connection:
        connection.send(request_bytes("POST", "/v1/chat/completions", JSON, chat(stream=True)))
        answer = connection.head()
        assert answer.first("transfer-encoding") == "chunked"
        connection.until(chunk(COMMENT))
        provider.go.release()
        # Half of the usage frame has come, of which the client has nothing.
        assert connection.until(chunk(COMMENT)) == chunk(delta("hi")) + chunk(COMMENT)
        provider.go.release()
        assert connection.until(b"\r\n0\r\n").startswith(b"%x\r\n%s" % (len(DONE), DONE))
    assert record_of(http, broker, answer)["input_tokens"] == 3


def test_keepalives_are_no_bytes_of_the_provider(start, http):
    """`idle` ends the stream although the client has got something all the time."""
    provider = Holding(start, [delta("hi")])
    broker = start.broker(silences(provider.url, timeouts={"idle": "2500ms"}, retry={"attempts": 1}))
    with Connection(address_of(broker.url)) as connection:
        connection.send(request_bytes("POST", "/v1/chat/completions", JSON, chat(stream=True)))
        answer = connection.answer("POST")
    assert answer.body.startswith(COMMENT)
    assert b"fell silent" in answer.body and answer.body.count(COMMENT) <= 3
    record = record_of(http, broker, answer)
    assert (record["outcome"], record["tries"][0]["failure"]) == ("truncated", "idle_timed_out")


@pytest.mark.parametrize("fields", [b"Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n", b"Content-Type: application/json\r\n"])
def test_nothing_is_inserted_where_it_would_break_the_answer(start, fields):
    """Seen beside a stream that began later and has its second keepalive."""
    broken = Holding(start, [b"x" * 20], b"HTTP/1.1 200 OK\r\n" + fields + b"Transfer-Encoding: chunked\r\n\r\n")
    stream = Holding(start, [DONE])
    policy = silences(broken.url)
    policy["providers"]["other"] = policy["providers"]["openai"] | {"base_url": stream.url + "/v1"}
    broker = start.broker(policy)
    with Connection(address_of(broker.url)) as silent, Connection(address_of(broker.url)) as alive:
        silent.send(request_bytes("POST", "/v1/chat/completions", JSON, chat(stream=True)))
        assert silent.head().status == 200
        alive.send(request_bytes("POST", "/p/other/v1/chat/completions", JSON, chat(stream=True)))
        alive.head()
        for _ in range(2):
            alive.until(chunk(COMMENT))
        broken.go.release()
        assert b"".join(silent.chunks()) == b"x" * 20


def test_a_client_that_does_not_read_gets_none(start):
    """Its socket is full, so the provider stands still: a sign of life would only join what waits. Seen beside a stream that is read."""
    frame, count, sent = b"data: " + b"x" * (1 << 16) + b"\n\n", 256, [0]

    def answer(received, connection):
        connection.send(HEAD)
        connection.socket.settimeout(60)
        for _ in range(count):
            connection.send(chunk(frame))
            sent[0] += 1
        connection.send(b"0\r\n\r\n")
    full, stream = start.provider(answer), Holding(start, [DONE])
    policy = silences(full.url)
    policy["providers"]["other"] = policy["providers"]["openai"] | {"base_url": stream.url + "/v1"}
    broker = start.broker(policy)
    with Connection(address_of(broker.url), timeout=60) as slow, Connection(address_of(broker.url)) as alive:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.send(request_bytes("POST", "/v1/chat/completions", JSON, chat(stream=True)))
        assert slow.head().status == 200
        alive.send(request_bytes("POST", "/p/other/v1/chat/completions", JSON, chat(stream=True)))
        alive.head()
        alive.until(chunk(COMMENT))
        before = sent[0]
        for _ in range(4):
            alive.until(chunk(COMMENT))
        assert sent[0] == before < count, "the provider does not stand still"
        body = b"".join(slow.chunks())
    assert body.replace(COMMENT, b"") == frame * count
    # One may come when all was taken and the provider has not gone on yet.
    assert body.count(COMMENT) <= 1


def test_bounds_are_said(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps(silences("http://127.0.0.1:1", keepalive="100ms")))
    done = run("check", path, env={"SIM_KEY": "sk"})
    assert done.returncode == 1
    assert "keepalive" in done.stdout + done.stderr and "off, or 1s to 10m" in done.stdout + done.stderr


# The vendors' SDKs


class Watched:
    """Passes bytes between an SDK and the broker, and counts the keepalives in them."""

    def __init__(self, address, mark):
        self.seen = threading.Semaphore(0)
        self._mark = mark
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            broker = socket.create_connection(self._address)
            threading.Thread(target=self._pass, args=(client, broker, None), daemon=True).start()
            threading.Thread(target=self._pass, args=(broker, client, self._mark), daemon=True).start()

    def _pass(self, source, target, mark):
        try:
            while data := source.recv(65536):
                target.sendall(data)
                for _ in range(data.count(mark) if mark else 0):
                    self.seen.release()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side is gone, and the other will see it


def event(name, **data):
    return f"event: {name}\ndata: {json.dumps({'type': name} | data)}\n\n".encode()


RESPONSE = {"id": "r", "object": "response", "created_at": 1, "model": "m", "output": [], "tools": [], "parallel_tool_calls": False,
            "tool_choice": "auto"}
ITEM = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "hi", "annotations": []}]}
ANTHROPIC = [
    event("message_start", message={"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
                                    "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hi"}),
    event("content_block_stop", index=0) + event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 2})
    + event("message_stop")]
GEMINI = b'data: {"candidates":[{"content":{"parts":[{"text":"%s"}],"role":"model"}%s}]}\n\n'
OLLAMA = b'{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"%s"},"done":%s}\n'
# For each SDK: what a keepalive looks like on the wire, the parts of the provider's stream, and how the SDK reads it.
SDKS = {
    "openai chat": (COMMENT, [delta("hi"), delta("there"), END + USAGE + DONE], lambda url: [
        [choice.delta.content for choice in part.choices] for part in openai.OpenAI(base_url=url + "/v1", api_key="k").chat.completions.create(
            model="m", messages=[{"role": "user", "content": "a"}], stream=True, stream_options={"include_usage": True})]),
    "openai chat with ids": (b": keepalive\n", [b"id: 1\n" + delta("hi"), b"id: 2\n" + delta("there"), DONE], lambda url: [
        part.choices[0].delta.content for part in openai.OpenAI(base_url=url + "/v1", api_key="k").chat.completions.create(
            model="m", messages=[{"role": "user", "content": "a"}], stream=True)]),
    "openai responses": (COMMENT, [
        event("response.created", sequence_number=0, response=RESPONSE | {"status": "in_progress"}),
        event("response.output_item.added", sequence_number=1, output_index=0, item=ITEM | {"status": "in_progress", "content": []})
        + event("response.output_text.delta", sequence_number=2, item_id="i", output_index=0, content_index=0, delta="hi", logprobs=[]),
        event("response.completed", sequence_number=3, response=RESPONSE | {
            "status": "completed", "output": [ITEM], "usage": {
                "input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0}}})], lambda url: [
        part.type for part in openai.OpenAI(base_url=url + "/v1", api_key="k").responses.create(model="m", input="a", stream=True)]),
    "anthropic": (PING, ANTHROPIC, lambda url: [
        part.type for part in anthropic.Anthropic(base_url=url, api_key="k").messages.create(
            model="claude-m", max_tokens=9, messages=[{"role": "user", "content": "a"}], stream=True)]),
    "anthropic stream": (PING, ANTHROPIC, lambda url: anthropic_text(url)),
    "gemini": (b"1\r\n\n\r\n", [GEMINI % (b"hi", b""), GEMINI % (b"there", b""), GEMINI % (b"", b',"finishReason":"STOP"')],
               lambda url: gemini_texts(url)),
    "ollama": (b"1\r\n \r\n", [OLLAMA % (b"hi", b"false"), OLLAMA % (b"there", b"false"), OLLAMA % (b"", b'true,"prompt_eval_count":3,"eval_count":2')],
               lambda url: [part.message.content for part in ollama.Client(host=url).chat(
                   model="llama", messages=[{"role": "user", "content": "a"}], stream=True)]),
    "cohere": (COMMENT, [
        event("message-start", id="c", delta={"message": {"role": "assistant"}}),
        event("content-delta", index=0, delta={"message": {"content": {"text": "hi"}}}),
        event("message-end", delta={"finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 2}}})], lambda url: [
        part.type for part in cohere.ClientV2(base_url=url, api_key="k").chat_stream(model="m", messages=[{"role": "user", "content": "a"}])]),
    "mistral": (COMMENT, [delta("hi"), delta("there"), END + DONE], lambda url: mistral_texts(url)),
}


def anthropic_text(url):
    with anthropic.Anthropic(base_url=url, api_key="k").messages.stream(
            model="claude-m", max_tokens=9, messages=[{"role": "user", "content": "a"}]) as stream:
        return [*stream.text_stream, stream.get_final_message().usage.output_tokens]


def gemini_texts(url):
    # Held by a name: it closes its connections when it is collected.
    client = genai.Client(api_key="k", http_options={"base_url": url + "/x/provider=gemini"})
    return [part.text for part in client.models.generate_content_stream(model="m", contents="a")]


def mistral_texts(url):
    with Mistral(server_url=url, api_key="k") as client:
        return [part.data.choices[0].delta.content for part in client.chat.stream(model="m", messages=[{"role": "user", "content": "a"}])]


@pytest.fixture(scope="module")
def read_by_sdks(start_for_module):
    """What each SDK reads straight from the provider and through the broker, where keepalives come before the first part, after it and
    before the last."""
    def provider(name):
        mark, parts, _ = SDKS[name]
        kind = b"application/x-ndjson" if name == "ollama" else b"text/event-stream"
        watched = {}

        def answer(received, connection):
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % kind)
            # The head of such lines goes on with the first of them.
            parts_left = list(parts)
            if name == "openai chat with ids":
                connection.send(chunk(parts_left.pop(0)))
            for part in parts_left:
                if "by" in watched:
                    assert watched["by"].seen.acquire(timeout=20), "no keepalive was seen"
                connection.send(chunk(part))
            connection.send(b"0\r\n\r\n")
        return start_for_module.provider(answer), watched

    providers = {name: provider(name) for name in SDKS}
    brokers = {}
    for name, (made, _) in providers.items():
        policy = silences(made.url)
        policy["providers"]["gemini"] = {"dialect": "gemini", "base_url": made.url, "keys": [{"id": "main", "secret": "${SIM_KEY}"}], "check_keys": False}
        policy["providers"]["openai"]["native"] = "ollama"
        brokers[name] = start_for_module.broker(policy)

    def both(name):
        mark, _, read = SDKS[name]
        made, watched = providers[name]
        try:
            straight = read(made.url)
        except Exception as failure:  # shown by the test of this SDK, as is the next
            return failure, None
        watched["by"] = Watched(address_of(brokers[name].url), mark)
        try:
            return straight, read(watched["by"].url)
        except Exception as failure:
            return straight, failure
        finally:
            watched["by"].close()

    with concurrent.futures.ThreadPoolExecutor(len(SDKS)) as pool:
        return dict(zip(SDKS, pool.map(both, SDKS)))


@pytest.mark.parametrize("name", SDKS)
def test_sdks_read_on(read_by_sdks, name):
    straight, through = read_by_sdks[name]
    assert through == straight
    assert len(straight) >= 2


# Clients that give up


@pytest.fixture
def full(start):
    """A provider with one place that answers when the test says so, and a broker before it whose only place is taken."""
    class Full:
        answers = threading.Semaphore(0)

        def __init__(self, **changes):
            self.provider = start.provider(self._answer)
            self.broker = start.broker(policy_for(self.provider.url, limits={"concurrency": 1}, **changes))
            self.address = address_of(self.broker.url)
            self.running = Connection(self.address)
            self.occupy()

        def occupy(self):
            count = len(self.provider.received) + 1
            self.running.send(request_bytes("POST", "/v1/chat/completions", JSON, chat()))
            wait_until(lambda: len(self.provider.received) >= count, "the call at the provider")

        def _answer(self, received, connection):
            self.answers.acquire(timeout=30)
            return reply(body=b'{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}')

        def call(self, *fields):
            return exchange(self.address, "POST", "/v1/chat/completions", [*JSON, *fields], chat())
    return Full


def test_a_call_whose_client_gives_up_is_told_so_and_not_sent(full, http):
    place = full()
    answer = place.call(("X-Stainless-Timeout", "1.5"))
    assert (answer.status, answer.first("x-tollgate-outcome")) == (429, "evicted_max_wait")
    assert "The client gives up after 1.5s." in json.loads(answer.body)["error"]["message"]
    assert int(answer.first("retry-after")) >= 1
    told = run("explain", record_of(http, place.broker, answer)["id"], "--admin", place.broker.admin).stdout
    assert "The client gives up after 1.5s." in told
    assert "The client gives up after 1.5s." in place.broker.logs()
    assert len(place.provider.received) == 1
    place.answers.release()
    assert place.running.answer("POST").status == 200, "a running call is not cut"


def test_the_time_of_first_bytes_is_learned_and_left_to_the_provider(full):
    """Ten calls whose first bytes took a while: a client that waits no longer than that is told at once that there is no place in time."""
    place = full()
    slow = threading.Event()
    for number in range(10):
        slow.wait(0.15)
        place.answers.release()
        assert place.running.answer("POST").status == 200
        if number < 9:
            place.occupy()
    place.occupy()
    answer = place.call(("X-Stainless-Timeout", "1.1"))
    assert answer.status == 429
    found = re.search(r"The client gives up after 1\.1s, and first bytes take (\d+(?:\.\d)?)s\.", json.loads(answer.body)["error"]["message"])
    assert found, answer.body
    waited = int(answer.first("x-tollgate-queue-ms")) / 1000
    assert 0.1 <= float(found[1]) and waited + float(found[1]) >= 1.0
    assert len(place.provider.received) == 11


def test_hostile_timeouts_are_none(full):
    hostile = [[("X-Stainless-Timeout", value)] for value in ("0", "-1", "NOT_GIVEN", "1e9", "9" * 40, "inf")]
    hostile.append([("X-Stainless-Timeout", "1")] * 2)
    place = full(priorities={"normal": {"max_wait": "1200ms"}})
    with concurrent.futures.ThreadPoolExecutor(len(hostile)) as pool:
        answers = list(pool.map(lambda fields: place.call(*fields), hostile))
    for fields, answer in zip(hostile, answers):
        assert answer.status == 429, fields
        assert "gives up" not in json.loads(answer.body)["error"]["message"], fields
        assert int(answer.first("x-tollgate-queue-ms")) >= 1200, fields


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_the_vendors_sdks_get_a_429_that_says_why(full, vendor):
    """They retry it after `retry-after`; their own timeout would have begun the wait anew. What they say is shorter here than what they wait,
    so that the machine's speed decides nothing."""
    place = full()
    if vendor == "openai":
        with openai.OpenAI(base_url=place.broker.url + "/v1", api_key="k", max_retries=0, timeout=20) as client:
            with pytest.raises(openai.RateLimitError, match="gives up after 1.5s"):
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": "a"}],
                                               extra_headers={"x-stainless-read-timeout": "1.5"})
    else:
        with anthropic.Anthropic(base_url=place.broker.url + "/x/provider=openai", api_key="k", max_retries=0, timeout=20) as client:
            with pytest.raises(anthropic.RateLimitError, match="gives up after 1.5s"):
                client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "a"}],
                                       extra_headers={"x-stainless-timeout": "1.5"})
    assert len(place.provider.received) == 1


def test_what_the_vendors_sdks_say(start):
    """The fields and the form that the broker reads."""
    provider = start.provider(lambda received, connection: reply(400, body=b"{}", reason="Bad Request"))
    with openai.OpenAI(base_url=provider.url + "/v1", api_key="k", timeout=7.5) as client, pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "a"}])
    with anthropic.Anthropic(base_url=provider.url, api_key="k", timeout=7.5) as client, pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "a"}])
    said = [{name.lower(): value for name, value in received.fields if "timeout" in name.lower()} for received in provider.received]
    assert said[0] == {"x-stainless-read-timeout": "7.5"}
    # The first is the call's own, which is not given here.
    assert said[1] == {"x-stainless-timeout": "NOT_GIVEN", "x-stainless-read-timeout": "7.5"}


@pytest.mark.parametrize("number", (b"", b"id: 7\n"), ids=["plain", "id"])
def test_our_error_is_read_whether_or_not_events_have_ids(start, number):
    """After an event with an id, the SDK takes an empty line for an event: our error frame stands without one before it."""
    held = Holding(start, [number + delta("one"), b""])
    broker = start.broker(silences(held.url, keepalive="off", timeouts={"idle": "1s"}, retry={"attempts": 1}))
    held.go.release()
    client = openai.OpenAI(base_url=broker.openai_url, api_key="x", max_retries=0, timeout=20)
    texts = []
    with pytest.raises(openai.APIError, match="silent"):
        for event in client.chat.completions.create(model="gpt-test", messages=[{"role": "user", "content": "hi"}], stream=True):
            texts.append(event.choices[0].delta.content)
    assert texts == ["one"]
    held.go.release()
