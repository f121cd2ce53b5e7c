"""The real Claude Code and the real Codex through the broker, without a setting but the base URL: classes, kinds, sessions, leaving.

Both agents run side by side in terminals, each in a thread that types what a person would; what came of it is then asked by many tests."""

import collections
import concurrent.futures
import re
import threading

import httpx
import pytest

import agents
from agents import CLAUDE, CODEX, Home, Vendors, stop
from processes import ROOT, key_hash, policy_for
from waiting import wait_until

# Where a machine cannot install them.
pytestmark = pytest.mark.skipif(
    not (CLAUDE and CODEX), reason="Claude Code and Codex are not installed here; scripts/setup says why")

PERMITS = 4
ESCAPE, CTRL_C = "\x1b", "\x03"
# With the variable by which Claude Code says what each call is for, and without it; Codex always does.
TERMINALS = {"claude": False, "claude with hints": True, "codex": False}


class World:
    """The vendors, a broker in front of them, and what each agent's conversation is called."""

    def __init__(self, start, folder_of):
        self.vendors = start.vendors()
        self.broker = start.broker(policy_for(self.vendors.url, limits={"concurrency": PERMITS}, learn_limits=False))
        self.folder_of = folder_of
        self.sessions = {}

    def records(self, **conditions):
        with httpx.Client(timeout=20, trust_env=False) as client:
            answer = client.get(f"{self.broker.admin}/api/v1/requests", params={"state": "recent", "limit": 1000})
        found = answer.json()["requests"]
        return [record for record in found if all(record[name] == value for name, value in conditions.items())]

    def home(self, name, **options):
        return Home(self.folder_of(name.replace(" ", "-")), self.broker.url, **options)


class Conversation:
    """A person at a terminal."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.agent = name.split()[0]
        home = world.home(name, hints=TERMINALS[name])
        self.screen = home.claude() if self.agent == "claude" else home.codex()
        self.word = "word-" + name.replace(" ", "")
        self.prompts = 0

    def begin(self):
        self.screen.wait_for("❯" if self.agent == "claude" else "›")
        self.ask("begin")
        self.session = self.world.vendors.wait_for_prompt(self.word + "0").session
        self.world.sessions[self.name] = self.session
        self.world.vendors.wait_for_title(self.agent, self.word + "0")

    def ask(self, text, answered=True):
        word = f"{self.word}{self.prompts}"
        self.prompts += 1
        self.screen.say(f"{text} {word}")
        if answered:
            self.screen.wait_for(f"Heard {word}")
            self.screen.wait_until_idle()
        return word

    def command(self, text, shown):
        self.screen.say(text)
        self.screen.wait_for(shown)
        self.screen.wait_until_idle()

    def hold(self, key):
        """Begins a long answer and interrupts it."""
        word = self.ask("please-hold", answered=False)
        call = self.world.vendors.wait_for_prompt(word)
        self.screen.wait_until_busy()
        self.screen.type(key)
        if (self.agent, key) == ("codex", CTRL_C):
            # It asks what should become of the task; the first answer is to end it.
            self.screen.wait_for("Cancel task")
            self.screen.type("\r")
        wait_until(call.left.is_set, f"{self.name} to leave")
        self.screen.wait_until_idle()

    def scenes(self):
        vendors = self.world.vendors
        self.begin()
        word = self.ask("please-spawn", answered=False)
        vendors.wait_for_prompt(word)
        vendors.wait_for(self.session, "subagent")
        if self.agent == "claude":
            # The agent tells the model by itself when the subagent has ended.
            wait_until(lambda: [call for call in vendors.of(self.session, "turn") if "[SYSTEM NOTIFICATION" in call.prompt],
                       "the turn after the subagent")
        else:
            self.screen.wait_for("Completed .*below`")
        self.screen.wait_until_idle()
        self.ask("please-fill")
        self.ask("go on")
        vendors.wait_for(self.session, "compaction")
        if self.agent == "claude":
            self.command("/context", "Context usage")
        self.hold(ESCAPE)
        self.hold(CTRL_C)
        self.world.sessions[self.name] = self.session

    def compact(self):
        before = len(self.world.vendors.of(self.session, "compaction"))
        self.screen.say("/compact")
        return before + 1


@pytest.fixture(scope="module", autouse=True)
def ends(tmp_path_factory):
    yield
    agents.stop_within(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def world(start_for_module, tmp_path_factory):
    vendors = []

    class Start:
        broker = staticmethod(start_for_module.broker)

        @staticmethod
        def vendors():
            vendors.append(Vendors())
            start_for_module.providers.append(vendors[0])
            return vendors[0]

    return World(Start, lambda name: tmp_path_factory.mktemp("home") / name)


@pytest.fixture(scope="module")
def terminals(world):
    """Every scene of every terminal, played once; the terminals stay open."""
    conversations = [Conversation(world, name) for name in TERMINALS]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        try:
            for done in [pool.submit(conversation.scenes) for conversation in conversations]:
                done.result()
            yield {conversation.name: conversation for conversation in conversations}
        finally:
            for conversation in conversations:
                conversation.screen.stop()


def classed(world, session):
    """How many records of each kind, class and outcome a session has."""
    return collections.Counter((record["kind"], record["priority"]) for record in world.records(session=session))


def counted(world, name):
    session = world.sessions[name]
    return collections.Counter(call.kind for call in world.vendors.of(session))


@pytest.mark.parametrize("name", TERMINALS)
def test_who_interrupts_an_answer_pays_for_no_more_of_it(world, terminals, name):
    """Escape and Ctrl-C close the call at the vendor, and the record says who has left."""
    outcomes = collections.Counter(record["outcome"] for record in world.records(session=world.sessions[name]))
    assert outcomes["client_left_running"] == 2
    assert set(outcomes) == {"completed", "client_left_running"}


# Runs without a terminal -----------------------------------------------------------------------------------------------------------

ASK_BY_SDK = """
import asyncio, sys
from claude_agent_sdk import ClaudeAgentOptions, query
async def main():
    async for message in query(prompt=sys.argv[1], options=ClaudeAgentOptions()):
        if getattr(message, "result", None): print(message.result)
