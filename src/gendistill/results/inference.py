"""What a few seeds tell of a difference: a test, an interval, a correction for many tests, and a verdict on a claim.

The tests are SciPy's, Holm's correction and the power are statsmodels'.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

from gendistill.errors import UserError

ALPHA = 0.05
POWER = 0.8
# Fewer seeds give no verdict.
FEWEST = 3
MOST_SEEDS = 1000
RESAMPLES = 9999
# Numbers that differ by less, relative to the largest, differ by rounding only.
ROUNDING = 1e-9
CLAIMED = ("lower", "higher")


@dataclass(frozen=True)
class Comparison:
    """The values of one thing against those of another, in the values' unit.

    Attributes:
        difference: mean of the first minus mean of the second; paired: the mean of the differences.
        low: lower end of the 95 % bootstrap interval of the difference; None where a sample has fewer than two values.
        high: its upper end.
        p: two-sided; None where a sample has fewer than two values.
        n: pairs; not paired: the values of the smaller sample.
        paired: whether values of the same seed were paired.
        sd: standard deviation (n - 1) of the differences; not paired: the root of the mean of both variances; None as above.
        power_seeds: how many seeds (not paired: on each side) a single two-sided test at 5 % needs to find a difference of this
            size and spread with a power of 80 %, at least 3; None where there is no spread to tell it from, no difference, or
            more than 1000 are needed.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    paired: bool
    sd: float | None
    power_seeds: int | None


def compare_values(first: dict[int, float], second: dict[int, float], resamples: int = RESAMPLES) -> Comparison:
    """Compare values by seed: paired over the seeds that both have, if these are at least three, or all that one side
    has and at least two; else as independent samples.

    The test is the paired t-test, or Welch's. Errors in percent of few test images often tie. Where no value differs from another
    of its sample (paired: all differences are equal), t is not defined, and the sign test or the Mann-Whitney test, both
    exact, takes its place: three equal differences have p = 0.25, ten p = 0.002. Where the difference is zero too, p is 1.
    (Simulated, with errors of 500 images: where their spread is less than one image's share, up to 6 % of t-tests are below 5 %.)

    The interval is the expanded percentile interval (Hesterberg, What Teachers Should Know About the Bootstrap, The American
    Statistician 69, 2015): for a mean of so few values plain percentiles are far too narrow, so their levels are moved outwards
    as far as Student's t is wider than the normal distribution. With few seeds it still cannot reach beyond the range of the
    values: three differences of one sign, which chance gives one time in four, have an interval without zero. This is why a
    verdict needs the test too. The resamples are the same at each call.

    Args:
        first: the value of each seed.
        second: the same of what it is compared with.
        resamples: of the bootstrap.

    Raises:
        UserError: a value is no finite number, or a side has none.
    """
    for which, values in (("first", first), ("second", second)):
        for seed, value in sorted(values.items()):
            if not math.isfinite(value):
                raise UserError(f"seed {seed} of the {which} has the value {value}: only finite numbers can be compared.")
        if not values:
            raise UserError(f"the {which} has no values: there is nothing to compare.")
    shared = sorted(first.keys() & second.keys())
    rounding = ROUNDING * max(abs(value) for values in (first, second) for value in values.values())
    if len(shared) >= FEWEST or 2 <= len(shared) == min(len(first), len(second)):
        differences = _rounded(np.array([first[seed] - second[seed] for seed in shared]), rounding)
        return _paired(differences, resamples)
    one, other = (_rounded(np.array([values[seed] for seed in sorted(values)], float), rounding) for values in (first, second))
    return _independent(one, other, rounding, resamples)


def _rounded(values: np.ndarray, rounding: float) -> np.ndarray:
    """Values that differ by rounding only, from each other or from zero, made equal: `5.2 - 5.0` is not `4.4 - 4.2`."""
    if np.ptp(values) <= rounding:
        values = np.full_like(values, values[0])
    return np.where(np.abs(values) <= rounding, 0.0, values)


def _paired(differences: np.ndarray, resamples: int) -> Comparison:
    """The comparison by differences, an array of at least two values."""
    n, mean, sd = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    if np.ptp(differences) == 0:
        mean = float(differences[0])
        p = 1.0 if mean == 0 else float(stats.binomtest(n, n).pvalue)
        return Comparison(mean, mean, mean, p, n, True, 0.0, None)
    low, high = _interval((differences,), _mean, resamples)
    p = float(stats.ttest_1samp(differences, 0).pvalue)
    return Comparison(mean, low, high, p, n, True, sd, _seeds_needed(TTestPower(), mean / sd, ALPHA))


def _independent(one: np.ndarray, other: np.ndarray, rounding: float, resamples: int) -> Comparison:
    """The comparison of two samples that share no seeds."""
    difference, n = float(one.mean() - other.mean()), min(len(one), len(other))
    if abs(difference) <= rounding:
        difference = 0.0
    if n < 2:
        return Comparison(difference, None, None, None, n, False, None, None)
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        p = 1.0 if difference == 0 else float(stats.mannwhitneyu(one, other, method="exact").pvalue)
        return Comparison(difference, difference, difference, p, n, False, 0.0, None)
    low, high = _interval((one, other), _difference_of_means, resamples)
    sds = [float(sample.std(ddof=1)) for sample in (one, other)]
    # From means and deviations: given the values, SciPy warns of a sample without spread.
    p = float(stats.ttest_ind_from_stats(one.mean(), sds[0], len(one), other.mean(), sds[1], len(other), equal_var=False).pvalue)
    sd = math.sqrt((sds[0] ** 2 + sds[1] ** 2) / 2)
    return Comparison(difference, low, high, p, n, False, sd, _seeds_needed(TTestIndPower(), difference / sd, ALPHA))


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    return values.mean(axis=axis)


