"""The training step on a handful of tiny images: its arithmetic, its random draws, and what a student learns from."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

from gendistill.data import sources
from gendistill.data.views import ViewSpace, derive_key, draw_order, draw_views
from gendistill.errors import SettingError
from gendistill.networks.resnet import ResNet
from gendistill.networks.trained import load_network
from gendistill.training import epoch as epochs
from gendistill.training import run
from tests.tiny import (
    BATCH,
    CLASSES,
    COUNT,
    EPOCHS,
    FROM_TEACHER,
    FROZEN,
    PAD,
    STEPS,
    assert_same_bits,
    read_history,
    tiny_images,
    train,
    weights,
    write_receipt,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def view_of(image, number):
    """View `number` of an image (C, H, W): padded, cropped, mirrored."""
    crop, mirrored = divmod(number, 2)
    top, left = divmod(crop, 2 * PAD + 1)
    view = np.pad(image, ((0, 0), (PAD, PAD), (PAD, PAD)))[:, top : top + 8, left : left + 8]
    return view[:, :, ::-1] if mirrored else view


def cosine_rate(step):
    return 0.05 * (1 + math.cos(math.pi * step / (EPOCHS * STEPS))) / 2


def steps_rate(step):
    return 0.05 * [1, 0.2, 0.2**2][step // STEPS]  # 0.3 and 0.6 of 3 epochs are 1 and 2 whole ones


def train_plainly(rate_of, momentum=0.9, nesterov=True):
    """The same training written out: views by NumPy, PyTorch's own optimizer. Returns the weights and a row per epoch."""
    data = tiny_images()
    images, labels = data.images["train"], torch.from_numpy(data.labels["train"])
    mean, std = images.mean(), images.astype(np.float64).std()
    torch.manual_seed(derive_key("initialisation", 0, 0, 0) % 2**63)
    network = ResNet(1, CLASSES, 8, "A", 4)
    optimizer = torch.optim.SGD(
        network.parameters(), 0.05, momentum=momentum, nesterov=nesterov, weight_decay=5e-3, foreach=False, fused=False
    )
    rows = []
    for epoch in range(EPOCHS):
        order = draw_order(derive_key("order", 0, 0, 0), epoch, COUNT)
        views = draw_views(derive_key("views", 0, 0, 0), epoch, COUNT, ViewSpace(PAD, True))
        losses, wrong = [], 0
        for step in range(STEPS):
            index = order[BATCH * step : BATCH * (step + 1)]
            pixels = np.stack([view_of(images[i], views[i]) for i in index])
            optimizer.param_groups[0]["lr"] = rate_of(epoch * STEPS + step)
            logits = network(torch.from_numpy((pixels - mean) / std).float())
            loss = F.cross_entropy(logits, labels[index], reduction="none")
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            losses += loss.tolist()
            wrong += int((logits.argmax(1) != labels[index]).sum())
        rows.append(
            {"train_loss": np.mean(losses), "train_error_pct": 100 * wrong / COUNT, "learning_rate": rate_of(epoch * STEPS + step)}
        )
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}, rows


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, False)])
@pytest.mark.parametrize(("schedule", "rate_of"), [("cosine", cosine_rate), ("steps", steps_rate)])
def test_training_is_sgd_on_the_drawn_views(dataset, tmp_path, schedule, rate_of, momentum, nesterov):
    train(tmp_path / "step", dataset, recipe={"schedule": schedule, "momentum": momentum, "nesterov": nesterov})
    expected, rows = train_plainly(rate_of, momentum, nesterov)
    found = weights(tmp_path / "step")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    history = read_history(tmp_path / "step")
    for row, expected_row in zip(history, rows, strict=True):
        assert float(row["learning_rate"]) == pytest.approx(expected_row["learning_rate"])
        assert float(row["train_loss"]) == pytest.approx(expected_row["train_loss"], rel=1e-4)
        assert float(row["train_error_pct"]) == pytest.approx(expected_row["train_error_pct"])


def test_two_trainings_are_the_same_bits(trained, dataset, tmp_path):
    assert train(tmp_path / "again", dataset)["test_loss"] == trained[1]["test_loss"]
    assert_same_bits(tmp_path / "again", trained[0])


