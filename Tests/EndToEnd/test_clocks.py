"""A machine's clock that is set while calls wait: windows of budgets end with it, also where nothing else happens."""

import datetime
import json
import struct
import subprocess
import threading

import pytest

from processes import policy_for
from scripted import reply
from waiting import wait_until

# The wall clock is later by the nanoseconds in a file; the monotonic one is not touched.
CLOCK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long long *ahead;

__attribute__((constructor)) static void begin(void) {
  int file = open(getenv("CLOCK_AHEAD"), O_RDONLY);
  ahead = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  int result = syscall(SYS_clock_gettime, clock, at);
  if (result == 0 && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    long long all = at->tv_sec * 1000000000LL + at->tv_nsec + *ahead;
    at->tv_sec = all / 1000000000LL;
    at->tv_nsec = all % 1000000000LL;
  }
  return result;
}
"""
PRICES = """version: test-clocks
models:
  "sim-cent*": {input: 10, output: 0}
"""


class Clock:
    def __init__(self, folder):
        self.file = folder / "ahead"
        self.set(0)
        (folder / "clock.c").write_text(CLOCK)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "clock.so", folder / "clock.c"], check=True)
        self.env = {"LD_PRELOAD": str(folder / "clock.so"), "CLOCK_AHEAD": str(self.file)}

    def set(self, seconds):
        mode = "r+b" if self.file.exists() else "wb"
        with open(self.file, mode) as file:
            file.write(struct.pack("q", int(seconds * 1e9)))


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path)


@pytest.mark.parametrize(("per", "days"), [("day", 1), ("month", 32)])
def test_a_call_that_waits_for_budget_goes_when_the_clock_is_set_into_another_window(start, http, clock, tmp_path, per, days):
    go = threading.Event()
    body = json.dumps({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 0}}).encode()
    # The first call runs until the test ends.
    provider = start.provider(
        lambda received, connection: (go.wait(30) if b"first" in received.body else None, reply(body=body))[1])
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    # A time zone in which it is about noon: no window ends by itself.
    noon = f"Etc/GMT{datetime.datetime.now(datetime.timezone.utc).hour - 12:+d}"
    budget = {"usd": 0.015, "per": per, "time_zone": noon}
    broker = start.broker(
        policy_for(provider.url, prices=str(prices), budgets=[budget]), "--store", str(tmp_path / "ledger.db"), env=clock.env)

    def ask(word):
        return http.post(
            broker.openai_url + "/chat/completions",
            json={"model": "sim-cent", "messages": [{"role": "user", "content": word + " toll" * 800}], "max_tokens": 5})

    answers = {}
    threads = [threading.Thread(target=lambda word=word: answers.update({word: ask(word)})) for word in ("first", "second")]
    try:
        threads[0].start()
        wait_until(lambda: len(provider.received) == 1, "the first call at the provider")
        threads[1].start()
        wait_until(
            lambda: len(http.get(broker.admin + "/api/v1/requests?state=queued").json()["requests"]) == 1, "the second call waits")
        # Nothing comes and nothing ends from here on.
        clock.set(days * 86_400)
        wait_until(lambda: "second" in answers, "the second call")
        assert answers["second"].status_code == 200
        assert "first" not in answers
    finally:
        go.set()
        for thread in threads:
            thread.join()
    assert answers["first"].status_code == 200
