"""What calls cost: as trailer and header, in the API, the log and the metrics; prices files, unknown prices, `tollgate prices`."""

import json
import re
import socket
import subprocess

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from processes import policy_for, record_of, run
from rawhttp import address_of

CHAT = {"model": "sim-model", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
PRICES = """version: test-7
models:
  "sim-model": {input: 2, output: 10}
  "sim-dear*": {input: 4000, output: 20000}
"""


@pytest.fixture(scope="module")
def priced(start_for_module, simulator, tmp_path_factory):
    """A broker whose models have prices, one of them none."""
    prices = tmp_path_factory.mktemp("prices") / "prices.yaml"
    prices.write_text(PRICES)
    return start_for_module.broker(policy_for(simulator.url, prices=str(prices)))


def expected(usage: dict) -> str:
    """$2 and $10 per 1M tokens, exact."""
    nano = usage["prompt_tokens"] * 2000 + usage["completion_tokens"] * 10000
    return f"{nano // 10**9}.{nano % 10**9:09d}"


def test_a_short_answer_says_what_it_cost_in_its_head(priced):
    answer = httpx.post(f"{priced.url}/v1/chat/completions", json=CHAT)
    assert answer.status_code == 200
    assert answer.headers["x-tollgate-cost-usd"] == expected(answer.json()["usage"])


def test_cost_is_the_same_in_api_and_metrics(priced):
    answer = httpx.post(f"{priced.url}/v1/chat/completions", json=CHAT)
    story = record_of(httpx, priced, answer)
    assert story["cost_usd"] == expected(answer.json()["usage"])
    assert story["tries"][0]["cost_source"] == "prices"
    page = httpx.get(f"{priced.admin}/metrics").text
    assert 'tollgate_cost_usd_total{provider="openai",model="sim-model",tenant="default"}' in page


@pytest.mark.parametrize("stream", [False, True])
def test_http2_has_it_as_a_trailer(priced, stream):
    body = json.dumps({**CHAT, "stream": stream, "stream_options": {"include_usage": True}} if stream else CHAT)
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    client.send_headers(1, [(":method", "POST"), (":path", "/v1/chat/completions"), (":scheme", "http"),
                            (":authority", "localhost"), ("content-type", "application/json")])
    client.send_data(1, body.encode(), end_stream=True)
    head = trailers = None
    with socket.create_connection(address_of(priced.url), timeout=15) as connection:
        connection.sendall(client.data_to_send())
        while trailers is None:
            for event in client.receive_data(connection.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    head = dict(event.headers)
                elif isinstance(event, h2.events.TrailersReceived):
                    trailers = dict(event.headers)
                assert not isinstance(event, h2.events.StreamEnded) or trailers is not None
    assert head[":status"] == "200" and "x-tollgate-cost-usd" not in head
    assert re.fullmatch(r"0\.000\d{6}", trailers["x-tollgate-cost-usd"])


def test_chunked_http1_has_a_trailer_where_it_is_asked_for(priced):
    body = json.dumps({**CHAT, "stream": True, "stream_options": {"include_usage": True}})
    for asks in [True, False]:
        fields = ["-H", "TE: trailers"] if asks else []
        done = subprocess.run(
            ["curl", "-sS", "--http1.1", "-D", "-", "-o", "/dev/null", "-H", "content-type: application/json", *fields,
             "-d", body, f"{priced.url}/v1/chat/completions"], capture_output=True, text=True, timeout=20, check=True)
        assert ("x-tollgate-cost-usd: 0.000" in done.stdout) == asks


def test_an_unknown_price_is_null_and_not_zero(priced):
    answer = httpx.post(f"{priced.url}/v1/chat/completions", json={**CHAT, "model": "nobody-knows"})
    assert answer.status_code == 200
    assert "x-tollgate-cost-usd" not in answer.headers
    story = record_of(httpx, priced, answer)
    assert story["cost_usd"] is None
    assert story["tries"][0]["cost_source"] == "unknown"


def test_a_policy_may_refuse_unknown_prices(start, simulator, tmp_path):
    (tmp_path / "prices.yaml").write_text(PRICES)
    broker = start.broker(policy_for(simulator.url, prices=str(tmp_path / "prices.yaml"), unknown_price="reject"))
    assert httpx.post(f"{broker.url}/v1/chat/completions", json=CHAT).status_code == 200
    refused = httpx.post(f"{broker.url}/v1/chat/completions", json={**CHAT, "model": "nobody-knows"})
    assert refused.status_code == 404
    assert refused.headers["x-tollgate-outcome"] == "rejected_model"
    assert "x-tollgate-provider" not in refused.headers
    assert "no price" in refused.json()["error"]["message"] and "test-7" in refused.json()["error"]["message"]


def test_a_bad_prices_file_is_refused_with_its_place(tmp_path):
    (tmp_path / "prices.yaml").write_text('version: v\nmodels:\n  "m": {input: cheap}\n')
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        'prices: prices.yaml\nproviders: {a: {dialect: openai, base_url: "http://127.0.0.1:9"}}\n')
    for command in [["check", str(policy)], ["serve", "--policy", str(policy), "--listen", "127.0.0.1:0", "--admin", "off"]]:
        done = run(*command)
        assert done.returncode == 1
        assert "prices.yaml:3:16: error: models" in done.stderr and "cheap" in done.stderr


def test_prices_are_shown(tmp_path):
    def show(*arguments):
        return run("prices", *arguments)

    assert "claude-opus-5 " in show().stdout
    one = show("gpt-6-sol").stdout
    assert "standard, over 272000 tokens  $4.00  $15.00" in one
    unknown = show("nobody-knows")
    assert unknown.returncode == 1 and "has no price" in unknown.stderr
    # The built-in list as a file is a good prices file.
    (tmp_path / "prices.yaml").write_text(show("--yaml").stdout)
    assert show("--file", str(tmp_path / "prices.yaml"), "gpt-6-sol").stdout == one
    assert show("--yaml", "gpt-6-sol").returncode == 2


PRICED = """version: test-9
models:
  "gpt-*": {input: 2.5, output: 10, cache_read: 0.25, request: 0.01, batch: {input: 1}, above: {tokens: 1000, input: 5},
            factors: {us: 1.1}, off_peak: {windows: ["16:30-00:30"], factor: 0.5}, valid_until: 2099-12-31}
  "whisper": {audio_second: 0.0001}
"""


def test_prices_as_json(tmp_path):
    file = tmp_path / "prices.yaml"
    file.write_text(PRICED)
    done = run("prices", "--json", "--file", file)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    told = json.loads(done.stdout)
    assert (told["version"], told["model"], [one["models"] for one in told["prices"]]) == ("test-9", None, ["gpt-*", "whisper"])
    one, other = told["prices"]
    rates = ["input_usd_per_m", "output_usd_per_m", "cache_read_usd_per_m", "cache_write_usd_per_m", "cache_write_1h_usd_per_m"]
    assert [one[name] for name in rates] == ["2.500000000", "10.000000000", "0.250000000", None, None]
    assert (one["request_usd"], one["audio_second_usd"], other["audio_second_usd"]) == ("0.010000000", "0.000000000", "0.000100000")
    # Complete rates, as calls get them; flex costs what batch does.
    assert sorted(one["tiers"]) == ["batch", "flex"] and one["tiers"]["batch"]["input_usd_per_m"] == "1.000000000"
    assert one["tiers"]["batch"]["cache_read_usd_per_m"] == "0.100000000"
    assert (one["above"]["tokens"], one["above"]["input_usd_per_m"], one["above"]["output_usd_per_m"]) == (1000, "5.000000000", "10.000000000")
    assert one["factors"] == {"us": "1.1"} and one["valid_from"] is None and one["valid_until"] == "2099-12-31"
    assert (one["off_peak"]["windows"], one["off_peak"]["factor"]) == ([{"from": "16:30", "until": "00:30"}], "0.5")
    assert (other["tiers"], other["above"], other["factors"], other["off_peak"]) == ({}, None, {}, None)
    # The same shape for one model.
    single = json.loads(run("prices", "gpt-7", "--json", "--file", file).stdout)
    assert (single["model"], single["prices"]) == ("gpt-7", [one])
    unknown = run("prices", "nobody-knows", "--json", "--file", file)
    assert (unknown.returncode, unknown.stdout) == (1, "") and "has no price" in unknown.stderr
    assert "each request: $0.01\n" in run("prices", "gpt-7", "--file", file).stdout
    # The built-in list too, and a policy's.
    assert len(json.loads(run("prices", "--json").stdout)["prices"]) > 20
    assert run("prices", "--json", "--yaml").returncode == 2


def test_events_stream_snapshots_and_changes(priced):
    with httpx.stream("GET", f"{priced.admin}/api/v1/events", timeout=10) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: snapshot"
        assert json.loads(next(lines).removeprefix("data: "))["providers"][0]["id"] == "openai"
        httpx.post(f"{priced.admin}/api/v1/keys/openai/main/disable")
        httpx.post(f"{priced.admin}/api/v1/keys/openai/main/enable")
        changes = []
        snapshots = 0
        for line in lines:
            if line == "event: snapshot":
                snapshots += 1
            elif line == "event: change":
                changes.append(json.loads(next(lines).removeprefix("data: ")))
            if len(changes) >= 4 and snapshots >= 1:
                break
        # It is the only key, so the provider has none meanwhile.
        assert [(change["subject"], change["name"], change["state"]) for change in changes] == [
            ("key", "openai/main", "disabled"), ("provider", "openai", "no_key"),
            ("key", "openai/main", "usable"), ("provider", "openai", "usable")]
