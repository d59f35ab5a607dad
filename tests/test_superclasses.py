"""Superclasses: named in files, and applied to a data set."""

import numpy as np
import pytest
import yaml

from gendistill.data.images import Images
from gendistill.data.superclasses import apply_superclasses
from gendistill.errors import UserError
from tests.conftest import ROOT

PETS = {"pets": ["cat", "dog"], "birds": ["eagle"]}


def make_data(classes, superclass_of=(), superclasses=()):
    images = {split: np.zeros((len(classes), 1, 2, 2), np.uint8) for split in ("train", "test")}
    labels = {split: np.arange(len(classes)) for split in ("train", "test")}
    return Images(images, labels, list(classes), list(superclass_of), list(superclasses))


def read(name):
    return yaml.safe_load((ROOT / "config/superclasses" / f"{name}.yaml").read_text())


def test_each_class_gets_its_superclass():
    data = make_data(["eagle", "dog", "cat"])
    found = apply_superclasses(data, PETS)
    assert (found.superclasses, found.superclass_of) == (["birds", "pets"], [0, 1, 1])
    assert (found.images, found.labels, found.classes) == (data.images, data.labels, data.classes)
    assert (data.superclasses, data.superclass_of) == ([], [])


def test_the_order_of_the_file_does_not_matter():
    data = make_data(["eagle", "dog", "cat"])
    other = apply_superclasses(data, {"birds": ["eagle"], "pets": ["dog", "cat"]})
    assert (other.superclasses, other.superclass_of) == (["birds", "pets"], [0, 1, 1])


def test_superclasses_of_the_data_are_replaced():
    found = apply_superclasses(make_data(["cat", "dog", "eagle"], [0, 1, 0], ["even", "odd"]), PETS)
    assert (found.superclasses, found.superclass_of) == (["birds", "pets"], [1, 1, 0])


@pytest.mark.parametrize(
    ("mapping", "named"),
    [
        ({"pets": ["cat"], "birds": ["eagle"]}, ["in no superclass: dog"]),
        ({**PETS, "hunters": ["cat"]}, ["class cat", "hunters", "pets"]),
        ({"pets": ["cat", "dog", "cat"], "birds": ["eagle"]}, ["class cat is named twice, in pets."]),
        ({**PETS, "fish": ["shark"]}, ["'shark' (in fish)", "'cat', 'dog', 'eagle'"]),
        ({**PETS, "numbers": [1]}, ["1 (in numbers)"]),
        ({**PETS, "fish": []}, ["fish has no class"]),
        ({}, ["in no superclass: cat, dog, eagle"]),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(mapping, named):
    with pytest.raises(UserError) as error:
        apply_superclasses(make_data(["cat", "dog", "eagle"]), mapping)
    for part in (*named, "dataset.superclasses", "config/superclasses/"):
        assert part in str(error.value)


def test_long_lists_are_cut():
    with pytest.raises(UserError, match=r"c00, .* c09 and 90 more"):
        apply_superclasses(make_data([f"c{i:02}" for i in range(100)]), {})


def test_cifar100_has_20_superclasses_of_5_different_classes():
    mapping = read("cifar100")
    classes = sorted(name for names in mapping.values() for name in names)
    assert [len(names) for names in mapping.values()] == [5] * 20
    assert len(set(classes)) == 100
    data = apply_superclasses(make_data(classes), mapping)
    assert np.bincount(data.superclass_of).tolist() == [5] * 20
    for name, superclass in {"maple_tree": "trees", "boy": "people", "streetcar": "vehicles_2", "whale": "aquatic_mammals"}.items():
        assert data.superclasses[data.superclass_of[classes.index(name)]] == superclass


def test_digits_are_the_classes_of_the_embedded_digits():
    data = apply_superclasses(make_data([str(digit) for digit in range(10)]), read("digits"))
    assert len(data.superclasses) == 3
    assert data.superclass_of[1] == data.superclass_of[7] != data.superclass_of[8]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "config/superclasses").glob("*.yaml")))
def test_files_hold_lists_of_names(name):
    mapping = read(name)
    assert all(isinstance(part, str) for names in mapping.values() for part in names)
    assert list(mapping) == sorted(mapping)
