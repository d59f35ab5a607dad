"""Tests, intervals and verdicts, against formulas of our own."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gendistill.errors import UserError
from gendistill.results.inference import adjust, compare_values, verdict

FIRST = {0: 4.8, 1: 5.3, 2: 4.1, 3: 5.0, 4: 4.6}
SECOND = {0: 5.2, 1: 5.4, 2: 5.1, 3: 5.0, 4: 5.7}


pytestmark = pytest.mark.filterwarnings("error")


def by_seed(values, start=0):
    return dict(enumerate((float(value) for value in values), start))


def two_sided(t, df):
    return 2 * stats.t.sf(abs(t), df)


def test_pairs_by_hand():
    found = compare_values(FIRST, SECOND)
    d = np.array([FIRST[seed] - SECOND[seed] for seed in FIRST])
    assert found.paired and found.n == 5
    assert found.difference == pytest.approx(d.mean()) and found.sd == pytest.approx(math.sqrt(((d - d.mean()) ** 2).sum() / 4))
    assert found.p == pytest.approx(two_sided(d.mean() / (found.sd / math.sqrt(5)), 4))


def test_pairs_are_those_of_shared_seeds():
    more = compare_values({**FIRST, 7: 100.0}, {**SECOND, 8: -100.0, 9: 0.0})
    assert more == compare_values(FIRST, SECOND)
    # The order in which seeds are told plays no part.
    assert more == compare_values(dict(reversed(FIRST.items())), SECOND)


def test_independent_samples_by_hand():
    first, second = list(FIRST.values())[:3], list(SECOND.values())
    found = compare_values(by_seed(first), by_seed(second, start=10))
    parts = [np.var(sample, ddof=1) / len(sample) for sample in (first, second)]
    df = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 4)
    assert not found.paired and found.n == 3
    assert found.difference == pytest.approx(np.mean(first) - np.mean(second))
    assert found.p == pytest.approx(two_sided(found.difference / math.sqrt(sum(parts)), df))
    assert found.sd == pytest.approx(math.sqrt((np.var(first, ddof=1) + np.var(second, ddof=1)) / 2))


def test_one_shared_seed_makes_no_pairs():
    found = compare_values({0: 1.0, 1: 2.0, 2: 4.0}, {2: 5.0, 3: 6.0, 4: 8.0})
    assert not found.paired and found.n == 3


def test_the_interval_of_few_pairs_is_their_range():
    d = [-0.4, -0.1, -0.7]
    found = compare_values(by_seed(d), by_seed([0, 0, 0]))
    assert (found.low, found.high) == (pytest.approx(-0.7), pytest.approx(-0.1))
    # Of two samples: the range of all differences between the one and the other.
    found = compare_values(by_seed(d), by_seed([1.0, 2.0, 1.5], start=5))
    assert (found.low, found.high) == (pytest.approx(-0.7 - 2.0), pytest.approx(-0.1 - 1.0))


def test_the_interval_by_all_possible_resamples():
    """Of 5 differences all 3,125 resamples can be listed: no chance is left in their percentiles."""
    d = np.array([0.3, 1.9, -0.8, 0.4, 1.1])
    means = np.array([np.mean(drawn) for drawn in itertools.product(d, repeat=5)])
    tail = stats.norm.cdf(-math.sqrt(5 / 4) * stats.t.isf(0.025, 4))
    found = compare_values(by_seed(d), by_seed(np.zeros(5)))
    exact = np.quantile(means, [tail, 1 - tail])
    assert (found.low, found.high) == (pytest.approx(exact[0], abs=0.1), pytest.approx(exact[1], abs=0.1))
    plain = np.quantile(means, [0.025, 0.975])
    assert found.low < plain[0] - 0.2 and found.high > plain[1] + 0.2


def test_the_interval_of_many_pairs_is_about_students():
    d = np.random.default_rng(5).normal(0.3, 1, 40)
    found = compare_values(by_seed(d), by_seed(np.zeros(40)))
    half = stats.t.isf(0.025, 39) * d.std(ddof=1) / math.sqrt(40)
    assert (found.low, found.high) == (pytest.approx(d.mean() - half, abs=0.05), pytest.approx(d.mean() + half, abs=0.05))


def test_the_interval_of_unequal_samples_is_that_of_the_smaller():
    rng = np.random.default_rng(6)
    first, second = rng.normal(0, 1, 5), rng.normal(0, 0.1, 40)
    drawn = rng.choice(first, (200_000, 5)).mean(1) - rng.choice(second, (200_000, 40)).mean(1)
    found = compare_values(by_seed(first), by_seed(second, start=10))
    for n, agrees in ((5, True), (40, False)):
        tail = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.isf(0.025, n - 1))
        expected = pytest.approx(np.quantile(drawn, [tail, 1 - tail]), abs=0.15)
        assert ([found.low, found.high] == expected) == agrees


def test_the_same_values_give_the_same_answer():
    values = np.random.default_rng(8).normal(size=(2, 12))
    assert compare_values(*map(by_seed, values)) == compare_values(*map(by_seed, values))
    there, back = compare_values(FIRST, SECOND), compare_values(SECOND, FIRST)
    assert (there.difference, there.p) == (pytest.approx(-back.difference), pytest.approx(back.p))


@pytest.mark.parametrize(
    ("first", "second"),
    [({0: 5.0}, {0: 4.0}), ({0: 5.0}, {1: 4.0}), ({0: 5.0}, FIRST), (FIRST, {9: 4.0}), ({0: 5.0, 1: 6.0}, {0: 7.0})],
)
def test_one_value_on_a_side_is_no_test(first, second):
    found = compare_values(first, second)
    assert found.n == 1 and not found.paired
    assert (found.low, found.high, found.p, found.sd, found.power_seeds) == (None,) * 5
    assert found.difference == pytest.approx(np.mean(list(first.values())) - np.mean(list(second.values())))
    assert verdict("lower", found, None)[0] == "undecided"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers(bad):
    with pytest.raises(UserError, match="seed 3 of the second has the value"):
        compare_values(FIRST, {**SECOND, 3: bad})
    with pytest.raises(UserError, match="seed 11 of the first"):
        compare_values({**FIRST, 11: bad}, SECOND)
    with pytest.raises(UserError, match="the second has no values"):
        compare_values(FIRST, {})


@pytest.mark.parametrize("start", [0, 100])
def test_exactly_the_same_values(start):
    found = compare_values(FIRST, by_seed(FIRST.values(), start))
    assert found.difference == 0 and found.p == 1 and found.power_seeds is None
    assert verdict("lower", found, adjust([found.p])[0])[0] == "undecided"
    flat = compare_values(by_seed([5.2] * 4), by_seed([5.2] * 4, start))
    assert (flat.difference, flat.low, flat.high, flat.p, flat.sd) == (0, 0, 0, 1, 0)
    assert "no difference" in verdict("lower", flat, 1.0)[1]


def test_differences_that_are_all_equal():
    """Each difference is 0.2, and none of them the same in binary: the sign test, 2 cases of 2 to the power n."""
    first, second = [5.2, 9.4, 0.8], [5.0, 9.2, 0.6]
    assert len({a - b for a, b in zip(first, second, strict=True)}) > 1
    found = compare_values(by_seed(first), by_seed(second))
    assert found.sd == 0 and found.p == pytest.approx(2 / 2**3) and found.power_seeds is None
    assert found.low == found.high == found.difference == pytest.approx(0.2)
    decided, reason = verdict("higher", found, found.p)
    assert decided == "undecided" and "All seeds differ by the same" in reason
    ten = compare_values(by_seed([5.2] * 10), by_seed([5.0] * 10))
    assert ten.p == pytest.approx(2 / 2**10) and verdict("higher", ten, ten.p)[0] == "reproduced"


def test_samples_without_spread():
    """Not paired: the Mann-Whitney test, 2 cases of all ways to choose the first sample; Welch's where one side has a spread."""
    found = compare_values(by_seed([5.2] * 3), by_seed([5.0] * 4, start=10))
    assert found.p == pytest.approx(2 / math.comb(7, 3)) and found.sd == 0 and found.difference == pytest.approx(0.2)
    second = [5.0, 5.4, 5.1]
    found = compare_values(by_seed([4.0, 4.0, 4.0]), by_seed(second, start=10))
    assert found.p == pytest.approx(two_sided((4 - np.mean(second)) / (np.std(second, ddof=1) / math.sqrt(3)), 2))