asyncio.run(main())
"""


def run(home, *arguments, timeout=40, **more):
    process = home.headless(*arguments, **more)
    try:
        return process.communicate(timeout=timeout)[0]
    finally:
        stop(process)


# The runs of one name follow one another; each says its own word.
HEADLESS = {
    "claude": [(CLAUDE, "-p", "please-fill word-p0"), (CLAUDE, "-p", "--continue", "go on word-p1")],
    "claude with hints": [(CLAUDE, "-p", "please-fill word-ph0"), (CLAUDE, "-p", "--continue", "go on word-ph1")],
    "sdk": [(agents.PYTHON, "-c", ASK_BY_SDK, "say word-sdk")],
    "codex": [(CODEX, "exec", "please-fill word-x0"), (CODEX, "exec", "resume", "--last", "go on word-x1")],
    "review": [(CODEX, "exec", "review", "--uncommitted")],
}


@pytest.fixture(scope="module")
def headless(world):
    """What each run has printed, by name."""
    def play(name):
        home = world.home("headless " + name, hints="hints" in name, key="headless-" + name)
        return [run(home, *arguments) for arguments in HEADLESS[name]]

    with concurrent.futures.ThreadPoolExecutor() as pool:
        played = {name: pool.submit(play, name) for name in HEADLESS}
        return {name: result.result() for name, result in played.items()}


def session_of(world, words):
    return world.vendors.wait_for_prompt(words, timeout=1).session


def test_the_broker_changes_nothing_of_a_call(world, tmp_path_factory):
    """Straight and through the broker, the vendor gets the same calls with the same fields; only the credential is another."""
    own = {"host", "authorization", "x-api-key", "content-length", "connection"}

    def shapes(vendors, url, name):
        home = Home(tmp_path_factory.mktemp("home") / name, url)
        for arguments in ((CLAUDE, "-p", f"say word-{name}"), (CODEX, "exec", f"say word-{name}")):
            assert f"Heard word-{name}." in run(home, *arguments)
        return sorted((call.agent, call.kind, call.target, tuple(sorted(set(call.fields) - own)), tuple(sorted(call.body)))
                      for call in vendors.calls if call.prompt.endswith(f"word-{name}"))

    straight = Vendors()
    try:
        assert shapes(straight, straight.url, "straight") == shapes(world.vendors, world.broker.url, "through")
    finally:
        straight.close()


def test_the_examples_are_all_the_settings_that_it_takes(world, tmp_path_factory):
    """With another address of the broker, and of Codex what keeps it from looking for updates. The shell's own variables lead nowhere."""
    home = Home(tmp_path_factory.mktemp("home") / "example", world.broker.url)
    for folder, name in ((".claude", "settings.json"), (".codex", "config.toml")):
        example = (ROOT / "examples" / {".claude": "claude-code", ".codex": "codex"}[folder] / name).read_text()
        settings = example.replace("http://127.0.0.1:4141", world.broker.url)
        assert settings != example
        (home.folder / folder / name).write_text(home.codex_quiet + settings if folder == ".codex" else settings)
    nowhere = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_AUTH_TOKEN": "none", "TOLLGATE_CLIENT_KEY": "any"}
    assert "Heard word-example." in run(home, CLAUDE, "-p", "say word-example", **nowhere)
    assert "Heard word-example." in run(home, CODEX, "exec", "say word-example", **nowhere)
    calls = {call.agent: call.fields for call in world.vendors.calls if call.prompt.endswith("say word-example")}
    assert calls["claude"]["x-claude-code-request-class"] == "main"
    assert set(calls) == {"claude", "codex"}
    # What forces a class would silence what the agents say of themselves.
    assert not any(name.startswith("x-tollgate") for fields in calls.values() for name in fields)


