"""How long steps take on some GPUs: chains and schedules of graphs made by hand."""

import itertools
import random

import pytest

from gendistill.cost.schedule import longest_chain, makespan

# Two lineages of three networks behind one data set, then a table.
LINEAGES = {
    "data": [],
    "a0": ["data"],
    "a1": ["a0"],
    "a2": ["a1"],
    "b0": ["data"],
    "b1": ["b0"],
    "b2": ["b1"],
    "table": ["a2", "b2"],
}
SECONDS = {"data": 2.0, "table": 1.0, "a0": 10.0, "a1": 10.0, "a2": 10.0, "b0": 7.0, "b1": 7.0, "b2": 7.0}
NETWORKS = {name for name in LINEAGES if name[0] in "ab"}


def test_the_longest_chain_by_hand():
    assert longest_chain(SECONDS, LINEAGES) == ["data", "a0", "a1", "a2", "table"]
    assert longest_chain({}, {}) == []
    # A chain of fewer steps can take longer.
    assert longest_chain({**SECONDS, "b1": 30.0}, LINEAGES) == ["data", "b0", "b1", "b2", "table"]


@pytest.mark.parametrize(("gpus", "expected"), [(1, 2 + 30 + 21 + 1), (2, 2 + 30 + 1), (100, 2 + 30 + 1)])
def test_lineages_side_by_side(gpus, expected):
    assert makespan(SECONDS, LINEAGES, NETWORKS, gpus) == expected


def test_steps_without_a_gpu_do_not_wait_for_one():
    parents = {"long": [], "table": [], "after": ["table"]}
    seconds = {"long": 10.0, "table": 3.0, "after": 4.0}
    assert makespan(seconds, parents, {"long"}, 1) == 10
    assert makespan(seconds, parents, {"long", "table", "after"}, 1) == 17


def test_what_leads_farthest_comes_first():
    """One GPU is free for the first of a chain of three and two single steps; had these come first, all would take 7."""
    parents = {"x": [], "y": [], "c0": [], "c1": ["c0"], "c2": ["c1"]}
    seconds = {"x": 2.0, "y": 2.0, "c0": 2.0, "c1": 2.0, "c2": 2.0}
    assert makespan(seconds, parents, set(seconds), 2) == 6


def test_finished_steps_are_waited_for_no_more():
    left = {name: SECONDS[name] for name in ("a2", "table")}
    assert makespan(left, LINEAGES, NETWORKS, 1) == 11
    assert longest_chain(left, LINEAGES) == ["a2", "table"]


def test_a_schedule_is_never_shorter_than_its_bounds():
    """Of random graphs: no less than the longest path, found by trying all, and the work by GPUs; all work at the most."""
    generator = random.Random(0)
    for _ in range(50):
        names = [f"s{i}" for i in range(9)]
        parents = {name: [p for p in names[:i] if generator.random() < 0.25] for i, name in enumerate(names)}
        seconds = {name: float(generator.randint(1, 9)) for name in names}
        longest = max(
            sum(seconds[name] for name in chosen)
            for size in range(1, 10)
            for chosen in itertools.combinations(names, size)
            if all(before in parents[after] for before, after in itertools.pairwise(chosen))
        )
        assert sum(seconds[name] for name in longest_chain(seconds, parents)) == longest
        for gpus in (1, 2, 3, 9):
            found = makespan(seconds, parents, set(names), gpus)
            assert max(longest, sum(seconds.values()) / gpus) <= found <= sum(seconds.values())
        assert makespan(seconds, parents, set(names), 1) == sum(seconds.values())
        assert makespan(seconds, parents, set(names), 9) == longest


def test_of_what_becomes_ready_at_one_moment_the_longest_way_comes_first():
    """`x` waits for `a`, `y` for `c`, which end together; behind `y` there is more, so that it goes first: 1 + 1 + 5."""
    parents = {"a": [], "c": [], "x": ["a"], "y": ["c"], "z": ["y"]}
    seconds = {"a": 1.0, "c": 1.0, "x": 5.0, "y": 1.0, "z": 5.0}
    assert makespan(seconds, parents, {"a", "x", "y"}, 1) == 7