def _difference_of_means(one: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
    return one.mean(axis=axis) - other.mean(axis=axis)


def _interval(samples: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], resamples: int) -> tuple[float, float]:
    """The expanded percentile interval of a statistic; for two samples, expanded as for the smaller, as Hesterberg's `resample`."""
    n = min(len(sample) for sample in samples)
    tail = float(stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf(ALPHA / 2, n - 1)))
    rng = np.random.default_rng(0)
    found = stats.bootstrap(
        samples, statistic, n_resamples=resamples, confidence_level=1 - 2 * tail, method="percentile", vectorized=True, rng=rng
    ).confidence_interval
    return float(found.low), float(found.high)


def seeds_among(comparison: Comparison, tests: int) -> int | None:
    """As `power_seeds` of a comparison, for one of several tests: at 5 % shared out among them, which is enough after Holm too."""
    if not comparison.sd or not comparison.difference:
        return None
    test = TTestPower() if comparison.paired else TTestIndPower()
    return _seeds_needed(test, comparison.difference / comparison.sd, ALPHA / tests)


def _seeds_needed(test: TTestPower | TTestIndPower, effect: float, alpha: float) -> int | None:
    """The fewest seeds with which a test finds an effect, in standard deviations, as often as POWER says."""
    effect = abs(effect)
    # With normal instead of t distributions fewer seeds are enough.
    normal = (stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(POWER)) ** 2 * (2 if isinstance(test, TTestIndPower) else 1)
    if normal > MOST_SEEDS * effect**2:
        return None
    seeds = max(FEWEST, math.floor(normal / effect**2))
    # Where it is all but 1, statsmodels' power can be nan, which ends this too.
    while test.power(effect, seeds, alpha) < POWER:
        seeds += 1
    return seeds if seeds <= MOST_SEEDS else None


def adjust(p_values: list[float | None]) -> list[float | None]:
    """Holm's correction over all tests that were made; None, where there was none, stays None and counts for nothing.

    The chance of any false finding among them is at most the level, however they depend on each other.
    """
    made = [p for p in p_values if p is not None]
    if not made:
        return list(p_values)
    adjusted = iter(multipletests(made, method="holm")[1])
    return [None if p is None else float(next(adjusted)) for p in p_values]


def verdict(claimed: str, comparison: Comparison, adjusted_p: float | None) -> tuple[str, str]:
    """Whether a comparison bears out what is claimed of the first value against the second.

    Args:
        claimed: `lower` or `higher`.
        comparison: the two.
        adjusted_p: its p after the correction for all claims.

    Returns:
        `reproduced`, `contradicted` or `undecided`, and the reason in words. It is undecided with fewer than 3 seeds, with an
        interval that includes zero, and with an adjusted p of 0.05 or more.

    Raises:
        UserError: `claimed` is something else.
    """
    if claimed not in CLAIMED:
        raise UserError(f"is = {claimed}: must be one of {', '.join(CLAIMED)}. Set in config/claims/.")
    c = comparison
    seeds = f"{c.n} {'pair' if c.paired else 'seed'}{'' if c.n == 1 else 's'}{'' if c.paired else ' on the smaller side'}"
    if c.n < FEWEST or c.low is None or c.high is None or adjusted_p is None:
        needed = f" To find a difference like this takes about {c.power_seeds} seeds." if c.power_seeds else ""
        return "undecided", f"{seeds} only; a verdict needs at least {FEWEST}.{needed}"
    interval = f"95 % interval {_number(c.low, c)} to {_number(c.high, c)}"
    tested = f"p {'' if adjusted_p < 0.001 else '= '}{p_text(adjusted_p)} after Holm's correction, {seeds}"
    if c.low <= 0 <= c.high:
        return "undecided", f"the {interval} includes zero ({tested}). {_needed(c)}"
    if not adjusted_p < ALPHA:
        return "undecided", f"{tested}: not below {ALPHA} ({interval}). {_needed(c)}"
    found = "lower" if c.difference < 0 else "higher"
    reason = f"{found} by {_number(abs(c.difference), c)} ({interval}; {tested})"
    return ("reproduced", reason) if found == claimed else ("contradicted", f"{reason}, not {claimed}")


def _needed(comparison: Comparison) -> str:
    """How many seeds it would take."""
    if comparison.difference == 0:
        return "There is no difference to find."
    if comparison.sd == 0:
        return "All seeds differ by the same, so how many are needed can't be told."
    if comparison.power_seeds is None:
        return f"To find a difference this small takes more than {MOST_SEEDS} seeds."
    return f"To find a difference like this takes about {comparison.power_seeds} seeds."


def _number(value: float, comparison: Comparison) -> str:
    """A value with as many decimals as the difference has need of."""
    return f"{value:.2f}" if abs(comparison.difference) >= 0.1 else f"{value:.4f}"


def p_text(value: float) -> str:
    """A p-value, to be read."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
