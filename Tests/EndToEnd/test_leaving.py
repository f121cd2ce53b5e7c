"""Clients that leave: while they queue, before the first byte, in mid-stream. The provider's call ends, nothing stays taken."""

import asyncio
import time

import pytest

from fleet import Client, chat, get_json, in_flight, percentile, queued, reach
from processes import NO_RESERVE, policy_for
from promises import promised
from rawhttp import address_of


async def is_idle(broker):
    return await in_flight(broker) == 0 and await queued(broker) == 0


@pytest.mark.timeout(90)
def test_sixty_clients_leave(start, http):
    """20 permits: 10 clients leave before the first byte, 10 in mid-stream, 40 from the queue."""
    simulator = start.simulator(concurrency=20, first_token="20s", output_tokens="4000-4000", tokens_per_second=200)
    broker = start.broker(policy_for(simulator.url, limits={"concurrency": 20}, priorities=NO_RESERVE))
    address, sim = address_of(broker.url), address_of(simulator.url)

    async def run():
        waiting, reading, queueing = ([Client(address) for _ in range(count)] for count in (10, 10, 40))
        for client in waiting:
            await client.send(chat())
        for client in reading:
            await client.send(chat(stream=True), [("x-sim-first-token-ms", "1")])
        for client in reading:
            await client.reader.readuntil(b"\r\n\r\n")
            await client.reader.readuntil(b"data: ")

        async def all_at_the_simulator():
            return (await get_json(sim, "/sim/stats"))["in_flight"] == 20
        await reach(all_at_the_simulator, "20 calls at the simulator")
        for client in queueing:
            await client.send(chat())

        async def all_queued():
            return await queued(broker) == 40
        await reach(all_queued, "40 queued calls")

        # The queued ones first: a place that is freed would go to one of them before it is seen to have left.
        for client in queueing:
            client.abort()

        async def none_queued():
            return await queued(broker) == 0
        await reach(none_queued, "an empty queue")
        left_at = time.monotonic_ns()
        for client in waiting + reading:
            client.abort()

        async def gone():
            counted = await get_json(sim, "/sim/stats")
            return counted["left_waiting"] + counted["left_reading"] == 20 and counted["in_flight"] == 0
        await reach(gone, "the simulator to see 20 calls end")
        await reach(lambda: is_idle(broker), "the broker to be idle")
        calls = (await get_json(sim, "/sim/calls"))["calls"]
        counted = await get_json(sim, "/sim/stats")
        requests = await get_json(address_of(broker.admin), "/api/v1/requests?state=recent&limit=100")
        return left_at, calls, counted, requests["requests"], await in_flight(broker)

    left_at, calls, counted, requests, running = asyncio.run(run())
    # Both processes read CLOCK_MONOTONIC, as Python does.
    delays = [(call["ended_ns"] - left_at) / 1e6 for call in calls if call["ending"] in ("left_waiting", "left_reading")]
    print(f"\nleaving: the provider saw {len(delays)} calls end after p50 {percentile(delays, 0.5):.1f} ms, worst {max(delays):.1f} ms")
    assert counted["calls"] == 20, "a queued call must never reach the provider"
    promised("a call that its client left ends at the provider", max(delays), most=20)
    outcomes = sorted(request["outcome"] for request in requests)
    assert outcomes == ["client_left_queued"] * 40 + ["client_left_running"] * 20
    assert running == 0

    # The places are free again: 20 calls run at once.
    async def again():
        clients = [Client(address) for _ in range(20)]
        results = await asyncio.gather(*[client.call(chat(), [
            ("x-sim-first-token-ms", "300"), ("x-sim-output-tokens", "2")]) for client in clients])
        assert all(result.status == 200 for result in results)
        # Had one waited, it would have done so for another's first token.
        assert max(result.queue_ms for result in results) < 300
    asyncio.run(again())


@pytest.mark.timeout(90)
def test_random_leavers_leave_nothing_behind(start, http):
    """500 calls of which most are aborted at some point; afterwards no permit, no unit and no queue entry is taken."""
    import random
    rng = random.Random(7)
    simulator = start.simulator(concurrency=8, first_token="5ms", output_tokens="20-20", tokens_per_second=2000)
    broker = start.broker(policy_for(simulator.url, limits={"concurrency": 8, "requests_per_minute": 1_000_000}))
    address = address_of(broker.url)

    async def one(number):
        client = Client(address)
        call = asyncio.create_task(client.call(chat(stream=number % 2 == 0), number=number))
        if rng.random() < 0.8:
            await asyncio.wait([call], timeout=rng.random() * 0.3)
            client.abort()
        try:
            await call
        except (asyncio.IncompleteReadError, ConnectionError, AttributeError):
            pass  # Its own client has left.
        client.abort()

    async def run():
        limit = asyncio.Semaphore(100)

        async def bounded(number):
            async with limit:
                await one(number)
        await asyncio.gather(*[bounded(n) for n in range(500)])
        await reach(lambda: is_idle(broker), "the broker to be idle")

        async def simulator_idle():
            return (await get_json(address_of(simulator.url), "/sim/stats"))["in_flight"] == 0
        await reach(simulator_idle, "the simulator to be idle")
        return await get_json(address_of(simulator.url), "/sim/stats")

    counted = asyncio.run(run())
    assert counted["refused_total"] == 0
    assert counted["peak"] <= 8

