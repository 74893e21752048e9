"""How long a generation takes with many workers: the model of docs/scaling.md, worked out.

usage: scaling.py                      the table of docs/scaling.md
       scaling.py --check              beside what tests/overhead.sh measured (docs/measurements.md)
       scaling.py B W A C M            milliseconds of one batch: B candidates, W workers, A milliseconds
                                       for each candidate, C for each request, M for each message

Workers ask when they are idle. A request has as many candidates as `Foreman::share` in
core/src/executor/pool.rs gives it: at most half of what would be a worker's part of all that are left, and what
takes ten seconds. It costs its worker A for each candidate and C for what these have in common, and
the search M, one request after the other.
"""

import heapq
import math
import sys

SHARE = 10_000.0


def batch(candidates, workers, each, common, message):
    """Milliseconds until the last answer, requests, and the share of their time that workers work."""
    idle = [0.0] * min(workers, candidates)
    heapq.heapify(idle)
    left, search, end, busy, requests = candidates, 0.0, 0.0, 0.0, 0
    in_time = max(1, int(SHARE / (each + common))) if each + common else candidates
    while left:
        share = max(1, min(math.ceil(left / (2 * workers)), in_time))
        # The search sends one request after the other.
        begun = search = max(search, heapq.heappop(idle)) + message
        work = share * each + common
        heapq.heappush(idle, begun + work)
        end, busy, requests, left = max(end, begun + work), busy + work, requests + 1, left - share
    return end, requests, busy / (end * workers) if end else 0.0


# Of docs/measurements.md: what was measured at one candidate a request and at one request a batch
# gives A, C and M; the rest is predicted.
MEASURED = [
    # candidates, workers, A, C, M, measured milliseconds for each candidate, what
    (20, 1, 292.3, 233.7, 0.064, 354.2, "SuperNet, processes"),
    (20, 2, 292.3, 233.7, 0.041, 222.8, "SuperNet, processes"),
    (20, 1, 292.3, 233.7, 3.1, 333.3, "SuperNet, ray"),
    (20, 2, 292.3, 233.7, 2.2, 202.4, "SuperNet, ray"),
    (100, 1, 0.0, 0.0, 3.1, 0.2364, "nothing, ray"),
    (100, 2, 0.0, 0.0, 2.2, 0.3609, "nothing, ray"),
    (100, 1, 0.0, 0.0, 0.064, 0.0078, "nothing, processes"),
    (100, 2, 0.0, 0.0, 0.041, 0.0095, "nothing, processes"),
]


def check():
    print(f"{'what':<22} {'workers':>7} {'predicted':>12} {'measured':>12} {'off':>7}")
    for candidates, workers, each, common, message, measured, what in MEASURED:
        predicted = batch(candidates, workers, each, common, message)[0] / candidates
        print(f"{what:<22} {workers:>7} {predicted:>9.4g} ms {measured:>9.4g} ms {predicted / measured - 1:>+7.0%}")


def table():
    print("| candidates in a batch | each takes | GPUs | a batch takes | at work | GPU hours of 100 batches |")
    print("| --- | --- | --- | --- | --- | --- |")
    for candidates, each, common in [(50, 1_000.0, 500.0), (50, 600_000.0, 0.0), (4_000, 1_000.0, 500.0), (4_000, 600_000.0, 0.0)]:
        for workers in [1, 8, 64, 1_000]:
            took, _, busy = batch(candidates, workers, each, common, 3.1)
            seconds = took / 1e3
            shown = f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
            takes = f"{each / 1e3:.0f} s" + (f" and {common / 1e3:.1f} s a request" if common else "")
            print(f"| {candidates:,} | {takes} | {workers:,} | {shown} | {busy:.0%} | {seconds * workers / 36:,.1f} |")


def main():
    match sys.argv[1:]:
        case []:
            table()
        case ["--check"]:
            check()
        case [candidates, workers, *costs] if len(costs) == 3:
            took, requests, busy = batch(int(candidates), int(workers), *map(float, costs))
            print(f"{took:.1f} ms in {requests} requests, workers at work {busy:.0%} of the time")
        case _:
            sys.exit(__doc__)


main()
