"""`explain` and the request's JSON: waits with numbers, who went ahead, position and the expected rest, also while a call still waits."""

import json
import re
import threading

import pytest

from processes import key_hash, policy_for, record_of, run
from rawhttp import Connection, address_of, exchange, request_bytes
from scripted import reply
from waiting import wait_until

JSON = [("content-type", "application/json")]
PRICES = "version: test-7\nmodels:\n  \"sim-*\": {input: 10, output: 20, cache_read: 1}\n"


def chat(text="hi", **more):
    return json.dumps({"model": "sim-1", "messages": [{"role": "user", "content": text}], "max_tokens": 5, **more}).encode()


def settled(entries):
    """True where each call has come whole: it runs, is over, or has a reason to wait."""
    return all(entry["state"] != "queued" or entry["waits_for"] for entry in entries)


@pytest.fixture
def full(start, http):
    """A provider with one place that answers when the test says so, and a broker whose only place is taken."""
    class Full:
        def __init__(self, **changes):
            self.answers = threading.Semaphore(0)
            self.provider = start.provider(self._answer)
            self.broker = start.broker(policy_for(self.provider.url, **{"limits": {"concurrency": 1}, **changes}))
            self.address = address_of(self.broker.url)
            self.open = []

        def _answer(self, received, connection):
            self.answers.acquire(timeout=30)
            return reply(body=b'{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":30,"completion_tokens":2,'
                              b'"prompt_tokens_details":{"cached_tokens":20}}}')

        def send(self, session, priority="normal", body=None, key=None):
            """Begins a call; returns once the broker knows it. The connection has its answer."""
            connection = Connection(self.address)
            count = len(self.known())
            fields = [("x-tollgate-session", session), ("x-tollgate-priority", priority)]
            if key:
                fields.append(("authorization", f"Bearer {key}"))
            connection.send(request_bytes("POST", "/v1/chat/completions", [*JSON, *fields], body or chat()))
            wait_until(lambda: len(self.known()) > count and settled(self.known()), "the call waits or runs")
            self.open.append(connection)
            return connection

        def known(self, state=None):
            query = f"?state={state}" if state else ""
            return http.get(f"{self.broker.admin}/api/v1/requests{query}").json()["requests"]

        def of(self, session):
            return [entry for entry in self.known() if entry["session"] == session]

        def story(self, session):
            newest = max(entry["id"] for entry in self.of(session))
            return http.get(f"{self.broker.admin}/api/v1/requests/{newest}").json()

        def explain(self, what):
            done = run("explain", what, "--admin", self.broker.admin)
            assert done.returncode == 0, done.stderr
            return done.stdout
    return Full


def test_who_waits_is_told_what_for_where_and_how_long(full):
    place = full()
    place.send("first")
    for _ in range(3):
        place.send("second")
    place.send("third", "low")
    head, *others = sorted(place.of("second"), key=lambda entry: entry["id"])
    assert head["waits_for"]["blocker"] == "provider_concurrency" and head["waits_for"]["provider"] == "openai"
    assert [entry["waits_for"]["blocker"] for entry in others] == ["behind_in_lane"] * 2
    last = place.story("second")
    assert last["id"] == others[-1]["id"]
    assert last["position"] == {"lane": 3, "class": 3}
    assert "2 before it in its lane" in last["waits_for"]["text"]
    (wait,) = last["waits"]
    assert (wait["blocker"], wait["rule"], wait["until_ms"]) == ("behind_in_lane", "2b", None)
    assert "2 before it in its lane" in wait["text"] and wait["before_in_lane"] == 2
    bars = last["timeline"]
    assert [bar["what"] for bar in bars] == ["wait"] and bars[0]["blocker"] == "behind_in_lane"
    assert last["now_ms"] >= wait["from_ms"] and last["estimate"]["input_tokens"] > 0
    # The session's newest waiting call, by its name alone.
    told = place.explain("second")
    assert told.startswith(f"{last['id']}  queued\n")
    assert "it still waits: number 3 in its lane, about number 3 in its class" in told
    assert re.search(r"^ +\+\d+ ms  waited: another request of the same session goes first; 2 before it in its lane \(rule 2b\)$",
                     told, re.M), told


