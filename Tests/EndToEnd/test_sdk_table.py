"""Every SDK straight and through the broker: the same code, the same verdict. Where it differs it is listed here, with the reason.

`sdkworker` runs one SDK's cases in a process of its own against `sdkvendor`, on both sides; a verdict is what the SDK's caller is given and,
where a call fails, how many calls the SDK made of it."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
from dataclasses import dataclass

import httpx
import pytest

from certificates import make_certificate
from processes import ROOT, environment, write_policy
from sdkvendor import ERRORS, TEXT, Vendor
from waiting import wait_until

SDKS = pathlib.Path(os.environ.get("TOLLGATE_SDKS", ROOT / ".venv-sdks"))
AGENTS = pathlib.Path(os.environ.get("TOLLGATE_AGENTS", ROOT / ".venv-agents"))
HERE = pathlib.Path(__file__).parent

ANSWERS = ["plain", "stream", "cancel", "timeout"]
ONCE = ["one-429", "one-500", "one-503"]
LASTING = ["lasting-429", "lasting-500"]
FINAL = ["400", "401", "403", "404", "no-route"]
ALL = ANSWERS + ONCE + LASTING + FINAL
# Of vendors that have a word of their own for an empty account.
PAID = ALL + ["unpaid"]
STREAMS = ["cut", "error-frame", "stream-400", "stream-one-429", "stream-one-503"]
FEW = ["plain", "stream", "one-429", "one-503", "400", "401", "404", "no-route"]


@dataclass
class Row:
    """One client: how its vendor stands in the policy, its cases, and the folder in which it is installed, where that is another one.
    Those are large or slow and are left out where scripts/setup --sdks has not been run."""

    provider: dict
    cases: list
    folder: pathlib.Path = None


OPENAI = {"dialect": "openai", "base_url": "{}/v1"}
AZURE = {"dialect": "openai", "base_url": "{}", "auth": "api-key"}
ANTHROPIC = {"dialect": "anthropic", "base_url": "{}"}
GEMINI = {"dialect": "gemini", "base_url": "{}"}

ROWS = {
    "openai": Row(OPENAI, PAID + STREAMS + ["bare-stream", "embed", "models"]),
    "openai-responses": Row(OPENAI, PAID + STREAMS),
    "openai-async": Row(OPENAI, PAID),
    "azure": Row(AZURE, PAID + ["embed"]),
    "groq": Row({"dialect": "openai", "base_url": "{}/openai/v1"}, PAID + ["embed", "models"]),
    "anthropic": Row(ANTHROPIC, PAID + STREAMS + ["one-529", "count", "models"]),
    "gemini": Row(GEMINI, ALL + STREAMS + ["count", "embed", "models"]),
    "cohere": Row(OPENAI, ALL + STREAMS + ["embed", "rerank", "models"]),
    "mistral": Row(OPENAI, ALL + STREAMS + ["embed", "models"]),
    "ollama": Row({**OPENAI, "native": "ollama"}, ALL + STREAMS + ["generate", "embed", "models"]),
    "langchain-openai": Row(OPENAI, PAID + ["cut", "embed"]),
    "langchain-anthropic": Row(ANTHROPIC, PAID + ["cut"]),
    "openai-agents": Row(OPENAI, PAID + ["cut"]),
    "openai-agents-chat": Row(OPENAI, PAID + ["cut"]),
    "pydantic-ai": Row(OPENAI, PAID + ["cut"]),
    "pydantic-ai-responses": Row(OPENAI, PAID + ["cut"]),
    "pydantic-ai-anthropic": Row(ANTHROPIC, PAID + ["cut"]),
    "smolagents": Row(OPENAI, PAID),
    "llm": Row(OPENAI, [case for case in PAID if case != "timeout"]),
    "litellm-openai": Row(OPENAI, FEW, folder=SDKS),
    "litellm-anthropic": Row(ANTHROPIC, FEW, folder=SDKS),
    "litellm-gemini": Row(GEMINI, FEW, folder=SDKS),
    "litellm-azure": Row(AZURE, FEW, folder=SDKS),
    "litellm-mistral": Row(OPENAI, FEW, folder=SDKS),
    "mini-swe-agent": Row(OPENAI, [case for case in FEW if case != "stream"], folder=SDKS),
    "claude-agent-sdk": Row(ANTHROPIC, ["plain", *ONCE, "one-529", "400", "404"], folder=AGENTS),
}


@dataclass
class Difference:
    """Where straight and through may differ, and must. `differs` names what of the verdict; None: all of it."""

    clients: str
    cases: str
    straight: str
    through: str
    reason: str
    differs: str = None

    def covers(self, name, case):
        return case in self.cases.split() and (self.clients == "*" or name in self.clients.split())

    def check(self, straight, through):
        assert straight != through, f"no longer different, strike it from the list: {self.reason}"
        assert self.straight in short(straight), straight
        assert self.through in short(through), through
        if self.differs:
            assert {**straight, self.differs: None} == {**through, self.differs: None}


DIFFERENCES = [
    Difference(
        "*", "no-route", "404", "404", differs="vendors words",
        reason="The broker itself says that no provider has the model: same class and status, its own sentence."),
    Difference(
        "gemini mistral ollama litellm-anthropic litellm-gemini litellm-mistral",
        "one-429 one-500 one-503 stream-one-429 stream-one-503", "error", "answer",
        reason="Better: these SDKs make no second try by themselves; the broker does."),
    Difference(
        "cohere", "stream-one-429 stream-one-503", "error", "answer",
        reason="Better: Cohere's SDK repeats whole calls and no streams; the broker repeats both."),
    Difference(
        "openai openai-responses langchain-openai openai-agents openai-agents-chat", "cut", "no status", "APIError",
        reason="Better: a stream that breaks off ends with an error frame that says so, not with a bare broken connection."),
    Difference(
        "anthropic langchain-anthropic", "cut", "RemoteProtocolError", "APIStatusError",
        reason="Better: the error frame is an exception of the SDK's own, where the broken connection is one of its HTTP library."),
    Difference(
        "pydantic-ai pydantic-ai-responses pydantic-ai-anthropic", "cut", "ModelConnectionError", "ModelServerError",
        reason="Better: as for the SDKs below it."),
    Difference(
        "gemini", "cut", "RemoteProtocolError", "ServerError", reason="Better: as for Anthropic's SDK."),
    Difference(
        "ollama", "cut", "RemoteProtocolError", "ResponseError", reason="Better: as for Anthropic's SDK."),
    Difference(
        "mistral", "cut", "RemoteProtocolError", "ResponseValidationError",
        reason="An exception on both sides: this SDK has no error inside of streams, and refuses the frame that is one."),
    Difference(
        "cohere", "cut", "RemoteProtocolError", "ERROR",
        reason="Cohere's own form of a broken stream: its last event has the finish reason ERROR, which the caller must look at."),
]


def short(verdict):
    """Every word by which a verdict may be named in the list above."""
    if "error" not in verdict:
        return {"answer", verdict.get("finish")}
    return {"error", verdict["error"], "no status" if verdict["status"] is None else str(verdict["status"])}


def policy_of(row, url):
    """A provider for each case, so that none sees what another one's errors taught."""
    provider = {**row.provider, "base_url": row.provider["base_url"].format(url)}
    shared = {"keys": [{"id": "main", "secret": "provider-key-0001"}], "check_keys": False,
              "retry": {"base": "20ms", "max": "100ms"}}
    return {
        "version": 1,
        "providers": {case: {**provider, **shared} for case in row.cases},
        "routes": [{"models": ["*." + case], "to": [case]} for case in row.cases if case != "no-route"],
        # A second's pause, and as much again for a machine that is busy with other tests.
        "priorities": {name: {"max_wait": "3s"} for name in ("high", "normal", "low")},
    }


