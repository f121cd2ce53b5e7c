"""Runs every case of one SDK, straight and through, in a process of its own, and prints the verdicts as one line of JSON.

    python sdkworker.py CLIENT CASE,CASE,... STRAIGHT THROUGH CONTROL_STRAIGHT CONTROL_THROUGH

The same code runs on both sides; only the base URL differs. A verdict is what the caller of the SDK is given: text, usage and the reason of
the end, or the class of the exception, its status, and whether it has the vendor's own words. Nothing but loopback can be reached."""

import concurrent.futures
import gc
import json
import sys
import urllib.request

from sdkframeworks import CLIENTS
from sdkvendor import SENTENCE

# The module `agents` is the SDK's here, not the tests'.
sys.path.pop(0)

# How long a client waits, in seconds.
PATIENT, HASTY = 30.0, 0.5
foreign = []


def loopback_only(name, arguments):
    if name == "socket.getaddrinfo":
        host = arguments[0]
    elif name == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in (None, "127.0.0.1", "localhost", "::1"):
        foreign.append(host)
        raise OSError(f"no way to {host} from here")


def failed(error):
    statuses = (getattr(error, "status_code", None), getattr(error, "code", None), getattr(getattr(error, "response", None), "status_code", None))
    status = next((value for value in statuses if isinstance(value, int)), None)
    return {"error": type(error).__name__, "status": status, "vendors words": SENTENCE in str(error) or SENTENCE in str(vars(error))}


# What is asked of a client in each case, where it is not `plain`.
METHODS = {"stream": "stream", "cut": "stream", "error-frame": "stream", "stream-400": "stream", "stream-one-503": "stream",
           "stream-one-429": "stream", "cancel": "leave", "bare-stream": "bare_stream", "embed": "embed", "count": "count",
           "models": "models", "rerank": "rerank", "generate": "generate"}


def verdict(patient, name, case, base, control):
    model = f"{name}.{case}"
    client = CLIENTS[name](base, HASTY) if case == "timeout" else patient
    ask = getattr(client, METHODS.get(case, "plain"))

    def once():
        try:
            return ask(model)
        except Exception as error:
            return failed(error)

    got = once()
    if case == "401":
        # The second call meets a key of which the broker knows that it is refused.
        got["again"] = once()
    if case in ("timeout", "cancel"):
        got.update(left(control, model))
    return got


def left(control, model):
    """Whether the vendor sees that the client has gone; some SDKs close a connection only when nothing refers to it any more."""
    for _ in range(10):
        gc.collect()
        with urllib.request.urlopen(f"{control}/control/left/{model}", timeout=20) as answer:
            told = json.load(answer)
        if told["left"]:
            break
    return told


def main():
    sys.addaudithook(loopback_only)
    name, cases, *urls = sys.argv[1:]
    cases = cases.split(",")
    bases, controls = urls[:2], urls[2:]
    sides = [(CLIENTS[name](base, PATIENT), name, base, control) for base, control in zip(bases, controls)]
    with concurrent.futures.ThreadPoolExecutor(min(len(cases) * 2, sides[0][0].at_once)) as pool:
        running = {case: [pool.submit(verdict, client, name, case, base, control) for client, name, base, control in sides] for case in cases}
        verdicts = {case: [each.result() for each in pair] for case, pair in running.items()}
    print(json.dumps({"verdicts": verdicts, "foreign": foreign}))


if __name__ == "__main__":
    main()