def test_waits_keep_their_numbers_and_end_when_they_end(full):
    place = full()
    place.send("first")
    place.send("second")
    second = place.send("second")
    place.answers.release(4)
    assert second.answer("POST").status == 200
    story = place.story("second")
    assert story["state"] == "ended"
    waits = story["waits"]
    assert waits[0]["blocker"] == "behind_in_lane" and waits[0]["before_in_lane"] == 1
    # It was behind the other one until that went, and from then on at the head: nobody had to look.
    assert len(waits) >= 2 and all(wait["until_ms"] is not None for wait in waits)
    assert [wait["from_ms"] for wait in waits] == sorted(wait["from_ms"] for wait in waits)
    assert all(one["until_ms"] <= next_["from_ms"] for one, next_ in zip(waits, waits[1:]))
    assert waits[-1]["until_ms"] <= story["tries"][0]["from_ms"] + 1
    assert [bar["what"] for bar in story["timeline"]][-3:] == ["attempt", "first_byte", "end"]


def test_who_went_ahead_and_by_which_rule(full):
    place = full()
    place.send("first")
    waits = place.send("patient", "low")
    place.send("rival", "high")
    place.send("peer", "normal")
    place.answers.release(4)
    assert waits.answer("POST").status == 200
    story = place.story("patient")
    ahead = [(one["session"], one["priority"], one["rule"], one["count"]) for one in story["went_ahead"]]
    assert ahead == [("peer", "normal", "1", 1), ("rival", "high", "1", 1)], story["went_ahead"]
    assert story["went_ahead_complete"] is True
    assert all(one["text"] and one["at_ms"] >= 0 for one in story["went_ahead"])
    told = place.explain(story["id"])
    assert "2 calls went ahead while it waited:" in told
    assert re.search(r"^    1  normal, rule 1  its class goes first$", told, re.M), told


def test_a_promotion_is_told_with_what_it_changed(full):
    """Rule 1c: low gets its promoted share, for high it is a mark."""
    one = full(priorities={"high": {"reserve": "0%", "promote_after": "20ms"}, "low": {"promote_after": "20ms"}})
    one.send("runs")
    one.send("old", "low")
    one.send("steers", "high")
    for session in ("old", "steers"):
        wait_until(lambda: one.story(session)["promoted_ms"], f"the promotion of {session}")
    told = {session: " ".join(one.explain(session).split()) for session in ("old", "steers")}
    assert re.search(r"\+\d+ ms promoted after \d+ ms in the queue, its class's promote_after: since then low gets promoted_share instead of share "
                     r"while a call as old is the first of its session \(rule 1c, which jumps no line\)", told["old"]), told["old"]
    assert re.search(r"promoted after \d+ ms in the queue, its class's promote_after: only a mark, since high has no share to raise \(rule 1c\)",
                     told["steers"]) and "gets promoted_share" not in told["steers"], told["steers"]
    for _ in range(3):
        one.answers.release()
    wait_until(lambda: one.story("old")["state"] not in ("queued", "running"), "the end of the old call")
    assert "from then until it went, low got promoted_share instead of share while a call as old was the first" in one.explain("old")


def test_who_is_let_in_when_a_call_ends_did_not_go_ahead_of_it(full):
    place = full()
    first = place.send("first")
    second = place.send("second")
    third = place.send("third")
    place.answers.release(4)
    assert [call.answer("POST").status for call in (first, second, third)] == [200] * 3
    assert place.story("first")["went_ahead"] == []
    assert place.story("second")["went_ahead"] == []
    assert [one["session"] for one in place.story("third")["went_ahead"]] == ["second"]