def test_a_login_of_ones_own_is_passed_through(start_for_module, world, tmp_path_factory):
    broker = start_for_module.broker(policy_for(world.vendors.url, pass_through=True, keys=[]))
    home = Home(tmp_path_factory.mktemp("home") / "own", broker.url, key="my-own-login")
    for arguments in ((CLAUDE, "-p", "say word-own"), (CODEX, "exec", "say word-own")):
        assert "Heard word-own." in run(home, *arguments)
    sent = [call.fields["authorization"] for call in world.vendors.calls if call.prompt.endswith("say word-own")]
    assert sent == ["Bearer my-own-login"] * 2


# Refusals of the broker: what a person sees ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(start_for_module, world):
    """A broker that knows three client keys: of one that may spend nothing, of one that may use other models only, and a good one."""
    return start_for_module.broker(policy_for(world.vendors.url, tenants=[
        {"id": "poor", "keys": [key_hash("tg-poor")], "budgets": [{"tokens": 1, "per": "day"}]},
        {"id": "narrow", "keys": [key_hash("tg-narrow")], "models": ["other-*"]},
        {"id": "good", "keys": [key_hash("tg-good")]}]))


# Each with what Claude Code and Codex show of it; every one of them ends the run by itself.
REFUSALS = {
    "no such key": ("tg-unknown", "401 The client key is missing or unknown", "401 Unauthorized: The client key is missing or unknown"),
    # Of a spent quota, Codex shows a sentence of its own.
    "no budget left": ("tg-poor", "402 The budget 'poor/day/tokens' cannot pay for this request", "Quota exceeded|The budget 'poor"),
    # Of an unknown model, Claude Code does.
    "model not allowed": ("tg-narrow", "issue with the selected model \\(claude-opus-5\\)", "'gpt-6-sol' is not allowed for this client"),
}


