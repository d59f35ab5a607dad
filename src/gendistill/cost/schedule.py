"""How long steps take that wait for each other: on some GPUs, and at the least on any number."""

import heapq
from collections.abc import Mapping, Sequence

Parents = Mapping[str, Sequence[str]]


def longest_chain(seconds: Mapping[str, float], parents: Parents) -> list[str]:
    """The steps of the longest chain of which each waits for the one before, first to last; the sum of their seconds is
    the least time that all can take.

    Args:
        seconds: of each step.
        parents: of each step, what it waits for; those that have no seconds are finished.
    """
    to_end = _seconds_to_end(seconds, parents)
    children = _children(seconds, parents)
    chain: list[str] = []
    waiting = list(seconds)
    while waiting:
        chain.append(max(waiting, key=lambda name: to_end[name]))
        waiting = children[chain[-1]]
    return chain


def makespan(seconds: Mapping[str, float], parents: Parents, on_gpu: set[str], gpus: int) -> float:
    """The time until all steps are done, if whenever a GPU is free the waiting step with the longest way to the end takes it.

    Args:
        seconds: of each step.
        parents: of each step, what it waits for; those that have no seconds are finished.
        on_gpu: the steps that take one GPU each; the others start as soon as they can.
        gpus: how many there are, at least 1.
    """
    children = _children(seconds, parents)
    waits_for = {name: sum(parent in seconds for parent in parents[name]) for name in seconds}
    # Of two steps that lead equally far, the first in the plan.
    order = {name: position for position, name in enumerate(seconds)}
    to_end = _seconds_to_end(seconds, parents)
    ready: list[tuple[float, int, str]] = []
    running: list[tuple[float, int, str]] = []
    now, free = 0.0, gpus

    def wake(name: str) -> None:
        if name in on_gpu:
            heapq.heappush(ready, (-to_end[name], order[name], name))
        else:
            heapq.heappush(running, (now + seconds[name], order[name], name))

    for name, count in waits_for.items():
        if count == 0:
            wake(name)
    while ready or running:
        while ready and free:
            name = heapq.heappop(ready)[2]
            free -= 1
            heapq.heappush(running, (now + seconds[name], order[name], name))
        now = running[0][0]
        # All that end at this moment, before a free GPU is given away.
        while running and running[0][0] <= now:
            done = heapq.heappop(running)[2]
            free += done in on_gpu
            for child in children[done]:
                waits_for[child] -= 1
                if waits_for[child] == 0:
                    wake(child)
    return now


def _children(seconds: Mapping[str, float], parents: Parents) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in seconds}
    for name in seconds:
        for parent in parents[name]:
            if parent in found:
                found[parent].append(name)
    return found


def _seconds_to_end(seconds: Mapping[str, float], parents: Parents) -> dict[str, float]:
    """For each step, the longest time from its start to the end of a step that waits for it, directly or not."""
    children = _children(seconds, parents)
    left = {name: len(own) for name, own in children.items()}
    found: dict[str, float] = {}
    waiting = [name for name, count in left.items() if count == 0]
    while waiting:
        name = waiting.pop()
        found[name] = seconds[name] + max((found[child] for child in children[name]), default=0.0)
        for parent in parents[name]:
            if parent in left:
                left[parent] -= 1
                if left[parent] == 0:
                    waiting.append(parent)
    return found
