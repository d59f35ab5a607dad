"""Steps that are replayed give the bits of steps that run as usual: on a GPU where there is one, else with a stand-in."""

import json

import pytest
import torch
from torch import nn

from gendistill.errors import InterruptedTraining, SettingError
from gendistill.plan.settings import load_group
from gendistill.runtime import Runtime
from gendistill.training import replay
from gendistill.training.objective import read_objective
from gendistill.training.replay import USUAL, Replayed, why_not
from tests.tiny import BATCH, EPOCHS, FROM_LABELS, FROM_TEACHER, RECIPE, STEPS, assert_same_bits, spec_of, stop_at, train

pytestmark = pytest.mark.usefixtures("one_thread")
# The last batch of an epoch is smaller, and runs as usual.
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
REPLAYED = EPOCHS * (STEPS - 1) - USUAL - 1


def train_both(folder, dataset, *arguments, **more):
    """A training as usual and one with graphs."""
    train(folder / "usual", dataset, *arguments, runtime=Runtime(DEVICE), **more)
    train(folder / "replayed", dataset, *arguments, runtime=Runtime(DEVICE, cuda_graphs=True), **more)
    assert_same_bits(folder / "usual", folder / "replayed")


@pytest.mark.parametrize(
    "recipe",
    [{}, {"schedule": "steps"}, {"precision": "auto"}, {"momentum": 0.0, "nesterov": False}, {"dropout": 0.3}, {"cutout": 3}],
    ids=str,
)
def test_a_patriarch_replayed_has_the_same_bits(graphs, dataset, tmp_path, recipe):
    train_both(tmp_path, dataset, recipe=recipe)
    assert len(graphs) == REPLAYED
    assert min(graphs) > 100


@pytest.mark.parametrize(("labels", "times"), [("softlabels", 1), ("teacher", 2)])
def test_a_student_replayed_has_the_same_bits_and_so_has_its_teacher_online(graphs, dataset, teacher, tmp_path, labels, times):
    train_both(tmp_path, dataset, FROM_TEACHER, inputs={labels: teacher[labels]}, generation=1)
    assert len(graphs) == times * REPLAYED


def test_a_training_that_goes_on_replayed_has_the_same_bits(graphs, dataset, teacher, tmp_path):
    inputs = {"softlabels": teacher["softlabels"]}
    train(tmp_path / "usual", dataset, FROM_TEACHER, inputs=inputs, generation=1, runtime=Runtime(DEVICE))
    runtime = stop_at(6)
    runtime.device, runtime.cuda_graphs = DEVICE, True
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "replayed", dataset, FROM_TEACHER, inputs=inputs, generation=1, runtime=runtime)
    assert len(graphs) == 1
    train(tmp_path / "replayed", dataset, FROM_TEACHER, inputs=inputs, generation=1, runtime=Runtime(DEVICE, cuda_graphs=True))
    assert_same_bits(tmp_path / "usual", tmp_path / "replayed")


STUDENTS = [
    "activation_boundaries",
    "attention_gradient",
    "attention_transfer",
    "ban_label",
    "ban_label_sum",
    "cwtm",
    "factor_transfer",
    "fitnets",
    "fitnets_weights",
    "fsp",
    "kd",
    "kd_attention",
    "l2_logits",
    "nst",
    "rkd",
    "tolerant",
]


@pytest.mark.parametrize("name", STUDENTS)
def test_every_objective_of_a_student_can_be_replayed(graphs, dataset, teacher, tmp_path, name):
    objective = load_group("objective", name)
    train_both(tmp_path, dataset, objective, inputs={"teacher": teacher["teacher"]}, generation=1)
    assert graphs


@pytest.mark.parametrize("name", ["cross_entropy", "label_smoothing", "confidence_penalty", "tsd"])
def test_every_objective_of_a_patriarch_can_be_replayed(graphs, dataset, tmp_path, name):
    objective = load_group("objective", name) | ({"top_k": 2} if name == "tsd" else {})
    train_both(tmp_path, dataset, objective)
    assert len(graphs) == REPLAYED


def test_early_stopped_distillation_is_recorded_twice(graphs, dataset, teacher, tmp_path):
    objective = {**FROM_TEACHER, "distil_until": 2 / 3}
    train_both(tmp_path, dataset, objective, inputs={"softlabels": teacher["softlabels"]}, generation=1, recipe={"epochs": 6})
    assert len(graphs) == 6 * (STEPS - 1) - 2 * (USUAL + 1)
    assert len(set(graphs)) == 2


