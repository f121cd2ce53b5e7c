"""Budgets and daily limits that come, change and come back by a reload: they begin with what was spent, and nobody passes before that is known."""

import json
import signal
import sqlite3
import threading
import time
from decimal import Decimal

import pytest

from processes import policy_for, run, write_policy
from scripted import reply
from waiting import wait_until

PRICES = """version: test-reloads
models:
  "sim-cent*": {input: 10, output: 0}
"""
# About a thousand tokens, one cent.
CENT = "toll " * 800
# A time zone in which it is about noon: no day ends under a test.
NOON = f"Etc/GMT{time.gmtime().tm_hour - 12:+d}"


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text(PRICES)
    return str(path)


class Setting:
    def __init__(self, start, http, url, prices, folder, *budgets, **changes):
        self.start, self.http, self.url, self.prices = start, http, url, prices
        self.store = str(folder / "ledger.db")
        self.broker = start.broker(self.policy(*budgets, **changes), "--store", self.store)

    def policy(self, *budgets, of_broker=(), **changes):
        return policy_for(
            self.url, prices=self.prices, trust_tenant_header=True, budgets=list(of_broker),
            tenants=[{"id": "acme", "budgets": list(budgets)}, {"id": "other"}], **changes)

    def reload(self, *budgets, **changes):
        write_policy(self.broker.policy_file.parent, self.policy(*budgets, **changes))
        answer = self.http.post(self.broker.admin + "/api/v1/reload")
        assert answer.status_code == 200, answer.text

    def restart(self):
        self.broker.process.send_signal(signal.SIGKILL)
        self.broker.wait()
        self.broker = self.start.broker(self.broker.policy_file.read_text(), "--store", self.store)

    def ask(self, tenant="acme", session="s"):
        return self.http.post(
            f"{self.broker.openai_url}/chat/completions",
            headers={"x-tollgate-tenant": tenant, "x-tollgate-session": session},
            json={"model": "sim-cent", "messages": [{"role": "user", "content": CENT}], "max_tokens": 5})

    def spend(self, calls=1, **more):
        answers = [self.ask(**more) for _ in range(calls)]
        assert {answer.status_code for answer in answers} == {200}, answers[-1].text
        return sum(Decimal(answer.headers["x-tollgate-cost-usd"]) for answer in answers)

    def refused(self, **more):
        answer = self.ask(**more)
        assert (answer.status_code, answer.headers["x-tollgate-outcome"]) == (429, "rejected_budget")

    def rows(self):
        return {row["id"]: row for row in self.http.get(f"{self.broker.admin}/api/v1/budgets").json()["budgets"]}

    def spent(self, name):
        return Decimal(self.rows()[name]["spent_usd"])

    def queued(self):
        return self.http.get(f"{self.broker.admin}/api/v1/requests?state=queued").json()["requests"]


@pytest.fixture
def setting(start, http, simulator, prices, tmp_path):
    return lambda *budgets, **changes: Setting(start, http, simulator.url, prices, tmp_path, *budgets, **changes)


def usd(limit, per="day", **more):
    more = {"time_zone": NOON} | more if per in ("day", "week", "month") else more
    return {"usd": limit, "per": per, **more}


@pytest.mark.parametrize(("before", "after", "name"), [
    ([], usd(0.025), "acme/day"),
    ([usd(1, "total")], usd(0.025), "acme/day"),
    ([usd(1)], usd(0.025, "5h"), "acme/5h"),
    ([usd(1, time_zone="UTC")], usd(0.025), "acme/day"),
    ([usd(1)], usd(0.025, scope="session"), "acme/session/s/day"),
    ([usd(1)], usd(0.025), "acme/day"),
], ids=["new", "another period", "a rolling window", "another zone", "of sessions", "another limit"])
def test_a_budget_that_a_reload_brings_knows_what_was_spent(setting, before, after, name):
    setting = setting(*before)
    spent = setting.spend(2)
    # More policies than one: each is asked about once.
    setting.reload(*before)
    setting.reload(after)
    setting.refused()
    assert setting.spent(name) == spent
    setting.reload(after | {"usd": 0.2})
    assert setting.spent(name) == spent
    spent += setting.spend()
    assert setting.spent(name) == spent


@pytest.mark.parametrize("unit", ["tokens", "requests"])
def test_budgets_in_other_units_know_it_too(setting, unit):
    setting = setting()
    setting.spend(2)
    setting.reload({unit: {"tokens": 2500, "requests": 2}[unit], "per": "5h"})
    setting.refused()


def test_a_budget_of_the_broker_knows_what_everybody_spent(setting):
    setting = setting()
    spent = setting.spend() + setting.spend(tenant="other")
    setting.reload(of_broker=[usd(0.025)])
    setting.refused(tenant="other")
    assert setting.spent("broker/day") == spent


def test_a_budget_that_was_away_comes_back_with_the_truth(setting):
    setting = setting(usd(0.1))
    spent = setting.spend()
    setting.reload()
    assert "acme/day" not in setting.rows()
    spent += setting.spend()
    setting.reload(usd(0.025))
    setting.refused()
    assert setting.spent("acme/day") == spent


