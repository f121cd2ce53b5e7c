"""`tollgate usage` and `GET /api/v1/usage` against real calls, the care of the file, and a ledger that cannot be written."""

import contextlib
import csv
import io
import json
import os
import pty
import re
import sqlite3
import subprocess

import httpx
import pytest

from processes import BINARY, key_hash, policy_for, run, write_policy
from waiting import wait_until

BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}


def call(broker, session, tenant_key=None, model="gpt-4o-mini"):
    headers = {"x-tollgate-session": session}
    if tenant_key:
        headers["authorization"] = f"Bearer {tenant_key}"
    return httpx.post(
        broker.openai_url + "/chat/completions", json=dict(BODY, model=model), headers=headers, timeout=30)


@pytest.fixture(scope="module")
def setting(start_for_module, tmp_path_factory):
    """A broker that keeps a ledger in a file, with six calls of two sessions and two models in it."""
    store = tmp_path_factory.mktemp("ledger") / "tollgate.db"
    simulator = start_for_module.simulator(first_token="1ms", output_tokens="5-9")
    broker = start_for_module.broker(policy_for(simulator.url), "--store", store)
    for number in range(6):
        assert call(broker, f"s{number % 2}", model=("gpt-4o-mini", "gpt-4o")[number % 3 == 0]).status_code == 200

    class Setting:
        pass

    setting = Setting()
    setting.store, setting.broker, setting.simulator = store, broker, simulator
    return setting


