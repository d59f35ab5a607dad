"""Class structure: angles that can be drawn by hand, second classes that can be counted, and a small saved network."""

import csv
import math

import numpy as np
import pytest
import torch

from gendistill.data.images import Images, save_images
from gendistill.data.on_disk import FileIndex, save_index
from gendistill.errors import UserError
from gendistill.evaluation.class_structure import (
    angles,
    check_superclasses,
    class_distances,
    confusion,
    evaluate_class_structure,
    second_classes,
    write_shares,
)
from gendistill.networks.trained import Description, save_network
from tests.test_evaluation import NETWORK, RUNTIME, draw, write_receipt

SUPERCLASSES = np.array([0, 0, 1, 1])


def directions(*degrees):
    """Vectors of length 1 in the plane."""
    return np.stack([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def make_data(classes, superclass_of, superclasses):
    images = {split: np.zeros((len(classes), 1, 8, 8), np.uint8) for split in ("train", "test")}
    labels = {split: np.arange(len(classes)) for split in ("train", "test")}
    return Images(images, labels, list(classes), list(superclass_of), list(superclasses))


def test_angles_in_the_plane():
    found = np.degrees(angles(directions(0, 30, 90, 180, 75), directions(30, 0, 30, 10, -80)))
    np.testing.assert_allclose(found, [30, 30, 60, 170, 155])
    np.testing.assert_allclose(np.degrees(angles(directions(0, 30, 90), directions(40)[0])), [40, 10, 50])


def test_the_length_of_a_vector_does_not_count():
    vectors, others = draw(5, 7), draw(5, 7, seed=1)
    found = angles(vectors * [[1], [1e-9], [1e9], [3], [7]], others * [[2], [1e9], [1e9], [5], [1]])
    np.testing.assert_allclose(found, angles(vectors, others), rtol=1e-12)


def test_vectors_of_one_direction_have_no_angle():
    """Rounding takes some of the cosines above 1 here, where arccos has no value."""
    vectors = draw(100, 64)
    np.testing.assert_allclose(angles(vectors, 3 * vectors), 0, atol=1e-7)


def test_a_vector_of_zeros_gives_no_nan():
    assert angles(np.zeros((1, 2)), np.ones(2)).tolist() == [math.pi / 2]


def test_distances_by_hand():
    """Classes at 0 and 20 degrees, 10 from their superclass; and at 60 and 80. The superclasses, at 10 and 70, are 30 from 40."""
    features = directions(-5, 5, 15, 25, 55, 65, 75, 85)
    found = class_distances(features, np.repeat(np.arange(4), 2), SUPERCLASSES)
    assert found == pytest.approx({"dist_c": math.radians(10), "dist_s": math.radians(30)})


def test_each_class_counts():
    """Classes 10 degrees from their superclass, and classes 20 degrees from it."""
    found = class_distances(directions(0, 20, 50, 90), np.arange(4), SUPERCLASSES)
    assert found["dist_c"] == pytest.approx(math.radians(15))


def test_spread_within_a_class_does_not_count():
    spread = directions(-40, 40, -20, 60, 20, 100, 40, 120)
    found = class_distances(spread, np.repeat(np.arange(4), 2), SUPERCLASSES)
    assert found == pytest.approx({"dist_c": math.radians(10), "dist_s": math.radians(30)})


def test_the_order_of_the_samples_does_not_matter():
    order = np.random.default_rng(0).permutation(8)
    features, labels = directions(-5, 5, 15, 25, 55, 65, 75, 85), np.repeat(np.arange(4), 2)
    found = class_distances(features[order], labels[order], SUPERCLASSES)
    assert found == pytest.approx({"dist_c": math.radians(10), "dist_s": math.radians(30)})


def angle(a, b):
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return math.acos(dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b)))


def distances_by_loops(features, labels, superclass_of):
    classes = [features[labels == c].sum(0) for c in range(len(superclass_of))]
    count = max(superclass_of) + 1
    superclasses = [features[[superclass_of[label] == s for label in labels]].sum(0) for s in range(count)]
    dist_c = np.mean([angle(classes[c], superclasses[s]) for c, s in enumerate(superclass_of)])
    dist_s = np.mean([angle(superclass, features.sum(0)) for superclass in superclasses])
    return {"dist_c": dist_c, "dist_s": dist_s}


@pytest.mark.parametrize("superclass_of", [[0, 0, 1, 1, 2, 2], [2, 0, 2, 1, 2, 0]])
def test_distances_of_random_features(superclass_of):
    """Superclasses of several sizes."""
    labels = np.random.default_rng(1).permutation(np.concatenate([np.arange(6), np.random.default_rng(0).integers(6, size=60)]))
    features = np.abs(draw(66, 10)) + 2 * np.eye(10)[labels]
    found = class_distances(features, labels, np.array(superclass_of))
    assert found == pytest.approx(distances_by_loops(features, labels, superclass_of), abs=1e-7)


def test_second_classes_by_hand():
    """Right with 2 second; wrong with the label second; wrong with the label last; right, with 2 second by little."""
    logits = np.array([[5.0, 1.0, 3.0], [2.0, 4.0, 1.0], [1.0, 3.0, 2.0], [0.0, -9.0, -8.5]])
    before = logits.copy()
    assert second_classes(logits, np.array([0, 0, 0, 0])).tolist() == [2, 1, 1, 2]
    np.testing.assert_array_equal(logits, before)


