"""What a run costs, and what may be said of several runs that were made in turn."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Seconds: wall clock, processor time of this side's processes, processor time of the hosts."""

    wall: float
    controller: float
    hosts_cpu: float


def cost_of(action: Callable[[], None], hosts_seconds: Callable[[], float]) -> Cost:
    """Run an action made of child processes and return what it cost.

    Args:
        action: what to run; its processes must have ended when it returns.
        hosts_seconds: processor seconds that the hosts have used since they started.
    """
    host_before, cpu_before, start = hosts_seconds(), _children(), time.monotonic()
    action()
    wall, cpu = time.monotonic() - start, _children() - cpu_before
    return Cost(wall, cpu, hosts_seconds() - host_before)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def middle(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in ("wall", "controller", "hosts_cpu")))


def ratio(of: Sequence[Cost], to: Sequence[Cost]) -> Cost:
    """Return the median of the ratios of runs that were made one right after the other.

    Whatever else the machine does weighs on both runs of a pair; it weighs differently on pairs made at other times.
    """
    return middle(
        [
            Cost(ours.wall / theirs.wall, ours.controller / theirs.controller, ours.hosts_cpu / theirs.hosts_cpu)
            for ours, theirs in zip(of, to, strict=True)
        ]
    )