def test_a_lone_call_that_is_tried_again_is_the_first_of_its_class(start, http):
    provider = start.provider(lambda received, connection: reply(429, [("retry-after", "30")], b"{}", "No"))
    broker = start.broker(policy_for(provider.url))
    connection = Connection(address_of(broker.url))
    connection.send(request_bytes("POST", "/v1/chat/completions", JSON, chat()))
    def waiting():
        entries = http.get(f"{broker.admin}/api/v1/requests?state=queued").json()["requests"]
        return entries and entries[0]["attempts"] == 1 and entries[0]["waits_for"]
    wait_until(waiting, "it waits for its second try")
    (entry,) = http.get(f"{broker.admin}/api/v1/requests?state=queued").json()["requests"]
    assert http.get(f"{broker.admin}/api/v1/requests/{entry['id']}").json()["position"] == {"lane": 1, "class": 1}


def test_a_drought_of_tokens_is_told_with_its_numbers(start, http):
    provider = start.provider(lambda received, connection: reply(
        body=b'{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":5000,"completion_tokens":2}}'))
    broker = start.broker(policy_for(provider.url, limits={"input_tokens_per_minute": 6000}))
    address = address_of(broker.url)
    assert exchange(address, "POST", "/v1/chat/completions", JSON, chat("toll " * 4000)).status == 200
    connection = Connection(address)
    connection.send(request_bytes("POST", "/v1/chat/completions", [*JSON, ("x-tollgate-session", "dry")], chat("toll " * 4000)))
    wait_until(lambda: http.get(f"{broker.admin}/api/v1/requests?state=queued").json()["requests"], "it waits")
    (entry,) = http.get(f"{broker.admin}/api/v1/requests?state=queued").json()["requests"]
    story = http.get(f"{broker.admin}/api/v1/requests/{entry['id']}").json()
    wait = story["waits"][-1]
    assert (wait["blocker"], wait["provider"]) == ("provider_bucket", "openai")
    assert 1000 < wait["needed"] <= 6000 and wait["available"] < wait["needed"]
    missing = wait["needed"] - wait["available"]
    # The bucket refills 100 tokens a second.
    assert abs(wait["there_in_ms"] - missing * 10) < 1000
    assert re.match(r"input tokens of openai: -?[\d,]+ of [\d,]+ needed, there in [\d.]+ s$", wait["text"]), wait["text"]
    assert 0 < story["predicted_wait_ms"] <= wait["there_in_ms"] + 1000
    told = run("explain", "dry", "--admin", broker.admin).stdout
    assert "needed, there in" in told and "expected to go in" in told
    connection.close()


def test_tokens_cache_and_price_are_told(start, http, full, tmp_path):
    (tmp_path / "prices.yaml").write_text(PRICES)
    place = full(prices=str(tmp_path / "prices.yaml"))
    place.answers.release()
    assert place.send("s").answer("POST").status == 200
    wait_until(lambda: place.of("s")[-1]["state"] == "ended", "it is over")
    story = place.story("s")
    assert (story["input_tokens"], story["output_tokens"], story["cache_read_tokens"], story["cache_write_tokens"]) == (30, 2, 20, 0)
    assert story["price"] == {"line": "sim-*", "version": "test-7", "input_usd_per_m": "10.000000000", "output_usd_per_m": "20.000000000",
                              "cache_read_usd_per_m": "1.000000000", "cache_write_usd_per_m": None}
    assert story["estimate"]["output_tokens"] == 5
    told = place.explain(story["id"])
    assert "of the input 20 read from the provider's cache" in told
    assert "price: line 'sim-*' of prices test-7: $10.00 in, $20.00 out per 1M tokens" in told
    assert "  cost: $0.00016\n" in told and re.search(r"^ +cost \$0\.00016 by prices, held \$0\.00011$", told, re.M), told