@pytest.fixture(scope="module")
def refused(strict, tmp_path_factory):
    def play(name):
        key = REFUSALS[name][0]
        home = Home(tmp_path_factory.mktemp("home") / key, strict.url, key=key)
        return {"claude": run(home, CLAUDE, "-p", "say hello"), "codex": run(home, CODEX, "exec", "say hello")}

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(REFUSALS, pool.map(play, REFUSALS)))


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_shown_and_ends_the_run(refused, name):
    for agent, words in zip(("claude", "codex"), REFUSALS[name][1:]):
        assert re.search(words, refused[name][agent]), refused[name][agent]


def test_claude_code_does_not_insist_where_it_is_refused_for_good(refused, strict):
    """It asks once; for a model it does so twice, whatever the answer says."""
    with httpx.Client(timeout=20, trust_env=False) as client:
        found = client.get(f"{strict.admin}/api/v1/requests", params={"state": "recent", "limit": 1000}).json()["requests"]
    outcomes = collections.Counter(record["outcome"] for record in found if record["model"] == agents.CLAUDE_MODEL)
    assert outcomes == {"rejected_budget": 1, "rejected_model": 2}


# Classes -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TERMINALS)
def test_each_call_has_the_class_of_what_it_is(world, terminals, name):
    """A turn is high, a subagent normal, a title low; a compaction for which a person waits is as high as the turn after it."""
    seen = counted(world, name)
    if name == "codex":
        # A title thread has a session of its own on the wire, and is its person's session here.
        seen["title"] = sum(1 for call in world.vendors.calls if (call.agent, call.kind) == ("codex", "title"))
    expected = collections.Counter({
        ("turn", "high"): seen["turn"], ("subagent", "normal"): seen["subagent"], ("title", "low"): seen["title"],
        ("compaction", "high"): seen["compaction"], ("count", "high"): seen["count"]})
    if name == "claude":
        # Without the hints, only the text of its last message tells a compaction from a turn, and nobody reads that.
        expected["turn", "high"] += expected.pop(("compaction", "high"))
    if name == "claude with hints":
        # With them it says that the turn waits for this subagent.
        expected["blocking-subagent", "normal"] = expected.pop(("subagent", "normal"))
    assert all(seen[kind] for kind in ("turn", "subagent", "title", "compaction"))
    assert classed(world, world.sessions[name]) == +expected


def test_an_agent_and_its_subagents_are_one_session(world, terminals):
    """Also the titles that Codex asks for, which have a session of their own on the wire; and who is who in a session is told."""
    titles = {call.session for call in world.vendors.calls if (call.agent, call.kind) == ("codex", "title")}
    assert titles and titles.isdisjoint(record["session"] for record in world.records())
    for name in TERMINALS:
        records = world.records(session=world.sessions[name])
        below = {record["agent"] for record in records if "subagent" in (record["kind"] or "")}
        above = {record["agent"] for record in records if record["kind"] == "turn"}
        assert len(below) == 1 and len(above) == 1 and below != above, (name, below, above)


@pytest.mark.parametrize("name", ["claude", "claude with hints"])
def test_looking_at_the_context_waits_for_nothing(world, terminals, name):
    counts = world.records(session=world.sessions[name], kind="count")
    assert len(counts) > 20
    assert {record["queued_ms"] for record in counts} == {0}


class Loops:
    """Follow-ups without end, of the same size as an agent's turn: each asks again as soon as it is answered."""

    def __init__(self, world, count):
        self.world, self.ended = world, threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        text = "x " * 20_000 + f"please-hold loop-{number}"
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not self.ended.is_set():
                if number % 2:
                    client.post(self.world.broker.url + "/v1/messages", headers={
                        "x-tollgate-kind": "follow-up", "x-tollgate-session": f"loop-{number}"}, json={
                        "model": agents.CLAUDE_MODEL, "max_tokens": 64000, "stream": True, "tools": [{"name": "any"}],
                        "messages": [{"role": "user", "content": text}]})
                else:
                    client.post(self.world.broker.url + "/v1/responses", headers={
                        "x-tollgate-kind": "follow-up", "x-tollgate-session": f"loop-{number}"}, json={
                        "model": agents.CODEX_MODEL, "stream": True, "input": text})

    @property
    def held(self):
        return [call for call in list(self.world.vendors.calls) if "loop-" in call.prompt and not call.release.is_set()]

    def end(self):
        self.ended.set()
        deadline = lambda: [call.release.set() for call in self.held] is None or not any(t.is_alive() for t in self.threads)
        wait_until(deadline, "the follow-ups to end", 30)


