"""The Anthropic SDK for Python against the broker: it works as against the vendor, and it raises the same classes."""

import asyncio

import anthropic
import pytest

from processes import PROVIDER_KEY, key_hash, policy_for

ASK = {"model": "claude-test", "max_tokens": 64, "messages": [{"role": "user", "content": "Grüße 日本語 🚦"}]}


@pytest.fixture
def client(broker):
    with anthropic.Anthropic(base_url=broker.url, api_key="client", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def direct(simulator):
    with anthropic.Anthropic(base_url=simulator.url, api_key=PROVIDER_KEY, max_retries=0, timeout=20) as client:
        yield client


def test_message(client, direct):
    through, straight = (c.messages.create(**ASK) for c in (client, direct))
    assert through.content[0].text == straight.content[0].text != ""
    assert through.usage.output_tokens == straight.usage.output_tokens > 0
    assert through.stop_reason == straight.stop_reason


def test_stream(client, direct):
    texts = []
    for c in (client, direct):
        with c.messages.stream(**ASK) as stream:
            texts.append("".join(stream.text_stream))
            assert stream.get_final_message().usage.output_tokens > 0
    assert texts[0] == texts[1] != ""


def test_events_come_in_order(client):
    events = [event.type for event in client.messages.create(**ASK, stream=True)]
    assert events[0] == "message_start"
    assert events[-1] == "message_stop"


def test_count_tokens(client):
    assert client.messages.count_tokens(model="claude-test", messages=ASK["messages"]).input_tokens > 0


def test_raw_response_has_our_fields(client):
    raw = client.messages.with_raw_response.create(**ASK, extra_headers={"x-tollgate-kind": "compaction"})
    assert raw.headers["x-tollgate-priority"] == "low"
    assert raw.headers["x-tollgate-provider"] == "anthropic"
    assert raw.headers["x-tollgate-key"] == "main"


def test_async(broker):
    async def run():
        async with anthropic.AsyncAnthropic(base_url=broker.url, api_key="client", max_retries=0, timeout=20) as client:
            answers = await asyncio.gather(*[client.messages.create(**ASK) for _ in range(20)])
            assert all(answer.content[0].text for answer in answers)
            async with client.messages.stream(**ASK) as stream:
                assert await stream.get_final_text()
    asyncio.run(run())


@pytest.mark.parametrize("fault, expected", [
    ("400", anthropic.BadRequestError), ("404", anthropic.NotFoundError), ("500", anthropic.InternalServerError),
    ("error-frame", None),
])
def test_errors_are_of_the_same_class(start, simulator, fault, expected):
    broker = start.broker(policy_for(simulator.url, retry={"attempts": 1}))
    caught = []
    for url in (broker.url, simulator.url):
        with anthropic.Anthropic(base_url=url, api_key=PROVIDER_KEY, max_retries=0, timeout=20) as client:
            with pytest.raises(Exception) as info:
                wish = {"x-sim-fault": fault, "x-sim-output-tokens": "50"}
                list(client.messages.create(**ASK, stream=expected is None, extra_headers=wish))
            caught.append(info.value)
    through, straight = caught
    assert type(through) is type(straight)
    if expected:
        assert isinstance(through, expected)
        assert through.status_code == straight.status_code
        assert through.body["error"] == straight.body["error"]


def test_own_errors_are_of_the_dialect(start, simulator):
    policy = policy_for(simulator.url)
    policy["routes"] = [{"models": ["claude-3*"], "to": ["anthropic"]}]
    broker = start.broker(policy)
    with anthropic.Anthropic(base_url=broker.url, api_key="client", max_retries=0) as client:
        with pytest.raises(anthropic.NotFoundError) as info:
            client.messages.create(**ASK)
    assert info.value.body["error"]["type"] == "not_found_error"
    assert info.value.request_id
    assert info.value.response.headers["x-tollgate-outcome"] == "rejected_model"


def test_client_key_as_bearer_and_as_x_api_key(start, simulator, http):
    secret = "tg-test-client-key"
    broker = start.broker(policy_for(simulator.url, tenants=[{"id": "acme", "keys": [key_hash(secret)]}]))
    version = {"anthropic-version": "2023-06-01"}
    for fields in ({"x-api-key": secret}, {"authorization": f"Bearer {secret}"}):
        assert http.post(broker.url + "/v1/messages", json=ASK, headers={**version, **fields}).status_code == 200
    refused = http.post(broker.url + "/v1/messages", json=ASK, headers={"x-api-key": "wrong"})
    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"


def test_stream_that_breaks_off_ends_with_the_error_frame_of_the_dialect(start, simulator):
    """From the provider itself this is a bare broken connection; through the broker the client learns what happened."""
    broker = start.broker(policy_for(simulator.url, retry={"attempts": 1}))
    with anthropic.Anthropic(base_url=broker.url, api_key="client", max_retries=0, timeout=20) as client:
        with pytest.raises(anthropic.APIStatusError, match="broke off"):
            wish = {"x-sim-fault": "cut", "x-sim-output-tokens": "50"}
            list(client.messages.create(**ASK, stream=True, extra_headers=wish))
