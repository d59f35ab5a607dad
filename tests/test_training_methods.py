"""What some methods ask of the training loop: maps, dropout, early-stopped distillation, shared layers, fine-tuning."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gendistill.data.images import Images, load_images, save_images
from gendistill.errors import InterruptedTraining, SettingError, UserError
from gendistill.networks.trained import load_network
from gendistill.precision import autocast
from gendistill.runtime import Runtime
from gendistill.targets import instantiate
from gendistill.training import learner, loop, run
from gendistill.training.objective import Method, Objective
from tests.tiny import (
    CLASSES,
    COUNT,
    EPOCHS,
    FILES,
    FROM_TEACHER,
    FROZEN,
    NETWORK,
    RECIPE,
    STEPS,
    assert_same_bits,
    read_history,
    train,
    weights,
    write_receipt,
)

WIDE = {"_target_": "gendistill.networks.wide_resnet.WideResNet", "depth": 10, "width": 1, "base": 4, "dropout": 0.4}
ATTENTION = {
    "_target_": "gendistill.objectives.attention_transfer.loss",
    "needs": ["maps", "teacher_maps"],
    "label_weight": 1.0,
    "beta": 10.0,
}


@pytest.fixture(scope="module")
def teacher(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    train(folder, dataset)
    write_receipt(folder, *FILES)
    return folder


def train_with(folder, dataset, network=NETWORK, objective=FROM_TEACHER, recipe=None, runtime=None, **inputs):
    settings = {"network": network, "objective": objective, "recipe": {**RECIPE, **(recipe or {})}, "seed": 0, "generation": 1}
    return run.train_network(settings, {"dataset": dataset, **inputs}, folder, runtime or Runtime("cpu"))


def stopping_after(steps):
    calls = iter(range(10**6))
    return Runtime("cpu", stop_requested=lambda: next(calls) == steps)


def test_a_network_with_dropout_resumes_with_the_same_bits(dataset, teacher, tmp_path):
    train_with(tmp_path / "whole", dataset, WIDE, teacher=teacher)
    with pytest.raises(InterruptedTraining):
        train_with(tmp_path / "parts", dataset, WIDE, runtime=stopping_after(STEPS + 2), teacher=teacher)
    # What a new process would start with is not what the interrupted one had.
    torch.manual_seed(123)
    train_with(tmp_path / "parts", dataset, WIDE, teacher=teacher)
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")
    train_with(tmp_path / "without", dataset, {**WIDE, "dropout": 0.0}, teacher=teacher)
    assert not np.array_equal(weights(tmp_path / "whole")["classifier.weight"], weights(tmp_path / "without")["classifier.weight"])


def test_dropout_differs_between_steps_epochs_and_seeds(dataset, monkeypatch, tmp_path):
    seeds = []
    original = torch.manual_seed

    def record(seed):
        seeds.append(seed)
        return original(seed)

    monkeypatch.setattr(torch, "manual_seed", record)
    for seed in (0, 1):
        settings = {"network": NETWORK, "objective": {"_target_": "gendistill.objectives.cross_entropy.loss"}, "recipe": RECIPE}
        run.train_network({**settings, "seed": seed}, {"dataset": dataset}, tmp_path / str(seed), Runtime("cpu"))
    # One for the first weights and one for each step.
    assert len(seeds) == len(set(seeds)) == 2 * (1 + EPOCHS * STEPS)


def test_attention_transfer_sees_the_maps_of_student_and_teacher_on_the_same_views(dataset, teacher, tmp_path, monkeypatch):
    recorded = []
    original = instantiate(ATTENTION)

    def spy(logits, labels, teacher_logits, **given):
        recorded.append({k: [m.detach().clone() for m in maps] for k, maps in given.items()} | {"logits": teacher_logits})
        return original(logits, labels, teacher_logits, **given)

    method = Method(spy, ("maps", "teacher_maps"))
    monkeypatch.setattr(run, "read_objective", lambda settings, epochs: Objective((method,)))
    pixels = []
    plain = learner.look

    def watch(network, fitted, images, key):
        pixels.append(images.detach().clone())
        return plain(network, fitted, images, key)

    monkeypatch.setattr(learner, "look", watch)
    train_with(tmp_path / "student", dataset, objective=ATTENTION, teacher=teacher)
    network, _ = load_network(teacher, torch.device("cpu"))
    # Tried once before training.
    del recorded[0]
    assert len(recorded) == EPOCHS * STEPS
    for images, given in zip(pixels, recorded, strict=True):
        with autocast("float32", images.device):
            maps = network.maps(images)
        assert [m.shape for m in given["maps"]] == [m.shape for m in given["teacher_maps"]]
        for ours, own in zip(given["teacher_maps"], maps, strict=True):
            torch.testing.assert_close(ours, own)
        torch.testing.assert_close(given["logits"], network(images).half().float())


def test_the_teacher_online_keeps_its_statistics(dataset, teacher, tmp_path, monkeypatch):
    kept = []
    original = run.online_teacher

    def keep(network, *arguments):
        kept.append((network, {k: v.clone() for k, v in network.state_dict().items()}))
        return original(network, *arguments)

    monkeypatch.setattr(run, "online_teacher", keep)
    train_with(tmp_path / "student", dataset, teacher=teacher)
    ((network, before),) = kept
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_early_stopped_distillation_learns_from_the_labels_alone_afterwards(dataset, teacher, tmp_path):
    """Two epochs of BAN and one of labels, written out with PyTorch's own optimizer."""
    recipe = {"schedule": "steps", "milestones": [], "pad": 0, "flip": False}
    stopped = {**FROM_TEACHER, "distil_until": 2 / 3}
    for name, objective in (("never", FROM_TEACHER), ("stopped", stopped)):
        train_with(tmp_path / name, dataset, objective=objective, recipe=recipe, teacher=teacher)
    never, early = read_history(tmp_path / "never"), read_history(tmp_path / "stopped")
    assert never[:2] == early[:2]
    assert never[2] != early[2]
    # Again from the checkpoint after two epochs, by hand.
    with pytest.raises(InterruptedTraining):
        train_with(tmp_path / "hand", dataset, objective=stopped, recipe=recipe, runtime=stopping_after(2 * STEPS), teacher=teacher)
    state = run.load_resume(tmp_path / "hand", "hand")
    network = build()
    network.load_state_dict(state["network"])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-3)
    for parameter, momentum in zip(network.parameters(), state["momenta"], strict=True):
        optimizer.state[parameter]["momentum_buffer"] = momentum.clone()
    data = load_images(dataset)
    images, labels = (torch.from_numpy(part["train"]) for part in (data.images, data.labels))
    mean, std = data.mean_and_std()
    order = torch.from_numpy(run_order(epoch=2))
    network.train()
    total = 0.0
    for index in order.split(RECIPE["batch_size"]):
        loss = F.cross_entropy(network((images[index].float() - mean[0]) / std[0]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(index)
    assert float(early[2]["train_loss"]) == pytest.approx(total / COUNT, rel=1e-4)
    for name, value in weights(tmp_path / "stopped").items():
        if value.dtype == np.float32:
            np.testing.assert_allclose(value, network.state_dict()[name].numpy(), rtol=2e-3, atol=2e-4, err_msg=name)


def build():
    torch.manual_seed(0)
    return instantiate(NETWORK)(channels=1, classes=CLASSES)


def run_order(epoch):
    from gendistill.data.views import derive_key, draw_order

    return draw_order(derive_key("order", 0, 1, 0), epoch, COUNT)


def test_shared_layers_are_the_teachers_and_stay_so(dataset, teacher, tmp_path):
    shared = {**NETWORK, "shares": ["stem", "classifier"]}
    train_with(tmp_path / "student", dataset, shared, teacher=teacher)
    taught, student = weights(teacher), weights(tmp_path / "student")
    train_with(tmp_path / "alone", dataset, {**NETWORK, "shares": []}, teacher=teacher)
    alone = weights(tmp_path / "alone")
    for name in ("stem.weight", "classifier.weight", "classifier.bias"):
        np.testing.assert_array_equal(student[name], taught[name])
        assert not np.array_equal(alone[name], taught[name])
    assert not np.array_equal(student["norm.weight"], taught["norm.weight"])


def test_shared_layers_of_another_shape_are_refused(dataset, teacher, tmp_path):
    with pytest.raises(SettingError, match=r"network\.shares.*stem.*another shape"):
        train_with(tmp_path / "student", dataset, {**NETWORK, "width": 8, "shares": ["stem"]}, teacher=teacher)


def test_shared_layers_go_with_stored_soft_labels(dataset, teacher, tmp_path):
    from gendistill.softlabels.dump import dump_soft_labels

    store = tmp_path / "store"
    dump_soft_labels({"pad": RECIPE["pad"], "flip": True}, {"dataset": dataset, "teacher": teacher}, store, Runtime("cpu"))
    write_receipt(store, "softlabels.npy")
    shared = {**NETWORK, "shares": ["classifier"]}
    train_with(tmp_path / "stored", dataset, shared, softlabels=store, teacher=teacher)
    train_with(tmp_path / "online", dataset, shared, teacher=teacher)
    for name, value in weights(tmp_path / "stored").items():
        np.testing.assert_allclose(value, weights(tmp_path / "online")[name], rtol=1e-3, atol=1e-3, err_msg=name)


def other_classes(folder, classes=4, size=8):
    generator = np.random.default_rng(1)
    labels = {split: np.tile(np.arange(classes), 5) for split in ("train", "test")}
    images = {split: generator.integers(0, 256, (len(y), 1, size, size), dtype=np.uint8) for split, y in labels.items()}
    folder.mkdir()
    save_images(Images(images, labels, [str(c) for c in range(classes)], [], []), folder)
    write_receipt(folder, "dataset.safetensors")
    return folder


def test_fine_tuning_starts_from_all_layers_but_the_classifier(teacher, tmp_path):
    target = other_classes(tmp_path / "target")
    labels_only = {"_target_": "gendistill.objectives.cross_entropy.loss"}
    train_with(tmp_path / "tuned", target, objective=labels_only, recipe=FROZEN, start=teacher)
    tuned, before = weights(tmp_path / "tuned"), weights(teacher)
    for name, value in before.items():
        if name.startswith("classifier"):
            assert tuned[name].shape[0] == 4
        elif not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            np.testing.assert_array_equal(tuned[name], value, err_msg=name)
    train_with(tmp_path / "moved", target, objective=labels_only, start=teacher)
    assert not np.array_equal(weights(tmp_path / "moved")["stem.weight"], before["stem.weight"])


def test_fine_tuning_another_network_is_refused(teacher, tmp_path):
    target = other_classes(tmp_path / "target")
    labels_only = {"_target_": "gendistill.objectives.cross_entropy.loss"}
    with pytest.raises(UserError, match="does not fit the data set that it is fine-tuned on"):
        train_with(tmp_path / "tuned", target, {**NETWORK, "width": 8}, labels_only, start=teacher)


@pytest.mark.parametrize(("change", "what"), [({"classes": 4}, "classes 4"), ({"classes": 3, "size": 10}, "shape")])
def test_a_teacher_of_other_classes_or_images_is_refused(teacher, tmp_path, change, what):
    with pytest.raises(UserError, match=f"the student's data have {what}.*patriarch.dataset"):
        train_with(tmp_path / "student", other_classes(tmp_path / "target", **change), teacher=teacher)


def test_what_an_objective_needs_is_what_it_is_given(dataset, teacher, tmp_path, monkeypatch):
    given = []

    def spy(logits, labels, teacher_logits, *, images, epoch, key):
        given.append((images.clone(), epoch, key, labels.clone()))
        return F.cross_entropy(logits, labels)

    monkeypatch.setattr(run, "read_objective", lambda settings, epochs: Objective((Method(spy, ("images", "epoch", "key")),)))
    train_with(tmp_path / "student", dataset, teacher=teacher)
    # Tried once before training.
    del given[0]
    own = torch.from_numpy(load_images(dataset).labels["train"])
    assert [epoch for _, epoch, _, _ in given] == [e for e in range(EPOCHS) for _ in range(STEPS)]
    assert len({key for _, _, key, _ in given}) == 1
    for images, _, _, labels in given:
        assert torch.equal(own[images], labels)


def test_top_5_error_where_there_are_more_than_5_classes():
    logits = torch.tensor([[9, 8, 7, 6, 5, 4.0], [9, 8, 7, 6, 5, 4], [4, 9, 8, 7, 6, 5], [1, 2, 3, 4, 5, 6]])
    labels = torch.tensor([4, 5, 0, 5])
    found = loop.evaluate("test", logits, labels)
    assert found["test_top5_error_pct"] == 50
    assert found["test_error_pct"] == 75
    assert "test_top5_error_pct" not in loop.evaluate("test", logits[:, :5], labels.clamp(max=4))
