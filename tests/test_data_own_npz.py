"""Your own images in an npz file: they arrive as written, and what cannot be used is refused by name."""

import json
import resource
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendistill.data.images import check_images
from gendistill.data.own import load_npz
from gendistill.errors import UserError
from tests.small_data import SHARED_CIFAR100, SOURCE, all_damages, own_arrays, prepare, prepare_npz, run_python


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_arrives_as_written(tmp_path, shape, save):
    arrays = own_arrays(shape=shape)
    save(tmp_path / "own.npz", **arrays)
    data = prepare("npz", tmp_path / "out", tmp_path / "own.npz")
    assert data.shape == (shape[2] if len(shape) == 3 else 1, 6, 5)
    for split in ("train", "test"):
        written = arrays[f"{split}_images"].reshape(-1, 6, 5, data.shape[0])
        np.testing.assert_array_equal(data.images[split].transpose(0, 2, 3, 1), written)
        np.testing.assert_array_equal(data.labels[split], arrays[f"{split}_labels"])
    assert data.classes == ["0", "1", "2"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_npz_labels_of_any_integer_type(tmp_path, dtype):
    arrays = own_arrays()
    for split in ("train", "test"):
        arrays[f"{split}_labels"] = arrays[f"{split}_labels"].astype(dtype)
    data = prepare_npz(tmp_path, arrays)
    assert data.labels["train"].dtype == np.int64
    np.testing.assert_array_equal(data.labels["train"], arrays["train_labels"])


def test_npz_names_of_classes_and_superclasses(tmp_path):
    arrays = own_arrays(classes=4)
    arrays["classes"] = np.array(["ant", "bee", "cat", "dog"])
    arrays["superclasses"] = np.array(["insect", "mammal"])
    arrays["train_superclasses"] = np.array([0, 0, 1, 1])[arrays["train_labels"]]
    data = prepare_npz(tmp_path, arrays)
    assert data.classes == ["ant", "bee", "cat", "dog"]
    assert data.superclasses == ["insect", "mammal"]
    assert data.superclass_of == [0, 0, 1, 1]


SPOILED = {
    "no train_images": (lambda a: a.pop("train_images"), "train_images"),
    "no test_labels": (lambda a: a.pop("test_labels"), "test_labels"),
    "float images": (lambda a: a.update(train_images=a["train_images"] / 255), "train_images: must be uint8.*float64"),
    "object images": (lambda a: a.update(test_images=a["test_images"].astype(object)), "own.npz.*bject"),
    "object labels": (lambda a: a.update(test_labels=a["test_labels"].astype(object)), "own.npz.*bject"),
    "one image": (lambda a: a.update(test_images=a["test_images"][0]), r"test_images: .*\(6, 5\)"),
    "too few labels": (lambda a: a.update(train_labels=a["train_labels"][:-1]), "train.*15 images.*14 labels"),
    "negative label": (lambda a: a.update(test_labels=a["test_labels"] - 1), r"test_labels.* 0 \.\. 2.*-1"),
    "label above the classes": (lambda a: a.update(classes=np.array(["a", "b"])), r"train_labels.* 0 \.\. 1.*2"),
    "float labels": (lambda a: a.update(train_labels=a["train_labels"] + 0.5), "train_labels.*integer"),
    "text labels": (lambda a: a.update(train_labels=np.array(list("abc" * 5))), "train_labels.*integer"),
    "one-hot labels": (lambda a: a.update(train_labels=np.eye(3, dtype=int)[a["train_labels"]]), "train_labels.*shape"),
    "a class with no training image": (
        lambda a: a.update(classes=np.array(["a", "b", "c", "dog"])),
        "train: no images of class dog",
    ),
    "a class with no test image": (lambda a: a.update(test_labels=a["test_labels"] % 2), "test: no images of class 2"),
    "no training images": (
        lambda a: a.update(train_images=a["train_images"][:0], train_labels=a["train_labels"][:0]),
        "train: no images",
    ),
    "another size in test": (lambda a: a.update(test_images=a["test_images"][:, 1:]), r"test_images.*\(1, 5, 5\).*\(1, 6, 5\)"),
    "images without pixels": (
        lambda a: a.update(train_images=a["train_images"][:, :0], test_images=a["test_images"][:, :0]),
        "train_images",
    ),
    "classes as one text": (lambda a: a.update(classes=np.array("a,b,c")), "classes"),
    "too few superclasses": (
        lambda a: a.update(train_superclasses=np.array([0]), superclasses=np.array(["x"])),
        "train_superclasses",
    ),
    "a superclass without a name": (
        lambda a: a.update(train_superclasses=a["train_labels"], superclasses=np.array(["x"])),
        "superclasses",
    ),
    "a class in two superclasses": (
        lambda a: a.update(train_superclasses=np.arange(15) % 2, train_labels=np.arange(15) % 3, superclasses=np.array(["x", "y"])),
        "train_superclasses",
    ),
    "superclasses as names": (
        lambda a: a.update(train_superclasses=np.array(["x"] * 15), superclasses=np.array(["x"])),
        "train_superclasses.*integer",
    ),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_npz_that_cannot_be_used_is_refused_by_name(tmp_path, fault):
    arrays = own_arrays()
    spoil, message = SPOILED[fault]
    spoil(arrays)
    with pytest.raises(UserError, match=message):
        prepare_npz(tmp_path, arrays)
    assert not (tmp_path / "out").exists()


def test_npz_label_by_mistake_huge_is_refused_before_memory_is_filled(tmp_path):
    arrays = own_arrays()
    arrays["train_labels"][0] = 2**40
    np.savez(tmp_path / "own.npz", **arrays)
    code = f"""
from gendistill.data.images import check_images
from gendistill.data.own import load_npz
from gendistill.errors import UserError
try:
    check_images(load_npz({str(tmp_path / "own.npz")!r}, None), None)
except UserError as error:
    print(error)
"""
    limit = partial(resource.setrlimit, resource.RLIMIT_AS, (2 * 1024**3, 2 * 1024**3))
    assert "train_labels" in run_python(code, SOURCE, preexec_fn=limit)


def damaged_npz(kind: str, folder: Path) -> Path:
    path = folder / "own.npz"
    np.savez_compressed(path, **own_arrays(shape=(20, 20)))
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "flipped byte":
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(content)
    elif kind == "damaged header":
        content[content.index(b"PK\x01\x02") + 10] ^= 0x1F
        path.write_bytes(content)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("train_images: see attachment")
    elif kind == "single array":
        path = folder / "own.npy"
        np.save(path, own_arrays()["train_images"])
    elif kind == "texts in a zip archive":
        with zipfile.ZipFile(path, "w") as archive:
            for name in own_arrays():
                archive.writestr(f"{name}.npy", "see attachment")
    elif kind == "folder":
        path = folder
    return path


KINDS_OF_DAMAGE = [
    "truncated",
    "flipped byte",
    "damaged header",
    "empty",
    "text",
    "single array",
    "texts in a zip archive",
    "folder",
]


@pytest.mark.parametrize("kind", KINDS_OF_DAMAGE)
def test_a_file_that_is_no_npz_is_refused_by_name(tmp_path, kind):
    path = damaged_npz(kind, tmp_path)
    with pytest.raises(UserError, match=f"dataset.path = {path}"):
        load_npz(str(path), None)


def test_pickled_objects_in_an_npz_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "trapped",))

    arrays = own_arrays()
    arrays["classes"] = np.array([Trap(), Trap(), Trap()], dtype=object)
    with pytest.raises(UserError, match=r"own.npz"):
        prepare_npz(tmp_path, arrays)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(("size", "shape"), [(7, (6, 6)), (6, (6, 5)), (5, (6, 5))])
