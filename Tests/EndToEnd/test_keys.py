"""Upstream keys: where secrets come from, changes under load, keys that are refused, unpaid or told to slow down, limits, models,
affinity, the operator's word, and that no secret is ever shown."""

import asyncio
import json
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from fleet import Client, chat, reach
from processes import run, write_policy
from rawhttp import address_of
from waiting import wait_until

# Long enough to be recognized wherever they might turn up; the last four characters may be shown.
SECRETS = {name: f"sk-e2e-{name}-0123456789abcdef-{name[:4]}" for name in ("first", "second", "third", "fourth", "wrong", "other")}


def provider(url, keys, **changes):
    return {"dialect": "openai", "base_url": url + "/v1", "keys": keys, "check_keys": False, **changes}


def key(name, secret, **changes):
    return {"id": name, "secret": secret, **changes}


def policy_of(**providers):
    return {"version": 1, "providers": providers, "routes": [{"models": [name], "to": [name]} for name in providers]}


def environment_of_secrets():
    return {f"SECRET_{name.upper()}": secret for name, secret in SECRETS.items()}


@pytest.fixture(scope="module")
def simulator(start_for_module):
    """Accepts all keys but `wrong`; without limits."""
    good = ",".join(secret for name, secret in SECRETS.items() if name != "wrong")
    return start_for_module.simulator(first_token="1ms", output_tokens="2-2", keys=good)


@pytest.fixture
def fresh(simulator, http):
    http.post(simulator.url + "/sim/reset")
    return simulator


def ask(http, broker, model, session=None, **fields):
    headers = {"x-tollgate-session": session} if session else {}
    headers |= {name.replace("_", "-"): value for name, value in fields.items()}
    return http.post(broker.openai_url + "/chat/completions", headers=headers,
                     json={"model": model, "messages": [{"role": "user", "content": "hello"}]})


def keys_of(http, broker, name):
    status = http.get(broker.admin + "/api/v1/status").json()
    return {entry["id"]: entry for entry in next(entry for entry in status["providers"] if entry["id"] == name)["keys"]}


def calls_by_key(http, simulator):
    counted = http.get(simulator.url + "/sim/stats").json()["calls_by_key"]
    names = {secret: name for name, secret in SECRETS.items()}
    return {names.get(secret, secret): count for secret, count in counted.items()}


def assert_no_secret(broker, http, *texts, secrets=tuple(SECRETS.values())):
    """Neither in what it printed, nor in its API, nor in the list of processes."""
    api = [http.get(broker.admin + path).text for path in (
        "/metrics", "/api/v1/status", "/api/v1/requests?state=recent&limit=1000", "/api/v1/usage?by=model", "/")]
    for request in json.loads(api[2])["requests"][:50]:
        api.append(http.get(broker.admin + "/api/v1/requests/" + request["id"]).text)
    with httpx.stream("GET", broker.admin + "/api/v1/events", timeout=5, trust_env=False) as events:
        api.append(next(events.iter_text()))
    with open(f"/proc/{broker.pid}/cmdline") as listing:
        api.append(listing.read())
    for text in (*api, *texts, "\n".join(broker.stdout), "\n".join(broker.stderr)):
        for secret in secrets:
            assert secret not in text
            # Not even without its vendor's mark, or in the form of a header.
            assert secret[7:] not in text


class Load:
    """Clients that call without a pause while something else happens."""

    def __init__(self, broker, model, clients=16):
        self.address, self.model, self.clients = address_of(broker.url), model, clients
        self.results, self.stopped = [], False

    async def _loop(self, number):
        client = Client(self.address)
        while not self.stopped:
            self.results.append(await client.call(chat(self.model), [("x-tollgate-session", f"s{number}")]))
        client.close()

    async def during(self, change, *arguments):
        """Runs the blocking `change` in a thread, with traffic before, while and after; the statuses of all calls."""
        tasks = [asyncio.create_task(self._loop(number)) for number in range(self.clients)]
        try:
            await self.more(100)
            result = await asyncio.to_thread(change, *arguments)
            await self.more(100)
        finally:
            self.stopped = True
            await asyncio.gather(*tasks)
        return result

    async def more(self, count):
        target = len(self.results) + count

        async def enough():
            return len(self.results) >= target
        await reach(enough, f"{count} more calls")

    def statuses(self):
        return dict(Counter(result.status for result in self.results))


