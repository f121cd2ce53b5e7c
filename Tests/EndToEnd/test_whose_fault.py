"""Whose fault it is: what one call did wrong, or a provider says of one model, takes nothing from the calls of others."""

import gzip
import json
import threading
import time
from types import SimpleNamespace

import pytest

from processes import record_of, run
from rawhttp import address_of, exchange
from scripted import ScriptedProvider, chunked, reply
from waiting import wait_until

JSON = [("Content-Type", "application/json")]
OK = reply(body=b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')
SECRET = "sk-fault-0123456789abcdefghij"


def body(model="m", text="hello"):
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()


def error(status, fields=(), **more):
    return reply(status, fields, json.dumps({"error": {"message": "trouble", **more}}).encode(), reason="Trouble")


class Script(ScriptedProvider):
    """Answers POSTs call by call, the last answer again and again, and what is asked for free by `free`. A key that a test
    gives to `by_model` chooses by the model in the body instead."""

    def __init__(self, *answers, free=None, by_model=None):
        self.answers, self.free, self.by_model = list(answers), free or reply(body=b'{"data":[]}'), by_model or {}
        self.posts, self.gets, self.moments, self.lock = [], [], [], threading.Lock()
        super().__init__(self.next)

    def next(self, received, connection):
        with self.lock:
            if received.method == "GET":
                self.gets.append(received)
                return self.free
            self.posts.append(received)
            self.moments.append(time.monotonic())
            model = json.loads(received.body).get("model") if received.body else None
            answer = self.by_model.get(model) or self.answers[min(len(self.posts), len(self.answers)) - 1]
        if answer is None:
            raise ScriptedProvider.Hangup
        return answer

    @property
    def pauses(self):
        return [later - earlier for earlier, later in zip(self.moments, self.moments[1:])]


@pytest.fixture
def serve(start):
    """A broker before scripted answers; one provider, one key."""

    def begin(*answers, free=None, by_model=None, dialect="openai", base="/v1", keys=None, **settings):
        script = Script(*answers, free=free, by_model=by_model)
        start.providers.append(script)
        provider = {"dialect": dialect, "base_url": script.url + base, "check_keys": False, **settings,
                    "keys": [{"id": "main", "secret": "${FAULT_KEY}"}] if keys is None else keys}
        broker = start.broker({"version": 1, "providers": {"only": provider}, "routes": [{"models": ["*"], "to": ["only"]}]},
                              env={"FAULT_KEY": SECRET})
        return SimpleNamespace(script=script, broker=broker, address=address_of(broker.url))

    return begin


# Seconds: less than anybody here waits who has to (a key's rest, a model's pause, an open breaker: 30 s at least), and more than a busy
# machine takes for a call.
AT_ONCE = 20


def call(served, model="m", *fields, session="a", path="/v1/chat/completions", text="hello"):
    began = time.monotonic()
    answer = exchange(served.address, "POST", path, [*JSON, ("x-tollgate-session", session), *fields], body(model, text))
    answer.lasted = time.monotonic() - began
    return answer


def status(http, served):
    return http.get(served.broker.admin + "/api/v1/status").json()["providers"][0]


def key_state(http, served):
    return status(http, served)["keys"][0]["state"]


CLIENTS_OWN = {
    "more than is left": error(402, code=402, message="This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 30104"),
    "flagged": error(403, code=403, message='m requires moderation. Your input was flagged for "violence".', metadata={"flagged_input": "invalid_api_key"}),
    "other organization": error(401, code="mismatched_organization", message="OpenAI-Organization header should match organization for API key"),
    "scope": error(401, type="invalid_request_error", message="You have insufficient permissions. Missing scopes: api.model.read"),
    "permission": error(403, type="permission_error"),
    "model": error(403, type="invalid_request_error", code="model_not_found", message="Project `p` does not have access to model `m`"),
    "too large": error(429, type="tokens", code="rate_limit_exceeded", message="Request too large for gpt-4o in organization org on tokens per min (TPM): Limit 30000, Requested 61337."),
    "in a 200": reply(body=json.dumps({"error": {"code": 403, "message": "flagged"}}).encode()),
}


@pytest.mark.parametrize("name", CLIENTS_OWN)
def test_a_clients_own_error_is_nobody_elses(serve, http, name):
    served = serve(CLIENTS_OWN[name], OK)
    first = call(served)
    assert CLIENTS_OWN[name].endswith(first.body)
    second = call(served, session="b")
    assert second.status == 200 and second.lasted < AT_ONCE
    assert len(served.script.posts) == 2 and key_state(http, served) == "usable"


def test_words_in_a_stream_are_read_as_those_of_a_status(serve, http):
    """What a provider says of the client in an event of a stream leaves key and breaker alone."""
    parts = [b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n', b'data: {"error":{"code":403,"message":"flagged"}}\n\n', b"data: [DONE]\n\n"]
    served = serve(chunked(parts), chunked(parts), OK, breaker={"failures": 1})
    for session in ("a", "b"):
        assert call(served, session=session).status == 200
    assert key_state(http, served) == "usable"
    assert call(served, session="c").status == 200


def test_a_page_for_people_counts_as_a_failing_server(serve, http):
    page = reply(401, body=b"<html><h1>401 Authorization Required</h1></html>", content_type="text/html", reason="Unauthorized")
    served = serve(page, page, OK, retry={"base": "1ms", "max": "1ms"})
    answer = call(served)
    assert (answer.status, answer.first("x-tollgate-attempts")) == (200, "3")
    assert key_state(http, served) == "usable"


def test_a_models_quota_of_the_day_is_that_models(serve, http):
    spent = reply(429, body=json.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
            {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}).encode(), reason="Trouble")
    fine = reply(body=b'{"candidates":[],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1}}')
    served = serve(fine, by_model={}, dialect="gemini", base="")
    original = served.script.next

    def by_path(received, connection):
        return spent if "/models/x:" in received.target else original(received, connection)
    served.script.answer = by_path
    contents = json.dumps({"contents": [{"parts": [{"text": "hi"}]}]}).encode()

    def ask(model):
        return exchange(served.address, "POST", f"/v1beta/models/{model}:generateContent", JSON, contents)
    assert [ask("x").status for _ in range(3)] == [429] * 3
    assert ask("y").status == 200
    assert key_state(http, served) == "usable"


def test_whose_account_is_asked_is_not_the_clients_to_say(serve):
    served = serve(OK)
    call(served, "m", ("OpenAI-Organization", "org-theirs"), ("openai-project", "proj-theirs"))
    names = {name.lower() for name, _ in served.script.posts[0].fields}
    assert not names & {"openai-organization", "openai-project"}
    own = serve(OK, keys=[], pass_through=True)
    call(own, "m", ("OpenAI-Organization", "org-own"), ("authorization", "Bearer x"))
    assert ("OpenAI-Organization", "org-own") in own.script.posts[0].fields


# MARK: keys that are refused

REFUSED = {"type": "invalid_request_error", "code": "invalid_api_key"}


def test_a_refused_key_is_found_out_at_once_and_nobody_waits(serve, http):
    """The first call gets the refusal; a free call of the broker's own confirms it; everybody else gets the provider's words at once."""
    refusal = error(401, message=f"Incorrect API key provided: {SECRET}.", **REFUSED)
    served = serve(refusal, free=refusal)
    first = call(served)
    assert first.status == 401 and first.first("x-tollgate-outcome") is None
    wait_until(lambda: key_state(http, served) == "disabled", "the key to be disabled")
    assert [received.target for received in served.script.gets] == ["/v1/models"]
    for number in range(3):
        answer = call(served, session=f"b{number}")
        assert answer.lasted < AT_ONCE
        assert (answer.status, answer.first("x-tollgate-outcome"), answer.first("x-should-retry")) == (401, "rejected_no_capacity", "false")
        said = json.loads(answer.body)["error"]
        assert said["code"] == "invalid_api_key" and said["message"].startswith("Incorrect API key provided: ")
        assert SECRET not in answer.body.decode()
        assert answer.first("retry-after") is None and answer.first("x-tollgate-attempts") is None
    assert len(served.script.posts) == 1
    entry = status(http, served)["keys"][0]
    assert entry["until"]
    assert record_of(http, served.broker, answer)["outcome"] == "rejected_no_capacity"


@pytest.mark.parametrize("free", [OK, error(404), error(403)], ids=["let in", "no such list", "no scope"])
def test_one_refusal_takes_no_key_where_a_free_call_is_not_refused(serve, http, free):
    served = serve(error(401, **REFUSED), OK, free=free)
    assert call(served).status == 401
    wait_until(lambda: served.script.gets, "the broker's own call")
    assert call(served, session="b").status == 200
    assert key_state(http, served) == "usable"


def test_two_different_requests_are_enough(serve, http):
    """Repetitions of one call are not."""
    served = serve(error(401, **REFUSED))
    for count in ("0", "1", "2"):
        assert call(served, "m", ("x-stainless-retry-count", count)).status == 401
    assert key_state(http, served) == "usable" and len(served.script.posts) == 3
    assert call(served, "m", session="other", text="something else").status == 401
    assert key_state(http, served) == "disabled"
    late = call(served, session="third")
    assert (late.status, late.first("x-tollgate-outcome"), len(served.script.posts)) == (401, "rejected_no_capacity", 4)


def test_without_kept_words_the_key_and_its_variable_are_named(serve, http):
    """A refusal of more than 64 KiB is passed on and not kept."""
    long = error(401, message="Incorrect API key provided. " + "x" * 70_000, **REFUSED)
    for path, kind in (("/v1/chat/completions", "invalid_api_key"), ("/v1/messages", "authentication_error")):
        served = serve(long)
        for session in ("a", "b"):
            assert call(served, session=session).status == 401
        wait_until(lambda: key_state(http, served) == "disabled", "the key to be disabled")
        answer = call(served, session="c", path=path)
        assert (answer.status, answer.first("x-tollgate-outcome"), answer.first("x-should-retry")) == (401, "rejected_no_capacity", "false")
        text = answer.body.decode()
        assert kind in text and "'main'" in text and "'only'" in text and "FAULT_KEY" in text


def test_unpaid_keys_answer_at_once(serve, http):
    unpaid = error(429, type="insufficient_quota", code="insufficient_quota", message="You exceeded your current quota")
    served = serve(unpaid)
    for session in ("a", "b"):
        assert call(served, session=session).status == 429
    answer = call(served, session="c")
    assert answer.lasted < AT_ONCE
    assert (answer.status, answer.first("x-tollgate-outcome"), answer.first("x-should-retry")) == (429, "rejected_no_capacity", "false")
    assert json.loads(answer.body)["error"]["code"] == "insufficient_quota"
    assert key_state(http, served) == "cooling" and len(served.script.posts) == 2


def test_a_refusal_that_came_compressed_is_read_and_kept_as_text(serve, http):
    plain = json.dumps({"error": {"message": "Incorrect API key provided", **REFUSED}}).encode()
    refusal = reply(401, [("Content-Encoding", "gzip")], gzip.compress(plain), reason="Unauthorized")
    served = serve(refusal, free=refusal)
    first = call(served, "m", ("accept-encoding", "gzip"))
    assert gzip.decompress(first.body) == plain
    wait_until(lambda: key_state(http, served) == "disabled", "the key to be disabled")
    assert call(served, session="b").body == plain


def test_each_key_is_tried_once_at_the_start(serve, http):
    """By a free call, beside serving; a refusal is a warning, here of the only key, and other keys go first."""
    refusal = error(401, **REFUSED)
    served = serve(OK, free=refusal, check_keys=True)
    served.broker.wait_for_line("warning: every key of every provider is refused.*only/main")
    assert len(served.script.gets) == 1 and key_state(http, served) == "usable"
    assert call(served).status == 200
    silent = serve(OK, check_keys=False)
    assert call(silent).status == 200
    assert silent.script.gets == []


# MARK: slow down

@pytest.mark.parametrize("fields", [
    [("retry-after", "0")], [("retry-after-ms", "0")], [("retry-after", "Thu, 01 Jan 1970 00:00:10 GMT")]], ids=["0", "0 ms", "past"])
def test_a_provider_that_says_now_is_not_asked_at_once(serve, fields):
    served = serve(error(429, fields))
    answer = call(served, "m", ("x-tollgate-timeout", "3"))
    pauses = served.script.pauses
    print(f"\n{fields}: {len(served.script.posts)} calls, pauses {[round(pause, 2) for pause in pauses]}")
    assert answer.status == 429 and len(served.script.posts) <= 5
    assert all(pause >= 0.24 * 2**number for number, pause in enumerate(pauses))


def test_what_can_never_fit_keeps_nobody_back(serve):
    served = serve(OK, by_model={"large": error(429, message="Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 61337.", type="tokens", code="rate_limit_exceeded")})
    large = call(served, "large")
    assert (large.status, large.first("x-tollgate-attempts")) == (429, "1") and large.lasted < AT_ONCE
    behind = call(served, "small")
    assert behind.status == 200 and behind.lasted < AT_ONCE


@pytest.mark.parametrize("code", [429, 500, 503, 529])
def test_a_provider_that_says_no_more_is_heard(serve, code):
    served = serve(error(code, [("x-should-retry", "false")]), OK)
    answer = call(served)
    assert (answer.status, answer.first("x-tollgate-attempts"), answer.first("x-should-retry")) == (code, "1", "false")
    assert call(served, session="b").status == 200


def test_a_model_is_shut_before_its_provider(serve):
    """429 for one model: another model of another session goes at once; when two are refused nobody is sent for a while."""
    served = serve(OK, by_model={"x": error(429, [("retry-after", "30")])})
    first = call(served, "x", ("x-tollgate-timeout", "1"))
    assert first.status == 429
    other = call(served, "y", session="b")
    assert other.status == 200 and other.lasted < AT_ONCE
    shut = call(served, "x", ("x-tollgate-timeout", "1"), session="c")
    assert shut.status == 503 and len([post for post in served.script.posts if b'"x"' in post.body]) == 1
    served.script.by_model["z"] = error(429, [("retry-after", "30")])
    assert call(served, "z", ("x-tollgate-timeout", "1"), session="d").status == 429
    assert call(served, "y", ("x-tollgate-timeout", "1"), session="e").status == 503


def command(served, *words):
    """What a command of the broker's operator says."""
    done = run(*words, "--admin", served.broker.admin.removeprefix("http://"))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_that_is_away_keeps_nobody_from_others_and_is_shown(serve, http):
    away = error(503, [("retry-after", "3000")], type="server_error")
    served = serve(OK, by_model={"x": away})
    first = call(served, "x", session="guilty")
    assert first.status == 503
    other = call(served, "y", session="innocent")
    assert other.status == 200 and other.lasted < AT_ONCE
    refused = call(served, "x", ("x-tollgate-timeout", "2"), session="late")
    assert (refused.status, refused.first("x-tollgate-outcome")) == (503, "rejected_no_capacity")
    assert "asked for a pause for 'x'" in json.loads(refused.body)["error"]["message"]
    rests = status(http, served)["models"]
    assert [(rest["models"], rest["state"], rest["reason"]) for rest in rests] == [("x", "cooling", "unavailable, as the provider said")]
    assert rests[0]["until"] and status(http, served)["state"] == "usable"
    served.broker.wait_for_line("asks for a pause for a model.*model=\"x\"")
    assert "only: x rests until " in command(served, "status")
    listed = [line.split() for line in command(served, "breakers").splitlines()]
    assert listed[1][:2] == ["only", "closed"]
    assert listed[2][:3] == ["only:", "x", "cooling"] and listed[2][4:6] in (["49", "m"], ["50", "m"])
    # A second model: now it is the provider.
    served.script.by_model["z"] = away
    assert call(served, "z", session="d").status == 503
    assert call(served, "y", ("x-tollgate-timeout", "2"), session="e").status == 503
    assert status(http, served)["state"] == "cooling" and status(http, served)["until"]
    for words in (("breakers", "auto", "only"), ("keys", "enable", "only/main")):
        served.script.by_model = {"x": away, "z": away}
        for model in ("x", "z"):
            call(served, model, ("x-tollgate-timeout", "2"), session="again-" + words[0])
        served.script.by_model = {}
        command(served, *words)
        for model in ("x", "y", "z"):
            assert call(served, model, session="after").status == 200
        assert status(http, served)["state"] == "usable" and status(http, served)["models"] == []


def test_one_clients_free_calls_take_neither_key_nor_provider(serve, http):
    """Looks at a job that are refused, and one that is told to come back in an hour."""
    served = serve(OK)
    original, words = served.script.next, {"now": error(401, type="authentication_error", message="invalid x-api-key")}

    def by_path(received, connection):
        if "/jobs" not in received.target:
            return original(received, connection)
        return words["now"]
    served.script.answer = by_path

    def look():
        fields = [("x-tollgate-session", "guilty"), ("x-tollgate-timeout", "5")]
        return exchange(served.address, "GET", "/v1/fine_tuning/jobs/1", fields)
    assert look().status == 401
    wait_until(lambda: status(http, served)["keys"][0]["reason"] is None and served.script.gets, "the answer of the broker's own call")
    for _ in range(3):
        assert look().status == 401
    assert call(served, session="innocent").status == 200
    assert status(http, served)["keys"][0]["state"] == "usable"
    for words["now"] in (error(503, [("retry-after", "3000")]), error(429, [("retry-after", "3000")])):
        assert look().status in (503, 429)
        assert call(served, session="innocent").status == 200
        assert status(http, served)["models"] == [] and status(http, served)["state"] == "usable"


def test_a_call_that_is_refused_while_others_go_well_is_over(serve):
    """Refused three times while others of its model were let in, its answer goes to its client."""
    served = serve(OK)
    original = served.script.next

    def by_text(received, connection):
        if b"unwanted" in received.body:
            served.script.posts.append(received)
            return error(429, [("retry-after-ms", "250")])
        return original(received, connection)
    served.script.answer = by_text
    results = {}
    bad = threading.Thread(target=lambda: results.update(bad=call(served, text="unwanted", session="bad")))
    bad.start()
    deadline = time.monotonic() + 20
    while bad.is_alive() and time.monotonic() < deadline:
        assert call(served, session="good").status == 200
    bad.join(1)
    assert results["bad"].status == 429 and results["bad"].first("x-tollgate-attempts") == "3"


# MARK: breakers and connections

def test_one_call_with_all_its_repetitions_opens_no_breaker(serve, http):
    served = serve(OK, by_model={"broken": error(500)}, breaker={"failures": 2}, retry={"base": "1ms", "max": "1ms"})
    for count in ("0", "1", "2", "3"):
        assert call(served, "broken", ("x-stainless-retry-count", count)).status == 500
    assert status(http, served)["breaker"]["state"] == "closed"
    good = call(served, session="b")
    assert good.status == 200 and good.lasted < AT_ONCE


def test_dead_kept_alive_connections_are_no_failure(serve, http):
    """Eight calls at once over eight connections that the provider has closed: each goes once more, nobody notices."""
    served = serve(OK, breaker={"failures": 2}, retry={"attempts": 1})
    gate, original = threading.Barrier(8), served.script.next
    used, lock = set(), threading.Lock()

    def reuse_is_death(received, connection):
        with lock:
            if connection in used:
                raise ScriptedProvider.Hangup
            used.add(connection)
        if len(served.script.posts) < 8:
            gate.wait(10)
        return original(received, connection)
    served.script.answer = reuse_is_death

    def eight():
        answers = []
        threads = [threading.Thread(target=lambda n=n: answers.append(call(served, session=f"s{n}"))) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return answers
    assert [answer.status for answer in eight()] == [200] * 8
    again = eight()
    assert [answer.status for answer in again] == [200] * 8
    assert max(answer.lasted for answer in again) < 5
    assert {answer.first("x-tollgate-attempts") for answer in again} == {"1"}
    assert status(http, served)["breaker"]["state"] == "closed"
    assert len(served.script.posts) == 16


# MARK: what is learned

def test_two_lone_refusals_teach_an_idle_broker_nothing(serve, http):
    refused = error(429)
    served = serve(*([refused] + [OK] * 11 + [refused] + [OK] * 3))
    original, quick = served.script.next, threading.Event()

    def leisurely(received, connection):
        # A pace is only taken from refusals that lie some seconds apart: that is how long the calls between them take.
        quick.wait(0.35)
        return original(received, connection)
    served.script.answer = leisurely
    assert call(served).status == 200
    for number in range(10):
        assert call(served, session=f"s{number}").status == 200
    quick.set()
    assert served.script.moments[-1] - served.script.moments[0] > 3
    assert call(served).status == 200
    assert status(http, served)["buckets"] == []
    large = call(served, text="word " * 30_000)
    assert large.status == 200 and large.lasted < AT_ONCE


def test_refusals_that_name_their_time_do_not_shrink_calls_at_a_time(serve, http):
    """One of twenty calls at a time is told to wait a moment, three times over: twenty still run at a time."""
    served = serve(OK)
    lock, state = threading.Lock(), SimpleNamespace(running=0, most=0, refuse=0)
    original = served.script.next

    def counting(received, connection):
        with lock:
            state.running += 1
            state.most = max(state.most, state.running)
            refuse = state.refuse > 0 and state.running >= 10
            if refuse:
                state.refuse -= 1
        threading.Event().wait(0.1)  # How long a call takes.
        with lock:
            state.running -= 1
        return error(429, [("retry-after-ms", "300")]) if refuse else original(received, connection)
    served.script.answer = counting

    def twenty():
        threads = [threading.Thread(target=call, args=(served,), kwargs={"session": f"s{n}"}) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    for _ in range(3):
        state.refuse = 1
        twenty()
    state.most = 0
    twenty()
    print(f"\n{state.most} of 20 at a time")
    assert state.most >= 15
    assert status(http, served)["concurrency_limit"] is None
