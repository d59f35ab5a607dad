"""CIFAR, through torchvision's own download."""

import hashlib
import io
import json
import pickle
import shutil
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml

from gendistill.data.cifar import load_cifar10
from gendistill.data.superclasses import apply_superclasses
from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import UserError
from gendistill.plan.settings import read_superclasses
from tests.small_data import CONFIG, SHARED_CIFAR100, prepare


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