def test_secrets_come_from_environment_file_and_command(start, fresh, http, tmp_path):
    (tmp_path / "secret").write_text(SECRETS["second"] + "\n")
    broker = start.broker(policy_of(
        environment=provider(fresh.url, [key("main", "${SECRET_FIRST}")]),
        file=provider(fresh.url, [key("main", {"file": str(tmp_path / "secret")})]),
        command=provider(fresh.url, [key("main", {"command": ["sh", "-c", "echo $SECRET_THIRD"]})]),
    ), env=environment_of_secrets())
    for model in ("environment", "file", "command"):
        answer = ask(http, broker, model)
        assert (answer.status_code, answer.headers["x-tollgate-key"]) == (200, "main")
    assert calls_by_key(http, fresh) == {"first": 1, "second": 1, "third": 1}
    assert_no_secret(broker, http)


@pytest.mark.parametrize("source, said", [
    ({"file": "nowhere.key"}, "nowhere.key"), ({"command": ["false"]}, "false"), ({"command": ["sh", "-c", "echo one two"]}, "header field"),
    ({"command": ["no-such-program-anywhere"]}, "no-such-program-anywhere"), ({"command": ["true"]}, "empty"),
], ids=["no file", "command fails", "no header value", "no program", "empty"])
def test_a_secret_that_cannot_be_had_is_refused_at_start(start, tmp_path, source, said):
    path = write_policy(tmp_path, policy_of(only=provider("http://127.0.0.1:9", [key("main", source)])))
    child = start.child("serve", "--policy", path, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--store", "memory:")
    assert child.wait() == 1
    text = "\n".join(child.stderr)
    assert "only/main" in text and said in text, text


def test_changes_under_load_drop_no_call(start, fresh, http, tmp_path):
    """A changed file, an added, a removed and a changed key, and a slow command, all under load: every call is answered."""
    secret, asked, go = tmp_path / "secret", tmp_path / "asked", tmp_path / "go"
    secret.write_text(SECRETS["first"])
    file_key = key("main", {"file": str(secret)})
    command = key("command", {"command": [
        "sh", "-c", f"touch {asked}; while [ ! -e {go} ]; do sleep 0.01; done; echo {SECRETS['fourth']}"]})
    broker = start.broker(policy_of(only=provider(fresh.url, [file_key])), env=environment_of_secrets())
    load = Load(broker, "only")
    seen = []

    def counted():
        return calls_by_key(http, fresh)

    def reload(*keys):
        write_policy(broker.policy_file.parent, policy_of(only=provider(fresh.url, list(keys))))
        answer = http.post(broker.admin + "/api/v1/reload")
        assert answer.status_code == 200, answer.text

    def change():
        # As a secret manager does it: written beside, then renamed into place.
        (tmp_path / "next").write_text(SECRETS["second"])
        os.replace(tmp_path / "next", secret)
        wait_until(lambda: counted().get("second"), "the file's new secret")
        seen.append(counted())
        reload(file_key, key("added", "${SECRET_THIRD}"))
        wait_until(lambda: counted().get("third"), "the added key")
        seen.append(counted())
        reload(key("added", "${SECRET_THIRD}"))
        gone = wait_until(lambda: settled("second"), "the removed key to rest")
        seen.append(gone)
        reload(key("added", "${SECRET_OTHER}"))
        wait_until(lambda: counted().get("other"), "the changed key")
        seen.append(counted())
        with ThreadPoolExecutor(1) as beside:
            reloading = beside.submit(reload, key("added", "${SECRET_OTHER}"), command)
            try:
                wait_until(asked.exists, "the secret's command to run")
                # More than can have been under way: calls that began after it are answered while it does not end.
                before = len(load.results)
                wait_until(lambda: len(load.results) > before + 100, "calls answered while the secret's command runs")
                assert not reloading.done() and not counted().get("fourth"), "the command is over before its time"
            finally:
                go.touch()
            reloading.result(timeout=10)
        wait_until(lambda: counted().get("fourth"), "the command's key")
        seen.append(counted())

    def settled(name):
        """The counts, once a hundred more calls have come and none with this key."""
        before = counted()
        wait_until(lambda: sum(counted().values()) > sum(before.values()) + 100, "a hundred more calls")
        after = counted()
        return after if after.get(name) == before.get(name) else None

    asyncio.run(load.during(change))
    worst = max(result.ended - result.began for result in load.results) * 1000
    print(f"\nchanges under load: {len(load.results)} calls, {load.statuses()}, worst {worst:.0f} ms; keys {seen[-1]}")
    assert set(load.statuses()) == {200}
    assert "second" not in {name for name, count in seen[-1].items() if count > seen[2].get(name, 0)}
    assert_no_secret(broker, http)


def test_a_bad_policy_on_reload_changes_nothing(start, fresh, http, tmp_path):
    broker = start.broker(policy_of(only=provider(fresh.url, [key("main", "${SECRET_FIRST}")])), env=environment_of_secrets())
    write_policy(broker.policy_file.parent, policy_of(only=provider(fresh.url, [key("main", {"file": "nowhere.key"})])))
    answer = http.post(broker.admin + "/api/v1/reload")
    assert answer.status_code == 422 and "nowhere.key" in answer.text
    assert ask(http, broker, "only").status_code == 200
    assert calls_by_key(http, fresh) == {"first": 1}


def test_a_refused_key_is_disabled_until_its_secret_changes(start, fresh, http, tmp_path):
    """401 with one of two keys: one refusal and one free call of the broker's own, no client sees it; the new secret is used at once."""
    secret = tmp_path / "secret"
    secret.write_text(SECRETS["wrong"])
    broker = start.broker(policy_of(
        two=provider(fresh.url, [key("bad", {"file": str(secret)}), key("good", "${SECRET_FIRST}")])), env=environment_of_secrets())
    answers = [ask(http, broker, "two", session=f"s{number}") for number in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-tollgate-key"] for answer in answers} == {"good"}
    counted = wait_until(lambda: (found := calls_by_key(http, fresh)).get("wrong") == 2 and found, "the broker's own call")
    assert counted == {"first": 40, "wrong": 2}
    said = broker.wait_for_line("key changed.*two/bad.*disabled")
    state = keys_of(http, broker, "two")
    assert (state["bad"]["state"], state["good"]["state"]) == ("disabled", "usable")
    assert state["bad"]["until"]
    assert "•••" + SECRETS["wrong"][-4:] in said.group(0)
    secret.write_text(SECRETS["second"])
    wait_until(lambda: keys_of(http, broker, "two")["bad"]["state"] == "usable", "the key to come back")
    answers = [ask(http, broker, "two", session=f"s{number}") for number in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert calls_by_key(http, fresh)["second"] >= 5
    assert_no_secret(broker, http, *[answer.text + str(answer.headers) for answer in answers])


def test_with_all_keys_refused_the_client_gets_the_providers_401(start, fresh, http):
    broker = start.broker(policy_of(
        none=provider(fresh.url, [key("one", "${SECRET_WRONG}"), key("two", "sk-e2e-wrong-too-0123456789")])), env=environment_of_secrets())
    direct = http.post(fresh.openai_url + "/chat/completions", headers={"authorization": "Bearer " + SECRETS["wrong"]},
                       json={"model": "none", "messages": []})
    answer = ask(http, broker, "none", x_tollgate_timeout="5")
    assert answer.status_code == direct.status_code == 401
    assert answer.json() == direct.json()
    assert "x-tollgate-outcome" not in answer.headers
    assert answer.headers["x-tollgate-attempts"] == "2"
    # With both out for a minute there is nobody to ask: the provider's words once more, at once, and without the secret.
    wait_until(lambda: {entry["state"] for entry in keys_of(http, broker, "none").values()} == {"disabled"}, "both keys to be disabled")
    began = time.monotonic()
    again = ask(http, broker, "none", x_tollgate_timeout="5")
    assert (again.status_code, again.headers["x-tollgate-outcome"], again.headers["x-should-retry"]) == (401, "rejected_no_capacity", "false")
    assert again.json() == direct.json() and "retry-after" not in again.headers
    assert time.monotonic() - began < 30, "long before a key is tried again"
    assert_no_secret(broker, http, answer.text, again.text, secrets=(*SECRETS.values(), "sk-e2e-wrong-too-0123456789"))


@pytest.mark.parametrize("fault, state", [("429-quota", "cooling"), ("402", "cooling")])
def test_an_unpaid_key_rests_and_the_other_serves(start, fresh, http, fault, state):
    broker = start.broker(policy_of(
        two=provider(fresh.url, [key("one", "${SECRET_FIRST}"), key("two", "${SECRET_SECOND}")])), env=environment_of_secrets())
    http.post(fresh.url + "/sim/faults", json={"fault": fault, "key": SECRETS["first"]})
    answers = [ask(http, broker, "two", session=f"s{number}") for number in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-tollgate-key"] for answer in answers} == {"two"}
    assert calls_by_key(http, fresh)["first"] == 1
    entry = keys_of(http, broker, "two")["one"]
    assert entry["state"] == state and entry["until"]


def test_a_throttled_key_stops_all_or_only_itself(start, fresh, http):
    """429 with Retry-After on one of two keys: with a shared quota the other is not tried, with a quota each it serves on."""
    keys = [key("one", "${SECRET_FIRST}"), key("two", "${SECRET_SECOND}")]
    broker = start.broker(policy_of(
        shared=provider(fresh.url, keys, quota="shared"), each=provider(fresh.url, keys, quota="per_key")), env=environment_of_secrets())
    for model in ("shared", "each"):
        http.post(fresh.url + "/sim/reset")
        http.post(fresh.url + "/sim/faults", json={"fault": "429", "key": SECRETS["first"], "times": 1, "retry_after": 1})
        began, waits = time.monotonic(), []
        # Sessions until one of them meets the key that is refused.
        for number in range(40):
            at = time.monotonic()
            answer = ask(http, broker, model, session=f"{model}-{number}")
            waits.append(time.monotonic() - at)
            assert answer.status_code == 200
            if calls_by_key(http, fresh).get("first"):
                break
        state = keys_of(http, broker, model)
        print(f"\n{model}: slowest call {max(waits) * 1000:.0f} ms, after {time.monotonic() - began:.2f} s the keys are "
              f"{ {name: entry['state'] for name, entry in state.items()} }")
        if model == "shared":
            assert 0.9 <= max(waits) < 2.5
        else:
            assert max(waits) < 0.7
            assert state["one"]["state"] == "cooling" and answer.headers["x-tollgate-key"] == "two"


def test_limits_and_models_of_a_key(start, fresh, http):
    """Two keys with 2 and 3 permits; a third that is only for small models."""
    broker = start.broker(policy_of(**{
        "gpt-test": provider(fresh.url, [
            key("two", "${SECRET_FIRST}", limits={"concurrency": 2}), key("three", "${SECRET_SECOND}", limits={"concurrency": 3}),
            key("small", "${SECRET_THIRD}", models=["*-mini"])])}) | {"routes": [{"models": ["*"], "to": ["gpt-test"]}]},
        env=environment_of_secrets())

    async def run():
        return await asyncio.gather(*[Client(address_of(broker.url)).call(chat("gpt-test"), [
            ("x-sim-first-token-ms", "50"), ("x-tollgate-session", f"s{number}")]) for number in range(40)])

    assert {result.status for result in asyncio.run(run())} == {200}
    spans = {name: [] for name in SECRETS}
    names = {secret: name for name, secret in SECRETS.items()}
    for record in http.get(fresh.url + "/sim/calls").json()["calls"]:
        spans[names[record["key"]]] += [(record["arrived_ns"], 1), (record["ended_ns"], -1)]
    peaks = {}
    for name, moments in spans.items():
        running, peaks[name] = 0, 0
        for _, change in sorted(moments):
            running += change
            peaks[name] = max(peaks[name], running)
    assert (peaks["first"], peaks["second"], peaks["third"]) == (2, 3, 0)
    assert {ask(http, broker, "gpt-mini", session=f"m{number}").headers["x-tollgate-key"] for number in range(30)} == {"two", "three", "small"}


def test_affinity_keeps_the_providers_cache_warm(start, fresh, http):
    """40 sessions with growing prompts: with three keys the cache is hit as often as with one, within 2 %."""
    three = [key(name, "${SECRET_%s}" % name.upper()) for name in ("first", "second", "third")]
    broker = start.broker(policy_of(single=provider(fresh.url, three[:1]), three=provider(fresh.url, three)), env=environment_of_secrets())

    async def run(model):
        async def session(number):
            client, fields = Client(address_of(broker.url)), []
            for turn in range(8):
                fields = [("x-tollgate-session", f"{model}-{number}")]
                result = await client.call(chat(model, text=f"{number}: " + "word " * (1200 + 300 * turn)), fields)
                assert result.status == 200
            client.close()
        await asyncio.gather(*[session(number) for number in range(40)])

    rates = {}
    for model in ("single", "three"):
        http.post(fresh.url + "/sim/reset")
        asyncio.run(run(model))
        tokens = http.get(fresh.url + "/sim/stats").json()["tokens"]
        rates[model] = tokens["cache_read"] / tokens["input"]
        counted = calls_by_key(http, fresh)
    print(f"\naffinity: cache hit rate {rates['single']:.1%} with one key, {rates['three']:.1%} with three; calls by key {counted}")
    assert rates["three"] >= rates["single"] - 0.02
    assert min(counted.values()) >= 8 * 40 / 3 / 3


def test_the_operator_takes_a_key_out_and_back(start, fresh, http):
    broker = start.broker(policy_of(
        two=provider(fresh.url, [key("one", "${SECRET_FIRST}"), key("two", "${SECRET_SECOND}")])), env=environment_of_secrets())

    def tollgate(*words):
        done = run(*words, "--admin", broker.admin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def used():
        return {ask(http, broker, "two", session=f"s{number}").headers["x-tollgate-key"] for number in range(30)}

    assert used() == {"one", "two"}
    listed = tollgate("keys")
    assert "two/one" in listed and "two/two" in listed
    # By id and last four characters.
    assert "•••" + SECRETS["first"][-4:] in listed
    tollgate("keys", "disable", "two/one")
    assert keys_of(http, broker, "two")["one"]["state"] == "disabled"
    assert 'tollgate_key_state{provider="two",key="one"} 2' in http.get(broker.admin + "/metrics").text
    assert used() == {"two"}
    # A changed secret or a good answer does not overrule the operator.
    assert http.post(broker.admin + "/api/v1/reload").status_code == 200
    assert used() == {"two"}
    tollgate("keys", "enable", "two/one")
    assert used() == {"one", "two"}
    assert_no_secret(broker, http, listed)