def test_second_classes_of_random_logits():
    logits, labels = draw(200, 6), np.arange(200) % 6
    ranked = np.argsort(-logits, axis=1)
    wanted = [first if first != label else second for (first, second, *_), label in zip(ranked, labels, strict=True)]
    assert second_classes(logits, labels).tolist() == wanted


def test_confusion_by_hand():
    shares = confusion(np.array([0, 0, 0, 0, 1, 2, 2]), np.array([1, 1, 2, 1, 2, 0, 1]), 3)
    np.testing.assert_allclose(shares, [[0, 0.75, 0.25], [0, 0, 1], [0.5, 0.5, 0]])


def read(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_classes_are_ordered_by_superclass_in_the_file(tmp_path):
    data = make_data(["car", "cat", "bus, red", "dog"], [1, 0, 1, 0], ["animals", "vehicles"])
    shares = np.array([[0, 0.1, 0.9, 0], [0.25, 0, 0, 0.75], [1, 0, 0, 0], [0, 1 / 3, 2 / 3, 0]])
    write_shares(tmp_path / "second_classes.csv", shares, data)
    assert read(tmp_path / "second_classes.csv") == [
        ["class", "cat", "dog", "car", "bus, red"],
        ["cat", "0", "0.75", "0.25", "0"],
        ["dog", "0.333333", "0", "0", "0.666667"],
        ["car", "0.1", "0", "0", "0.9"],
        ["bus, red", "0", "0", "1", "0"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["second_classes.csv"]


@pytest.mark.parametrize(
    ("superclass_of", "superclasses", "told"),
    [
        ([], [], "no superclasses.*dataset.superclasses.*config/superclasses"),
        ([0, 0, 0], ["all"], "3 classes in 1"),
        ([0, 1, 2], ["a", "b", "c"], "3 classes in 3"),
    ],
)
def test_superclasses_that_cannot_be_compared_are_refused(tmp_path, superclass_of, superclasses, told):
    save_images(make_data(["x", "y", "z"], superclass_of, superclasses), tmp_path)
    write_receipt(tmp_path, "dataset.safetensors")
    with pytest.raises(UserError, match=told):
        evaluate_class_structure({}, {"dataset": tmp_path, "network": tmp_path}, tmp_path, RUNTIME)


def test_images_on_disk_are_refused(tmp_path):
    save_index(
        FileIndex({"train": ["a.png"], "test": ["b.png"]}, {s: np.zeros(1, int) for s in ("train", "test")}, ["a"], 8), tmp_path
    )
    write_receipt(tmp_path, "dataset.safetensors")
    with pytest.raises(UserError, match="on disk has none"):
        evaluate_class_structure({}, {"dataset": tmp_path, "network": tmp_path}, tmp_path, RUNTIME)


def test_two_superclasses_one_of_a_single_class_are_enough():
    check_superclasses(make_data(["x", "y", "z"], [0, 0, 1], ["a", "b"]))


def write_inputs(tmp_path):
    """Four classes that interleave two superclasses, and an untrained network whose outputs differ."""
    generator = np.random.default_rng(0)
    images, labels = {}, {}
    for split, count in (("train", 40), ("test", 20)):
        labels[split] = np.arange(count) % 4
        noise = generator.integers(0, 100, size=(count, 1, 8, 8))
        images[split] = (noise + 50 * labels[split][:, None, None, None]).astype(np.uint8)
    data = Images(images, labels, ["p", "q", "r", "s"], [1, 0, 1, 0], ["even", "odd"])
    (tmp_path / "dataset").mkdir()
    save_images(data, tmp_path / "dataset")
    write_receipt(tmp_path / "dataset", "dataset.safetensors")
    (tmp_path / "network").mkdir()
    torch.manual_seed(0)
    description = Description(NETWORK, [1, 8, 8], 4, [120.0], [70.0], "float32")
    network = description.build().eval()
    torch.nn.init.normal_(network.classifier.weight, std=3)
    save_network(network, description, tmp_path / "network")
    write_receipt(tmp_path / "network", "model.safetensors")
    return data, network, {"dataset": tmp_path / "dataset", "network": tmp_path / "network"}


def test_class_structure_of_a_saved_network(tmp_path):
    data, network, inputs = write_inputs(tmp_path)
    (tmp_path / "out").mkdir()
    found = evaluate_class_structure({}, inputs, tmp_path / "out", RUNTIME)
    wanted, order = {}, [1, 3, 0, 2]
    for split in ("train", "test"):
        labels = data.labels[split]
        with torch.no_grad():
            pixels = torch.from_numpy((data.images[split] - 120.0) / 70).float()
            features, logits = network.features(pixels).double().numpy(), network(pixels).double().numpy()
        distances = distances_by_loops(features, labels, data.superclass_of)
        second = [max((k for k in range(4) if k != y), key=lambda k: z[k]) for z, y in zip(logits, labels, strict=True)]
        wanted.update({f"{name}_{split}": value for name, value in distances.items()})
        wanted[f"second_class_in_superclass_{split}_pct"] = 100 * np.mean(np.array(second) % 2 == labels % 2)
        if split == "train":
            shares = [[np.mean(np.array(second)[labels == i] == j) for j in order] for i in order]
    assert found == pytest.approx(wanted, rel=1e-3)
    assert 0 < found["second_class_in_superclass_train_pct"] < 100
    table = read(tmp_path / "out/second_classes.csv")
    assert table[0] == ["class", "q", "s", "p", "r"]
    assert [row[0] for row in table[1:]] == ["q", "s", "p", "r"]
    np.testing.assert_allclose(np.array([row[1:] for row in table[1:]], float), shares, atol=1e-6)