def report(setting, query):
    answer = httpx.get(setting.broker.admin + "/api/v1/usage" + query, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_rows_and_total(setting):
    body = report(setting, "?by=session,model")
    assert [(row["session"], row["model"], row["requests"]) for row in body["rows"]] == [
        ("s0", "gpt-4o", 1), ("s0", "gpt-4o-mini", 2), ("s1", "gpt-4o", 1), ("s1", "gpt-4o-mini", 2)]
    for name in ("requests", "presumed", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"):
        assert sum(row[name] for row in body["rows"]) == body["total"][name]
    assert body["total"]["requests"] == 6 and body["total"]["output_tokens"] >= 30
    nano = [int(row["cost_usd"].replace(".", "")) for row in body["rows"]]
    assert all(len(row["cost_usd"].split(".")[1]) == 9 for row in body["rows"])
    assert sum(nano) == int(body["total"]["cost_usd"].replace(".", "")) > 0
    assert body["since"] < body["until"]


@pytest.mark.parametrize("dimension", ["tenant", "session", "model", "provider", "key", "priority", "kind", "day", "hour"])
def test_every_dimension_sums_to_the_same(setting, dimension):
    body = report(setting, f"?by={dimension}")
    assert body["total"] == report(setting, "?by=tenant")["total"]
    assert all(dimension in row for row in body["rows"])


def test_time_limits_buckets_and_escapes(setting):
    assert report(setting, "?by=tenant&since=2020-01-01&until=2020-01-02")["rows"] == []
    assert report(setting, "?by=tenant&since=2020-01-01T00%3A00%3A00%2B01%3A00")["total"]["requests"] == 6
    assert report(setting, "?by=tenant%2Cmodel&bucket=hour")["rows"][0].keys() >= {"hour", "tenant", "model"}
    assert report(setting, "")["rows"][0].keys() >= {"tenant", "model"}


@pytest.mark.parametrize("query, said", [
    ("?by=colour", "by: found 'colour', allowed are tenant, session"), ("?since=soon", "since: found 'soon'"),
    ("?format=xml", "format: found 'xml', allowed are json and csv"), ("?bucket=week", "bucket: found 'week'"),
    ("?buy=tenant", "there is no parameter 'buy'"), ("?by=%zz", "has a wrong escape"),
    ("?since=2026-01-02&until=2026-01-01", "since: it is later than until")])
def test_mistakes_say_what_is_allowed(setting, query, said):
    answer = httpx.get(setting.broker.admin + "/api/v1/usage" + query, timeout=10)
    assert answer.status_code == 400 and said in answer.json()["error"]["message"]


def test_only_reading_is_allowed(setting):
    answer = httpx.post(setting.broker.admin + "/api/v1/usage", timeout=10)
    assert answer.status_code == 405 and answer.headers["allow"] == "GET"


def test_csv_over_the_api_and_the_command_line(setting):
    answer = httpx.get(setting.broker.admin + "/api/v1/usage?by=session&format=csv", timeout=10)
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["requests"] for row in rows] == ["3", "3"]
    assert run("usage", "--by", "session", "--format", "csv", "--admin", setting.broker.admin).stdout == answer.text.replace("\r\n", "\n")


def test_the_table_lines_up_and_ends_with_the_total(setting):
    done = run("usage", "--by", "session,model", "--admin", setting.broker.admin)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[2].split()[:3] == ["SESSION", "MODEL", "REQUESTS"]
    assert len(lines) == 3 + 4 + 1 and lines[-1].startswith("total")
    assert len({len(line) for line in lines[2:]}) == 1
    assert done.stdout.splitlines()[2:] == run("usage", "--by", "session,model", "--store", setting.store).stdout.splitlines()[2:]


def test_json_from_the_file_is_that_of_the_broker(setting):
    done = run("usage", "--by", "model", "--format", "json", "--store", setting.store)
    assert json.loads(done.stdout)["rows"] == report(setting, "?by=model")["rows"]


@pytest.mark.parametrize("arguments, code, said", [
    (["--by", "colour", "--store", "x"], 2, "by: found 'colour'"), (["--since", "soon", "--store", "x"], 2, "since: found 'soon'"),
    (["--format", "xml"], 2, "xml"), (["--admin", "127.0.0.1:1"], 1, "no broker answers"),
    (["--store", "none.db"], 1, "there is no such file"), (["--store", "memory:"], 2, "is no file"),
    (["prune", "--older-than", "soon", "--store", "x"], 2, "--older-than: found 'soon'"),
    (["prune", "--older-than", "90d", "--store", "none.db"], 1, "there is no such file"),
    (["backup", "copy.db", "--store", "none.db"], 1, "there is no such file"), (["backup"], 2, "file")])
def test_exit_codes(arguments, code, said):
    done = run("usage", *arguments)
    assert done.returncode == code and said in done.stderr and done.stdout == ""


def test_backup_and_prune_beside_the_running_broker(setting, tmp_path):
    copy = tmp_path / "copy.db"
    done = run("usage", "backup", copy, "--admin", setting.broker.admin)
    assert done.returncode == 0 and str(setting.store) in done.stdout, done.stderr
    assert run("usage", "backup", copy, "--admin", setting.broker.admin).returncode == 1
    assert run("usage", "backup", copy, "--admin", setting.broker.admin, "--force").returncode == 0
    assert run("usage", "prune", "--older-than", "1h", "--admin", setting.broker.admin).stdout.startswith("removed 0 requests")
    assert json.loads(run("usage", "--store", copy, "--format", "json").stdout)["total"]["requests"] == 6
    # A call stays while its hold is in a list: here each that began in one transaction and ended in a later one.
    with contextlib.closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as ledger:
        listed = ledger.execute("SELECT coalesce(sum(length(holds)), 0) / 72 FROM new_holds").fetchone()[0]
    done = run("usage", "prune", "--older-than", "0s", "--store", copy)
    assert done.stdout.startswith(f"removed {6 - listed} requests and {6 - listed} attempts"), done.stderr
    assert json.loads(run("usage", "--store", copy, "--format", "json").stdout)["total"]["requests"] == listed
    assert report(setting, "?by=tenant")["total"]["requests"] == 6


def test_after_an_orderly_end_everything_can_be_removed(start, tmp_path):
    store = tmp_path / "tollgate.db"
    simulator = start.simulator(first_token="100ms", output_tokens="5-5")
    broker = start.broker(policy_for(simulator.url), "--store", store)
    for _ in range(3):
        assert call(broker, "s").status_code == 200
    broker.stop()
    done = run("usage", "prune", "--older-than", "0s", "--store", store)
    assert done.stdout.startswith("removed 3 requests and 3 attempts"), done.stderr
    assert json.loads(run("usage", "--store", store, "--format", "json").stdout)["rows"] == []


def test_whoever_asks_for_the_file_finds_every_call_in_it(start, tmp_path):
    """Entries reach the file some moments after their call. A copy that is made at once must hold it all the same."""
    store = tmp_path / "tollgate.db"
    simulator = start.simulator(first_token="1ms", output_tokens="5-5")
    broker = start.broker(policy_for(simulator.url), "--store", store)
    for number in range(1, 11):
        assert call(broker, "s").status_code == 200
        state = httpx.get(broker.admin + "/api/v1/ledger", timeout=10).json()
        assert state["pending"] == 0
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as ledger:
            assert ledger.execute("SELECT count(*) FROM requests").fetchone() == (number,)


def test_a_copy_beside_a_locked_ledger_says_what_is_missing(start, tmp_path):
    store = tmp_path / "tollgate.db"
    simulator = start.simulator(first_token="1ms", output_tokens="5-5")
    broker = start.broker(policy_for(simulator.url), "--store", store)
    assert call(broker, "s").status_code == 200
    assert httpx.get(broker.admin + "/api/v1/ledger", timeout=10).json()["pending"] == 0
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert call(broker, "s").status_code == 200
        done = run("usage", "backup", tmp_path / "copy.db", "--admin", broker.admin)
        lacking = httpx.get(broker.admin + "/api/v1/usage", timeout=10).json()
        shown = run("usage", "--admin", broker.admin)
        other.execute("ROLLBACK")
    assert (lacking["total"]["requests"], lacking["pending"] > 0) == (1, True)
    assert shown.returncode == 0 and "are not in this report" in shown.stderr
    wait_until(lambda: httpx.get(broker.admin + "/api/v1/usage", timeout=10).json()["total"]["requests"] == 2, "the second call")
    assert httpx.get(broker.admin + "/api/v1/usage", timeout=10).json()["pending"] == 0
    assert done.returncode == 0, done.stderr
    assert f"of the running broker are not in {store} yet" in done.stderr
    assert json.loads(run("usage", "--store", tmp_path / "copy.db", "--format", "json").stdout)["total"]["requests"] == 1


def test_where_the_books_are(setting):
    state = httpx.get(setting.broker.admin + "/api/v1/ledger", timeout=10).json()
    assert state == {"store": str(setting.store), "obstacle": None, "pending": 0, "lost": 0}


def test_lines_of_csv_end_on_a_terminal_as_others_do(setting):
    assert run("usage", "--format", "csv", "--admin", setting.broker.admin).stdout.count("\n") >= 2
    mine, its = pty.openpty()
    shown = b""
    with subprocess.Popen([BINARY, "usage", "--format", "csv", "--admin", setting.broker.admin],
                          stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.PIPE) as child:
        os.close(its)
        while True:
            try:
                piece = os.read(mine, 4096)
            except OSError:  # Linux says so where nobody is left to write.
                break
            if not piece:
                break
            shown += piece
        assert child.wait(timeout=30) == 0
    os.close(mine)
    lines = shown.decode().split("\r\n")
    assert len(lines) >= 3 and lines[0].endswith("cost_usd") and lines[-1] == ""
    assert "\\u" not in shown.decode() and "\r" not in "".join(lines)


def test_a_tenants_token_sees_its_own(start):
    simulator = start.simulator(first_token="1ms", output_tokens="5-5")
    keys = {tenant: f"tg-{tenant}" for tenant in ("acme", "beta")}
    hashes = {tenant: key_hash(key) for tenant, key in keys.items()}
    broker = start.broker(policy_for(
        simulator.url, tenants=[{"id": tenant, "keys": [hashes[tenant]]} for tenant in keys],
        admin={"token": "boss-token-0123456789", "tenant_tokens": [{"tenant": "acme", "token": "acme-token-0123456789"}]}))
    for tenant, count in (("acme", 2), ("beta", 3)):
        for _ in range(count):
            assert call(broker, "s", keys[tenant]).status_code == 200

    def ask(token, path="/api/v1/usage?by=tenant"):
        return httpx.get(broker.admin + path, headers={"authorization": f"Bearer {token}"} if token else {}, timeout=10)

    assert ask(None).status_code == 401
    assert ask("boss-token-0123456789").json()["total"]["requests"] == 5
    own = ask("acme-token-0123456789").json()
    assert [row["tenant"] for row in own["rows"]] == ["acme"] and own["total"]["requests"] == 2
    assert ask("acme-token-0123456789", "/api/v1/ledger").status_code == 403


def test_a_locked_ledger_refuses_new_work_and_heals(start, tmp_path):
    store = tmp_path / "ledger.db"
    simulator = start.simulator(first_token="1ms", output_tokens="5-5")
    broker = start.broker(policy_for(simulator.url), "--store", store)
    assert call(broker, "s").status_code == 200
    lock = sqlite3.connect(store, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    # Until the trouble is told, calls pass: what they are is safe in the journal, or they wait.
    answers = []

    def refused():
        answers.append(call(broker, "s"))
        return answers[-1].status_code == 503 and answers[-1]

    refusal = wait_until(refused, "a refused call")
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert refusal.headers["x-tollgate-outcome"] == "rejected_no_capacity"
    assert 1 <= int(refusal.headers["retry-after"]) <= 60
    state = httpx.get(broker.admin + "/api/v1/ledger", timeout=10).json()
    assert "another process holds its write lock" in state["obstacle"] and state["pending"] > 0
    assert "write lock" in httpx.get(broker.admin + "/api/v1/status", timeout=10).json()["ledger"]
    broker.wait_for_line("the ledger cannot be written")
    ready = httpx.get(broker.admin + "/readyz", timeout=10)
    assert ready.status_code == 503 and "write lock" in ready.text
    assert httpx.get(broker.admin + "/healthz", timeout=10).status_code == 200
    metrics = httpx.get(broker.admin + "/metrics", timeout=10).text
    assert "\ntollgate_ledger_obstacle 1\n" in metrics and re.search(r"^tollgate_ledger_pending [1-9]", metrics, re.M)
    # What charts from the ledger lack is told; those from memory lack nothing.
    chart = httpx.get(broker.admin + "/api/v1/history?metric=calls&since=24h", timeout=10).json()
    assert chart["pending"] > 0
    assert httpx.get(broker.admin + "/api/v1/history?metric=queued&since=5m", timeout=10).json()["pending"] == 0
    for flags in ([], ["--json"]):
        status = run("status", *flags, "--admin", broker.admin)
        assert status.returncode == 1 and "write lock" in status.stdout
    lock.execute("ROLLBACK")
    lock.close()
    wait_until(lambda: httpx.get(broker.admin + "/api/v1/ledger", timeout=10).json()["obstacle"] is None, "the trouble's end")
    assert call(broker, "s").status_code == 200
    assert httpx.get(broker.admin + "/readyz", timeout=10).status_code == 200
    assert "\ntollgate_ledger_obstacle 0\n" in httpx.get(broker.admin + "/metrics", timeout=10).text
    assert run("status", "--admin", broker.admin).returncode == 0
    broker.signal(15)
    assert broker.wait() == 0
    rows = json.loads(run("usage", "--store", store, "--format", "json").stdout)
    # Every call has its row, the refused one too.
    assert rows["total"]["requests"] == len(answers) + 2 and rows["total"]["presumed"] == 0


def test_serve_says_what_is_wrong_with_its_store(start, tmp_path):
    policy = write_policy(tmp_path, policy_for("http://127.0.0.1:9"))

    def serve(store):
        return run("serve", "--policy", policy, "--listen", "127.0.0.1:0", "--admin", "off", "--store", store)

    done = serve(tmp_path / "none" / "t.db")
    assert done.returncode == 1 and "does not exist; make it ('mkdir -p" in done.stderr
    (tmp_path / "text").write_text("hello, this is a letter\n" * 100)
    done = serve(tmp_path / "text")
    assert done.returncode == 1 and "is no SQLite database" in done.stderr
    store = tmp_path / "t.db"
    broker = start.broker(policy_for("http://127.0.0.1:9"), "--store", store)
    done = serve(store)
    assert done.returncode == 1 and f"another tollgate uses it (process {broker.pid})" in done.stderr
