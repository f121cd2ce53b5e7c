"""A vendor of every dialect for the comparison of SDKs: the model's name says what becomes of a call.

A model is called `CLIENT.CASE`. Cases that are not named here are answered; each call is counted by its model."""

import collections
import json
import threading

from scripted import ScriptedProvider, chunked, reply

TEXT = "Grüße 日本語"
INPUT, OUTPUT = 9, 4
# What the vendor says with each error; an SDK's exception that has it passes the vendor's own words on.
SENTENCE = "the vendor's own sentence"

# case: status, OpenAI's type and code, Anthropic's type, Google's status; how many calls get it (None: all).
ERRORS = {
    "one-429": (429, "requests", "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", 1),
    "lasting-429": (429, "requests", "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", None),
    "one-500": (500, "server_error", None, "api_error", "INTERNAL", 1),
    "one-503": (503, "server_error", None, "api_error", "UNAVAILABLE", 1),
    "one-529": (529, "server_error", None, "overloaded_error", "UNAVAILABLE", 1),
    "lasting-500": (500, "server_error", None, "api_error", "INTERNAL", None),
    "400": (400, "invalid_request_error", None, "invalid_request_error", "INVALID_ARGUMENT", None),
    "401": (401, "invalid_request_error", "invalid_api_key", "authentication_error", "UNAUTHENTICATED", None),
    "403": (403, "invalid_request_error", "unsupported_country", "permission_error", "PERMISSION_DENIED", None),
    "404": (404, "invalid_request_error", "model_not_found", "not_found_error", "NOT_FOUND", None),
    "no-route": (404, "invalid_request_error", "model_not_found", "not_found_error", "NOT_FOUND", None),
    "unpaid": (429, "insufficient_quota", "insufficient_quota", "billing_error", "RESOURCE_EXHAUSTED", None),
    "stream-400": (400, "invalid_request_error", None, "invalid_request_error", "INVALID_ARGUMENT", None),
    "stream-one-503": (503, "server_error", None, "api_error", "UNAVAILABLE", 1),
    "stream-one-429": (429, "requests", "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", 1),
}


class Vendor(ScriptedProvider):
    """`tries` counts calls by model; `GET /control/left/MODEL` waits a second for every call that is held open for it to be left."""

    def __init__(self):
        self.tries = collections.Counter()
        self._held = collections.defaultdict(list)
        self._lock = threading.Lock()
        super().__init__(self._play)

    def _play(self, received, connection):
        path = received.target.split("?")[0]
        if path.startswith("/control/left/"):
            return self._all_left(path.rsplit("/", 1)[1])
        body = json.loads(received.body) if received.body.startswith(b"{") else {}
        wire = wire_of(path, received)
        if received.method != "POST":
            return whole(wire.models()) if received.method == "GET" else reply()
        model = wire.model(path, body)
        case = model.partition(".")[2]
        with self._lock:
            self.tries[model] += 1
            number = self.tries[model]
        error = ERRORS.get(case)
        if error and (error[-1] is None or number <= error[-1]):
            fields = [("Retry-After", "1"), ("Retry-After-Ms", "200")] if case.endswith("-429") else []
            return reply(error[0], fields, json.dumps(wire.error(*error[:-1])).encode(), reason="Scripted")
        if case == "timeout":
            return self._hold(model, connection)
        frames = wire.frames(path, body, model)
        if frames is None:
            return whole(wire.answer(path, body, model))
        if case in ("cancel", "cut", "error-frame"):
            # Enough to be seen by the client, and no end.
            connection.send(chunked(frames[:wire.opening], content_type=wire.stream_type)[:-len(b"0\r\n\r\n")])
            if case == "cut":
                raise ScriptedProvider.Hangup
            if case == "error-frame":
                frame = wire.error_frame()
                connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(frame), frame))
                return None
            return self._hold(model, connection)
        return chunked(frames, content_type=wire.stream_type)

    def _hold(self, model, connection):
        left = threading.Event()
        with self._lock:
            self._held[model].append(left)
        connection.socket.settimeout(30)
        try:
            connection.rest()
        finally:
            left.set()
        raise ScriptedProvider.Hangup

    def _all_left(self, model):
        with self._lock:
            held = list(self._held[model])
        left = all([each.wait(1) for each in held])
        return whole({"held": len(held) > 0, "left": left})


