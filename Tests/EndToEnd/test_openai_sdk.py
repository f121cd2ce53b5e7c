"""The OpenAI SDK for Python against the broker: it works as against the vendor, and it raises the same classes."""

import asyncio

import openai
import pytest

from processes import PROVIDER_KEY, key_hash, policy_for

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "Grüße 日本語 🚦"}]}


@pytest.fixture
def client(broker):
    with openai.OpenAI(base_url=broker.openai_url, api_key="client", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def direct(simulator):
    with openai.OpenAI(base_url=simulator.openai_url, api_key=PROVIDER_KEY, max_retries=0, timeout=20) as client:
        yield client


def test_chat(client, direct):
    through, straight = (c.chat.completions.create(**CHAT) for c in (client, direct))
    assert through.choices[0].message.content == straight.choices[0].message.content
    assert through.choices[0].message.content
    assert through.usage == straight.usage


def test_chat_unicode(client, direct):
    wish = {"x-sim-unicode": "1", "x-sim-output-tokens": "40"}
    through, straight = (c.chat.completions.create(**CHAT, extra_headers=wish) for c in (client, direct))
    assert through.choices[0].message.content == straight.choices[0].message.content


def test_chat_stream(client, direct):
    texts = []
    for c in (client, direct):
        chunks = list(c.chat.completions.create(**CHAT, stream=True))
        assert all(chunk.choices for chunk in chunks), "a client that did not ask for usage must not see its frame"
        texts.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks))
    assert texts[0] == texts[1] != ""


def test_chat_stream_with_usage(client):
    chunks = list(client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-1].choices == []


def test_responses(client):
    answer = client.responses.create(model="gpt-test", input="Hello")
    assert answer.status == "completed"
    assert answer.output_text
    assert answer.usage.output_tokens > 0


def test_responses_stream(client):
    events = [event.type for event in client.responses.create(model="gpt-test", input="Hello", stream=True)]
    assert events[0] == "response.created"
    assert events[-1] == "response.completed"
    with client.responses.stream(model="gpt-test", input="Hello") as stream:
        assert stream.get_final_response().output_text


def test_completions(client):
    assert client.completions.create(model="gpt-test", prompt="Hello").choices[0].text


def test_embeddings(client, direct):
    ask = {"model": "text-embedding-3-small", "input": ["one", "two"]}
    through, straight = (c.embeddings.create(**ask) for c in (client, direct))
    assert [row.embedding for row in through.data] == [row.embedding for row in straight.data]
    assert len(through.data) == 2 and through.usage.prompt_tokens > 0


def test_models(client):
    models = client.models.list()
    assert models.object == "list"
    assert all(model.id for model in models.data)


def test_raw_response_has_our_fields(client):
    raw = client.chat.completions.with_raw_response.create(**CHAT, extra_headers={"x-tollgate-priority": "HIGH"})
    assert raw.headers["x-tollgate-priority"] == "high"
    assert raw.headers["x-tollgate-provider"] == "openai"
    assert raw.headers["x-tollgate-key"] == "main"
    assert raw.headers["x-tollgate-attempts"] == "1"
    assert int(raw.headers["x-tollgate-queue-ms"]) < 1000
    assert len(raw.headers["x-tollgate-request-id"]) == 26
    assert "x-tollgate-outcome" not in raw.headers
    assert raw.parse().choices


def test_async(broker):
    async def run():
        async with openai.AsyncOpenAI(base_url=broker.openai_url, api_key="client", max_retries=0, timeout=20) as client:
            answers = await asyncio.gather(*[client.chat.completions.create(**CHAT) for _ in range(20)])
            assert all(answer.choices[0].message.content for answer in answers)
            stream = await client.chat.completions.create(**CHAT, stream=True)
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            assert (await client.embeddings.create(model="text-embedding-3-small", input="x")).data
    asyncio.run(run())


@pytest.mark.parametrize("fault, expected", [
    ("400", openai.BadRequestError), ("404", openai.NotFoundError), ("429-quota", openai.RateLimitError),
    ("500", openai.InternalServerError), ("503", openai.InternalServerError), ("error-frame", None),
])
def test_errors_are_of_the_same_class(start, simulator, fault, expected):
    """No retries in the policy, so that the provider's own error comes through; a broker of its own, as faults leave marks."""
    broker = start.broker(policy_for(simulator.url, retry={"attempts": 1}))
    caught = []
    for url in (broker.openai_url, simulator.openai_url):
        with openai.OpenAI(base_url=url, api_key=PROVIDER_KEY, max_retries=0, timeout=20) as client:
            with pytest.raises(Exception) as info:
                wish = {"x-sim-fault": fault, "x-sim-output-tokens": "50"}
                answer = client.chat.completions.create(**CHAT, stream=expected is None, extra_headers=wish)
                list(answer)
            caught.append(info.value)
    through, straight = caught
    assert type(through) is type(straight)
    if expected:
        assert isinstance(through, expected)
        assert through.body == straight.body
        assert (through.status_code, through.code, through.type) == (straight.status_code, straight.code, straight.type)


@pytest.mark.parametrize("fault, expected", [("401", openai.AuthenticationError), ("403", openai.PermissionDeniedError)])
def test_key_errors_reach_the_client_where_no_other_key_is_left(start, simulator, fault, expected):
    broker = start.broker(policy_for(simulator.url, retry={"attempts": 1}))
    with openai.OpenAI(base_url=broker.openai_url, api_key="client", max_retries=0, timeout=20) as client:
        with pytest.raises(expected):
            client.chat.completions.create(**CHAT, extra_headers={"x-sim-fault": fault})


def test_unknown_model_raises_not_found(start, simulator):
    policy = policy_for(simulator.url)
    policy["routes"] = [{"models": ["gpt-*"], "to": ["openai"]}]
    broker = start.broker(policy)
    with openai.OpenAI(base_url=broker.openai_url, api_key="client", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as info:
            client.chat.completions.create(model="other", messages=CHAT["messages"])
    assert info.value.code == "model_not_found"
    assert info.value.response.headers["x-tollgate-outcome"] == "rejected_model"
    assert "other" in str(info.value)


def test_client_key_is_asked_where_tenants_are_listed(start, simulator):
    secret = "tg-test-client-key"
    broker = start.broker(policy_for(simulator.url, tenants=[{"id": "acme", "keys": [key_hash(secret)], "models": ["gpt-*"]}]))
    with openai.OpenAI(base_url=broker.openai_url, api_key=secret, max_retries=0) as client:
        assert client.chat.completions.create(**CHAT).choices
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="claude-x", messages=CHAT["messages"])
    with openai.OpenAI(base_url=broker.openai_url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as info:
            client.chat.completions.create(**CHAT)
    assert info.value.code == "invalid_api_key"
    assert info.value.response.headers["x-tollgate-outcome"] == "rejected_unauthenticated"


def test_stream_that_breaks_off_ends_with_the_error_frame_of_the_dialect(start, simulator):
    """From the provider itself this is a bare broken connection; through the broker the client learns what happened."""
    broker = start.broker(policy_for(simulator.url, retry={"attempts": 1}))
    with openai.OpenAI(base_url=broker.openai_url, api_key="client", max_retries=0, timeout=20) as client:
        with pytest.raises(openai.APIError, match="broke off"):
            wish = {"x-sim-fault": "cut", "x-sim-output-tokens": "50"}
            list(client.chat.completions.create(**CHAT, stream=True, extra_headers=wish))
