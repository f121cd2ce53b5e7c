"""Paths and dialects that people use: SDKs with a base URL that is one step off, Azure, Groq, Gemini, Ollama, Cohere, Mistral and
rerank vendors, by their own SDKs where there is one, against a provider that keeps what it was sent."""

import json

import cohere
import groq
import ollama
import openai
import pytest
from google import genai
from mistralai.client import Mistral

from processes import record_of
from scripted import ScriptedProvider, chunked, reply

CHAT = {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}}
RESPONSE = {"id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [], "tools": [],
            "parallel_tool_calls": False, "tool_choice": "auto",
            "usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, "input_tokens_details": {"cached_tokens": 0},
                      "output_tokens_details": {"reasoning_tokens": 0}}}
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "claude-x", "content": [{"type": "text", "text": "hi"}],
           "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 2}}
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
          "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}}
OLLAMA_LINES = [{"model": "llama3", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "hi"}, "done": False},
                {"model": "llama3", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": ""}, "done": True,
                 "done_reason": "stop", "prompt_eval_count": 26, "eval_count": 3}]
COHERE = {"id": "c", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
          "usage": {"billed_units": {"input_tokens": 5.0, "output_tokens": 4.0}, "tokens": {"input_tokens": 70.0, "output_tokens": 6.0}}}


def answer(received, connection):
    path = received.target.split("?")[0]
    body = json.loads(received.body) if received.body.startswith(b"{") else {}

    def whole(value):
        return reply(body=json.dumps(value).encode())

    if body.get("model") == "refused":
        return reply(400, body=b'{"object":"error","message":"No such role","type":"invalid_request_message_order","param":null,"code":"3230",'
                               b'"raw_status_code":400}', reason="Bad Request")
    if path.endswith("/models"):
        return whole({"object": "list", "data": [{"id": "llama3", "object": "model"}, {"id": "m", "object": "model"}]})
    if path.endswith("/chat/completions"):
        return whole(CHAT)
    if path.endswith("/responses"):
        return whole(RESPONSE)
    if path.endswith("/messages"):
        return whole(MESSAGE)
    if ":generateContent" in path:
        return whole(GEMINI)
    if path == "/api/chat":
        if body["model"] == "llama-broken":
            line = json.dumps(OLLAMA_LINES[0]).encode() + b"\n"
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
                            b"%x\r\n%s\r\n" % (len(line), line))
            raise ScriptedProvider.Hangup
        if body.get("stream") is False:
            return whole(OLLAMA_LINES[-1])
        return chunked([json.dumps(line).encode() + b"\n" for line in OLLAMA_LINES], content_type="application/x-ndjson")
    if path == "/api/generate":
        return whole({"model": "llama3", "response": "hi", "done": True, "prompt_eval_count": 7, "eval_count": 2})
    if path == "/api/embed":
        return whole({"model": "llama3", "embeddings": [[0.1, 0.2]], "prompt_eval_count": 8})
    if path == "/v2/chat":
        return whole(COHERE)
    if path == "/v2/embed":
        return whole({"id": "e", "embeddings": {"float": [[0.1]]}, "texts": ["a"],
                      "meta": {"billed_units": {"input_tokens": 12.0}, "tokens": {"input_tokens": 13.0}}})
    if path == "/v2/rerank":
        return whole({"id": "r", "results": [{"index": 0, "relevance_score": 0.5}], "meta": {"billed_units": {"search_units": 1.0}}})
    if path in ("/v1/rerank", "/v1/embeddings"):
        return whole({"object": "list", "data": [], "model": "voyage-4", "usage": {"total_tokens": 26}})
    return reply(404, body=b'{"error":{"message":"no such path here"}}', reason="Not Found")


@pytest.fixture(scope="module")
def provider(start_for_module):
    return start_for_module.provider(answer)


@pytest.fixture(scope="module")
def broker(start_for_module, provider):
    keys = [{"id": "main", "secret": "provider-key-0123"}]
    common = {"keys": keys, "check_keys": False, "retry": {"attempts": 1}}
    return start_for_module.broker({
        "version": 1,
        "providers": {
            "openai": {"dialect": "openai", "base_url": provider.url + "/v1", **common},
            "azure": {"dialect": "openai", "base_url": provider.url, "auth": "api-key", "headers": {"x-team": "blue"}, **common},
            "groq": {"dialect": "openai", "base_url": provider.url + "/openai/v1", **common},
            "anthropic": {"dialect": "anthropic", "base_url": provider.url, **common},
            "gemini": {"dialect": "gemini", "base_url": provider.url, **common},
            "ollama": {"dialect": "openai", "base_url": provider.url + "/v1", "native": "ollama", "check_keys": False},
        },
        "routes": [{"models": ["claude-*"], "to": ["anthropic"]}, {"models": ["gemini-*"], "to": ["gemini"]},
                   {"models": ["azure-*"], "to": ["azure"]}, {"models": ["groq-*"], "to": ["groq"]},
                   {"models": ["llama*"], "to": ["openai", "ollama"]}, {"models": ["*"], "to": ["openai"]}],
    })


