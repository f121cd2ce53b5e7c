"""Budgets against the simulator: no overshoot, no budget filled by caps, refusals in both dialects, raises, low, warn, and a restart
after kill -9 that goes on where the ledger stands."""

import asyncio
import re
import signal
import time
from decimal import Decimal

import anthropic
import httpx
import openai
import pytest

from fleet import Client, chat, get_json, reach
from processes import PROVIDER_KEY, policy_for, record_of, run
from rawhttp import address_of
from waiting import wait_until

PRICES = """version: test-budgets
models:
  "sim-cent*": {input: 10, output: 0}
  "claude-sim*": {input: 4, output: 25}
  "sim-dear*": {input: 10000, output: 10000}
"""
# One request of this text is about 1,000 tokens in, one cent.
CENT = "toll " * 800


def tenant(name, *budgets, **more):
    return {"id": name, "budgets": list(budgets), **more}


def day(usd, **more):
    return {"usd": usd, "per": "day", **more}


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text(PRICES)
    return str(path)


@pytest.fixture(scope="module")
def priced(start_for_module, simulator, prices):
    """One broker, one tenant for each test."""
    return start_for_module.broker(policy_for(
        simulator.url, prices=prices, trust_tenant_header=True, tenants=[
            tenant("cents", day(1)), tenant("caps", day(25)), tenant("shapes", day(0.0001)),
            tenant("raised", day(0.05), {"usd": 3, "per": "month"}), tenant("lowered", day(0.02, on_exceed="low")),
            tenant("warned", day(0.02, on_exceed="warn")), tenant("sessions", day(0.015, scope="session")),
            tenant("waits", day(0.015)), tenant("default")]))


def budgets(http, broker):
    return {row["id"]: row for row in http.get(f"{broker.admin}/api/v1/budgets").json()["budgets"]}


