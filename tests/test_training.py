"""The training step on a handful of tiny images: its arithmetic, its random draws, resuming, and divergence."""

import copy
import io
import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.numpy import load_file

from gendistill.data import sources
from gendistill.data.images import hold_out_validation, load_images, save_images
from gendistill.data.views import ViewSpace, derive_key, draw_order, draw_views
from gendistill.errors import DivergedError, InterruptedTraining, SettingError
from gendistill.networks.resnet import ResNet
from gendistill.networks.trained import load_network
from gendistill.runtime import Runtime
from gendistill.softlabels.dump import dump_soft_labels
from gendistill.training import loop, run
from gendistill.training.schedule import learning_rate
from tests.tiny import (
    BATCH,
    CLASSES,
    COUNT,
    EPOCHS,
    FILES,
    FROM_TEACHER,
    FROZEN,
    PAD,
    PER_CLASS,
    RECIPE,
    STEPS,
    assert_same_bits,
    read_history,
    tiny_images,
    train,
    weights,
    write_receipt,
)

CONFIG = Path(__file__).resolve().parents[1] / "config"


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    save_images(tiny_images(), folder)
    write_receipt(folder, "dataset.safetensors")
    return folder


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """The folder of a training that was never interrupted, and its metrics."""
    folder = tmp_path_factory.mktemp("finished") / "step"
    return folder, train(folder, dataset)


@pytest.fixture(scope="module")
def teacher(finished, dataset):
    """The inputs of a student: a teacher and its stored soft labels."""
    folder, _ = finished
    write_receipt(folder, *FILES)
    store = folder.parent / "softlabels"
    settings = {"pad": PAD, "flip": True, "precision": "float32"}
    dump_soft_labels(settings, {"dataset": dataset, "teacher": folder}, store, Runtime("cpu"))
    write_receipt(store, "softlabels.npy")
    return {"teacher": folder, "softlabels": store}


def stop_at(call):
    """A `stop_requested` that is true the `call`-th time it is asked, from 0; it is asked once before each step."""
    calls = itertools.count()
    return Runtime("cpu", stop_requested=lambda: next(calls) == call)


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


def test_two_trainings_are_the_same_bits(finished, dataset, tmp_path):
    assert train(tmp_path / "again", dataset)["test_loss"] == finished[1]["test_loss"]
    assert_same_bits(tmp_path / "again", finished[0])


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


def test_metrics_and_logits_are_those_of_the_saved_network(finished, teacher):
    folder, metrics = finished
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


def test_the_history_has_a_row_per_epoch(finished):
    folder, metrics = finished
    history = read_history(folder)
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert [row["test_error_pct"] != "" for row in history] == [False, True, True]
    assert float(history[-1]["test_loss"]) == metrics["test_loss"]
    assert float(history[-1]["test_error_pct"]) == metrics["test_error_pct"]


def record_draws(monkeypatch):
    """What the trainings from now on draw: a list of orders and a list of views."""
    drawn = {"draw_order": [], "draw_views": []}
    for module, name, function in ((loop, "draw_order", draw_order), (sources, "draw_views", draw_views)):

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

    def ask(positions, views, pixels):
        seen.append((positions.numpy(), views.numpy(), pixels.numpy().copy()))
        return torch.zeros(len(positions), CLASSES), []

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


def test_an_objective_from_labels_ignores_the_teacher(finished, dataset, teacher, tmp_path):
    train(tmp_path / "step", dataset, inputs={"softlabels": teacher["softlabels"]})
    assert_same_bits(tmp_path / "step", finished[0])


def test_stored_and_online_soft_labels_give_the_same_student(dataset, teacher, tmp_path):
    for kind, folder in teacher.items():
        train(tmp_path / kind, dataset, FROM_TEACHER, inputs={kind: folder}, generation=1)
    stored, online = weights(tmp_path / "softlabels"), weights(tmp_path / "teacher")
    start = weights_at_start(dataset, teacher, tmp_path)
    for name, value in stored.items():
        np.testing.assert_allclose(value, online[name], rtol=1e-3, atol=1e-3, err_msg=name)
    assert np.abs(stored["classifier.weight"] - start["classifier.weight"]).max() > 0.05


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


@pytest.mark.parametrize("call", [0, 2, STEPS, STEPS + 2, 2 * STEPS, EPOCHS * STEPS - 1])
def test_an_interrupted_training_goes_on_with_the_same_bits(finished, dataset, tmp_path, call):
    with pytest.raises(InterruptedTraining, match=rf"epoch {call // STEPS + 1} of {EPOCHS}, step {call % STEPS}"):
        train(tmp_path / "step", dataset, runtime=stop_at(call))
    assert not (tmp_path / "step" / "model.safetensors").exists()
    left = stop_at(-1)
    left.progress, seen = lambda done, total: seen.append(done), []
    train(tmp_path / "step", dataset, runtime=left)
    assert_same_bits(tmp_path / "step", finished[0])
    assert len(seen) == EPOCHS * STEPS - call
    assert seen[-1] == EPOCHS * COUNT


