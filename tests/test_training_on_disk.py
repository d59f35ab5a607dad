"""ImageNet's way of training, on a small folder of the same layout: images stay in their files."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from gendistill.data.sources import open_data
from gendistill.errors import InterruptedTraining, UserError
from gendistill.evaluation.agreement import evaluate_agreement
from gendistill.files import read_receipt
from gendistill.networks.trained import load_network, logits_of
from gendistill.runtime import Runtime
from gendistill.training import run
from tests.conftest import Checkout
from tests.small_archives import picture
from tests.tiny import FILES, FROM_LABELS, FROM_TEACHER, RECIPE, assert_same_bits, read_history, write_receipt

SIZE, CLASSES, PER_CLASS = 32, 3, 5
NETWORK = {"_target_": "gendistill.networks.imagenet_resnet.ImageNetResNet", "depth": 10, "width": 4}
ON_DISK = {**RECIPE, "pad": 0, "flip": True, "batch_size": 5, "epochs": 2}
EXPERIMENT = f"""\
# @package _global_
defaults:
  - override /dataset: imagenet
  - override /network: resnet18
  - override /objective: ban
  - override /recipe: imagenet_tt
dataset: {{path: copy, classes: {CLASSES}, image_size: {SIZE}}}
network: {{depth: 10, width: 4}}
recipe: {{epochs: 2, batch_size: 5, precision: float32}}
soft_labels: online
generations: 1
"""


def write_tree(root):
    """Training and validation pictures of each class, of a tint that tells it, in the layout of ImageNet."""
    for split, count in (("train", PER_CLASS), ("val", 2)):
        for label in range(CLASSES):
            folder = root / split / f"n{label:08}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.asarray(picture(100 * label + 10 * i + (split == "val"), 48, 40)) // 2
                pixels[..., label] += 100
                Image.fromarray(pixels).save(folder / f"{i}.JPEG", quality=95)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("copy") / "imagenet")


@pytest.fixture(scope="module")
def dataset(tree, tmp_path_factory):
    from gendistill.data.prepare import prepare_dataset

    folder = tmp_path_factory.mktemp("dataset")
    settings = {
        "_target_": "gendistill.data.imagenet.index_imagenet",
        "name": "imagenet",
        "on_disk": True,
        "image_size": SIZE,
        "validation_per_class": 0,
        "classes": CLASSES,
        "content": "",
    }
    prepare_dataset(settings, {}, folder, Runtime(source={"path": str(tree)}))
    write_receipt(folder, "dataset.safetensors")
    return folder


def train(folder, dataset, tree, objective=FROM_LABELS, runtime=None, generation=0, **inputs):
    settings = {"network": NETWORK, "objective": objective, "recipe": ON_DISK, "seed": 0, "generation": generation}
    runtime = runtime or Runtime("cpu", source={"path": str(tree)})
    return run.train_network(settings, {"dataset": dataset, **inputs}, folder, runtime)


@pytest.fixture(scope="module")
def teacher(dataset, tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    metrics = train(folder, dataset, tree)
    write_receipt(folder, *FILES)
    return folder, metrics


def test_error_on_disk_is_that_of_the_plain_images(dataset, tree, teacher):
    folder, metrics = teacher
    network, description = load_network(folder, torch.device("cpu"))
    data = open_data(dataset, ON_DISK, {"path": str(tree)}, torch.device("cpu"), 1)
    logits = torch.cat([logits_of(network, description, pixels) for pixels in data.splits["test"].plain(4)])
    labels = torch.arange(CLASSES).repeat_interleave(2)
    assert metrics["test_error_pct"] == pytest.approx(100 * (logits.argmax(1) != labels).double().mean().item())
    # A pass over all training files is saved: the error on the views trained on stands for it.
    assert metrics["train_error_pct"] == float(read_history(folder)[-1]["train_error_pct"])
    assert "train_loss" not in metrics


def test_a_student_on_disk_resumes_with_the_same_bits_for_any_number_of_threads(dataset, tree, teacher, tmp_path):
    folder, _ = teacher
    train(tmp_path / "whole", dataset, tree, FROM_TEACHER, generation=1, teacher=folder)
    calls = iter(range(100))
    stopping = Runtime("cpu", threads=3, source={"path": str(tree)}, stop_requested=lambda: next(calls) == 4)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "parts", dataset, tree, FROM_TEACHER, stopping, 1, teacher=folder)
    train(tmp_path / "parts", dataset, tree, FROM_TEACHER, Runtime("cpu", threads=2, source={"path": str(tree)}), 1, teacher=folder)
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_each_epoch_shows_other_views(dataset, tree):
    data = open_data(dataset, ON_DISK, {"path": str(tree)}, torch.device("cpu"), 2)
    train_images = data.splits["train"]
    shown = []
    for epoch in (0, 1, 0):
        views = torch.from_numpy(train_images.draw_views(7, epoch))
        shown.append(torch.cat(list(train_images.batches(torch.arange(len(train_images)), views, 4))))
    assert torch.equal(shown[0], shown[2])
    assert not (shown[0] == shown[1]).flatten(1).all(1).any()


def test_agreement_of_networks_on_disk(dataset, tree, teacher, tmp_path):
    folder, metrics = teacher
    inputs = {"dataset": dataset, "student": folder, "teacher": folder}
    found = evaluate_agreement({"temperature": 4.0}, inputs, tmp_path, Runtime("cpu", source={"path": str(tree)}))
    assert found["kd_error_train_pct"] == found["kd_error_test_pct"] == 0
    assert found["student_error_test_pct"] == pytest.approx(metrics["test_error_pct"])


def test_a_file_that_went_missing_is_named(dataset, tree, tmp_path):
    shutil.copytree(tree, tmp_path / "copy")
    (tmp_path / "copy/train/n00000001/3.JPEG").unlink()
    with pytest.raises(UserError, match=r"n00000001/3\.JPEG"):
        train(tmp_path / "out", dataset, tmp_path / "copy")


@pytest.mark.chains
def test_a_chain_on_disk_by_snakemake(checkout: Checkout):
    """Moved images are the same images; a class too few is an error before any training."""
    write_tree(checkout.folder / "copy")
    (checkout.folder / "config/experiment/disk.yaml").write_text(EXPERIMENT)
    checkout.snakemake(experiments="disk")
    assert len(checkout.steps("patriarch", "generation")) == 2
    (receipt,) = checkout.folder.glob("runs/generation/*/receipt.json")
    assert read_receipt(receipt.parent)["metrics"]["test_error_pct"] <= 100
    (checkout.folder / "copy").rename(checkout.folder / "moved")
    moved = ("snakemake", "--cores", "2", "--config", "experiments=[disk]", "overrides=[dataset.path=moved]")
    done = checkout.run(*moved)
    assert "Nothing to be done" in done.stdout + done.stderr
    shutil.rmtree(checkout.folder / "moved/train/n00000002")
    shutil.rmtree(checkout.folder / "moved/val/n00000002")
    before = checkout.steps()
    failed = checkout.run(*moved, check=False)
    assert failed.returncode
    (log,) = (p for p in (checkout.folder / "logs/dataset").glob("*.log") if "dataset.classes" in p.read_text())
    assert "2 class folders in train and val, but dataset.classes = 3" in log.read_text()
    assert checkout.steps() == before