def ask(http, broker, who, model="sim-cent", text=CENT, **fields):
    headers = {"x-tollgate-tenant": who, **{name.replace("_", "-"): value for name, value in fields.items()}}
    return http.post(f"{broker.openai_url}/chat/completions", headers=headers, json={
        "model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 5})


async def crowd(broker, bodies, fields, path):
    """All at once, each on its own connection."""
    clients = [Client(address_of(broker.url)) for _ in bodies]
    try:
        return await asyncio.gather(
            *[client.call(body, fields, path) for client, body in zip(clients, bodies, strict=True)])
    finally:
        for client in clients:
            client.close()


def test_two_hundred_calls_of_a_cent_spend_one_dollar(http, priced):
    fields = [("x-tollgate-tenant", "cents"), ("x-sim-first-token-ms", "150")]
    results = asyncio.run(crowd(priced, [chat("sim-cent", max_tokens=5, text=CENT)] * 200, fields, "/v1/chat/completions"))
    served = [r for r in results if r.status == 200]
    refused = [r for r in results if r.status == 429]
    assert len(served) + len(refused) == 200
    assert {r.fields["x-tollgate-outcome"] for r in refused} == {"rejected_budget"}
    spent = sum(Decimal(r.fields["x-tollgate-cost-usd"]) for r in served)
    row = budgets(http, priced)["cents/day"]
    assert Decimal(row["spent_usd"]) == spent
    assert Decimal(row["held_usd"]) == 0
    call = Decimal(served[0].fields["x-tollgate-cost-usd"])
    print(f"\n200 concurrent calls of ${call} against $1: {len(served)} served, ${spent} spent, overshoot ${max(spent - 1, 0)}")
    assert spent <= 1 + call / 10
    assert spent > 1 - 2 * call, "the budget is used, not only kept"


def test_caps_of_32k_do_not_fill_a_budget(http, priced):
    fields = [("x-tollgate-tenant", "caps"), ("x-sim-output-tokens", "400"), ("x-sim-first-token-ms", "200"),
              ("anthropic-version", "2023-06-01")]
    # By its caps alone each would hold $0.80, and 31 would fill the $25.
    body = b'{"model": "claude-sim", "max_tokens": 32000, "messages": [{"role": "user", "content": "hello"}]}'
    results = asyncio.run(crowd(priced, [body] * 100, fields, "/v1/messages"))
    assert {r.status for r in results} == {200}
    row = budgets(http, priced)["caps/day"]
    spent = sum(Decimal(r.fields["x-tollgate-cost-usd"]) for r in results)
    longest = max(r.queue_ms for r in results)
    print(f"\n100 concurrent calls with max_tokens 32000 that produce 400: ${spent} of $25 spent, longest wait {longest} ms")
    assert Decimal(row["spent_usd"]) == spent < Decimal("1.2")
    assert Decimal(row["held_usd"]) == 0
    assert all("x-tollgate-budget-remaining-usd" in r.fields for r in results)


def test_refusals_raise_the_vendors_classes(http, priced):
    headers = {"x-tollgate-tenant": "shapes"}
    with openai.OpenAI(base_url=priced.openai_url, api_key="k", max_retries=2, timeout=20, default_headers=headers) as client:
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model="sim-cent", messages=[{"role": "user", "content": CENT}])
    assert raised.value.code == "insufficient_quota"
    response = raised.value.response
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["x-tollgate-outcome"] == "rejected_budget"
    assert response.headers["x-tollgate-budget-remaining-usd"] == "0.000100000"
    message = raised.value.body["message"]
    assert "'shapes/day'" in message and "$0.0001" in message and "Its window ends at 20" in message, message
    with anthropic.Anthropic(base_url=priced.url, api_key="k", max_retries=2, timeout=20, default_headers=headers) as client:
        with pytest.raises(anthropic.APIStatusError) as raised:
            client.messages.create(model="claude-sim", max_tokens=5, messages=[{"role": "user", "content": CENT}])
    assert raised.value.status_code == 402
    assert raised.value.body["error"]["type"] == "billing_error"
    assert raised.value.response.headers["x-tollgate-budget-remaining-usd"] == "0.000100000"
    count = sum(r["tenant"] == "shapes" for r in http.get(f"{priced.admin}/api/v1/requests").json()["requests"])
    assert count == 2, "the SDKs do not try again"


def test_refusals_that_are_not_the_cores_have_the_header_too(http, priced):
    answer = http.post(f"{priced.openai_url}/chat/completions", headers={"x-tollgate-tenant": "shapes"}, content=b"{")
    assert answer.status_code == 400
    assert answer.headers["x-tollgate-budget-remaining-usd"] == "0.000100000"
    answer = ask(http, priced, "default", text="hello")
    assert answer.status_code == 200
    assert "x-tollgate-budget-remaining-usd" not in answer.headers


def test_a_raise_lets_the_tenant_go_on(http, priced):
    answers = [ask(http, priced, "raised") for _ in range(6)]
    assert [a.status_code for a in answers] == [200] * 4 + [429] * 2 or [a.status_code for a in answers] == [200] * 5 + [429]
    remaining = [Decimal(a.headers["x-tollgate-budget-remaining-usd"]) for a in answers]
    assert remaining == sorted(remaining, reverse=True)
    done = run("budgets", "raise", "raised", "--usd", "0.02", "--until", "2h", "--admin", priced.admin)
    assert done.returncode == 0, done.stderr
    assert "raised by $0.02 until 20" in done.stdout
    assert ask(http, priced, "raised").status_code == 200
    row = budgets(http, priced)["raised/day"]
    assert (row["limit_usd"], row["raised_usd"]) == ("0.070000000", "0.020000000")
    listed = run("budgets", "--admin", priced.admin, check=True)
    assert "raised/day" in listed.stdout and re.search(r"raised/day .* \$0\.07 +\$0\.02 ", listed.stdout), listed.stdout
    assert re.search(r"^raised/\* is raised by \$0\.02 until (20\d\d-\d\d-\d\d )?\d\d:\d\d", listed.stdout, re.M), listed.stdout
    for bad, status in (("tenant=nobody&usd=1&until=9999999", 400), ("tenant=nobody&usd=1&until=2999-01-01T00:00:00Z", 400),
                        ("tenant=nobody&usd=1&until=2190-01-01T00:00:00Z", 404), ("usd=1", 400),
                        ("tenant=raised&usd=-1&until=2190-01-01T00:00:00Z", 400), ("usd=1&until=2190-01-01T00:00:00Z", 404)):
        assert http.post(f"{priced.admin}/api/v1/budgets/raise?{bad}").status_code == status, bad
    assert http.get(f"{priced.admin}/api/v1/budgets/raise").status_code == 405


def test_low_lowers_the_class_and_says_why(http, priced):
    first = ask(http, priced, "lowered", x_tollgate_priority="high", text=CENT * 3)
    second = ask(http, priced, "lowered", x_tollgate_priority="high")
    assert (first.headers["x-tollgate-priority"], second.headers["x-tollgate-priority"]) == ("high", "low")
    story = record_of(http, priced, second)
    assert story["priority"] == "low"
    assert "lowered/day" in story["priority_reason"]


def test_warn_only_says_so(http, priced):
    for _ in range(4):
        assert ask(http, priced, "warned").status_code == 200

    def lines(text):
        return [line for line in priced.stderr if text in line and "warned/day" in line]

    wait_until(lambda: lines("budget used up"), "the notice of a budget that is used up")
    assert len(lines("budget used up")) == 1
    assert len(lines("budget nearly used up")) <= 1
    assert http.get(f"{priced.admin}/api/v1/status").json()["budgets"]


def test_sessions_have_their_own(http, priced):
    def call(session):
        return ask(http, priced, "sessions", x_tollgate_session=session)

    assert [call("a").status_code, call("a").status_code, call("b").status_code] == [200, 429, 200]
    rows = budgets(http, priced)
    assert {"sessions/session/a/day", "sessions/session/b/day"} <= rows.keys()
    assert "session/a" not in http.get(f"{priced.admin}/metrics").text


def test_only_holds_make_wait(priced):
    admin = address_of(priced.admin)

    async def listed(state):
        return (await get_json(admin, f"/api/v1/requests?state={state}"))["requests"]

    async def two():
        fields = [("x-tollgate-tenant", "waits"), ("x-sim-first-token-ms", "400")]
        first, second = Client(address_of(priced.url)), Client(address_of(priced.url))
        try:
            running = asyncio.create_task(first.call(chat("sim-cent", max_tokens=5, text=CENT), fields))
            await reach(lambda: listed("running"), "the first call to run")
            other = asyncio.create_task(second.call(chat("sim-cent", max_tokens=5, text=CENT), fields))

            async def waits():
                assert not other.done(), (await other).body
                return await listed("queued")

            queued = await reach(waits, "the second call to wait")
            story = await get_json(admin, f"/api/v1/requests/{queued[0]['id']}")
            assert story["waits"][0]["blocker"] == "budget"
            assert "waits/day" in story["waits"][0]["reason"]
            return await running, await other
        finally:
            first.close()
            second.close()

    running, other = asyncio.run(two())
    # The first costs what it held: the second can no longer fit.
    assert (running.status, other.status) == (200, 429)


def test_metrics(http, priced):
    ask(http, priced, "default", text="hello")
    page = http.get(f"{priced.admin}/metrics").text
    assert 'tollgate_budget_limit_usd{scope="caps",window="day"} 25' in page
    assert 'tollgate_budget_spent_usd{scope="shapes",window="day"} 0' in page


def test_a_killed_broker_goes_on_where_its_ledger_stands(http, start, simulator, prices, tmp_path):
    """Spent, held and raised sums after kill -9 equal the ledger; the limiters are restored too."""
    store = ["--store", str(tmp_path / "ledger.db")]
    policy = policy_for(
        simulator.url, prices=prices, trust_tenant_header=True, limits={"requests_per_minute": 30},
        tenants=[tenant("acme", day(0.1), {"usd": 5, "per": "total"}, day(1, scope="session"))],
        budgets=[{"usd": 7, "per": "month"}])
    first = start.broker(policy, *store)
    for _ in range(3):
        assert ask(http, first, "acme", x_tollgate_session="s").status_code == 200
    until = int(time.time()) + 3600
    assert http.post(f"{first.admin}/api/v1/budgets/raise?tenant=acme&usd=0.5&until={until}").status_code == 200
    hanging = httpx.Client(timeout=30, trust_env=False)
    with pytest.raises(httpx.HTTPError):
        with hanging.stream("POST", f"{first.openai_url}/chat/completions", headers={
                "x-tollgate-tenant": "acme", "x-sim-first-token-ms": "1", "x-sim-tokens-per-second": "1",
                "x-sim-output-tokens": "50"}, json={
                "model": "sim-cent", "messages": [{"role": "user", "content": CENT}], "stream": True}) as answer:
            assert answer.status_code == 200
            before = budgets(http, first)
            assert Decimal(before["acme/day"]["held_usd"]) > 0
            first.process.send_signal(signal.SIGKILL)
            first.wait()
            for _ in answer.iter_bytes():
                pass
    hanging.close()
    second = start.broker(policy, *store)
    after = budgets(http, second)
    for name in ("acme/day", "acme/total", "broker/month", "acme/session/s/day"):
        spent = Decimal(before[name]["spent_usd"])
        if "session" not in name:
            spent += Decimal(before[name]["held_usd"])
        assert Decimal(after[name]["spent_usd"]) == spent, name
        assert Decimal(after[name]["held_usd"]) == 0
    assert after["acme/day"]["raised_usd"] == after["acme/total"]["raised_usd"] == "0.500000000"
    buckets = {row["dimension"]: row for row in http.get(f"{second.admin}/api/v1/status").json()["providers"][0]["buckets"]}
    # Four were sent a moment ago, and one comes back every two seconds.
    assert 26 <= buckets["requests"]["available"] < 30
    assert PROVIDER_KEY not in "\n".join(second.stderr)
