"""Agreement of student and teacher against NumPy, on hand-made logits and on small saved networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gendistill.data.decode import centre_view
from gendistill.data.images import Images, save_images
from gendistill.data.on_disk import FileIndex, save_index
from gendistill.errors import UserError
from gendistill.evaluation.agreement import agreement, evaluate_agreement
from gendistill.networks.trained import Description, load_network, save_network
from gendistill.runtime import Runtime
from tests.test_evaluation import NETWORK, RUNTIME, draw, softmax, write_dataset, write_network, write_receipt


def expected(student, teacher, labels, temperature):
    """The six measures of each sample by their formulas, in float64."""
    student, teacher = student.astype(np.float64), teacher.astype(np.float64)
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return {
        "kd_error": student.argmax(1) != teacher.argmax(1),
        "ce_loss": -np.log(softmax(student)[np.arange(len(labels)), labels]),
        "kd_loss": -(temperature**2) * np.sum(p * np.log(q), axis=1),
        "kd_divergence": temperature**2 * np.sum(p * np.log(p / q), axis=1),
        "student_error": student.argmax(1) != labels,
        "teacher_error": teacher.argmax(1) != labels,
    }


@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.5])
@pytest.mark.parametrize("shape", [(1, 2), (40, 10)])
def test_measures_of_random_logits(shape, temperature):
    student, teacher = (draw(*shape, seed=seed).astype(np.float32) for seed in (0, 1))
    labels = np.random.default_rng(2).integers(shape[1], size=shape[0])
    found = agreement(*map(torch.from_numpy, (student, teacher, labels)), temperature)
    wanted = expected(student, teacher, labels, temperature)
    assert found.keys() == wanted.keys()
    for measure, values in wanted.items():
        np.testing.assert_allclose(found[measure].numpy(), values, rtol=1e-11, atol=1e-14)


def test_measures_by_hand():
    """p = (3/4, 1/4), (2/3, 1/3), (1/4, 3/4); q = (1/4, 3/4), (1/5, 4/5), (1/5, 4/5); the labels are 0, 1, 0."""
    teacher = torch.tensor([[3.0, 1.0], [2.0, 1.0], [1.0, 3.0]]).log()
    student = torch.tensor([[1.0, 3.0], [1.0, 4.0], [1.0, 4.0]]).log()
    found = agreement(student, teacher, torch.tensor([0, 1, 0]), 1.0)
    assert found["kd_error"].tolist() == [1, 1, 0]
    assert found["student_error"].tolist() == [1, 0, 1]
    assert found["teacher_error"].tolist() == [0, 1, 1]
    np.testing.assert_allclose(found["ce_loss"].numpy(), np.log([4, 5 / 4, 5]), rtol=1e-6)
    kd_losses = [
        3 / 4 * np.log(4) + 1 / 4 * np.log(4 / 3),
        2 / 3 * np.log(5) + 1 / 3 * np.log(5 / 4),
        1 / 4 * np.log(5) + 3 / 4 * np.log(5 / 4),
    ]
    np.testing.assert_allclose(found["kd_loss"].numpy(), kd_losses, rtol=1e-6)


def test_a_student_equal_to_its_teacher_reaches_the_entropy():
    logits = draw(30, 6)
    same = torch.from_numpy(logits)
    p = softmax(logits / 4)
    found = agreement(same, same, torch.zeros(30, dtype=torch.int64), 4.0)
    assert not found["kd_error"].any()
    np.testing.assert_allclose(found["kd_loss"].numpy(), 16 * np.sum(-p * np.log(p), axis=1), rtol=1e-12)
    assert not found["kd_divergence"].any()


def test_small_losses_keep_their_digits():
    """ln(1 + e^-30) is 9e-14; in float32 it is 0."""
    sure = torch.tensor([[30.0, 0.0]])
    found = agreement(sure, sure, torch.tensor([0]), 1.0)
    assert found["ce_loss"].item() == pytest.approx(np.log1p(np.exp(-30)), rel=1e-2)
    assert found["kd_loss"].item() == pytest.approx(31 * np.exp(-30), rel=1e-2)


def logits_by_numpy(network, data, split, mean, std):
    with torch.no_grad():
        return network(torch.from_numpy((data.images[split] - mean) / std).float()).numpy()


def write_pair(tmp_path):
    """A data set, and two networks that see it with different normalisations."""
    data = write_dataset(tmp_path / "dataset")
    data = replace(data, labels={"train": data.labels["train"], "test": 1 - data.labels["test"]})
    save_images(data, tmp_path / "dataset")
    write_receipt(tmp_path / "dataset", "dataset.safetensors")
    networks = {}
    for seed, role in enumerate(("student", "teacher")):
        networks[role] = write_network(tmp_path / role, seed=seed)
        write_receipt(tmp_path / role, "model.safetensors")
    _, description = load_network(tmp_path / "teacher", torch.device("cpu"))
    save_network(networks["teacher"], replace(description, mean=[90.0], std=[50.0]), tmp_path / "teacher")
    write_receipt(tmp_path / "teacher", "model.safetensors")
    return data, networks, {role: tmp_path / role for role in ("dataset", "student", "teacher")}


@pytest.mark.parametrize("batch_size", [200, 7])
def test_agreement_of_saved_networks(tmp_path, monkeypatch, batch_size):
    monkeypatch.setattr("gendistill.evaluation.agreement.BATCH_SIZE", batch_size)
    data, networks, inputs = write_pair(tmp_path)
    found = evaluate_agreement({"temperature": 4.0}, inputs, tmp_path, RUNTIME)
    wanted = {}
    for split in ("train", "test"):
        student = logits_by_numpy(networks["student"], data, split, 120.0, 70.0)
        teacher = logits_by_numpy(networks["teacher"], data, split, 90.0, 50.0)
        for measure, values in expected(student, teacher, data.labels[split], 4.0).items():
            share = measure.endswith("error")
            wanted[f"{measure}_{split}_pct" if share else f"{measure}_{split}"] = np.mean(values) * (100 if share else 1)
    assert set(wanted) >= {"kd_error_train_pct", "kd_error_test_pct", "ce_loss_train", "kd_loss_test", "student_error_test_pct"}
    assert found == pytest.approx(wanted, rel=1e-4)
    assert len(set(wanted.values())) > 6, "the measures should be told apart"


def test_images_in_files(tmp_path):
    """Files that hold the pixels of an array give what the array gives."""
    generator = np.random.default_rng(0)
    images = {split: generator.integers(0, 256, size=(6, 3, 8, 8), dtype=np.uint8) for split in ("train", "test")}
    paths = {split: [f"{split}{i}.png" for i in range(6)] for split in images}
    for split, names in paths.items():
        for name, image in zip(names, images[split], strict=True):
            Image.fromarray(image.transpose(1, 2, 0)).resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / name)
    labels = {split: np.arange(6) % 2 for split in images}
    inputs = {role: tmp_path / role for role in ("dataset", "arrays", "student", "teacher")}
    for folder in inputs.values():
        folder.mkdir()
    save_index(FileIndex(paths, labels, ["a", "b"], 8), inputs["dataset"])
    shown = {split: np.stack([centre_view(tmp_path / name, 8).transpose(2, 0, 1) for name in paths[split]]) for split in images}
    save_images(Images(shown, labels, ["a", "b"], [], []), inputs["arrays"])
    for seed, role in enumerate(("student", "teacher")):
        torch.manual_seed(seed)
        description = Description(NETWORK, [3, 8, 8], 2, [120.0] * 3, [70.0] * 3, "float32")
        save_network(description.build(), description, inputs[role])
        write_receipt(inputs[role], "model.safetensors")
    for role in ("dataset", "arrays"):
        write_receipt(inputs[role], "dataset.safetensors")
    of_files = evaluate_agreement({"temperature": 4.0}, inputs, tmp_path, Runtime("cpu", source={"path": str(tmp_path)}))
    of_arrays = evaluate_agreement({"temperature": 4.0}, {**inputs, "dataset": inputs["arrays"]}, tmp_path, RUNTIME)
    assert of_files == pytest.approx(of_arrays, rel=1e-6)


def test_the_step_uses_its_temperature(tmp_path):
    _, _, inputs = write_pair(tmp_path)
    cool, hot = (evaluate_agreement({"temperature": t}, inputs, tmp_path, RUNTIME) for t in (1.0, 4.0))
    assert cool["kd_loss_train"] != pytest.approx(hot["kd_loss_train"], rel=0.01)
    assert cool["ce_loss_train"] == hot["ce_loss_train"]


@pytest.mark.parametrize("other", ["student", "teacher"])
def test_networks_of_other_classes_are_refused(tmp_path, other):
    _, _, inputs = write_pair(tmp_path)
    inputs[other] = tmp_path / "other"
    write_network(inputs[other], seed=0, classes=7)
    write_receipt(inputs[other], "model.safetensors")
    with pytest.raises(UserError, match=f"the {other} has 7 classes and images of 1x8x8.*the data set has 2 classes"):
        evaluate_agreement({"temperature": 4.0}, inputs, tmp_path, RUNTIME)


def test_images_of_another_shape_are_refused(tmp_path):
    data, _, inputs = write_pair(tmp_path)
    save_images(Images({s: i[:, :, :6] for s, i in data.images.items()}, data.labels, data.classes, [], []), tmp_path / "dataset")
    write_receipt(tmp_path / "dataset", "dataset.safetensors")
    with pytest.raises(UserError, match=r"the student has 2 classes and images of 1x8x8.*the data set .* images of 1x6x8"):
        evaluate_agreement({"temperature": 4.0}, inputs, tmp_path, RUNTIME)


def test_a_corrupt_teacher_is_refused(tmp_path):
    _, _, inputs = write_pair(tmp_path)
    (tmp_path / "teacher/model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="corrupt"):
        evaluate_agreement({"temperature": 4.0}, inputs, tmp_path, RUNTIME)
