"""The settings of the experiment `demo`, composed once, for tests of the plan."""

import copy
import functools

from gendistill.plan.settings import compose_experiment


@functools.cache
def _demo():
    return compose_experiment("demo")


def demo_settings():
    """The experiment `demo` with one lineage, `line`, of 3 generations; a copy, for one test."""
    settings = copy.deepcopy(_demo())
    return {**settings, "seeds": [0], "generations": 3, "lineages": {"line": {}}, "scratch": 0, "transfer": [], "claims": []}