def test_a_training_interrupted_in_every_step_gives_the_same_bits(finished, dataset, tmp_path):
    for _ in range(EPOCHS * STEPS - 1):
        with pytest.raises(InterruptedTraining):
            train(tmp_path / "step", dataset, runtime=stop_at(1))
    train(tmp_path / "step", dataset, runtime=stop_at(1))
    assert_same_bits(tmp_path / "step", finished[0])


def test_an_interrupted_student_goes_on_with_the_same_bits(dataset, teacher, tmp_path):
    inputs = {"softlabels": teacher["softlabels"]}
    train(tmp_path / "whole", dataset, FROM_TEACHER, inputs=inputs, generation=2)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "step", dataset, FROM_TEACHER, runtime=stop_at(6), inputs=inputs, generation=2)
    train(tmp_path / "step", dataset, FROM_TEACHER, inputs=inputs, generation=2)
    assert_same_bits(tmp_path / "step", tmp_path / "whole")


def test_an_interrupted_training_without_momentum_goes_on_with_the_same_bits(dataset, tmp_path):
    recipe = {"momentum": 0.0, "nesterov": False}
    train(tmp_path / "whole", dataset, recipe=recipe)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "step", dataset, recipe=recipe, runtime=stop_at(6))
    train(tmp_path / "step", dataset, recipe=recipe)
    assert_same_bits(tmp_path / "step", tmp_path / "whole")


def replace_loss(loss, monkeypatch):
    """Let the objective `cross_entropy` be another function, for this test."""
    monkeypatch.setattr(loss, "__module__", "gendistill.objectives.cross_entropy")
    monkeypatch.setattr("gendistill.objectives.cross_entropy.loss", loss)


def noisy_loss(logits, labels, teacher_logits=None):
    return F.cross_entropy(logits + 0.1 * torch.randn_like(logits), labels)


def test_random_numbers_that_an_objective_draws_go_on_too(dataset, tmp_path, monkeypatch):
    replace_loss(noisy_loss, monkeypatch)
    train(tmp_path / "whole", dataset)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "step", dataset, runtime=stop_at(6))
    torch.manual_seed(99)
    train(tmp_path / "step", dataset)
    assert_same_bits(tmp_path / "step", tmp_path / "whole")


@pytest.mark.parametrize(("every", "killed_after", "steps_left"), [(1, 10, 4), (2, 10, 4), (2, 7, 12), (3, 11, 12)])
def test_a_killed_training_goes_on_from_its_last_checkpoint(finished, dataset, tmp_path, every, killed_after, steps_left):
    done, seen = itertools.count(1), []

    def kill(*_):
        if next(done) == killed_after:
            raise KeyboardInterrupt

    runtime = Runtime("cpu", checkpoint_every=every)
    runtime.progress = kill
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "step", dataset, runtime=runtime)
    runtime.progress = lambda *progress: seen.append(progress)
    train(tmp_path / "step", dataset, runtime=runtime)
    assert len(seen) == steps_left
    assert_same_bits(tmp_path / "step", finished[0])


def truncate(path):
    path.write_bytes(path.read_bytes()[:-500])


def empty(path):
    path.write_bytes(b"")


def overwrite(path):
    path.write_bytes(b"not a checkpoint")


def overwrite_by_another_state(path):
    torch.save({"something": "else"}, path)


def flip_bits_of_a_weight(path):
    content = bytearray(path.read_bytes())
    weight = torch.load(io.BytesIO(content[32:]), weights_only=True)["network"]["classifier.weight"].numpy().tobytes()
    content[content.index(weight) + 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        empty,
        overwrite,
        overwrite_by_another_state,
        flip_bits_of_a_weight,
    ],
)
def test_a_corrupt_checkpoint_is_put_aside_and_training_starts_over(finished, dataset, tmp_path, damage):
    folder = tmp_path / "step"
    with pytest.raises(InterruptedTraining):
        train(folder, dataset, runtime=stop_at(STEPS + 2))
    damage(folder / "resume.pt")
    damaged, seen = (folder / "resume.pt").read_bytes(), []
    runtime = Runtime("cpu")
    runtime.progress = lambda *progress: seen.append(progress)
    train(folder, dataset, runtime=runtime)
    assert len(seen) == EPOCHS * STEPS
    assert_same_bits(folder, finished[0])
    assert (folder / "resume.pt.corrupt").read_bytes() == damaged


def test_the_checkpoint_of_another_step_is_not_used(finished, dataset, tmp_path):
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "other", dataset, seed=1, runtime=stop_at(STEPS + 2))
    (tmp_path / "step").mkdir()
    (tmp_path / "other" / "resume.pt").rename(tmp_path / "step" / "resume.pt")
    train(tmp_path / "step", dataset)
    assert_same_bits(tmp_path / "step", finished[0])


