"""How long requests wait, in simulated time: 64 callers in a closed loop, two streams, the mix of `make load`."""

from __future__ import annotations

import heapq
import itertools
import random

import numpy as np

from pool_export.runtime.scheduling.call import Call
from pool_export.runtime.scheduling.queue import FairQueue, Ticket
from pool_export.runtime.tokens import Encoded

# Of MiniLM on one core: seconds a forward pass, and a padded token.
PASS, TOKEN = 0.0012, 0.00023
CALLERS = [1] * 51 + [4] * 8 + [16] * 3 + [9] * 2  # texts a request


def waits(callers: list[int], requests: int) -> dict[int, list[float]]:
    """Seconds from sending a request to its answer, by its number of texts."""
    rng, order, now, idle = random.Random(0), itertools.count(), 0.0, 2
    queue, running, left, sent = FairQueue(), [], {}, {}
    found: dict[int, list[float]] = {size: [] for size in callers}

    def send(size: int) -> None:
        lengths = [min(190, max(5, int(rng.lognormvariate(3.55, 0.65)))) for _ in range(size)]
        ticket = Ticket([Encoded([1] * length, [0] * length) for length in lengths], ("e",), lengths, Call())
        left[ticket], sent[ticket] = size, now
        queue.put(ticket)

    for size in callers:
        send(size)
    while sum(map(len, found.values())) < requests:
        while idle and len(queue):
            batch = queue.pick(512, 64)
            idle -= 1
            seconds = PASS + TOKEN * len(batch) * max(item.weight for item in batch)
            heapq.heappush(running, (now + seconds, next(order), batch))
        now, _, batch = heapq.heappop(running)
        idle += 1
        for item in batch:
            left[item.ticket] -= 1
            if not left[item.ticket]:
                size = len(item.ticket.inputs)
                found[size].append(now - sent[item.ticket])
                send(size)
    return found


def test_the_slowest_of_a_hundred_waits_less_than_three_times_the_median():
    found = waits(CALLERS, 1500)
    p50, p99 = np.percentile(np.concatenate(list(found.values())), [50, 99])
    assert p99 < 3 * p50
    assert np.median(found[16]) < 3 * np.median(found[1])


def test_a_few_large_requests_do_not_hold_up_the_small():
    alone, beside = waits([1] * 64, 1200), waits([1] * 60 + [1000] * 4, 1200)
    assert np.median(beside[1]) < 3 * np.median(alone[1])  # a turn of the large is as long as twenty of theirs


def test_a_large_request_is_not_starved_by_a_stream_of_small_ones():
    found = waits([1] * 63 + [200], 4000)
    assert len(found[200]) >= 2