def test_values_that_differ_by_rounding_only():
    a = compare_values(by_seed([0.1 + 0.2, 0.7, 0.9]), by_seed([0.3, 0.8 - 0.1, 0.9]))
    assert (a.difference, a.p, a.sd) == (0, 1, 0)
    flat = compare_values(by_seed([0.1 + 0.2] * 3), by_seed([0.3] * 3, start=10))
    assert (flat.difference, flat.p, flat.sd) == (0, 1, 0)
    b = compare_values(by_seed([1e-12, 2e-12, 4e-12]), by_seed([5e-12, 7e-12, 8e-12]))
    assert b.difference < 0 and 0 < b.p < 0.05


def test_holm_by_hand():
    p = [0.01, None, 0.04, 0.03, 0.005, None]
    # Of 4: 0.005 x 4; 0.01 x 3; 0.03 x 2; 0.04 x 1, but no less than the one before.
    assert adjust(p) == pytest.approx([0.03, None, 0.06, 0.06, 0.02, None])
    assert adjust([0.6, 0.5]) == [1.0, 1.0]
    assert adjust([None, None]) == [None, None] and adjust([]) == []


@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0, 1.7, 3.0])
def test_seeds_needed_by_hand(effect):
    """The fewest n of which the t distribution that is not central leaves 80 % beyond the critical value."""

    def power(n, independent):
        df, centre = (2 * n - 2, effect * math.sqrt(n / 2)) if independent else (n - 1, effect * math.sqrt(n))
        critical = stats.t.isf(0.025, df)
        return stats.nct.sf(critical, df, centre) + stats.nct.cdf(-critical, df, centre)

    d = np.array([-1.0, 0.0, 1.0]) + effect
    other = np.array([-1.0, 0.0, 1.0])
    pairs = compare_values(by_seed(d), by_seed(np.zeros(3)))
    sides = compare_values(by_seed(d), by_seed(other, start=5))
    assert pairs.sd == pytest.approx(1) and sides.sd == pytest.approx(1)
    assert pairs.power_seeds == next(n for n in range(3, 1001) if power(n, False) >= 0.8)
    assert sides.power_seeds == next(n for n in range(3, 1001) if power(n, True) >= 0.8)


