"""Memory: what an idle broker, a queued request and a running stream take, and that it comes back."""

import asyncio
import os

import pytest

from fleet import Client, chat, in_flight, queued, reach
from processes import NO_RESERVE, policy_for
from rawhttp import address_of
from test_limits import memory_mib


# The ledger of this test is in memory and keeps its 1,500 rows, and debug code keeps more of what it once had; the release is held to
# 20 % by the script in Benchmarks.
SLACK_MIB = 6
IS_SANITIZED = "ASAN_OPTIONS" in os.environ or "TSAN_OPTIONS" in os.environ


@pytest.mark.timeout(120)
def test_memory_of_queued_and_streaming_calls(start):
    simulator = start.simulator(first_token="1ms", output_tokens="100000-100000", tokens_per_second=2)
    broker = start.broker(policy_for(simulator.url, limits={"concurrency": 500}, priorities=NO_RESERVE), "--log-format", "json")
    address = address_of(broker.url)

    async def is_at(count, wanted):
        return await count(broker) == wanted

    async def round_of(streams, waiting):
        clients = [Client(address) for _ in range(streams + waiting)]
        for client in clients[:streams]:
            await client.send(chat(stream=True))
        await reach(lambda: is_at(in_flight, streams), f"{streams} running streams", 30)
        for client in clients[:streams]:
            await client.reader.readuntil(b"data: ")
        streaming = memory_mib(broker, "VmRSS")
        for client in clients[streams:]:
            await client.send(chat())
        await reach(lambda: is_at(queued, waiting), f"{waiting} queued calls", 30)
        queueing = memory_mib(broker, "VmRSS")
        for client in clients:
            client.abort()
        await reach(lambda: is_at(in_flight, 0), "no running call", 30)
        await reach(lambda: is_at(queued, 0), "no queued call", 30)
        return streaming, queueing

    async def run():
        warm = memory_mib(broker, "VmRSS")
        await round_of(20, 0)
        idle = memory_mib(broker, "VmRSS")
        streaming, queueing = await round_of(500, 1000)

        async def is_back():
            return memory_mib(broker, "VmRSS") <= 1.2 * idle + SLACK_MIB

        # What the load needed is given back when it has been over for a moment.
        if not IS_SANITIZED:
            await reach(is_back, "the memory to come back", 30)
        return warm, idle, streaming, queueing, memory_mib(broker, "VmRSS")

    warm, idle, streaming, queueing, after = asyncio.run(run())
    print(f"\nmemory (this build): started {warm:.1f} MiB, idle {idle:.1f} MiB, {(streaming - idle) * 1024 / 500:.1f} KiB per stream, "
          f"{(queueing - streaming) * 1024 / 1000:.1f} KiB per queued call, afterwards {after:.1f} MiB")
    # What is promised of a release. A debug build takes about as much; a sanitizer's shadow memory is nobody's measure.
    if not IS_SANITIZED:
        assert (streaming - idle) * 1024 / 500 < 40
        assert (queueing - streaming) * 1024 / 1000 < 8