@pytest.fixture(autouse=True)
def forget(provider):
    provider.received.clear()


def sent(provider):
    assert len(provider.received) == 1
    return provider.received[0]


def newest(http, broker):
    return http.get(f"{broker.admin}/api/v1/requests?state=recent&limit=1").json()["requests"][0]


def tokens(http, broker):
    record = newest(http, broker)
    assert record["outcome"] == "completed"
    assert record["estimated"] is False
    return record["input_tokens"], record["output_tokens"]


@pytest.mark.parametrize("path,model,arrives", [
    ("/chat/completions", "m", "/v1/chat/completions"), ("/responses", "m", "/v1/responses"), ("/v1/v1/chat/completions", "m", "/v1/chat/completions"),
    ("/openai/v1/chat/completions", "m", "/v1/chat/completions"), ("/openai/v1/chat/completions", "groq-m", "/openai/v1/chat/completions"),
    ("/openai/responses?api-version=1", "m", "/v1/responses?api-version=1"),
    ("/openai/responses?api-version=1", "azure-m", "/openai/responses?api-version=1"),
    ("/openai/deployments/azure-d/chat/completions?api-version=1", "azure-d", "/openai/deployments/azure-d/chat/completions?api-version=1"),
    ("/messages", "claude-x", "/v1/messages"), ("/v1/v1/messages?beta=true", "claude-x", "/v1/messages?beta=true"),
    ("/models/gemini-4:generateContent", None, "/v1beta/models/gemini-4:generateContent"),
    ("/v1/v1beta/models/gemini-4:generateContent", None, "/v1beta/models/gemini-4:generateContent"),
    ("/p/groq/openai/v1/chat/completions", "x", "/openai/v1/chat/completions"), ("/p/groq/v1/chat/completions", "x", "/openai/v1/chat/completions"),
    ("/rerank", "m", "/v1/rerank"), ("/embeddings", "m", "/v1/embeddings"),
])
def test_a_base_url_one_step_off_works(http, broker, provider, path, model, arrives):
    body = {"messages": [], "input": "a"} | ({"model": model} if model else {})
    got = http.post(broker.url + path, json=body)
    assert got.status_code == 200
    assert sent(provider).target == arrives
    assert record_of(http, broker, got)["outcome"] == "completed"


@pytest.mark.parametrize("path", ["/models", "/openai/models", "/openai/v1/models", "/v1/v1/models"])
def test_lists_of_models_without_their_version(http, broker, path):
    got = http.get(broker.url + path)
    assert {model["id"] for model in got.json()["data"]} == {"m", "llama3"}


def test_a_404_says_which_base_url_helps(http, broker):
    got = http.post(broker.url + "/nowhere", json={})
    assert got.status_code == 404
    message = got.json()["error"]["message"]
    assert f"OPENAI_BASE_URL={broker.url}/v1" in message and f"ANTHROPIC_BASE_URL={broker.url} " in message
    bedrock = http.post(broker.url + "/model/anthropic.claude-x/invoke", json={})
    vertex = http.post(broker.url + "/v1/projects/p/locations/l/publishers/google/models/g:generateContent", json={})
    assert (bedrock.status_code, vertex.status_code) == (404, 404)
    assert "Bedrock" in bedrock.json()["error"]["message"] and "Vertex" in vertex.json()["error"]["message"]


def test_azure_sdk(broker, provider):
    with openai.AzureOpenAI(azure_endpoint=broker.url, api_key="client", api_version="2026-01-01", max_retries=0) as client:
        assert client.chat.completions.create(model="azure-d", messages=[{"role": "user", "content": "a"}]).usage.total_tokens == 11
        assert client.responses.create(model="azure-d", input="a").status == "completed"
    first, second = provider.received
    assert first.target.startswith("/openai/deployments/azure-d/chat/completions?")
    assert second.target.startswith("/openai/responses?")
    for received in (first, second):
        fields = {name.lower(): value for name, value in received.fields}
        assert fields["api-key"] == "provider-key-0123" and "authorization" not in fields
        assert fields["x-team"] == "blue"


def test_added_fields_replace_the_clients(http, broker, provider):
    http.post(broker.url + "/v1/chat/completions", json={"model": "azure-m", "messages": []}, headers={"X-Team": "red"})
    assert [value for name, value in sent(provider).fields if name.lower() == "x-team"] == ["blue"]


