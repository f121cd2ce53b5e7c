"""A real Prometheus scrapes a real broker: formats, exemplars, and every query of `examples/prometheus-grafana` against it."""

import json
import re
import subprocess
import threading
import time

import httpx
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic

from processes import ROOT, environment, policy_for
from waiting import wait_until

EXAMPLE = ROOT / "examples/prometheus-grafana"
OPEN_METRICS = "application/openmetrics-text;version=1.0.0"
TOKEN = "prometheus-reads-with-this"

PRICES = """
version: test
models:
  "gpt-*": {input: 2, output: 10}
  "claude-*": {input: 5, output: 25, cache_read: 0.5, cache_write: 6.25}
  'wild "quoted" \\back\\ {a="b"} ü # €': {input: 1, output: 1}
"""
HOSTILE = 'wild "quoted" \\back\\ {a="b"} ü # €'


def call(http, broker, model="gpt-test", path="/v1/chat/completions", **fields):
    body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
    return http.post(broker.url + path, json=body, headers=fields)


@pytest.fixture(scope="module")
def broker(start_for_module, tmp_path_factory):
    """A broker that has something to tell of everything: limits, budgets, keys, models with their own limits, a token."""
    prices = tmp_path_factory.mktemp("prices") / "prices.yaml"
    prices.write_text(PRICES)
    simulator = start_for_module.simulator(first_token="20ms", output_tokens="5-5")
    limits = {"concurrency": 2, "requests_per_minute": 6000, "input_tokens_per_minute": 1000000, "output_tokens_per_minute": 1000000}
    keys = [{"id": "main", "secret": "${SIM_KEY}", "limits": {"concurrency": 2, "requests_per_minute": 6000}}]
    broker = start_for_module.broker(policy_for(
        simulator.url, limits=limits, keys=keys, prices=str(prices), admin={"token": "${ADMIN_TOKEN}", "read_token": "${READ_TOKEN}"},
        model_limits={"gpt-*": {"concurrency": 2, "requests_per_minute": 6000, "breaker": {"preset": "api"}}, HOSTILE: {"concurrency": 1}},
        retry={"attempts": 2, "base": "1ms"},
        budgets=[{"usd": 100, "per": "day"}, {"tokens": 1000000, "per": "week"}],
        tenants=[{"id": "acme", "keys": [], "limits": {"concurrency": 8, "requests_per_minute": 6000}, "budgets": [{"usd": 1, "per": "total"}]},
                 {"id": "*"}], trust_tenant_header=True),
        env={"ADMIN_TOKEN": "may-do-everything", "READ_TOKEN": TOKEN})
    broker.simulator = simulator.url
    with httpx.Client(timeout=20, trust_env=False) as http:
        traffic(http, broker)
    return broker


