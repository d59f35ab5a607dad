"""Verdicts on simulated studies whose truth is known: false ones are as rare as promised, true ones as frequent."""

import gc
import math

import numpy as np
import pytest
from scipy import stats

from gendistill.results.inference import adjust, compare_values, verdict

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def no_garbage_collected(monkeypatch):
    """By statsmodels at each correction, which would take longest."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


def by_seed(values, start=0):
    return dict(enumerate((float(value) for value in values), start))


def simulated(rng, n, paired, shift=0.0, digits=None):
    """A study: two sets of n errors in percent whose means differ by `shift`; of pairs, the networks of a seed are alike."""
    common = rng.normal(0, 0.3, n) if paired else np.zeros((2, n))
    values = 5 + common + rng.normal(0, 0.3, (2, n)) + [[shift], [0]]
    if digits:
        # The errors that so many test images can give.
        values = np.round(values / digits) * digits
    return compare_values(by_seed(values[0]), by_seed(values[1], 0 if paired else 100), resamples=199)


def false_verdicts(n, paired, digits, studies):
    rng = np.random.default_rng(n)
    found = [simulated(rng, n, paired, digits=digits) for _ in range(studies)]
    return sum(verdict("lower", c, adjust([c.p])[0])[0] != "undecided" for c in found)


WAYS = pytest.mark.parametrize("digits", [None, 0.2], ids=["normal", "rounded"])
PAIRED = pytest.mark.parametrize("paired", [True, False], ids=["paired", "independent"])


@WAYS
@PAIRED
@pytest.mark.parametrize("n", [3, 5, 10])
def test_false_verdicts_are_rare(n, paired, digits):
    """Where there is no difference, at most one study of 20 says that there is one."""
    assert false_verdicts(n, paired, digits, 150) <= stats.binom.ppf(0.999, 150, 0.05)


@pytest.mark.slow
@WAYS
@PAIRED
@pytest.mark.parametrize("n", [3, 5, 10])
def test_false_verdicts_are_rare_in_many_studies(n, paired, digits):
    assert false_verdicts(n, paired, digits, 4000) <= stats.binom.ppf(0.999, 4000, 0.05)


@pytest.mark.parametrize("n", [1, 2])
@PAIRED
def test_two_seeds_give_no_verdict(n, paired):
    rng = np.random.default_rng(n)
    for shift in (0.0, 50.0):
        for c in [simulated(rng, n, paired, shift) for _ in range(50)]:
            assert {verdict(claimed, c, c.p)[0] for claimed in ("lower", "higher")} == {"undecided"}


def test_many_claims_have_few_false_verdicts():
    """Of 20 claims that are all false, hardly ever is one judged; without the correction it would be most often."""
    rng = np.random.default_rng(7)
    families, wrong, uncorrected = 30, 0, 0
    for family in range(families):
        found = [simulated(rng, 3, family % 2 == 0) for _ in range(20)]
        pairs = list(zip(found, adjust([c.p for c in found]), strict=True))
        wrong += any(verdict("lower", c, p)[0] != "undecided" for c, p in pairs)
        uncorrected += any(verdict("lower", c, c.p)[0] != "undecided" for c, _ in pairs)
    assert wrong <= stats.binom.ppf(0.999, families, 0.05) < uncorrected


@PAIRED
def test_a_true_claim_is_reproduced_as_often_as_promised(paired):
    """A real difference as large as its spread, at the number of seeds that its power asks for; never is the contrary found."""
    sd = 0.3 * math.sqrt(2 if paired else 1)
    ideal = np.array([-1.0, 0.0, 1.0]) * sd
    seeds = compare_values(by_seed(ideal - sd), by_seed(np.zeros(3) if paired else ideal, 0 if paired else 5)).power_seeds
    assert seeds == (10 if paired else 17)
    rng, studies = np.random.default_rng(11), 150
    found = [simulated(rng, seeds, paired, shift=-sd) for _ in range(studies)]
    right = [verdict("lower", c, c.p)[0] for c in found]
    assert stats.binom.ppf(0.001, studies, 0.8) <= right.count("reproduced") <= stats.binom.ppf(0.999, studies, 0.85)
    assert right.count("contradicted") <= 1
    wrong = [verdict("higher", c, c.p)[0] for c in found]
    assert wrong.count("contradicted") == right.count("reproduced") and wrong.count("reproduced") == right.count("contradicted")
