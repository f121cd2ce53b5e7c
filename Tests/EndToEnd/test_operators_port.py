"""The admin port answers whatever else goes on: out of descriptors, crowded with idle connections; pages of other sites change
nothing by it; upstream keys are used on their days only, and their ends are announced."""

import contextlib
import datetime
import os
import re
import resource
import socket

import httpx
import pytest

from processes import policy_for, run
from rawhttp import address_of
from waiting import wait_until

CALL = {"model": "gpt-test", "messages": [{"role": "user", "content": "hello"}]}


def connect(url):
    connection = socket.create_connection(address_of(url), timeout=10)
    connection.settimeout(10)
    return connection


def healthy(connection):
    """Asks on a connection that stays open."""
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_out_of_descriptors_is_told_and_the_admin_port_still_answers(start, http, simulator):
    broker = start.broker(policy_for(simulator.url))
    assert http.post(broker.url + "/v1/chat/completions", json=CALL).status_code == 200
    opened = len(os.listdir(f"/proc/{broker.pid}/fd"))
    resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (opened + 4, opened + 4))
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(broker.url))
        broker.wait_for_line(r'warning: data port detail="no more connections are accepted for now: .*raise the limit of open files')
        # More at a time than are kept back, each held open: the stillest makes room for the next.
        for _ in range(12):
            assert healthy(stack.enter_context(connect(broker.admin)))
        broker.wait_for_line(r'warning: admin port detail="the process has no descriptors left')
        with contextlib.closing(connect(broker.admin)) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        assert int(re.search(r"^process_open_fds (\d+)", text, re.M)[1]) >= opened
    with httpx.Client(timeout=20, trust_env=False) as client:
        assert client.post(broker.url + "/v1/chat/completions", json=CALL).status_code == 200


def test_idle_admin_connections_do_not_make_it_deaf(start, simulator):
    broker = start.broker(policy_for(simulator.url))
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connect(broker.admin)) for _ in range(300)]
        fresh = stack.enter_context(connect(broker.admin))
        assert healthy(fresh)
        # The last 256 are open, the ones before them made room.
        assert healthy(idle[-1])
        idle[0].settimeout(5)
        assert idle[0].recv(10) == b""
        assert run("status", "--admin", broker.admin).returncode == 0


@pytest.mark.parametrize("fields, status", [
    ({"sec-fetch-site": "cross-site"}, 403), ({"sec-fetch-site": "same-site"}, 403), ({"sec-fetch-site": "same-origin"}, 200),
    ({"sec-fetch-site": "none"}, 200), ({"origin": "http://evil.example"}, 403), ({}, 200)])
def test_pages_of_other_sites_change_nothing(http, broker, fields, status):
    assert http.post(broker.admin + "/api/v1/breakers/anthropic/auto", headers=fields).status_code == status


def day(offset):
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=offset)).strftime("%Y-%m-%d")


def test_keys_are_used_on_their_days_only(start, http, simulator):
    keys = [{"id": "past", "secret": "${SIM_KEY}", "expires": day(-1)}, {"id": "future", "secret": "${SIM_KEY}", "valid_from": day(30)},
            {"id": "ending", "secret": "${SIM_KEY}", "valid_from": day(-9), "expires": day(3)}]
    broker = start.broker(policy_for(simulator.url, keys=keys))
    for number in range(12):
        answer = http.post(broker.url + "/v1/chat/completions", json=CALL, headers={"x-tollgate-session": f"s{number}"})
        assert (answer.status_code, answer.headers["x-tollgate-key"]) == (200, "ending")
    broker.wait_for_line(r'warning: key changed key="openai/past" reason="expired at 20.*" .*state="disabled"')
    broker.wait_for_line(r'warning: key changed key="openai/future" reason="not valid before 20.*" .*state="disabled"')
    broker.wait_for_line(r'warning: key changed key="openai/ending" reason="expires at 20.*, in less than 3 days" .*state="usable"')
    past, future, ending = http.get(broker.admin + "/api/v1/status").json()["providers"][0]["keys"]
    assert (past["state"], past["reason"][:10], past["until"]) == ("disabled", "expired at", None)
    assert (future["state"], future["until"]) == ("disabled", f"{day(30)}T00:00:00.000Z")
    assert (ending["state"], ending["reason"], ending["expires"]) == ("usable", None, f"{day(3)}T00:00:00.000Z")
    listed = run("keys", "--admin", broker.admin, env={"TZ": "UTC"}).stdout
    assert re.search(r"openai/past .*disabled .* expired at 20", listed) and re.search(rf"openai/ending .* usable .* {day(3)} 00:00 ", listed)
    metrics = http.get(broker.admin + "/metrics").text
    assert 'tollgate_key_state{provider="openai",key="past"} 2' in metrics
    assert 'tollgate_key_state{provider="openai",key="ending"} 0' in metrics


def test_key_without_a_day_left_refuses_at_once(start, http, simulator):
    broker = start.broker(policy_for(simulator.url, keys=[{"id": "past", "secret": "${SIM_KEY}", "expires": "2026-01-01T00:00:00+02:00"}]))
    answer = http.post(broker.url + "/v1/chat/completions", json=CALL)
    assert (answer.status_code, answer.headers["x-tollgate-outcome"]) == (503, "rejected_no_capacity")
    wait_until(lambda: any("expired at 2025-12-31T22:00:00.000Z" in line for line in broker.stderr), "the end in the log")