def whole(value):
    return reply(body=json.dumps(value, ensure_ascii=False).encode())


def event(value, name=None, mark="data: "):
    head = f"event: {name}\n" if name else ""
    return f"{head}{mark}{json.dumps(value, ensure_ascii=False)}\n\n".encode()


def embeddings(body, key="input"):
    asked = body.get(key, "")
    return [[0.25, -0.5]] * (len(asked) if isinstance(asked, list) and asked and isinstance(asked[0], str) else 1)


class OpenAI:
    """Chat, Responses, embeddings; also Azure's, Groq's and Mistral's form of them."""

    stream_type = "text/event-stream; charset=utf-8"
    opening = 2

    @staticmethod
    def model(path, body):
        if "/deployments/" in path:
            return path.split("/deployments/")[1].split("/")[0]
        return body["model"]

    @staticmethod
    def models():
        return {"object": "list", "data": [{"id": name, "object": "model", "created": 1, "owned_by": "v"} for name in ("m.plain", "m.stream")]}

    @staticmethod
    def error(status, kind, code, *_):
        return {"error": {"message": SENTENCE, "type": kind, "param": None, "code": code}}

    @classmethod
    def error_frame(cls):
        return event(cls.error(500, "server_error", None))

    @staticmethod
    def answer(path, body, model):
        usage = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
        if path.endswith("/embeddings"):
            rows = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(embeddings(body))]
            return {"object": "list", "data": rows, "model": model, "id": "e", "usage": {"prompt_tokens": INPUT, "total_tokens": INPUT}}
        if path.endswith("/responses"):
            return OpenAI.response(model, "completed")
        return {"id": "c", "object": "chat.completion", "created": 1, "model": model, "usage": usage,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}]}

    @staticmethod
    def response(model, status):
        output = [{"id": "msg", "type": "message", "role": "assistant", "status": "completed",
                   "content": [{"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}]}]
        usage = {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT,
                 "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        ended = status == "completed"
        return {"id": "r", "object": "response", "created_at": 1, "status": status, "model": model, "tools": [], "tool_choice": "auto",
                "parallel_tool_calls": False, "output": output if ended else [], "usage": usage if ended else None}

    @staticmethod
    def frames(path, body, model):
        if not body.get("stream"):
            return None
        if path.endswith("/responses"):
            return OpenAI.response_frames(model)

        def chunk(choices, **more):
            return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices, **more})

        def delta(finish=None, **content):
            return chunk([{"index": 0, "delta": content, "finish_reason": finish}])

        half = len(TEXT) // 2
        usage = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
        frames = [delta(role="assistant", content=""), delta(content=TEXT[:half]), delta(content=TEXT[half:])]
        # Mistral sends its usage unasked, beside the last choice.
        if "mistral" in model:
            frames.append(chunk([{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}], usage=usage))
        else:
            frames.append(delta("stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            frames.append(chunk([], usage=usage))
        return frames + [b"data: [DONE]\n\n"]

    @staticmethod
    def response_frames(model):
        item = OpenAI.response(model, "completed")["output"][0]
        part = item["content"][0]
        place = {"item_id": "msg", "output_index": 0, "content_index": 0}
        half = len(TEXT) // 2
        events = [
            ("response.created", {"response": OpenAI.response(model, "in_progress")}),
            ("response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}}),
            ("response.content_part.added", {**place, "part": {**part, "text": ""}}),
            ("response.output_text.delta", {**place, "delta": TEXT[:half], "logprobs": []}),
            ("response.output_text.delta", {**place, "delta": TEXT[half:], "logprobs": []}),
            ("response.output_text.done", {**place, "text": TEXT, "logprobs": []}),
            ("response.content_part.done", {**place, "part": part}),
            ("response.output_item.done", {"output_index": 0, "item": item}),
            ("response.completed", {"response": OpenAI.response(model, "completed")}),
        ]
        return [event({"type": name, "sequence_number": number, **value}, name) for number, (name, value) in enumerate(events)]


class Responses(OpenAI):
    """The same vendor, whose streams here begin with more frames."""

    opening = 4

    @staticmethod
    def error_frame():
        return event({"type": "error", "code": "server_error", "message": SENTENCE, "param": None, "sequence_number": 9}, "error")


class Mistral(OpenAI):
    """Chat as OpenAI's; errors are flat."""

    @staticmethod
    def error(status, kind, code, *_):
        return {"object": "error", "message": SENTENCE, "type": kind, "param": None, "code": code, "raw_status_code": status}

    @staticmethod
    def models():
        return {"object": "list", "data": [{**entry, "type": "base", "capabilities": {}} for entry in OpenAI.models()["data"]]}


class Anthropic:
    """Messages, the count of tokens, and models."""

    stream_type = "text/event-stream; charset=utf-8"
    opening = 3

    @staticmethod
    def model(path, body):
        return body["model"]

    @staticmethod
    def models():
        data = [{"id": name, "type": "model", "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in ("m.plain", "m.stream")]
        return {"data": data, "has_more": False, "first_id": "m.plain", "last_id": "m.stream"}

    @staticmethod
    def error(status, openai, code, kind, *_):
        return {"type": "error", "error": {"type": kind, "message": SENTENCE}, "request_id": "req_1"}

    @classmethod
    def error_frame(cls):
        return event(cls.error(529, None, None, "overloaded_error"), "error")

    @staticmethod
    def answer(path, body, model):
        if path.endswith("/count_tokens"):
            return {"input_tokens": INPUT}
        return Anthropic.message(model, [{"type": "text", "text": TEXT}], "end_turn", OUTPUT)

    @staticmethod
    def message(model, content, reason, output):
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": content, "stop_reason": reason,
                "stop_sequence": None, "usage": {"input_tokens": INPUT, "output_tokens": output}}

    @staticmethod
    def frames(path, body, model):
        if not body.get("stream"):
            return None
        half = len(TEXT) // 2

        def delta(text):
            return "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}}

        events = [
            ("message_start", {"message": Anthropic.message(model, [], None, 1)}),
            ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
            delta(TEXT[:half]), delta(TEXT[half:]), ("content_block_stop", {"index": 0}),
            ("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": OUTPUT}}),
            ("message_stop", {}),
        ]
        return [event({"type": name, **value}, name) for name, value in events]


class Gemini:
    """Generate, stream, count and embed."""

    stream_type = "text/event-stream"
    opening = 1

    @staticmethod
    def model(path, body):
        return path.rsplit("/", 1)[1].split(":")[0]

    @staticmethod
    def models():
        return {"models": [{"name": "models/" + name, "displayName": name, "supportedGenerationMethods": ["generateContent"]}
                           for name in ("m.plain", "m.stream")]}

    @staticmethod
    def error(status, openai, code, kind, word):
        error = {"code": status, "message": SENTENCE, "status": word}
        if status == 429:
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.2s"}]
        return {"error": error}

    @staticmethod
    def error_frame():
        return event(Gemini.error(503, None, None, None, "UNAVAILABLE"))

    @staticmethod
    def answer(path, body, model):
        if path.endswith(":countTokens"):
            return {"totalTokens": INPUT}
        if path.endswith("mbedContents"):
            return {"embeddings": [{"values": [0.25, -0.5]} for _ in body["requests"]]}
        if path.endswith(":embedContent"):
            return {"embedding": {"values": [0.25, -0.5]}}
        return Gemini.part(TEXT, "STOP")

    @staticmethod
    def part(text, finish=None):
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0} | ({"finishReason": finish} if finish else {})
        usage = {"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + OUTPUT}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}

    @staticmethod
    def frames(path, body, model):
        if not path.endswith(":streamGenerateContent"):
            return None
        half = len(TEXT) // 2
        return [event(Gemini.part(TEXT[:half])), event(Gemini.part(TEXT[half:], "STOP"))]


class Cohere:
    """Chat, embed and rerank of its second version."""

    stream_type = "text/event-stream"
    opening = 3
    usage = {"billed_units": {"input_tokens": INPUT, "output_tokens": OUTPUT}, "tokens": {"input_tokens": INPUT + 60, "output_tokens": OUTPUT}}

    @staticmethod
    def model(path, body):
        return body["model"]

    @staticmethod
    def models():
        return {"models": [{"name": name, "endpoints": ["chat"]} for name in ("m.plain", "m.stream")]}

    @staticmethod
    def error(*_):
        return {"id": "e", "message": SENTENCE}

    @classmethod
    def error_frame(cls):
        return event({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": SENTENCE}}, "message-end")

    @staticmethod
    def answer(path, body, model):
        if path.endswith("/embed"):
            return {"id": "e", "embeddings": {"float": embeddings(body, "texts")}, "texts": body["texts"],
                    "meta": {"billed_units": {"input_tokens": INPUT}}}
        if path.endswith("/rerank"):
            return {"id": "r", "results": [{"index": 0, "relevance_score": 0.5}], "meta": {"billed_units": {"search_units": 1.0}}}
        return {"id": "c", "finish_reason": "COMPLETE", "usage": Cohere.usage,
                "message": {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}}

    @staticmethod
    def frames(path, body, model):
        if not body.get("stream"):
            return None
        half = len(TEXT) // 2

        def delta(text):
            return "content-delta", {"index": 0, "delta": {"message": {"content": {"text": text}}}}

        events = [
            ("message-start", {"id": "c", "delta": {"message": {"role": "assistant", "content": []}}}),
            ("content-start", {"index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
            delta(TEXT[:half]), delta(TEXT[half:]), ("content-end", {"index": 0}),
            ("message-end", {"delta": {"finish_reason": "COMPLETE", "usage": Cohere.usage}}),
        ]
        return [event({"type": name, **value}, name) for name, value in events] + [b"data: [DONE]\n\n"]


class Ollama:
    """Its own API, in lines of JSON."""

    stream_type = "application/x-ndjson"
    opening = 1

    @staticmethod
    def model(path, body):
        return body["model"]

    @staticmethod
    def models():
        return {"models": [{"name": name, "model": name, "size": 1, "digest": "d", "details": {}} for name in ("m.plain", "m.stream")]}

    @staticmethod
    def error(*_):
        return {"error": SENTENCE}

    @staticmethod
    def error_frame():
        return json.dumps({"error": SENTENCE}).encode() + b"\n"

    @staticmethod
    def answer(path, body, model):
        ended = {"model": model, "created_at": "2026-01-01T00:00:00Z", "done": True, "done_reason": "stop",
                 "prompt_eval_count": INPUT, "eval_count": OUTPUT}
        if path.endswith("/embed"):
            return {"model": model, "embeddings": embeddings(body), "prompt_eval_count": INPUT}
        if path.endswith("/generate"):
            return {**ended, "response": TEXT}
        return {**ended, "message": {"role": "assistant", "content": TEXT}}

    @staticmethod
    def frames(path, body, model):
        if body.get("stream") is False or path.endswith("/embed"):
            return None
        half = len(TEXT) // 2
        head = {"model": model, "created_at": "2026-01-01T00:00:00Z", "done": False}
        lines = [{**head, "message": {"role": "assistant", "content": text}} for text in (TEXT[:half], TEXT[half:])]
        lines.append({**Ollama.answer("/api/chat", body, model), "message": {"role": "assistant", "content": ""}})
        return [json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines]


def wire_of(path, received):
    names = {name.lower(): value for name, value in received.fields}
    if path.startswith("/api/"):
        return Ollama
    if "/messages" in path or "anthropic-version" in names:
        return Anthropic
    if path.startswith("/v2/") or "cohere" in names.get("user-agent", "").lower():
        return Cohere
    if path.startswith("/v1beta") or ":" in path or any(name.startswith("x-goog-api") for name in names):
        return Gemini
    if b'"mistral' in received.body or "mistral" in names.get("user-agent", ""):
        return Mistral
    return Responses if path.endswith("/responses") else OpenAI
