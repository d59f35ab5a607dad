"""A copy of the project with a tiny chain, for tests that run it for real; the tiny training of tests/tiny.py."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.documents import chromium, latex  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "workflow", "src", "config", "profiles", "environment.yml", "dvc.yaml", "pyproject.toml")
TINY = """\
# @package _global_
defaults:
  - override /dataset: npz
  - override /network: resnet8
  - override /objective: tolerant
  - override /recipe: digits
dataset:
  path: tiny.npz
network:
  width: 4
recipe:
  epochs: 2
  precision: float32
  pad: 1
generations: 5
objective:
  lambda: [0.6, 0.6, 0.6, 0.6, 0.6]
lineages:
  line: {}
figures: [error_by_generation]
"""
# About 15 s of training, with a checkpoint each epoch.
LONG_TRAINING = """\
# @package _global_
defaults:
  - override /dataset: npz
  - override /recipe: digits
dataset:
  path: tiny.npz
recipe:
  epochs: 400
  pad: 1
  precision: float32
  evaluate_every: 100
generations: 0
lineages:
  long: {}
"""
# Modules that take longest: begun first, so that no worker waits for one at the end.
LONG = (
    "test_smoke_papers",
    "test_identity",
    "test_sharing_clone",
    "test_interruption",
    "test_side_by_side",
    "test_training_distributed_steps",
    "test_repository",
    "test_sharing_history",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@dataclass
class Checkout:
    """A copy of the project in a folder of its own."""

    folder: Path

    def run(self, *command: str, check: bool = True, timeout: int = 540, **options) -> subprocess.CompletedProcess:
        """Run a Python module with arguments in the copy, with the copy's own code."""
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=self.env(),
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def env(self) -> dict[str, str]:
        # Without the environment's bin folder: Snakemake must find its own Python.
        return {**os.environ, "PYTHONPATH": str(self.folder / "src"), "PATH": os.defpath}

    def snakemake(self, *arguments: str, experiments: str = "tiny", check: bool = True, **options) -> subprocess.CompletedProcess:
        command = ("snakemake", "--cores", "2", *arguments, "--config", f"experiments=[{experiments}]")
        return self.run(*command, check=check, **options)

    def steps(self, *kinds: str) -> set[str]:
        """The finished steps of some kinds (of all, if none is named), as `kind/id`."""
        receipts = self.folder.glob("runs/*/*/receipt.json")
        names = {f"{p.parent.parent.name}/{p.parent.name}" for p in receipts}
        return {name for name in names if not kinds or name.split("/")[0] in kinds}

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new))


def copy_project(folder: Path) -> Checkout:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / part)
    (folder / "slurm").symlink_to("profiles/slurm")
    (folder / "config/experiment/tiny.yaml").write_text(TINY)
    write_tiny_images(folder / "tiny.npz")
    return Checkout(folder)


def write_tiny_images(path: Path) -> None:
    """Three classes of 8x8 images that a network can tell apart: noise with a bright row, column or corner."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, per_class in (("train", 8), ("test", 6)):
        images = generator.integers(0, 120, (3 * per_class, 8, 8), dtype=np.uint8)
        labels = np.repeat(np.arange(3), per_class)
        images[labels == 0, 3, :] += 130
        images[labels == 1, :, 3] += 130
        images[labels == 2, :3, :3] += 130
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    np.savez(path, **arrays)


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    """A copy of the project in which nothing has run."""
    return copy_project(tmp_path / "project")


def made_once(name: str, make: Callable[[Path], object], parent: Path) -> Path:
    """A folder that the first of several workers makes, for all of them; `parent` is the base of one's temporary folders."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        parent = parent.parent
    folder, done = parent / name, parent / f"{name}.done"
    with open(parent / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def _finished(tmp_path_factory) -> Checkout:
    return Checkout(made_once("finished", lambda folder: copy_project(folder).snakemake(), tmp_path_factory.getbasetemp()))


@pytest.fixture
def finished(_finished, tmp_path) -> Checkout:
    """A copy of the project in which the tiny chain of 5 generations is finished."""
    shutil.copytree(_finished.folder, tmp_path / "project", symlinks=True)
    return Checkout(tmp_path / "project")


# What imports PyTorch is imported where it is used: most tests do without.
@pytest.fixture(scope="module")
def one_thread():
    """PyTorch computes with one thread: it gives the same bits each time, and tiny arrays are not worth more."""
    from tests import tiny

    with tiny.one_thread():
        yield


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """The folder of a handful of tiny images."""
    from tests import tiny

    return tiny.write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """The folder of a training on `dataset` that was never interrupted, and its metrics."""
    from tests import tiny

    folder = tmp_path_factory.mktemp("trained") / "step"
    return folder, tiny.train(folder, dataset)


@pytest.fixture(scope="module")
def teacher(trained, dataset):
    """The inputs of a student: a teacher and its stored soft labels."""
    from tests import tiny

    return tiny.write_teacher(trained[0], dataset)


@pytest.fixture
def graphs(monkeypatch):
    """Steps can be replayed: on a GPU where there is one, else by a stand-in on the CPU. A list with an entry for each replay.

    An entry is the number of recorded operations, or on a GPU of the recording.
    """
    import torch

    from gendistill.training import replay
    from tests import graphs

    replays = []
    record = graphs.recorder(replays)
    if torch.cuda.is_available():
        record = graphs.watched(replay.record, replays)
    monkeypatch.setattr(replay, "can_record", lambda device: True)
    monkeypatch.setattr(replay, "record", record)
    return replays