def test_seeds_needed_at_the_ends():
    spread = np.array([-1.0, 0.0, 1.0])
    for shift, expected in ((0.0, None), (0.08, None), (0.0886, None), (0.0888, 998), (1e9, 3), (7.0, 3)):
        assert compare_values(by_seed(spread + shift), by_seed([0, 0, 0])).power_seeds == expected
        # Two samples take about twice as many.
        expected = None if shift < 0.1 else expected
        assert compare_values(by_seed(spread + shift), by_seed(spread, start=5)).power_seeds == expected


def clear(difference=-1.0):
    """A comparison that is clear: 5 pairs, a narrow interval."""
    found = compare_values(by_seed(difference + np.array([-0.1, 0, 0.1, 0.05, -0.05])), by_seed(np.zeros(5)))
    assert found.p < 0.001
    return found


def test_the_direction_of_a_claim():
    assert verdict("lower", clear(-1), 0.01)[0] == "reproduced"
    assert verdict("higher", clear(+1), 0.01)[0] == "reproduced"
    assert "p = 0.010 after" in verdict("lower", clear(-1), 0.01)[1] and "p < 0.001 after" in verdict("lower", clear(-1), 1e-5)[1]
    decided, reason = verdict("lower", clear(+1), 0.01)
    assert decided == "contradicted" and "higher by 1.00" in reason and "not lower" in reason and "5 pairs" in reason
    assert verdict("higher", clear(-1), 0.01)[0] == "contradicted"
    with pytest.raises(UserError, match="is = worse: must be one of lower, higher"):
        verdict("worse", clear(), 0.01)


@pytest.mark.parametrize(
    ("change", "adjusted", "reason"),
    [
        ({"n": 2}, 0.01, "2 pairs only; a verdict needs at least 3"),
        ({"n": 1}, 0.01, "1 pair only"),
        ({"low": -2.0, "high": 0.1}, 0.01, "includes zero"),
        ({"low": -2.0, "high": 0.0}, 0.01, "includes zero"),
        ({}, 0.05, "not below 0.05"),
        ({}, 1.0, "not below 0.05"),
        ({}, math.nan, "not below 0.05"),
        ({}, None, "needs"),
        ({"low": None, "high": None}, 0.01, "needs"),
        ({"power_seeds": 12}, 0.2, "takes about 12 seeds"),
        ({"power_seeds": None}, 0.2, "more than 1000 seeds"),
    ],
)
@pytest.mark.parametrize("claimed", ["lower", "higher"])
def test_what_leaves_a_claim_undecided(change, adjusted, reason, claimed):
    decided, told = verdict(claimed, replace(clear(), **change), adjusted)
    assert decided == "undecided" and reason in told