def test_a_network_learns_to_tell_the_classes_apart(dataset, tmp_path):
    metrics = train(tmp_path / "step", dataset, recipe={"epochs": 25, "pad": 0, "flip": False})
    assert (metrics["train_error_pct"], metrics["test_error_pct"]) == (0, 0)
    assert metrics["test_loss"] < 0.2


def evaluate_plainly(folder, split):
    """Loss and error in percent of a saved network on plain images, in NumPy."""
    data = tiny_images()
    network, description = load_network(folder, torch.device("cpu"))
    pixels = (data.images[split] - description.mean[0]) / description.std[0]
    logits = network(torch.from_numpy(pixels).float()).numpy().astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = data.labels[split]
    return logits, -np.log(p[np.arange(len(labels)), labels]).mean(), 100 * (p.argmax(axis=1) != labels).mean()


def test_metrics_and_logits_are_those_of_the_saved_network(trained, teacher):
    folder, metrics = trained
    for split in ("train", "test"):
        logits, loss, error = evaluate_plainly(folder, split)
        assert metrics[f"{split}_loss"] == pytest.approx(loss, rel=1e-4)
        assert metrics[f"{split}_error_pct"] == pytest.approx(error)
    saved = load_file(folder / "logits.safetensors")
    np.testing.assert_allclose(saved["logits"], logits, atol=1e-4)
    assert np.array_equal(saved["labels"], tiny_images().labels["test"])
    assert metrics["parameters"] == sum(
        value.size for name, value in weights(folder).items() if not re.search("running|tracked", name)
    )


def test_the_history_has_a_row_per_epoch(trained):
    folder, metrics = trained
    history = read_history(folder)
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert [row["test_error_pct"] != "" for row in history] == [False, True, True]
    assert float(history[-1]["test_loss"]) == metrics["test_loss"]
    assert float(history[-1]["test_error_pct"]) == metrics["test_error_pct"]


def record_draws(monkeypatch):
    """What the trainings from now on draw: a list of orders and a list of views."""
    drawn = {"draw_order": [], "draw_views": []}
    for module, name, function in ((epochs, "draw_order", draw_order), (sources, "draw_views", draw_views)):

        def record(*arguments, name=name, function=function):
            drawn[name].append(function(*arguments))
            return drawn[name][-1]

        monkeypatch.setattr(module, name, record)
    return drawn["draw_order"], drawn["draw_views"]


@pytest.mark.parametrize("numbers", [{"seed": 1}, {"generation": 1}, {"member": 1}])
def test_seed_generation_and_member_change_initialisation_order_and_views(dataset, tmp_path, monkeypatch, numbers):
    orders, views = record_draws(monkeypatch)
    train(tmp_path / "one", dataset, recipe=FROZEN)
    train(tmp_path / "other", dataset, recipe=FROZEN, **numbers)
    one, other = weights(tmp_path / "one"), weights(tmp_path / "other")
    convolutions = [name for name, value in one.items() if value.ndim == 4]
    assert len(convolutions) == 7
    assert not any((one[name] == other[name]).any() for name in [*convolutions, "classifier.weight"])
    assert not np.array_equal(*orders)
    assert not np.array_equal(*views)


def test_no_generation_starts_from_the_weights_of_an_earlier_one(dataset, teacher, tmp_path):
    train(tmp_path / "0", dataset, recipe=FROZEN)
    for generation in (1, 2, 3):
        inputs = {"softlabels": teacher["softlabels"]}
        train(tmp_path / str(generation), dataset, FROM_TEACHER, FROZEN, inputs=inputs, generation=generation)
    starts = [weights(tmp_path / str(generation)) for generation in range(4)]
    for one, other in itertools.combinations(starts, 2):
        assert not (one["stem.weight"] == other["stem.weight"]).any()
    assert len({derive_key("initialisation", 0, generation, 0) for generation in range(100)}) == 100


def record_batches(monkeypatch, dataset, folder, recipe):
    """What a teacher is asked for in each step of a training: positions, view numbers and pixels."""
    seen = []

    def ask(positions, views, pixels, labels):
        seen.append((positions.numpy(), views.numpy(), pixels.numpy().copy()))
        return torch.zeros(len(positions), CLASSES), {}, None

    monkeypatch.setattr(run, "_teacher", lambda *_: ask)
    train(folder, dataset, FROM_TEACHER, recipe)
    return seen