def traffic(http, broker):
    """Calls of each class, some at once so that they wait, a refusal, a failure and a retry."""
    def burst(priority):
        for _ in range(3):
            assert call(http, broker, **{"x-tollgate-priority": priority, "x-tollgate-tenant": "acme"}).status_code == 200
    threads = [threading.Thread(target=burst, args=(priority,)) for priority in ("high", "normal", "low") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    call(http, broker, **{"x-sim-fault": "500"})
    call(http, broker, **{"x-sim-fault": "400"})
    # Once: the next attempt finds a well provider.
    assert http.post(broker.simulator + "/sim/faults", json={"fault": "429", "times": 1}).status_code == 200
    assert call(http, broker).status_code == 200
    assert call(http, broker, HOSTILE).status_code == 200
    for _ in range(2):
        assert call(http, broker, "claude-test", "/v1/messages", **{"anthropic-version": "2023-06-01"}).status_code == 200


def page(http, broker, accept="text/plain"):
    answer = http.get(broker.admin + "/metrics", headers={"accept": accept, "authorization": "Bearer " + TOKEN})
    assert answer.status_code == 200
    return answer


class Prometheus:
    """Prometheus with the example's rules, on a free port; scrapes often."""

    def __init__(self, broker, folder):
        configuration = yaml.safe_load((EXAMPLE / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "500ms"}
        configuration["rule_files"] = [str(EXAMPLE / name) for name in configuration["rule_files"]]
        job, = configuration["scrape_configs"]
        (folder / "read-token").write_text(TOKEN)
        job["authorization"]["credentials_file"] = str(folder / "read-token")
        job["static_configs"] = [{"targets": [broker.admin.removeprefix("http://")]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                 "--web.listen-address=127.0.0.1:0", "--enable-feature=exemplar-storage"],
                stdout=log, stderr=log, env=environment(), cwd=folder)
        self.http = httpx.Client(timeout=20, trust_env=False)
        port = wait_until(lambda: re.search(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', self.log.read_text()), self.log.read_text, 60)[1]
        self.url = f"http://127.0.0.1:{port}/api/v1"
        wait_until(lambda: self.ready(port), "Prometheus is ready", 60)

    def ready(self, port):
        return self.http.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200

    def ask(self, path, **parameters):
        answer = self.http.get(self.url + path, params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, text):
        return self.ask("/query", query=text)["result"]

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.http.close()


@pytest.fixture(scope="module")
def prometheus(broker, tmp_path_factory):
    prometheus = Prometheus(broker, tmp_path_factory.mktemp("prometheus"))
    try:
        # Rates need two scrapes, with something between them; and the rules two rounds.
        wait_until(lambda: prometheus.query("count_over_time(up[5m]) >= 2"), "two scrapes", 60)
        with httpx.Client(timeout=20, trust_env=False) as http:
            traffic(http, broker)
        wait_until(lambda: prometheus.query("tollgate:queue_wait_seconds:p99_5m > 0"), "rates of what came since", 60)
        yield prometheus
    finally:
        prometheus.close()


def test_promtool_finds_nothing_wrong(http, broker):
    done = subprocess.run(["promtool", "check", "metrics"], input=page(http, broker).text, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_reader_chooses_the_format(http, broker):
    plain = page(http, broker)
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert page(http, broker, "*/*").headers["content-type"] == plain.headers["content-type"]
    other = page(http, broker, "text/plain;q=0.5," + OPEN_METRICS)
    assert other.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert other.text.endswith("\n# EOF\n") and "# EOF" not in plain.text


def series(families):
    return {(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples}


def test_strict_parsers_read_both_formats_with_hostile_names(http, broker):
    plain, other = (list(read(page(http, broker, accept).text)) for read, accept in ((classic, "text/plain"), (open_metrics, OPEN_METRICS)))
    assert series(plain) == series(other)
    for families in (plain, other):
        models = {sample.labels["model"] for family in families for sample in family.samples if "model" in sample.labels}
        assert {HOSTILE, "gpt-test", "gpt-*"} <= models
    kinds = {family.name: family.type for family in other}
    assert kinds["tollgate_requests"] == "counter" and kinds["tollgate_queue_wait_seconds"] == "histogram"
    units = {family.name: family.unit for family in other}
    assert units["tollgate_cost_usd"] == "usd" and units["tollgate_queue_bytes"] == "bytes" and units["process_cpu_seconds"] == "seconds"


def test_numbers_have_no_noise(http, broker):
    values = [line.rsplit(" ", 1)[1] for line in page(http, broker).text.splitlines() if not line.startswith("#")]
    assert len(values) > 100
    assert [value for value in values if not re.fullmatch(r"-?\d+(\.\d{1,9})?|\d\.?\d*e-\d\d", value)] == []


def test_prometheus_scrapes_without_a_mistake(prometheus, broker):
    target, = prometheus.ask("/targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert prometheus.query('tollgate_requests_total{outcome="completed",priority="high"}')
    log = prometheus.log.read_text()
    assert "level=error" not in log
    assert not re.search(r"level=warn.*(scrape|Scrape|append|duplicate|Rule)", log), log


def test_exemplars_lead_to_requests(prometheus, broker, http):
    now = time.time()

    def found():
        return prometheus.ask("/query_exemplars", query="tollgate_queue_wait_seconds_bucket", start=now - 600, end=now + 600)
    every = [exemplar for entry in wait_until(found, "exemplars", 60) for exemplar in entry["exemplars"]]
    assert every
    for exemplar in every:
        record = http.get(f"{broker.admin}/api/v1/requests/{exemplar['labels']['request_id']}", headers={"authorization": "Bearer " + TOKEN}).json()
        # A call that went out again has waited again since.
        assert 0 <= float(exemplar["value"]) <= record["queued_ms"] / 1000 + 0.001
        assert abs(exemplar["timestamp"] - now) < 600


def rules():
    for name in ("recording", "alerts"):
        for group in yaml.safe_load((EXAMPLE / f"rules/{name}.yml").read_text())["groups"]:
            yield from group["rules"]


def test_every_rule_is_evaluated(prometheus):
    def evaluated():
        found = [rule for group in prometheus.ask("/rules")["groups"] for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else None
    found = wait_until(evaluated, "every rule was evaluated", 60)
    assert len(found) == len(list(rules())) > 20
    assert [rule for rule in found if rule["health"] != "ok"] == []
    for rule in found:
        if rule["type"] == "recording":
            assert prometheus.query(rule["name"]), f"{rule['name']} has no data"


# What an alert compares is there; whether it is beyond its limit is what promtool's tests are for.
def test_alerts_look_at_what_is_there(prometheus):
    known = set(prometheus.ask("/label/__name__/values"))
    for rule in rules():
        names = set(re.findall(r"\b(?:tollgate[a-z0-9_:]*|up)\b", re.sub(r'"[^"]*"', "", rule["expr"]))) - RARE
        assert names and names <= known, f"{rule.get('alert', rule.get('record'))}: {names - known}"


# Half a minute must pass before a rate of spending is known; a wait is predicted where somebody waits.
RARE = {"tollgate_budget_runs_out_seconds", "tollgate_predicted_wait_seconds", "tollgate_cache_lost_usd_total"}


def panels():
    for panel in json.loads((EXAMPLE / "grafana/tollgate.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$__rate_interval", "1m")
            yield panel["title"], re.sub(r"\$(instance|provider)\b", ".*", text)


def test_every_panel_of_the_dashboard_has_data(prometheus):
    every = list(panels())
    assert len(every) > 40
    empty = {}
    for title, text in every:
        assert "$" not in text, text
        if not prometheus.query(text) and not any(name in text for name in RARE):
            empty[title] = text
    assert empty == {}


def test_the_dashboard_offers_brokers_and_providers(prometheus):
    dashboard = json.loads((EXAMPLE / "grafana/tollgate.json").read_text())
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            assert prometheus.ask(f"/label/{label}/values", **{"match[]": metric.replace("$instance", ".*")})
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) and all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in dashboard["panels"])


def test_the_examples_rules_pass_their_own_tests():
    for arguments in (["check", "config", "--syntax-only", "prometheus.yml"], ["test", "rules", "rules/tests.yml"]):
        done = subprocess.run(["promtool", *arguments], cwd=EXAMPLE, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_firing_and_not_firing():
    fires = {}
    for test in yaml.safe_load((EXAMPLE / "rules/tests.yml").read_text())["tests"]:
        for alert in test.get("alert_rule_test", []):
            fires.setdefault(alert["alertname"], set()).add(bool(alert["exp_alerts"]))
    assert fires == {rule["alert"]: {True, False} for rule in rules() if "alert" in rule}


def test_each_alert_has_its_place_in_the_guide():
    guide = (ROOT / "docs/operating/alerts.md").read_text()
    told = set(re.findall(r"^### (Tollgate\w+)", guide, re.MULTILINE))
    assert told == {rule["alert"] for rule in rules() if "alert" in rule}