def test_a_tenants_token_learns_nothing_of_others(start, http):
    answers = threading.Semaphore(0)

    def answer(received, connection):
        answers.acquire(timeout=30)
        return reply(body=b'{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}')

    provider = start.provider(answer)
    tenants = [{"id": name, "keys": [key_hash(f"tg-{name}-0123456789")]} for name in ("acme", "other")]
    broker = start.broker(policy_for(
        provider.url, limits={"concurrency": 1}, tenants=tenants,
        admin={"token": "boss-token-0123456789", "tenant_tokens": [{"tenant": "acme", "token": "acme-token-0123456789"}]}))
    address = address_of(broker.url)
    boss, acme = ({"authorization": f"Bearer {name}-token-0123456789"} for name in ("boss", "acme"))

    def known():
        return http.get(f"{broker.admin}/api/v1/requests", headers=boss).json()["requests"]

    def send(tenant, priority):
        connection = Connection(address)
        count = len(known())
        connection.send(request_bytes(
            "POST", "/v1/chat/completions",
            [*JSON, ("authorization", f"Bearer tg-{tenant}-0123456789"), ("x-tollgate-session", f"secret-of-{tenant}"),
             ("x-tollgate-priority", priority)], chat()))
        wait_until(lambda: len(known()) > count and settled(known()), "the call waits or runs")
        return connection

    first, waits, last = send("other", "normal"), send("acme", "low"), send("other", "high")
    answers.release(3)
    assert waits.answer("POST").status == 200
    (entry,) = http.get(f"{broker.admin}/api/v1/requests", headers=acme).json()["requests"]
    text = http.get(f"{broker.admin}/api/v1/requests/{entry['id']}", headers=acme).text
    assert "secret-of-other" not in text
    (ahead,) = json.loads(text)["went_ahead"]
    assert (ahead["id"], ahead["tenant"], ahead["session"], ahead["rule"], ahead["count"]) == (None, None, None, "1", 1)
    (whole,) = http.get(f"{broker.admin}/api/v1/requests/{entry['id']}", headers=boss).json()["went_ahead"]
    assert whole["session"] == "secret-of-other" and whole["id"]
    assert first.answer("POST").status == last.answer("POST").status == 200


def test_an_unknown_path_is_told_the_same_way_everywhere(start, http, simulator):
    broker = start.broker(policy_for(simulator.url))
    answer = http.post(broker.url + "/no/such/path", json={})
    assert answer.status_code == 404
    said = answer.json()["error"]["message"]
    assert said.startswith("Unknown request URL: /no/such/path.")
    told = record_of(http, broker, answer)["message"]
    assert said.startswith(told.rstrip("…")) and len(told) > 60
    explained = run("explain", answer.headers["x-tollgate-request-id"], "--admin", broker.admin).stdout
    assert f"told the client: {told}" in explained
    wait_until(lambda: told[:60] in broker.logs(), "the log says it too")


def test_the_story_as_json_is_the_answer_of_the_api(start, http, simulator):
    broker = start.broker(policy_for(simulator.url))
    answer = http.post(broker.url + "/v1/chat/completions", json={"model": "gpt-test", "messages": []}, headers={"x-tollgate-session": "told"})
    assert answer.status_code == 200
    number = record_of(http, broker, answer)["id"]
    for subject in (number, "told"):
        done = run("explain", subject, "--json", "--admin", broker.admin)
        assert (done.returncode, done.stderr) == (0, "")
        told, api = json.loads(done.stdout), http.get(f"{broker.admin}/api/v1/requests/{number}").json()
        # How long ago it came goes on.
        assert told.pop("now_ms") <= api.pop("now_ms") and told == api
    unknown = run("explain", "0" * 26, "--json", "--admin", broker.admin)
    assert (unknown.returncode, unknown.stdout) == (1, "") and "not known" in unknown.stderr


def test_a_session_that_nobody_knows_is_told_so(start, simulator):
    broker = start.broker(policy_for(simulator.url))
    done = run("explain", "a\x1b[2Jb", "--admin", broker.admin)
    assert (done.returncode, done.stdout) == (1, "") and "\x1b" not in done.stderr
    assert "no session of a request that waits, runs or is among the last 1000" in done.stderr
