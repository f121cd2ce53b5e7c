"""What is left after `kill -9`: of a process that only writes a ledger, and of the real broker under load."""

import json
import os
import signal
import sqlite3
import threading

import httpx

from crashing import crash
from processes import DEV_BINARY, policy_for, run
from waiting import wait_until

SEED = int(os.environ.get("TOLLGATE_CRASH_SEED", "20261121"))
BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50}).encode()


def test_nothing_that_was_reported_is_lost():
    reported, presumed = crash(DEV_BINARY, int(os.environ.get("TOLLGATE_CRASH_COUNT", "40")), SEED)
    print(f"{reported} entries reported, {presumed} attempts presumed")
    assert reported > 500 and presumed > 5


class Load:
    """Clients that call until their broker is gone, and remember what they saw finished."""

    def __init__(self, url, clients, stream):
        self.url, self.stream = url, stream
        self.finished, self.lock = [], threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        body = json.dumps(dict(json.loads(BODY), stream=True)).encode() if self.stream else BODY
        with httpx.Client(timeout=30) as client:
            try:
                while True:
                    answer = client.post(
                        f"{self.url}/v1/chat/completions", content=body,
                        headers={"content-type": "application/json", "x-tollgate-session": f"client-{number}"})
                    if answer.status_code == 200:
                        with self.lock:
                            self.finished.append(answer.headers["x-tollgate-request-id"])
            except httpx.HTTPError:
                pass  # The broker was killed: what it had finished is in the list.

    def join(self):
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()


def usage(store, *flags):
    done = run("usage", "--store", store, "--format", "json", *flags)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_killed_broker_forgets_no_finished_call(start, tmp_path):
    store = str(tmp_path / "ledger.db")
    simulator = start.simulator(first_token="2ms", output_tokens="5-9")
    finished = []
    for round_number in range(3):
        broker = start.broker(policy_for(simulator.url), "--store", store)
        # What the last one left open is settled before this one listens.
        assert usage(store)["total"]["requests"] >= len(finished)
        load = Load(broker.url, clients=8, stream=round_number == 1)
        wait_until(lambda: len(load.finished) >= 60, "sixty finished calls")
        broker.signal(signal.SIGKILL)
        load.join()
        broker.wait()
        finished += load.finished
    last = start.broker(policy_for(simulator.url), "--store", store)
    database = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    rows = dict(database.execute("SELECT request_id, count(*) FROM request_log GROUP BY request_id"))
    outcomes = dict(database.execute("SELECT request_id, outcome FROM request_log"))
    states = dict(database.execute("SELECT state, count(*) FROM attempt_log GROUP BY state"))
    database.close()
    assert set(rows.values()) == {1}
    assert all(outcomes.get(request) == "completed" for request in finished), "a finished call is missing"
    assert "held" not in states
    # The provider saw no call that is not at least presumed.
    seen = httpx.get(simulator.url + "/sim/stats", timeout=10).json()["calls"]
    assert states.get("posted", 0) + states.get("presumed", 0) >= seen
    # The file, the running broker and the sum of the rows say the same.
    report = usage(store, "--by", "session,day")
    answer = httpx.get(last.admin + "/api/v1/usage?by=session,day", timeout=10).json()
    assert answer["total"] == report["total"] and answer["rows"] == report["rows"]
    assert report["total"]["requests"] == len(rows)
    assert report["total"]["presumed"] == states.get("presumed", 0)
    for name in ("requests", "input_tokens", "output_tokens", "presumed"):
        assert sum(row[name] for row in report["rows"]) == report["total"][name]
    nano = [int(row["cost_usd"].replace(".", "")) for row in report["rows"]]
    assert sum(nano) == int(report["total"]["cost_usd"].replace(".", "")) > 0