def test_a_compaction_waits_no_longer_than_a_turn(world, terminals):
    """Twelve loops of follow-ups hold every permit of both vendors: a compaction gets the first that is given back, as a turn does, and
    `/context` waits for none."""
    loops = Loops(world, 24)
    try:
        wait_until(lambda: len(loops.held) == 2 * PERMITS, "every permit to be taken")
        wait_until(lambda: queued(world) == 24 - 2 * PERMITS, "the others to wait")
        # What `/context` sends. The agent itself asks only once: it remembers the counts.
        with concurrent.futures.ThreadPoolExecutor(27) as threads:
            counts = list(threads.map(lambda _: count_tokens(world, terminals["claude with hints"].session), range(27)))
        assert [(count.status_code, count.headers["x-tollgate-priority"], count.headers["x-tollgate-queue-ms"]) for count in counts] == (
            [(200, "high", "0")] * 27)
        assert len(loops.held) == 2 * PERMITS
        for name in ("claude with hints", "codex"):
            conversation = terminals[name]
            count = conversation.compact()
            wait_until(lambda: queued(world, session=conversation.session), f"the compaction of {name} to wait")
            of_vendor = [call for call in loops.held if call.target.startswith("/v1/messages") == (conversation.agent == "claude")]
            since = len(world.vendors.calls)
            of_vendor[0].release.set()
            world.vendors.wait_for(conversation.session, "compaction", count)
            first = next(call for call in world.vendors.calls[since:]
                         if call.target.startswith("/v1/messages") == (conversation.agent == "claude"))
            assert first.kind == "compaction", "a follow-up went before the compaction of a waiting person"
    finally:
        loops.end()


def count_tokens(world, session):
    with httpx.Client(timeout=30, trust_env=False) as client:
        return client.post(world.broker.url + "/v1/messages/count_tokens?beta=true", headers={
            "x-claude-code-session-id": session, "user-agent": "claude-cli/2.1.332 (external, cli)"}, json={
            "model": agents.CLAUDE_MODEL, "messages": [{"role": "user", "content": "foo"}]})


def queued(world, session=None):
    with httpx.Client(timeout=20, trust_env=False) as client:
        found = client.get(f"{world.broker.admin}/api/v1/requests", params={"state": "queued", "limit": 1000}).json()["requests"]
    return len([record for record in found if session in (None, record["session"])])


@pytest.mark.parametrize("name", ["claude", "claude with hints", "sdk", "codex"])
def test_a_run_without_a_person_is_normal(world, headless, name):
    """Its compaction, too: nobody waits for it. That of Claude Code without hints is a call like any other of the run."""
    *_, last = headless[name]
    word = HEADLESS[name][-1][-1].split()[-1]
    assert f"Heard {word}." in last
    session = session_of(world, HEADLESS[name][-1][-1])
    calls = collections.Counter(call.kind for call in world.vendors.of(session))
    expected = collections.Counter({
        ("headless", "normal"): calls["turn"], ("compaction", "normal"): calls["compaction"], ("title", "low"): calls["title"]})
    if name == "claude":
        expected["headless", "normal"] += expected.pop(("compaction", "normal"))
    # Only the SDK asks for a title.
    assert calls["compaction"] == (name != "sdk") and calls["title"] == (name == "sdk")
    assert classed(world, session) == +expected


def test_a_review_is_normal(world, headless):
    [review] = [call for call in world.vendors.calls if call.kind == "review"]
    assert classed(world, review.session) == {("review", "normal"): 1}