def test_groq_sdk(broker, provider):
    for base, model in ((broker.url, "groq-m"), (broker.url + "/p/groq", "m")):
        with groq.Groq(base_url=base, api_key="client", max_retries=0) as client:
            assert client.chat.completions.create(model=model, messages=[{"role": "user", "content": "a"}]).usage.total_tokens == 11
    assert {received.target for received in provider.received} == {"/openai/v1/chat/completions"}


def test_google_sdk(http, broker, provider):
    client = genai.Client(api_key="client", http_options={"base_url": broker.url})
    assert client.models.generate_content(model="gemini-4", contents="a").text == "hi"
    assert tokens(http, broker) == (9, 2)
    assert {model.name for model in client.models.list()} == {"models/m", "models/llama3"}


def test_mistral_sdk_and_its_flat_errors(broker):
    with Mistral(server_url=broker.url, api_key="client") as client:
        assert client.chat.complete(model="m", messages=[{"role": "user", "content": "a"}]).usage.total_tokens == 11
        with pytest.raises(Exception, match="No such role"):
            client.chat.complete(model="refused", messages=[{"role": "user", "content": "a"}])


def test_ollama_sdk(http, broker, provider):
    client = ollama.Client(host=broker.url)
    lines = list(client.chat(model="llama3", messages=[{"role": "user", "content": "a"}], stream=True))
    assert [line.message.content for line in lines] == ["hi", ""]
    record = newest(http, broker)
    assert record["provider"] == "ollama", "though the route names another provider first"
    assert tokens(http, broker) == (26, 3)
    assert sent(provider).target == "/api/chat"
    assert not any(name.lower() == "authorization" for name, _ in sent(provider).fields)
    assert client.chat(model="llama3", messages=[{"role": "user", "content": "a"}]).message.content == ""
    assert tokens(http, broker) == (26, 3)
    assert client.generate(model="llama3", prompt="a").response == "hi"
    assert tokens(http, broker) == (7, 2)
    assert len(client.embed(model="llama3", input="a").embeddings) == 1
    assert tokens(http, broker) == (8, 0)
    assert [model.model for model in client.list().models] == ["llama3"]


def test_a_broken_ollama_stream_ends_with_a_sentence(http, broker):
    got = []
    with pytest.raises(ollama.ResponseError, match="broke off its answer"):
        for line in ollama.Client(host=broker.url).chat(model="llama-broken", messages=[], stream=True):
            got.append(line.message.content)
    assert got == ["hi"]
    assert newest(http, broker)["outcome"] == "truncated"


def test_ollamas_api_goes_to_no_other_provider(http, broker, provider):
    with pytest.raises(ollama.ResponseError, match="speaks Ollama's own API") as failed:
        ollama.Client(host=broker.url).chat(model="gpt-6", messages=[])
    assert failed.value.status_code == 404
    named = http.post(broker.url + "/api/chat", json={"model": "llama3"}, headers={"x-tollgate-provider": "openai"})
    assert named.status_code == 404 and isinstance(named.json()["error"], str)
    pull = http.post(broker.url + "/api/pull", json={"model": "llama3"})
    assert pull.status_code == 404 and isinstance(pull.json()["error"], str)
    assert not provider.received
    assert http.post(broker.url + "/p/openai/api/chat", json={"model": "llama3", "stream": False}).status_code == 200


def test_cohere_sdk(http, broker, provider):
    client = cohere.ClientV2(api_key="client", base_url=broker.url)
    assert client.chat(model="command-a", messages=[{"role": "user", "content": "a"}]).message.content[0].text == "hi"
    assert tokens(http, broker) == (5, 4)
    client.embed(model="embed-v4.0", texts=["a"], input_type="search_query", embedding_types=["float"])
    assert tokens(http, broker) == (12, 0)
    assert client.rerank(model="rerank-v3.5", query="a", documents=["b"]).results[0].index == 0
    assert [received.target for received in provider.received] == ["/v2/chat", "/v2/embed", "/v2/rerank"]


def test_total_tokens_alone_are_the_input(http, broker):
    for path, body in (("/v1/rerank", {"model": "rerank-2.5", "query": "a", "documents": ["b"]}),
                       ("/v1/embeddings", {"model": "jina-embeddings-v3", "input": ["a"]})):
        assert http.post(broker.url + path, json=body).status_code == 200
        assert tokens(http, broker) == (26, 0)


def test_the_built_in_policy_sends_no_model_to_a_foreign_vendor(start, http):
    broker = start.broker(env={"OLLAMA_HOST": "127.0.0.1", "OPENAI_API_KEY": "", "OPENROUTER_API_KEY": ""})
    got = http.post(broker.url + "/v1/chat/completions", json={"model": "gpt-6", "messages": []})
    assert got.status_code == 404
    assert got.json()["error"]["message"] == "no provider for 'gpt-6'; set OPENAI_API_KEY"
