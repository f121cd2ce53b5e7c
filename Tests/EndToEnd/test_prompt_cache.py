"""Prompt caches: what the broker reserves for conversations whose beginning the provider has cached, and how often it keeps
them warm. The simulator caches as the vendors do: by what prompts say, with their marks, steps and lives."""

import asyncio
import json
import re

import pytest

from fleet import Client
from processes import write_policy
from rawhttp import address_of
from waiting import wait_until

FORMS = ("messages", "chat", "responses")
# About as many tokens as the number says, by the rule of four bytes a token that simulator and broker share.
WORD = "word wort mot ord "


def text(tokens, opening=""):
    return (opening + WORD * (tokens * 4 // len(WORD) + 1))[:tokens * 4]


def body(form, name, turns, system=5000, growth=400, control=None, stream=False, model=None):
    """The call of a conversation that has had so many turns before; `name` makes it differ from all others from the start."""
    said = [{"role": "user" if turn % 2 == 0 else "assistant", "content": text(growth, f"{name} turn {turn}: ")} for turn in range(turns * 2 + 1)]
    opening = text(system, f"system of {name}: ")
    if form == "messages":
        made = {"model": model or "claude-test", "max_tokens": 100, "system": opening, "messages": said,
                "cache_control": {"type": "ephemeral", **(control or {})}}
    elif form == "chat":
        made = {"model": model or "gpt-test", "messages": [{"role": "system", "content": opening}, *said]}
    else:
        items = [{"type": "message", "role": part["role"], "content": [{"type": "input_text", "text": part["content"]}]} for part in said]
        made = {"model": model or "gpt-test", "instructions": opening, "input": items}
    if stream:
        made["stream"] = True
    return made


PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}


def ask(http, base, form, session, content, key=None, **fields):
    headers = {"anthropic-version": "2023-06-01"} if form == "messages" else {}
    headers |= {"x-tollgate-session": session} if session else {}
    headers |= {name.replace("_", "-"): str(value) for name, value in fields.items()}
    if key:
        headers["x-api-key"] = key
    answer = http.post(base + PATHS[form], json=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def counts(form, answer):
    """Input, cached input and written input, each within the input."""
    usage = answer.json()["usage"]
    if form == "messages":
        read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
        return usage["input_tokens"] + read + written, read, written
    if form == "chat":
        details = usage["prompt_tokens_details"]
        return usage["prompt_tokens"], details["cached_tokens"], details["cache_write_tokens"]
    details = usage["input_tokens_details"]
    return usage["input_tokens"], details["cached_tokens"], details["cache_write_tokens"]


def ratio(http, broker):
    """`tollgate_estimate_ratio` of the one model that was called; None before the first call has ended."""
    found = re.findall(r"^tollgate_estimate_ratio\{[^}]*\} (\S+)$", http.get(broker.admin + "/metrics").text, re.M)
    assert len(found) <= 1, found
    return float(found[0]) if found else None


def available(http, broker, provider="anthropic"):
    status = http.get(broker.admin + "/api/v1/status").json()
    mine = next(entry for entry in status["providers"] if entry["id"] == provider)
    return mine["in_flight"], {bucket["dimension"]: bucket["available"] for bucket in mine["buckets"]}


def policy(url, keys=None, **changes):
    """One provider for each dialect."""
    rules = {"check_keys": False, "keys": keys or [{"id": "main", "secret": "${SIM_KEY}"}], **changes}
    return {"version": 1, "providers": {
        "anthropic": {"dialect": "anthropic", "base_url": url, **rules},
        "openai": {"dialect": "openai", "base_url": url + "/v1", **rules}},
        "routes": [{"models": ["claude-*"], "to": ["anthropic"]}, {"models": ["*"], "to": ["openai"]}]}


@pytest.fixture(scope="module")
def simulator(start_for_module):
    return start_for_module.simulator(first_token="1ms", output_tokens="5-5")


@pytest.fixture
def fresh(simulator, http):
    http.post(simulator.url + "/sim/reset")
    return simulator


@pytest.mark.parametrize("form", FORMS)
def test_a_growing_conversation_is_read_from_the_cache_and_counted_so(start, fresh, http, form):
    """Usage, the broker's own sums and the simulator's agree, and what was reserved is what was counted."""
    broker = start.broker(policy(fresh.url))
    seen = [counts(form, ask(http, broker.url, form, "s", body(form, "grow", turn))) for turn in range(8)]
    for (earlier, _, _), (size, read, written) in zip(seen, seen[1:]):
        # OpenAI caches in steps of 128 tokens.
        assert earlier - 127 <= read <= earlier < size
        assert size - 127 <= read + written <= size
    assert seen[0][1] == 0

    def sums():
        total = http.get(broker.admin + "/api/v1/usage?by=model").json()["total"]
        return total if total["requests"] == 8 else None

    total, told = wait_until(sums, "the usage of eight calls"), http.get(fresh.url + "/sim/stats").json()["tokens"]
    for name, index, mine in (("input", 0, "input"), ("cache_read", 1, "cache_read"), ("cache_write", 2, "cache_write")):
        assert total[mine + "_tokens"] == told[name] == sum(call[index] for call in seen)
    assert 0.9 <= ratio(http, broker) <= 1.1


@pytest.mark.parametrize("form", ("messages", "chat"))
def test_a_stream_is_counted_like_a_whole_answer(start, fresh, http, form):
    broker = start.broker(policy(fresh.url))
    for turn in range(4):
        answer = ask(http, broker.url, form, "s", body(form, "stream", turn, stream=True))
        assert answer.text.rstrip().endswith("[DONE]" if form == "chat" else '{"type":"message_stop"}')

    def sums():
        total = http.get(broker.admin + "/api/v1/usage?by=model").json()["total"]
        return total if total["requests"] == 4 else None

    total, told = wait_until(sums, "the usage of four calls"), http.get(fresh.url + "/sim/stats").json()["tokens"]
    assert (total["input_tokens"], total["cache_read_tokens"]) == (told["input"], told["cache_read"])
    assert told["cache_read"] > 0.6 * told["input"]
    assert 0.9 <= ratio(http, broker) <= 1.1


def test_the_ratio_tells_that_the_cache_was_not_there(start, fresh, http):
    """The provider forgets; the broker has reserved for what is new only."""
    broker = start.broker(policy(fresh.url))
    for turn in range(3):
        ask(http, broker.url, "messages", "s", body("messages", "lost", turn))
    warm = wait_until(lambda: ratio(http, broker), "a ratio")
    assert 0.9 <= warm <= 1.1
    http.post(fresh.url + "/sim/reset")
    ask(http, broker.url, "messages", "s", body("messages", "lost", 3))
    assert wait_until(lambda: ratio(http, broker) != warm and ratio(http, broker), "another ratio") > 1.5


def test_the_ratio_tells_that_more_was_cached_than_expected(start, fresh, http):
    """Another session has sent the same: the first that finds it so was reserved as a whole."""
    broker = start.broker(policy(fresh.url))
    for session in "ab":
        ask(http, broker.url, "messages", session, body("messages", "shared", 0))
    assert wait_until(lambda: ratio(http, broker), "a ratio") < 0.6


def test_the_ratio_tells_that_tokens_are_counted_otherwise(start, http):
    double = start.simulator(first_token="1ms", output_tokens="5-5", token_ratio=2)
    broker = start.broker(policy(double.url))
    ask(http, broker.url, "messages", "s", body("messages", "double", 0))
    assert 1.8 <= wait_until(lambda: ratio(http, broker), "a ratio") <= 2.2


@pytest.mark.parametrize("control, is_warm", [({}, False), ({"ttl": "5m"}, True), ({"ttl": "1h"}, True)])
def test_the_life_that_the_body_names_goes_before_the_policys(start, fresh, http, control, is_warm):
    """By this policy a cache forgets at once, so only a body that says otherwise makes the next call a small one: by the bucket
    while it runs, and by the ratio at its end."""
    per_minute = 60_000
    broker = start.broker(policy(fresh.url, cache_ttl="0s", limits={"input_tokens_per_minute": per_minute}, learn_limits=False))
    ask(http, broker.url, "messages", "s", body("messages", "life", 0, system=20_000, control=control))
    full = wait_until(lambda: (lambda now: now if now[0] == 0 else None)(available(http, broker)), "no call")[1]["input_tokens"]
    client = Client(address_of(broker.url))
    content = json.dumps(body("messages", "life", 1, system=20_000, control=control)).encode()
    fields = [("anthropic-version", "2023-06-01"), ("x-tollgate-session", "s"), ("x-sim-first-token-ms", "600000")]

    async def reserved():
        await client.send(content, fields, PATHS["messages"])
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            running, buckets = available(http, broker)
            if running:
                client.abort()
                # What has flowed back meanwhile was taken too.
                return full - buckets["input_tokens"], full - buckets["input_tokens"] + (loop.time() - began) * per_minute / 60
            await asyncio.sleep(0.005)  # Reason: the poll of a condition that has an end.

    least, most = asyncio.run(reserved())
    if is_warm:
        assert least < 3_000
    else:
        assert most > 15_000


@pytest.mark.parametrize("control, lowest, highest", [({}, 0.3, 0.7), ({"ttl": "1h"}, 0.9, 1.1)])
def test_the_ratio_of_bodies_that_name_a_life(start, fresh, http, control, lowest, highest):
    broker = start.broker(policy(fresh.url, cache_ttl="0s"))
    for turn in range(3):
        ask(http, broker.url, "messages", "s", body("messages", "named", turn, control=control))
    assert lowest <= wait_until(lambda: ratio(http, broker), "a ratio") <= highest
    written = http.get(fresh.url + "/sim/stats").json()["tokens"]
    assert (written["cache_write_hour"] > 0) == ("ttl" in control)
    total = http.get(broker.admin + "/api/v1/usage?by=model").json()["total"]
    assert total["cache_write_tokens"] == written["cache_write"]


KEYS = [f"sk-cache-{number}-0123456789" for number in range(5)]


async def conversations(http, fresh, base, sessions, turns, key_of=None, throttled=(), rotate=None):
    """Runs conversations side by side, each call sent when the one before is answered, with what happens meanwhile by the number of
    calls that are over: keys that are told to slow down (share of the calls, key), and a key whose secret is replaced halfway.
    `key_of(session, is_rotated)` is the key of a client without a broker, which waits as long as it is told and tries again."""
    address, over, rotated = address_of(base), 0, False
    events = [(share, "throttle", key) for share, key in throttled] + ([(0.5, "rotate", None)] if rotate else [])
    waiting = sorted((int(share * sessions * turns), what, key) for share, what, key in events)

    async def converse(session):
        nonlocal over, rotated
        client = Client(address)
        for turn in range(turns):
            # As large as agents' prompts are: a call waits for its key for the time in which the prompt would be read anew, and that
            # must be more than the second that a key is told to wait, however busy the machine is.
            content = json.dumps(body("messages", f"c{session}", turn, system=12_000, growth=500)).encode()
            while True:
                fields = [("anthropic-version", "2023-06-01"), ("x-tollgate-session", f"c{session}"), ("x-sim-first-token-ms", "40")]
                if key_of:
                    fields.append(("x-api-key", key_of(session, rotated)))
                answer = await client.call(content, fields, PATHS["messages"])
                if answer.status != 429:
                    break
                await asyncio.sleep(int(answer.fields["retry-after"]))  # Reason: what an SDK does.
            assert answer.status == 200, answer.body
            over += 1
            while waiting and over >= waiting[0][0]:
                _, what, key = waiting.pop(0)
                if what == "throttle":
                    http.post(fresh.url + "/sim/faults", json={"fault": "429", "key": key, "for_ms": 300, "retry_after": 1})
                else:
                    rotated = True
                    rotate()
        client.close()

    await asyncio.gather(*[converse(session) for session in range(sessions)])
    told = http.get(fresh.url + "/sim/stats").json()
    assert told["answered"]["200"] == sessions * turns
    return told["tokens"]["cache_read"] / told["tokens"]["input"], told["answered"].get("429", 0)


@pytest.mark.parametrize(
    "quota, throttled", [("per_key", ()), ("per_key", (0, 1, 2, 3)), ("shared", (0, 1, 2, 3))],
    ids=["quiet", "per_key", "shared"])
def test_the_cache_stays_as_warm_as_without_a_broker(start, simulator, http, quota, throttled):
    """Four keys with a cache each, one of them rotated halfway, and keys that are told to slow down, one after the other: the share
    of the input that is read from the cache, against clients that keep their key."""
    def policy_of(names):
        keys = [{"id": f"k{number}", "secret": "${%s}" % name} for number, name in enumerate(names)]
        return policy(simulator.url, keys=keys, learn_limits=False, quota=quota)

    names = ["KEY_0", "KEY_1", "KEY_2", "KEY_3"]
    when = [(0.2 + 0.15 * number + (0.1 if number > 1 else 0), KEYS[number]) for number in throttled]
    http.post(simulator.url + "/sim/reset")
    direct, told = asyncio.run(conversations(
        http, simulator, simulator.url, 24, 16, lambda session, rotated: KEYS[4 if session % 4 == 3 and rotated else session % 4],
        when, lambda: None))
    broker = start.broker(policy_of(names), env={f"KEY_{number}": secret for number, secret in enumerate(KEYS)})

    def rotate():
        write_policy(broker.policy_file.parent, policy_of([*names[:3], "KEY_4"]))
        assert http.post(broker.admin + "/api/v1/reload").status_code == 200

    http.post(simulator.url + "/sim/reset")
    through, refused = asyncio.run(conversations(http, simulator, broker.url, 24, 16, None, when, rotate))
    print(f"\ncached share {direct:.1%} direct ({told} 429s), {through:.1%} through the broker ({refused} 429s)")
    assert through >= direct - 0.02
