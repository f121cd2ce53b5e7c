"""Kills a process that writes a ledger at random points, thousands of times, and compares what it had reported with what is there.

    python3 Tests/EndToEnd/crashing.py BINARY COUNT [SEED]

The child (`tollgate-dev ledger-load --tells`) appends holds and ends in bursts and says on a pipe up to which
entry they are committed: that is what a provider or a client could have seen. It is killed with SIGKILL at a moment drawn
from the seed: while it opens, recovers, writes, commits, checkpoints. The next child opens the same file. Then every hold
that was reported must be there once, posted or presumed; every end that was reported must be there once with its cost; and
what lies beside them must be whole.
"""

import pathlib
import random
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

GOLDEN = 0x9E37_79B9_7F4A_7C15
INVERSE = pow(GOLDEN, -1, 1 << 64)
HELD = 8_000_000


def attempts_of(number):
    """Every seventh request is tried twice; the first try was not sent."""
    return 2 if number % 7 == 3 else 1


def cost_of(number):
    return 5_000_000 + number % 1000


def entries(per_round, open_calls):
    """The entries in the order in which the child numbers them, without end: (kind, request, attempt)."""
    first = 0
    while True:
        for request in range(first, first + per_round):
            yield "held", request, 1
            if attempts_of(request) == 2:
                yield "void", request, 1
                yield "held", request, 2
            old = request - open_calls
            if old >= 0:
                if old % 11 == 5:
                    yield "settled", old, attempts_of(old)
                    yield "concluded", old, 0
                else:
                    # The request and its last attempt in one entry.
                    yield "finished", old, attempts_of(old)
        first += per_round


class Run:
    """One child, from its start to its end by SIGKILL."""

    def __init__(self, binary, store, number, dice):
        self.number, self.seed = number, dice.getrandbits(40)
        self.tenant = f"run-{number}"
        self.rate = dice.choice([2_000, 20_000, 100_000])
        self.per_round = max(1, self.rate // 1000)
        self.open = dice.choice([1, 10, 200])
        # Some give every hold its row at once, some only after seconds, as a broker does.
        self.list_time = dice.choice([0, 2, 5000])
        self.committed, self.presumed = 0, None
        self.process = subprocess.Popen(
            [binary, "ledger-load", "--tells", "--store", store, "--rate", str(self.rate), "--open", str(self.open),
             "--requests", "100000000", "--seed", str(self.seed), "--tenant", self.tenant, "--list-time", str(self.list_time)],
            stdout=subprocess.PIPE)
        self.rest = b""

    def read(self, seconds):
        """Takes in what the child says for so long; False at its end."""
        deadline = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return True
            piece = self.process.stdout.read1(65536)
            if not piece:
                return False
            *lines, self.rest = (self.rest + piece).split(b"\n")
            for line in lines:
                what, value = line.split()
                if what == b"N":
                    self.committed = int(value)
                else:
                    self.presumed = int(value)

    def await_recovery(self):
        deadline = time.monotonic() + 60
        while self.presumed is None:
            assert self.read(0.005) and time.monotonic() < deadline, f"run {self.number} did not start: {self.process.poll()}"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        while self.read(60):
            pass
        self.process.stdout.close()
        code = self.process.wait()
        assert code == -signal.SIGKILL, f"run {self.number} ended by itself with {code}"

    def check(self, store, presumed):
        """Everything that this run reported, after the next one has recovered; `presumed` is what that one said, if it could."""
        database = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)
        series = [row[0] for row in database.execute("SELECT id FROM series WHERE tenant = ?", (self.tenant,))]
        marks = ",".join("?" * len(series))
        attempts = database.execute(
            f"SELECT request_low, attempt, state, cost FROM attempts WHERE series IN ({marks})", series).fetchall()
        requests = database.execute(f"SELECT request_low, attempts FROM requests WHERE series IN ({marks})", series).fetchall()
        strays = database.execute("SELECT count(*) FROM changes").fetchone()[0]
        database.close()
        assert strays == 0, "an end found no hold"

        def request(low):
            return ((low % (1 << 64)) * INVERSE - self.seed) % (1 << 64)

        there = {(request(low), attempt): (state, cost) for low, attempt, state, cost in attempts}
        ended = {request(low): count for low, count in requests}
        assert len(there) == len(attempts), "an attempt is there twice"
        assert len(ended) == len(requests), "a request is there twice"
        for (number, attempt), (state, cost) in there.items():
            expected = 0 if attempt < attempts_of(number) else cost_of(number)
            assert state in (1, 2, 3), f"request {number}: an open hold was left"
            assert cost == (HELD if state == 3 else expected), f"request {number}: cost {cost} in state {state}"
            assert number in ended, f"request {number} has no row"
        assert presumed is None or sum(state == 3 for state, _ in there.values()) == presumed, "other holds were presumed than told"
        spoken = zip(range(self.committed), entries(self.per_round, self.open))
        for _, (kind, number, attempt) in spoken:
            if kind == "held":
                assert (number, attempt) in there, f"the hold of request {number} was reported and is gone"
            elif kind == "concluded":
                assert number in ended, f"the end of request {number} was reported and is gone"
            else:
                assert kind != "finished" or number in ended, f"the end of request {number} was reported and is gone"
                state, _ = there[number, attempt]
                assert state == (2 if kind == "void" else 1), f"the end of request {number} was reported, its state is {state}"
        return len(there)


def crash(binary, count, seed, tell=lambda text: None):
    """`count` kills; returns (entries that had been reported, attempts that were presumed)."""
    dice = random.Random(seed)
    reported = presumed = 0
    number = 0
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        while number < count:
            # A new file now and then: its making is killed too.
            store = str(pathlib.Path(folder) / f"{number}.db")
            before, recoveries = None, 0
            for _ in range(min(25, count - number)):
                run = Run(binary, store, number, dice)
                try:
                    if dice.random() < 0.15:
                        # In its first moments: while it makes the file, or recovers.
                        run.read(dice.random() * 0.03)
                    else:
                        run.await_recovery()
                        run.read(dice.random() * dice.choice([0.002, 0.02, 0.08]))
                finally:
                    run.kill()
                number += 1
                reported += run.committed
                if run.presumed is None:
                    # It may have got through its recovery and not have said so.
                    recoveries += 1
                    continue
                if before is not None:
                    before.check(store, run.presumed if recoveries == 0 else None)
                    presumed += run.presumed
                before, recoveries = run, 0
                if number % 100 == 0:
                    tell(f"{number} kills, {reported} entries reported, {presumed} attempts presumed")
            if before is not None:
                last = Run(binary, store, number, dice)
                try:
                    last.await_recovery()
                    before.check(store, last.presumed if recoveries == 0 else None)
                    presumed += last.presumed
                finally:
                    last.kill()
            for path in pathlib.Path(folder).iterdir():
                path.unlink()
    return reported, presumed


if __name__ == "__main__":
    binary, count = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}", flush=True)
    reported, presumed = crash(binary, count, seed, lambda text: print(text, flush=True))
    print(f"passed: {count} kills, {reported} entries reported, {presumed} attempts presumed (seed {seed})")