class Table:
    """The verdicts of all clients that are asked for, each client's found when it is first looked at or before."""

    def __init__(self, start, folder_of, names):
        self.start, self.folder_of = start, folder_of
        self.straight, self.through = Vendor(), Vendor()
        start.providers += [self.straight, self.through]
        # The SDKs read a file of authorities for each client that they make; one with one entry costs nothing.
        self.authorities, _ = make_certificate(folder_of("authorities"))
        self.pool = concurrent.futures.ThreadPoolExecutor(6)
        self.running = {name: self.pool.submit(self._run, name) for name in names}

    def of(self, name):
        return self.running[name].result()

    def _run(self, name):
        row = ROWS[name]
        home = self.folder_of(name)
        broker = self.start.broker(policy_of(row, self.through.url))
        python = row.folder / "bin/python" if row.folder else sys.executable
        silence = {
            "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home), "SSL_CERT_FILE": str(self.authorities),
            "PYTHONWARNINGS": "ignore", "OPENAI_API_KEY": "unused", "OPENAI_AGENTS_DISABLE_TRACING": "1", "LANGSMITH_TRACING": "false",
            "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1",
            "LITELLM_TELEMETRY": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LLM_USER_PATH": str(home), "MSWEA_SILENT_STARTUP": "1", "MSWEA_GLOBAL_CONFIG_DIR": str(home),
            "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "2",
        }
        done = subprocess.run(
            [python, HERE / "sdkworker.py", name, ",".join(row.cases), self.straight.url, broker.url, self.straight.url, self.through.url],
            capture_output=True, text=True, timeout=200, env=environment(silence), cwd=home)
        assert done.returncode == 0, done.stderr[-4000:]
        told = json.loads(done.stdout.splitlines()[-1])
        calls = self._calls(broker)
        for case, verdicts in told["verdicts"].items():
            model = f"{name}.{case}"
            for verdict, tries in zip(verdicts, (self.straight.tries[model], calls.get(model, 0))):
                # A client in haste may give up before its call is read.
                if "error" in verdict and case != "timeout":
                    verdict["tries"] = tries
                # The broker's own words where its time is up before its attempts are.
                if case == "lasting-429":
                    verdict.pop("vendors words", None)
        broker.stop()
        return told

    @staticmethod
    def _calls(broker):
        """How many calls the client made, by model."""
        with httpx.Client(timeout=20, trust_env=False) as client:
            def ended():
                return not any(client.get(f"{broker.admin}/api/v1/requests", params={"state": state}).json()["requests"]
                               for state in ("queued", "running"))
            wait_until(ended, "the calls to end")
            records = client.get(f"{broker.admin}/api/v1/requests", params={"state": "recent", "limit": 1000}).json()["requests"]
        counts = {}
        for record in records:
            counts[record["model"]] = counts.get(record["model"], 0) + 1
        return counts