def test_divergence_names_epoch_step_and_learning_rate(dataset, tmp_path):
    with pytest.raises(DivergedError, match=r"(?s)epoch \d of 3, step \d.*recipe\.learning_rate = 1e\+20"):
        train(tmp_path / "step", dataset, recipe={"learning_rate": 1e20})
    assert not (tmp_path / "step" / "model.safetensors").exists()


def loss_not_finite_at(call, value, monkeypatch):
    calls = itertools.count()

    def loss(logits, labels, teacher_logits=None):
        return F.cross_entropy(logits, labels) + (value if next(calls) == call else 0.0)

    replace_loss(loss, monkeypatch)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("call", [0, STEPS - 1, STEPS, STEPS + 2, EPOCHS * STEPS - 1])
def test_divergence_is_found_in_the_step_where_it_began(dataset, tmp_path, monkeypatch, call, value):
    loss_not_finite_at(call, value, monkeypatch)
    with pytest.raises(DivergedError, match=f"epoch {call // STEPS + 1} of {EPOCHS}, step {call % STEPS + 1},"):
        train(tmp_path / "step", dataset)


def test_divergence_before_an_interruption_is_found_after_it(dataset, tmp_path, monkeypatch):
    loss_not_finite_at(STEPS + 1, math.nan, monkeypatch)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "step", dataset, runtime=stop_at(STEPS + 3))
    with pytest.raises(DivergedError, match=f"epoch 2 of {EPOCHS}, step 2,"):
        train(tmp_path / "step", dataset)


def test_padding_larger_than_the_images_is_refused(dataset, tmp_path):
    with pytest.raises(SettingError, match=r"recipe\.pad = 9"):
        train(tmp_path / "step", dataset, recipe={"pad": 9})


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


def test_validation_images_are_taken_from_the_training_images():
    data = tiny_images()
    held = hold_out_validation(data, 2, seed=5)
    parts = {split: {image.tobytes() for image in images} for split, images in held.images.items()}
    assert not parts["train"] & parts["validation"]
    assert parts["train"] | parts["validation"] == {image.tobytes() for image in data.images["train"]}
    assert np.bincount(held.labels["validation"]).tolist() == [2, 2, 2]
    assert np.bincount(held.labels["train"]).tolist() == [PER_CLASS - 2] * 3
    label_of = {image.tobytes(): label for image, label in zip(data.images["train"], data.labels["train"], strict=True)}
    for split in ("train", "validation"):
        found = zip(held.images[split], held.labels[split], strict=True)
        assert all(label_of[image.tobytes()] == label for image, label in found)
    assert np.array_equal(held.images["test"], data.images["test"])
    assert len(data.images["train"]) == COUNT


def test_no_validation_images_unless_asked_for():
    assert "validation" not in hold_out_validation(tiny_images(), 0, seed=5).images


def test_validation_images_are_tested_on_but_not_trained_on(tmp_path):
    held = hold_out_validation(tiny_images(), 3, seed=5)
    save_images(held, tmp_path / "dataset")
    write_receipt(tmp_path / "dataset", "dataset.safetensors")
    metrics = train(tmp_path / "step", tmp_path / "dataset", recipe={"evaluate_every": 1})
    other = copy.deepcopy(held)
    other.images["validation"][:] = 255 - other.images["validation"]
    save_images(other, tmp_path / "other")
    write_receipt(tmp_path / "other", "dataset.safetensors")
    changed = train(tmp_path / "again" / "step", tmp_path / "other", recipe={"evaluate_every": 1})
    for name in FILES:
        assert (tmp_path / "step" / name).read_bytes() == (tmp_path / "again" / "step" / name).read_bytes()
    assert metrics["validation_loss"] != changed["validation_loss"]
    history = read_history(tmp_path / "step")
    best = min(history, key=lambda row: float(row["validation_error_pct"]))
    assert metrics["best_epoch_chosen_on"] == "validation"
    assert (metrics["best_epoch"], metrics["best_epoch_test_error_pct"]) == (int(best["epoch"]), float(best["test_error_pct"]))
    assert load_images(tmp_path / "dataset").images["validation"].shape == (9, 1, 8, 8)


def row(epoch, test, validation=None):
    errors = {} if test is None else {"test_error_pct": test}
    return {"epoch": epoch, **errors, **({} if validation is None else {"validation_error_pct": validation})}


def test_the_best_epoch_is_chosen_on_validation_images():
    history = [row(1, None), row(2, 10.0, 30.0), row(3, 20.0, 25.0), row(4, 5.0, 26.0)]
    found = run.best_epoch(history)
    assert found == {"best_epoch": 3, "best_epoch_test_error_pct": 20.0, "best_epoch_chosen_on": "validation"}


def test_without_validation_images_the_best_epoch_is_marked_as_chosen_on_test_images():
    history = [row(1, None), row(2, 10.0), row(3, 20.0), row(4, 5.0), row(5, 6.0)]
    found = run.best_epoch(history)
    assert found == {"best_epoch": 4, "best_epoch_test_error_pct": 5.0, "best_epoch_chosen_on": "test"}