def test_what_is_told_is_what_a_restart_finds(setting):
    setting = setting(usd(1, scope="session"))
    setting.spend(session="a")
    setting.reload(usd(1, scope="session"), usd(1, "5h"), usd(1, "total"), usd(1, "month"))
    setting.spend(session="b")
    setting.spend(tenant="other")
    setting.reload(usd(1, scope="session"), usd(1, "5h"), usd(1, "total"), usd(1, "month"), usd(1))
    setting.spend(session="c")
    live = {name: row["spent_usd"] for name, row in setting.rows().items()}
    assert len(live) == 7 and len(set(live.values())) == 2
    setting.restart()
    assert {name: row["spent_usd"] for name, row in setting.rows().items()} == live


def test_calls_that_run_are_held_and_posted_in_a_budget_that_comes(start, http, prices, tmp_path):
    go = threading.Event()
    body = json.dumps({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 0}}).encode()
    provider = start.provider(
        lambda received, connection: (go.wait(20), reply(body=body))[1])
    setting = Setting(start, http, provider.url, prices, tmp_path)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(setting.ask()))
    thread.start()
    try:
        wait_until(lambda: len(provider.received) == 1, "the call at the provider")
        setting.reload(usd(0.015), {"requests": 5, "per": "5h"})
        row = setting.rows()["acme/day"]
        assert Decimal(row["held_usd"]) > 0 and Decimal(row["spent_usd"]) == 0
    finally:
        go.set()
        thread.join()
    assert answers[0].status_code == 200
    row = setting.rows()["acme/day"]
    assert (Decimal(row["held_usd"]), Decimal(row["spent_usd"])) == (0, Decimal("0.01"))
    setting.refused()


def test_nobody_passes_before_the_ledger_has_told(setting):
    setting = setting()
    setting.spend()
    lock = sqlite3.connect(setting.store, isolation_level=None)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(setting.ask()))
    try:
        lock.execute("BEGIN IMMEDIATE")
        # Its end waits to be written, so that no answer of the ledger would be whole.
        setting.spend()
        setting.reload(usd(0.05))
        thread.start()
        wait_until(lambda: len(setting.queued()) == 1, "a call that waits")
        wait_until(lambda: any("calls wait until the ledger tells" in line for line in setting.broker.stderr), "the notice")
        assert not answers
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    thread.join()
    assert answers[0].status_code == 200
    assert Decimal("0.025") < setting.spent("acme/day") < Decimal("0.05")


def test_a_daily_limit_that_a_reload_brings_knows_what_the_day_has_used(setting):
    # The day of these limits is UTC's: near its end, the test begins with the next.
    wait_until(lambda: time.time() % 86_400 < 86_370, "the next day", timeout=60)
    setting = setting()
    setting.spend(2)
    setting.reload(limits={"requests_per_day": 5})

    def left():
        status = setting.http.get(f"{setting.broker.admin}/api/v1/status").json()
        provider = next(entry for entry in status["providers"] if entry["id"] == "openai")
        return [bucket["available"] for bucket in provider["buckets"]]

    wait_until(lambda: left() == [3], "what the day has used")
    setting.spend()
    assert left() == [2]
    setting.reload(limits={"requests_per_day": 5})
    setting.reload(limits={"requests_per_day": 6})
    wait_until(lambda: left() == [3], "the new limit")


def test_budgets_of_two_zones_have_ids_series_and_raises_of_their_own(setting):
    setting = setting(usd(1), usd(2, time_zone="Asia/Kathmandu"), usd(3))
    spent = setting.spend()
    names = ["acme/day", "acme/day#2", "acme/day#3"]
    assert [setting.spent(name) for name in names] == [spent] * 3
    done = run("budgets", "raise", "acme", "--usd", "5", "--budget", "acme/day#2", "--until", "2h", "--admin", setting.broker.admin)
    assert done.returncode == 0, done.stderr
    assert [Decimal(setting.rows()[name]["limit_usd"]) for name in names] == [1, 7, 3]
    series = [line.rsplit(" ", 1)[0] for line in setting.http.get(setting.broker.admin + "/metrics").text.splitlines()
              if line.startswith("tollgate_budget_")]
    assert len(series) == len(set(series))
    setting.restart()
    assert [Decimal(setting.rows()[name]["limit_usd"]) for name in names] == [1, 7, 3]
    assert [setting.spent(name) for name in names] == [spent] * 3


def test_pruning_gives_no_budget_anything_back(setting):
    budgets = [usd(1, "month"), {"tokens": 2500, "per": "180d"}, usd(1, "total", scope="session")]
    setting = setting(*budgets)
    setting.spend(2)
    before = {name: (row.get("spent_usd"), row.get("spent")) for name, row in setting.rows().items()}

    def rows():
        # What has just begun stays until its hold is in no list any more.
        done = run("usage", "prune", "--older-than", "1s", "--store", setting.store)
        assert done.returncode == 0, done.stderr
        with sqlite3.connect(setting.store) as ledger:
            return ledger.execute("SELECT count(*) FROM attempts").fetchone()[0]

    wait_until(lambda: rows() < 2, "the first row is pruned")
    setting.restart()
    assert {name: (row.get("spent_usd"), row.get("spent")) for name, row in setting.rows().items()} == before
    setting.refused()