def test_each_epoch_shows_each_image_once_in_its_view(dataset, tmp_path, monkeypatch):
    images = tiny_images().images["train"]
    views_by_batch = []
    for batch in (BATCH, COUNT):
        seen = record_batches(monkeypatch, dataset, tmp_path / str(batch), {"epochs": 2, "batch_size": batch})
        steps = math.ceil(COUNT / batch)
        assert len(seen) == 2 * steps
        shown = []
        for epoch in range(2):
            positions, views, pixels = (
                np.concatenate(part) for part in zip(*seen[steps * epoch : steps * (epoch + 1)], strict=True)
            )
            assert sorted(positions) == list(range(COUNT))
            assert np.array_equal(pixels, np.stack([view_of(images[i], v) for i, v in zip(positions, views, strict=True)]))
            shown.append(views[np.argsort(positions)])
        assert not np.array_equal(*shown)
        views_by_batch.append(shown)
    assert np.array_equal(*views_by_batch)


def test_an_objective_from_labels_ignores_the_teacher(trained, dataset, teacher, tmp_path):
    train(tmp_path / "step", dataset, inputs={"softlabels": teacher["softlabels"]})
    assert_same_bits(tmp_path / "step", trained[0])


def test_stored_and_online_soft_labels_give_the_same_student(dataset, teacher, tmp_path):
    for kind, folder in teacher.items():
        train(tmp_path / kind, dataset, FROM_TEACHER, inputs={kind: folder}, generation=1)
    stored, online = weights(tmp_path / "softlabels"), weights(tmp_path / "teacher")
    start = weights_at_start(dataset, teacher, tmp_path)
    for name, value in stored.items():
        np.testing.assert_allclose(value, online[name], rtol=1e-3, atol=1e-3, err_msg=name)
    assert np.abs(stored["classifier.weight"] - start["classifier.weight"]).max() > 0.05


@pytest.mark.parametrize("distil_until", [1.0, 0.5])
def test_a_student_is_the_same_from_the_labels_of_the_views_that_it_draws(dataset, teacher, tmp_path, distil_until):
    every = np.load(teacher["softlabels"] / "softlabels.npy")
    drawn = np.zeros(every.shape[:2], bool)
    # Three epochs: half of them, rounded to even, are two.
    for epoch in range(EPOCHS if distil_until == 1 else 2):
        drawn[np.arange(COUNT), draw_views(derive_key("views", 5, 1, 0), epoch, COUNT, ViewSpace(PAD, True))] = True
    np.save(tmp_path / "softlabels.npy", every[drawn])
    write_receipt(tmp_path, "softlabels.npy")
    objective = {**FROM_TEACHER, "distil_until": distil_until}
    for name, folder in (("every", teacher["softlabels"]), ("few", tmp_path)):
        train(tmp_path / name, dataset, objective, inputs={"softlabels": folder}, seed=5, generation=1)
    assert_same_bits(tmp_path / "every", tmp_path / "few")


def weights_at_start(dataset, teacher, tmp_path):
    train(tmp_path / "start", dataset, FROM_TEACHER, FROZEN, inputs={"softlabels": teacher["softlabels"]}, generation=1)
    return weights(tmp_path / "start")


def test_a_student_learns_what_its_teacher_says(dataset, tmp_path):
    """The teacher calls class 0 what is class 1, and so on: a student that learned from labels would do otherwise."""
    taught = (tiny_images().labels["train"] + 1) % CLASSES
    np.save(tmp_path / "softlabels.npy", 10 * np.eye(CLASSES, dtype=np.float16)[taught][:, None])
    write_receipt(tmp_path, "softlabels.npy")
    recipe = {"epochs": 25, "pad": 0, "flip": False}
    metrics = train(tmp_path / "step", dataset, FROM_TEACHER, recipe, inputs={"softlabels": tmp_path}, generation=1)
    assert metrics["test_error_pct"] == 100
    saved = load_file(tmp_path / "step" / "logits.safetensors")
    assert np.array_equal(saved["logits"].argmax(1), (saved["labels"] + 1) % CLASSES)


def test_padding_larger_than_the_images_is_refused(dataset, tmp_path):
    with pytest.raises(SettingError, match=r"recipe\.pad = 9"):
        train(tmp_path / "step", dataset, recipe={"pad": 9})