def test_image_size_must_be_that_of_the_images(tmp_path, size, shape):
    with pytest.raises(UserError, match=f"dataset.image_size = {size}.*{shape[0]}x{shape[1]}"):
        prepare_npz(tmp_path, own_arrays(shape=shape), image_size=size)


def test_every_damage_of_an_npz_is_explained(tmp_path):
    path = tmp_path / "own.npz"
    np.savez_compressed(path, **own_arrays(classes=1, shape=(1, 1)))
    explained = 0
    for _ in all_damages(path):
        try:
            check_images(load_npz(str(path), None), None)
        except UserError:
            explained += 1
    assert explained > 1000


def test_real_cifar100_classes_as_npz(tmp_path):
    if not SHARED_CIFAR100.exists():
        pytest.skip(f"CIFAR-100 is not at {SHARED_CIFAR100}")
    original = json.loads((SHARED_CIFAR100 / "classes.json").read_text())
    names = ["apple", "pear", "tulip"]
    groups = sorted({original["superclass_of"][name] for name in names})
    arrays = {"classes": np.array(names), "superclasses": np.array(groups)}
    for split in ("train", "test"):
        stacks = [
            np.asarray(Image.open(SHARED_CIFAR100 / split / f"{n}.webp").convert("RGB")).reshape(-1, 32, 32, 3) for n in names
        ]
        arrays[f"{split}_images"] = np.concatenate(stacks)
        arrays[f"{split}_labels"] = np.repeat(np.arange(3), [len(stack) for stack in stacks])
    arrays["train_superclasses"] = np.array([groups.index(original["superclass_of"][names[y]]) for y in arrays["train_labels"]])
    data = prepare_npz(tmp_path, arrays, image_size=32, validation_per_class=20)
    counts = {split: np.bincount(labels).tolist() for split, labels in data.labels.items()}
    assert counts == {"train": [480] * 3, "test": [100] * 3, "validation": [20] * 3}
    assert data.shape == (3, 32, 32)
    assert [data.superclasses[i] for i in data.superclass_of] == ["fruit_and_vegetables", "fruit_and_vegetables", "flowers"]
    np.testing.assert_array_equal(data.images["test"][0].transpose(1, 2, 0), arrays["test_images"][0])
