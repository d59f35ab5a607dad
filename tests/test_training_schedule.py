"""The learning rate over the epochs."""

from pathlib import Path

import pytest
import yaml

from gendistill.training.schedule import learning_rate
from tests.tiny import RECIPE

CONFIG = Path(__file__).resolve().parents[1] / "config"


def recipe_named(name):
    return yaml.safe_load((CONFIG / "recipe" / f"{name}.yaml").read_text())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar_tt", {0: 0.1, 81: 0.1, 82: 0.01, 122: 0.01, 123: 0.001, 163: 0.001}),
        ("cifar_wrn", {0: 0.1, 59: 0.1, 60: 0.02, 119: 0.02, 120: 0.004, 159: 0.004, 160: 0.0008, 199: 0.0008}),
    ],
)
def test_published_steps_of_the_learning_rate(name, expected):
    recipe = recipe_named(name)
    assert recipe["epochs"] == max(expected) + 1
    for epoch, rate in expected.items():
        for within in (0.0, 0.99):
            assert learning_rate(recipe, epoch, (epoch + within) / recipe["epochs"]) == pytest.approx(rate, rel=1e-12)


def test_steps_without_milestones_keep_the_rate():
    recipe = {**RECIPE, "schedule": "steps", "milestones": []}
    assert {learning_rate(recipe, epoch, epoch / 3) for epoch in range(3)} == {0.05}


@pytest.mark.parametrize(
    ("progress", "share"), [(0, 1), (1 / 3, 0.75), (0.25, 0.8535533905932737), (0.5, 0.5), (2 / 3, 0.25), (1, 0)]
)
def test_cosine_falls_from_the_rate_to_zero(progress, share):
    recipe = {**RECIPE, "learning_rate": 0.3}
    assert learning_rate(recipe, 0, progress) == pytest.approx(0.3 * share, abs=1e-15)
