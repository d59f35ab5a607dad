"""What matching more than logits asks of the training: a first stage, weights of an objective's own, terms, gradients of images."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gendistill.data.images import load_images
from gendistill.errors import InterruptedTraining, SettingError, UserError
from gendistill.networks.trained import Description, load_network, save_network
from gendistill.objectives import rkd
from gendistill.plan.settings import load_group
from gendistill.runtime import Runtime
from gendistill.targets import instantiate
from gendistill.training import learner, run
from gendistill.training.objective import Method, Objective
from tests.tiny import (
    BATCH,
    CLASSES,
    COUNT,
    EPOCHS,
    FILES,
    NETWORK,
    RECIPE,
    STEPS,
    assert_same_bits,
    read_history,
    stop_at,
    train,
    weights,
    write_receipt,
)

pytestmark = pytest.mark.usefixtures("one_thread")
# One epoch of three.
FITNETS = {**load_group("objective", "fitnets"), "first_stage": 1 / 3}
GENERATION = {"generation": 1}


@pytest.fixture(scope="module")
def taught(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught")
    train(folder, dataset)
    write_receipt(folder, *FILES)
    return {"teacher": folder}


def record_networks(monkeypatch):
    """The student's weights and momenta as they are saved after each epoch."""
    states = []
    original = run.save_resume

    def save(folder, state):
        states.append({"network": {k: v.clone() for k, v in state["network"].items()}, "momenta": list(state["momenta"])})
        return original(folder, state)

    monkeypatch.setattr(run, "save_resume", save)
    return states


def test_the_first_stage_changes_the_weights_up_to_the_guided_layer_only(dataset, taught, tmp_path, monkeypatch):
    states = record_networks(monkeypatch)
    key = run.derive_key("initialisation", 0, 1, 0)
    torch.manual_seed(key % 2**63)
    fresh = instantiate(NETWORK)(channels=1, classes=CLASSES).state_dict()
    train(tmp_path / "student", dataset, FITNETS, inputs=taught, **GENERATION)
    changed = {name for name, value in states[0]["network"].items() if not torch.equal(value, fresh[name])}
    learnt = {name for name in changed if "running" not in name and "num_batches" not in name}
    assert learnt == {name for name, _ in instantiate(NETWORK)(channels=1, classes=CLASSES).named_parameters()} - {
        *(name for name in fresh if name.startswith(("groups.2.", "classifier.")))
    }
    assert not any(torch.equal(value, fresh[name]) for name, value in states[1]["network"].items() if name.endswith("weight"))


def test_a_first_stage_comes_before_the_epochs_of_the_recipe_at_the_first_rate(dataset, taught, tmp_path):
    train(tmp_path / "student", dataset, FITNETS, inputs=taught, **GENERATION)
    history = read_history(tmp_path / "student")
    assert [row["epoch"] for row in history] == ["1", "2", "3", "4"]
    train(tmp_path / "plain", dataset, load_group("objective", "kd"), inputs=taught, **GENERATION)
    plain = read_history(tmp_path / "plain")
    assert [row["learning_rate"] for row in history] == [str(RECIPE["learning_rate"]), *(row["learning_rate"] for row in plain)]
    first, *second = history
    assert float(first["train_loss"]) < 1 < 20 * float(first["train_loss"])
    assert {"train_loss_label", "train_loss_soft"} <= set(second[0])
    for row in second:
        total = float(row["train_loss_label"]) + float(row["train_loss_soft"])
        assert float(row["train_loss"]) == pytest.approx(total, rel=1e-6)


def test_a_second_stage_begins_with_an_optimizer_of_its_own(dataset, taught, tmp_path, monkeypatch):
    """One step of the second stage, written out with PyTorch's own optimizer, from what the first stage left."""
    states = record_networks(monkeypatch)
    recipe = {"epochs": 2, "batch_size": COUNT, "pad": 0, "flip": False, "schedule": "steps", "milestones": [], "nesterov": False}
    objective = {**FITNETS, "lambda": 0.0, "first_stage": 0.5}
    train(tmp_path / "student", dataset, objective, recipe, inputs=taught, **GENERATION)
    network = instantiate(NETWORK)(channels=1, classes=CLASSES)
    network.load_state_dict(states[0]["network"])
    data = load_images(dataset)
    mean, std = data.mean_and_std()
    images, labels = (torch.from_numpy(part["train"]) for part in (data.images, data.labels))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-3)
    F.cross_entropy(network.train()((images.float() - mean[0]) / std[0]), labels).backward()
    optimizer.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(states[1]["network"][name], value, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("call", [2, STEPS, STEPS + 3])
def test_a_student_with_stages_and_parts_resumes_with_the_same_bits(dataset, taught, tmp_path, call):
    objective = {**load_group("objective", "factor_transfer"), "first_stage": 1 / 3}
    train(tmp_path / "whole", dataset, objective, inputs=taught, **GENERATION)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "parts", dataset, objective, inputs=taught, runtime=stop_at(call), **GENERATION)
    torch.manual_seed(1)
    train(tmp_path / "parts", dataset, objective, inputs=taught, **GENERATION)
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_micro_batches_of_a_first_stage_leave_the_same_weights_alone(dataset, taught, tmp_path):
    recipe = {"batch_size": 6, "epochs": 1}
    objective = {**FITNETS, "first_stage": 1.0}
    found = []
    for micro in (None, 3):
        with pytest.raises(InterruptedTraining):
            folder = tmp_path / str(micro)
            parts = {**recipe, "micro_batch": micro}
            train(folder, dataset, objective, parts, stop_at(3), taught, **GENERATION)
        found.append(run.load_resume(folder, folder.name))
    moved = [[momentum is not None for momentum in state["momenta"]] for state in found]
    assert moved[0] == moved[1]
    assert True in moved[0]
    assert False in moved[0]