CASES = [(name, case) for name, row in ROWS.items() for case in row.cases]


# What is not installed here is not asked for: .venv-sdks is made by scripts/setup --sdks, for scripts/test --all.
HERE_TOO = [name for name, row in ROWS.items() if row.folder is None or (SDKS.exists() and row.folder.exists())]


@pytest.fixture(scope="module")
def table(start_for_module, tmp_path_factory, request):
    asked = {item.callspec.params["name"] for item in request.session.items if item.path == request.path and hasattr(item, "callspec")}
    table = Table(start_for_module, tmp_path_factory.mktemp, [name for name in HERE_TOO if name in asked])
    yield table
    table.pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name,case", [(name, case) for name, case in CASES if name in HERE_TOO])
def test_the_verdict_is_the_same_or_listed(table, name, case):
    straight, through = table.of(name)["verdicts"][case]
    allowed = [difference for difference in DIFFERENCES if difference.covers(name, case)]
    if allowed:
        allowed[0].check(straight, through)
    else:
        assert straight == through


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", HERE_TOO)
def test_the_answers_are_what_the_vendor_said(table, name):
    """Two equal verdicts could both be a mistake of the test's own."""
    told = table.of(name)
    assert not told["foreign"], "nothing but loopback is asked"
    for case, (straight, _) in told["verdicts"].items():
        if (name, case) == ("claude-agent-sdk", "404"):
            # It has a sentence of its own for that.
            continue
        if case in ("plain", "stream", "generate"):
            assert straight["text"] == TEXT
        elif case in ERRORS and ERRORS[case][-1] is None:
            assert straight["status"] == ERRORS[case][0] and straight.get("vendors words", True)
        elif case in ("cancel", "timeout"):
            assert straight["held"] and straight["left"]


def test_every_listed_difference_has_its_cases():
    """What is listed is compared, and by one entry."""
    for difference in DIFFERENCES:
        assert any(difference.covers(name, case) for name, case in CASES), difference
    for name, case in CASES:
        assert sum(difference.covers(name, case) for difference in DIFFERENCES) <= 1, (name, case)
    named = {name for difference in DIFFERENCES for name in difference.clients.split()} - {"*"}
    assert named <= set(ROWS)