@pytest.mark.parametrize(
    ("recipe", "objective", "reason"),
    [
        ({"mixup": 0.4}, FROM_LABELS, "mixup"),
        ({"precision": "reference"}, FROM_LABELS, "recipe.precision = reference"),
        ({"batch_size": 10 * BATCH}, FROM_LABELS, "no whole batch"),
        ({"batch_size": 6, "micro_batch": 3}, FROM_LABELS, "divided"),
        ({}, load_group("objective", "dkpp"), "asks for the epoch"),
    ],
)
def test_what_cannot_be_replayed_says_why_and_runs_as_usual(graphs, dataset, teacher, tmp_path, capsys, recipe, objective, reason):
    train_both(tmp_path, dataset, objective, recipe, inputs={"teacher": teacher["teacher"]}, generation=1)
    assert graphs == []
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "replayed as CUDA graphs" in line]
    assert "not replayed" in line
    assert reason in line


def test_networks_trained_together_and_several_processes_are_not_replayed(graphs):
    objective, device = read_objective(FROM_LABELS, 1), torch.device("cpu")
    peers = {**load_group("network", "peers"), "networks": [load_group("network", "resnet8")] * 2}
    from gendistill.networks.trained import Description

    joint = Description(peers, [1, 8, 8], 3, [0.0], [1.0], "float32").build()
    assert "together" in why_not(joint, objective, RECIPE, 100, 1, device)
    assert "divided" in why_not(nn.Linear(1, 1), objective, {**RECIPE, "batch_size": 4, "micro_batch": 2}, 100, 2, device)
    assert why_not(nn.Linear(1, 1), objective, RECIPE, 100, 1, device) == ""


def test_on_a_cpu_nothing_is_replayed(dataset, tmp_path, capsys):
    train_both(tmp_path, dataset)
    assert "not replayed as CUDA graphs: it does not train on a GPU" in capsys.readouterr().err


def test_a_number_that_changes_would_be_seen(graphs, dataset, tmp_path, monkeypatch):
    """That these tests can fail: a rate that is a number is the one that was recorded."""
    from gendistill.training import learner

    original = learner.descend
    rates = iter([0.05 / (1 + step) for step in range(EPOCHS * STEPS)] * 2)
    monkeypatch.setattr(learner, "descend", lambda *given: original(*given[:3], torch.full((), next(rates)), given[4]))
    with pytest.raises(AssertionError):
        train_both(tmp_path, dataset)


def test_a_replayed_function_is_told_of_new_tensors_and_runs_others_as_usual(graphs):
    seen = []

    def double(values, names):
        seen.append(len(values))
        return {name: 2 * values + offset for name, offset in names.items()}

    doubled = Replayed(double, images=2)
    for step in range(8):
        found = doubled(torch.full((2,), float(step)), {"a": torch.ones(2)})
        assert found["a"].tolist() == [2 * step + 1] * 2
        assert doubled(torch.full((3,), float(step)), {"b": torch.zeros(3)})["b"].tolist() == [2 * step] * 3
    assert seen.count(2) == USUAL + 1
    assert seen.count(3) == 8
    assert len(graphs) == 8 - USUAL - 1


class Capture:
    """As `torch.cuda.graph`: to end a recording that has failed is an error too, which hides the first."""

    def __init__(self, graph, capture_error_mode):
        pass

    def __enter__(self):
        pass

    def __exit__(self, kind, error, trace):
        if error:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def test_what_cannot_be_recorded_names_the_setting_and_the_first_error(monkeypatch):
    def wait():
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA.")

    def fill():
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    with pytest.raises(SettingError, match=r"runtime\.cuda_graphs = true: .* not permitted .* Set runtime\.cuda_graphs to false"):
        replay.record(wait)
    with pytest.raises(torch.OutOfMemoryError):
        replay.record(fill)


@pytest.mark.parametrize("wait", [torch.nonzero, lambda x: x[x > 0], lambda x: x.sum().item(), lambda x: x.bool().any().item()])
def test_the_stand_in_refuses_what_a_gpu_would_be_waited_for(graphs, wait):
    with pytest.raises(RuntimeError, match="not permitted"):
        replay.record(lambda: wait(torch.ones(3)))


def test_the_setting_reaches_the_training(dataset, tmp_path, monkeypatch, capsys):
    from gendistill.__main__ import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/dataset").mkdir(parents=True)
    (tmp_path / "runs/dataset/tiny").symlink_to(dataset)
    spec = spec_of("one", epochs=1)
    assert main(["patriarch", "--spec", json.dumps(spec), "--device", "cpu", "--cuda-graphs"]) == 0
    assert "not replayed as CUDA graphs" in capsys.readouterr().err