def test_what_the_first_stage_left_stays_in_the_second_in_micro_batches_too(dataset, taught, tmp_path):
    objective = {**load_group("objective", "factor_transfer"), "first_stage": 1 / 3}
    recipe = {"batch_size": 9, "micro_batch": 3, "weight_decay": 0.05}
    encoders = []
    for stop in (3, 8):
        with pytest.raises(InterruptedTraining):
            train(tmp_path / str(stop), dataset, objective, recipe, stop_at(stop), taught, **GENERATION)
        parts = run.load_resume(tmp_path / str(stop), str(stop))["parts"]
        encoders.append({name: weight for name, weight in parts.items() if "encoder" in name})
    torch.testing.assert_close(*encoders, rtol=0, atol=0)


def test_a_weight_that_is_reached_late_begins_as_one_that_is_reached_at_once(dataset, taught, tmp_path, monkeypatch):
    """Its first two steps, by hand: without a momentum before, and untouched by weight decay while nothing reached it."""
    before, after = [], []

    def late(logits, labels, teacher_logits, *, epoch, parts):
        before.append(parts.weight.detach().clone())
        own = (parts.weight * torch.tensor([1.0, 2.0, 3.0])).sum() if epoch else 0.0
        return {"label": F.cross_entropy(logits, labels), "own": own + 0 * logits.sum()}

    method = Method(late, ("epoch", "parts"), parts=lambda shapes, teacher_shapes: torch.nn.Linear(3, 1, bias=False))
    monkeypatch.setattr(run, "read_objective", lambda settings, epochs: Objective((method,)))
    recipe = {"epochs": 2, "schedule": "steps", "milestones": [], "nesterov": False, "weight_decay": 0.1}
    train(tmp_path / "student", dataset, load_group("objective", "kd"), recipe, inputs=taught, **GENERATION)
    after = before[1 + STEPS :]
    assert all(torch.equal(weight, before[0]) for weight in before[: 2 + STEPS])
    slope = torch.tensor([[1.0, 2.0, 3.0]])
    momentum = slope + 0.1 * after[0]
    torch.testing.assert_close(after[1], after[0] - 0.05 * momentum)
    momentum = 0.9 * momentum + slope + 0.1 * after[1]
    torch.testing.assert_close(after[2], after[1] - 0.05 * momentum)


def test_a_sum_adds_its_terms_with_their_weights(dataset, taught, tmp_path):
    kd, rkd = load_group("objective", "kd"), load_group("objective", "rkd")
    terms = {"soft": {**kd, "weight": 0.5}, "relations": {**rkd, "label_weight": 0.0, "weight": 2.0}}
    both = {"name": "sum", "trains": "any", "terms": terms, "needs": rkd["needs"]}
    # With a rate of nothing each is measured on the same network.
    still = {"learning_rate": 1e-30, "weight_decay": 0.0}
    losses = {}
    for name, objective in {"sum": both, "kd": kd, "rkd": {**rkd, "label_weight": 0.0}}.items():
        train(tmp_path / name, dataset, objective, still, inputs=taught, **GENERATION)
        losses[name] = read_history(tmp_path / name)[0]
    soft, relations = (float(losses["sum"][f"train_loss_{name}"]) for name in ("soft", "relations"))
    assert soft == pytest.approx(0.5 * float(losses["kd"]["train_loss"]), rel=1e-5)
    assert relations == pytest.approx(2 * float(losses["rkd"]["train_loss"]), rel=1e-5)
    assert float(losses["sum"]["train_loss"]) == pytest.approx(soft + relations, rel=1e-6)
    assert not any(name.startswith("train_loss_") for name in losses["kd"])


