"""Early exits: who leaves where, how right that is, and what it costs, against loops over the images."""

import csv
import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from gendistill.errors import UserError
from gendistill.evaluation.early_exit import evaluate_early_exit, leave_early, multiply_adds, path_costs
from gendistill.networks.trained import Description, save_network
from gendistill.runtime import Runtime
from tests.joint_networks import RESNET

RUNTIME = Runtime("cpu")
# Three exits, four images, two classes; the probability of class 1 at each exit.
LIKELY = np.array([[0.9, 0.4, 0.5, 0.2], [0.5, 0.3, 0.75, 0.1], [0.6, 0.7, 0.8, 0.45]])
LABELS = np.array([1, 1, 1, 0])


def logits_of(likely):
    return np.log(np.stack([1 - likely, likely], axis=-1)) + 3.0


def write_exit(folder, logits, labels=LABELS):
    """A step's folder with test logits and a network."""
    folder.mkdir()
    description = Description(RESNET, [1, 8, 8], 2, [100.0], [50.0], "float32")
    torch.manual_seed(0)
    save_network(description.build(), description, folder)
    save_file({"logits": logits.astype(np.float32), "labels": labels.astype(np.int64)}, folder / "logits.safetensors")
    names = ("logits.safetensors", "model.safetensors")
    outputs = {name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()} for name in names}
    (folder / "receipt.json").write_text(json.dumps({"outputs": outputs}))
    return folder


def test_by_hand():
    # At 0.75 image 0 leaves at exit 1 (right), 3 too (right), 2 at exit 2 (0.75, right), 1 goes to the end (right).
    found = leave_early(logits_of(LIKELY), LABELS, [10.0, 20.0, 40.0], 0.75 - 1e-9)
    assert found["test_accuracy_pct"] == 100
    assert found["multiply_adds"] == pytest.approx((10 + 40 + 20 + 10) / 4)
    assert [found[f"exit{i}_pct"] for i in (1, 2, 3)] == [50, 25, 25]
    # At 0.5 all leave at once; image 2 is undecided there, and goes with the first class.
    found = leave_early(logits_of(LIKELY), LABELS, [10.0, 20.0, 40.0], 0.5 - 1e-9)
    assert (found["multiply_adds"], found["exit1_pct"]) == (10, 100)
    assert found["test_accuracy_pct"] == 50


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.8, 0.95, 1.0, 1.5])
def test_against_a_loop_over_images(threshold):
    generator = np.random.default_rng(3)
    logits, labels = 3 * generator.standard_normal((4, 50, 6)), generator.integers(6, size=50)
    costs, left, right, work = [3.0, 5.0, 11.0, 12.0], [0, 0, 0, 0], 0, 0.0
    for image in range(50):
        for exit in range(4):
            p = np.exp(logits[exit, image]) / np.exp(logits[exit, image]).sum()
            if p.max() >= threshold or exit == 3:
                left[exit] += 1
                right += p.argmax() == labels[image]
                work += costs[exit]
                break
    found = leave_early(logits, labels, costs, threshold)
    assert found == pytest.approx(
        {
            "threshold": threshold,
            "test_accuracy_pct": 2 * right,
            "multiply_adds": work / 50,
            **{f"exit{i + 1}_pct": 2 * count for i, count in enumerate(left)},
        }
    )


def test_an_image_pays_for_all_exits_that_it_saw():
    assert path_costs([(100, 7), (250, 5), (300, 1)]) == [107, 262, 313]


def test_multiply_adds_are_the_sum_over_the_layers(tmp_path):
    groups, after = multiply_adds(write_exit(tmp_path / "exit", logits_of(LIKELY[0])))
    in_groups = 9 * (4 * 4 * 64 * 2 + (4 * 8 + 8 * 8) * 16 + (8 * 16 + 16 * 16) * 4)
    assert groups == 9 * 1 * 4 * 64 + in_groups
    assert after == 16 * 2


def test_the_step(tmp_path):
    exits = [write_exit(tmp_path / f"exit{i}", logits) for i, logits in enumerate(logits_of(LIKELY))]
    metrics = evaluate_early_exit({"thresholds": [0.5, 0.74, 0.99]}, {"exits": exits}, tmp_path, RUNTIME)
    with open(tmp_path / "early_exit.csv") as file:
        rows = list(csv.DictReader(file))
    costs = path_costs([multiply_adds(exits[0])] * 3)
    assert [float(row["threshold"]) for row in rows] == [0.5, 0.74, 0.99]
    assert [float(row["test_accuracy_pct"]) for row in rows] == [50, 100, 100]
    assert float(rows[2]["multiply_adds"]) == pytest.approx(costs[2])
    assert metrics["test_accuracy_pct"] == 100
    assert metrics["multiply_adds_millions"] * 1e6 == pytest.approx(sum(multiply_adds(exits[0])))
    assert metrics["early_exit_threshold"] == 0.74
    assert metrics["early_exit_multiply_adds_millions"] * 1e6 == pytest.approx((2 * costs[0] + costs[1] + costs[2]) / 4)
    worse = evaluate_early_exit({"thresholds": [0.5]}, {"exits": exits}, tmp_path, RUNTIME)
    assert worse["early_exit_threshold"] == 2
    assert worse["early_exit_multiply_adds_millions"] * 1e6 == pytest.approx(costs[2])


def test_exits_tested_on_other_images_are_refused(tmp_path):
    exits = [write_exit(tmp_path / "a", logits_of(LIKELY[0])), write_exit(tmp_path / "b", logits_of(LIKELY[1]), 1 - LABELS)]
    with pytest.raises(UserError, match="same images"):
        evaluate_early_exit({"thresholds": [0.5]}, {"exits": exits}, tmp_path, RUNTIME)
