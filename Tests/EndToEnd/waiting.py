"""Waiting for a condition: the only place in the end-to-end tests that sleeps, in short steps and with an end."""

import time


def wait_until(condition, what, timeout=10.0):
    """Returns the first truthy result of `condition`; fails after `timeout` seconds with `what` and the last result."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for: {what}; last seen: {result!r}")
        time.sleep(0.005)


def elapsed_ms(since):
    return (time.monotonic() - since) * 1000