def test_an_objective_is_told_of_the_layers_that_it_names_and_of_gradients(dataset, taught, tmp_path, monkeypatch):
    given = []

    def spy(logits, labels, teacher_logits, *, maps, teacher_maps, features, teacher_features, input, teacher_input_gradient):
        given.append([logits, labels, maps, teacher_maps, features, teacher_features, input, teacher_input_gradient])
        return F.cross_entropy(logits, labels)

    needs = ("maps", "teacher_maps", "features", "teacher_features", "input", "teacher_input_gradient")
    taps = {"student": ["groups.-1:input", "groups.1.0.conv1"], "teacher": ["stem", "groups.2"]}
    monkeypatch.setattr(run, "read_objective", lambda settings, epochs: Objective((Method(spy, needs, taps=taps),)))
    seen = []
    plain = learner.look

    def watch(network, fitted, images, key):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return plain(network, fitted, images, key)

    monkeypatch.setattr(learner, "look", watch)
    train(tmp_path / "student", dataset, load_group("objective", "kd"), {"epochs": 1}, inputs=taught, **GENERATION)
    del given[0]
    assert len(given) == STEPS
    _, labels, maps, teacher_maps, features, teacher_features, images, gradient = given[1]
    student = instantiate(NETWORK)(channels=1, classes=CLASSES)
    student.load_state_dict(seen[1])
    student.train()
    before = student.maps(images)
    torch.testing.assert_close(maps[0], before[1])
    student.load_state_dict(seen[1])
    torch.testing.assert_close(maps[1], student.groups[1][0].conv1(student.maps(images)[0]))
    torch.testing.assert_close(features, student.pool(before[2]))
    teacher, _ = load_network(taught["teacher"], torch.device("cpu"))
    torch.testing.assert_close(teacher_maps, [teacher.stem(images), teacher.maps(images)[2]])
    torch.testing.assert_close(teacher_features, teacher.features(images))
    own = images.detach().requires_grad_()
    expected = torch.autograd.grad(F.cross_entropy(teacher(own), labels) * len(labels), own)[0]
    torch.testing.assert_close(gradient, expected)
    assert images.requires_grad
    assert not any(each.requires_grad for each in (*teacher_maps, teacher_features, gradient))


@pytest.mark.parametrize(
    ("objective", "change", "message"),
    [
        ("fitnets", {"taps": {"student": ["groups.7"], "teacher": ["groups.1"]}}, r"objective\.taps: groups\.7.* has no layer 7"),
        ("fitnets", {"taps": {"student": ["groups.0"], "teacher": ["groups.1"]}}, "FitNets"),
        ("fsp", {"taps": {"student": ["groups.0"], "teacher": ["groups.0", "groups.1"]}}, "FSP|at least two|as many"),
        ("nst", {"taps": "layers"}, r"objective\.taps = layers: must be one of groups"),
    ],
)
def test_layers_that_cannot_be_matched_are_refused_before_training(dataset, taught, tmp_path, objective, change, message):
    told, runtime = [], Runtime("cpu")
    runtime.progress = lambda *done: told.append(done)
    with pytest.raises(SettingError, match=message):
        train(tmp_path / "student", dataset, load_group("objective", objective) | change, None, runtime, taught, **GENERATION)
    assert not told


@pytest.mark.parametrize("name", ["kd", "nst"])
def test_a_teacher_of_other_images_is_refused(dataset, tmp_path, name):
    colours = Description(NETWORK, [3, 8, 8], CLASSES, [0.0] * 3, [1.0] * 3, "float32")
    save_network(colours.build(), colours, tmp_path / "teacher")
    write_receipt(tmp_path / "teacher", "model.safetensors")
    with pytest.raises(UserError, match=r"the student's data have shape .*1, 8, 8.*, but its teacher .* shape .*3, 8, 8"):
        inputs = {"teacher": tmp_path / "teacher"}
        train(tmp_path / "student", dataset, load_group("objective", name), inputs=inputs, **GENERATION)


def test_a_batch_that_is_too_small_for_an_objective_names_the_setting(dataset, taught, tmp_path, monkeypatch):
    plain = rkd.distances

    def refuse(features):
        if len(features) == 1:
            raise ValueError("Expected more than 1 value per channel")
        return plain(features)

    monkeypatch.setattr(rkd, "distances", refuse)
    with pytest.raises(SettingError, match=r"recipe\.batch_size = 13: a batch of 1 cannot be trained on"):
        train(tmp_path / "student", dataset, load_group("objective", "rkd"), {"batch_size": 13}, inputs=taught, **GENERATION)


@pytest.mark.parametrize("name", ["fitnets_weights", "nst", "attention_gradient", "activation_boundaries", "fsp", "rkd"])
def test_each_method_learns(dataset, taught, tmp_path, name):
    objective = load_group("objective", name)
    before = taught["teacher"] / "model.safetensors"
    bits = before.read_bytes()
    train(tmp_path / "student", dataset, objective, {"epochs": 2 * EPOCHS, "batch_size": BATCH}, inputs=taught, **GENERATION)
    second = [float(row["train_loss"]) for row in read_history(tmp_path / "student")][-2 * EPOCHS :]
    assert second[-1] < second[0]
    assert before.read_bytes() == bits
    assert all(np.isfinite(weight).all() for weight in weights(tmp_path / "student").values())
