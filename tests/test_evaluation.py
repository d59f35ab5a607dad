"""Ensembles, confidences and the linear SVM against NumPy, on hand-made files."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from gendistill.data.images import Images, save_images
from gendistill.errors import UserError
from gendistill.evaluation.ensemble import average_outputs, evaluate_ensemble
from gendistill.evaluation.statistics import confidence_statistics, top_confidences
from gendistill.evaluation.transfer import evaluate_transfer, fit_to, linear_svm
from gendistill.networks.trained import Description, save_network
from gendistill.runtime import Runtime

NETWORK = {"name": "resnet8", "_target_": "gendistill.networks.resnet.ResNet", "depth": 8, "shortcut": "A", "width": 4}
RUNTIME = Runtime("cpu")


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def draw(*shape, scale=2.0, seed=0):
    return scale * np.random.default_rng(seed).standard_normal(shape)


def write_receipt(folder, *names):
    outputs = {name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()} for name in names}
    (folder / "receipt.json").write_text(json.dumps({"outputs": outputs}))


def write_logits(folder, logits, labels):
    folder.mkdir(exist_ok=True)
    logits = np.asarray(logits, np.float32)
    save_file({"logits": logits, "labels": np.asarray(labels, np.int64)}, folder / "logits.safetensors")
    write_receipt(folder, "logits.safetensors")
    return folder


# One image, two classes: the first member is sure of class 0, the other two lean to class 1.
SURE_AND_LEANING = np.log([[[0.99, 0.01]], [[0.4, 0.6]], [[0.4, 0.6]]])


@pytest.mark.parametrize("shape", [(1, 4, 3), (3, 5, 10), (4, 1, 2)])
def test_averages_of_outputs(shape):
    logits = draw(*shape)
    np.testing.assert_allclose(average_outputs(logits, "probabilities"), np.log(softmax(logits).mean(axis=0)), rtol=1e-10)
    np.testing.assert_allclose(average_outputs(logits, "logits"), np.log(softmax(logits.mean(axis=0))), rtol=1e-10)


def test_averages_by_hand():
    mean = np.array([[(0.99 + 0.4 + 0.4) / 3, (0.01 + 0.6 + 0.6) / 3]])
    np.testing.assert_allclose(np.exp(average_outputs(SURE_AND_LEANING, "probabilities")), mean)
    product = np.array([[0.99 * 0.4 * 0.4, 0.01 * 0.6 * 0.6]]) ** (1 / 3)
    np.testing.assert_allclose(np.exp(average_outputs(SURE_AND_LEANING, "logits")), product / product.sum())


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_large_logits_do_not_overflow(average):
    found = average_outputs(np.array([[[2000.0, 0.0, -2000.0]], [[2000.0, 0.0, -2000.0]]]), average)
    np.testing.assert_allclose(found, [[0, -2000, -4000]])


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_ensemble_of_hand_made_members(tmp_path, average):
    labels = np.random.default_rng(1).integers(4, size=50)
    logits = draw(3, 50, 4) + 2 * np.eye(4)[labels]
    members = [write_logits(tmp_path / str(m), part, labels) for m, part in enumerate(logits)]
    logits = logits.astype(np.float32).astype(np.float64)
    p = softmax(logits).mean(axis=0) if average == "probabilities" else softmax(logits.mean(axis=0))
    found = evaluate_ensemble({"average": average}, {"members": members}, tmp_path, RUNTIME)
    errors = [100 * np.mean(part.argmax(axis=1) != labels) for part in logits]
    assert found["test_error_pct"] == pytest.approx(100 * np.mean(p.argmax(axis=1) != labels))
    assert found["test_loss"] == pytest.approx(np.mean(-np.log(p[np.arange(50), labels])), rel=1e-10)
    assert found["mean_member_test_error_pct"] == pytest.approx(np.mean(errors))
    assert found["members"] == 3
    assert min(errors) > found["test_error_pct"] > 0


def test_the_kind_of_average_counts(tmp_path):
    """One member is far too sure of a wrong class: it outweighs two others in the logits, not in the probabilities."""
    members = [write_logits(tmp_path / str(m), [part], [0]) for m, part in enumerate(([0.0, 100.0], [3.0, 0.0], [3.0, 0.0]))]
    found = {a: evaluate_ensemble({"average": a}, {"members": members}, tmp_path, RUNTIME) for a in ("probabilities", "logits")}
    assert found["probabilities"]["test_error_pct"] == 0
    assert found["logits"]["test_error_pct"] == 100


def test_an_ensemble_of_one_is_its_member(tmp_path):
    member = write_logits(tmp_path / "0", [[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]], [1, 1, 0])
    found = evaluate_ensemble({"average": "probabilities"}, {"members": [member]}, tmp_path, RUNTIME)
    assert found["test_error_pct"] == found["mean_member_test_error_pct"] == pytest.approx(200 / 3)
    assert found["test_loss"] == pytest.approx((np.log1p(np.exp(-1)) + np.log1p(np.exp(3)) + np.log1p(np.exp(1))) / 3)


def test_members_tested_on_other_images_are_refused(tmp_path):
    members = [write_logits(tmp_path / str(m), draw(3, 2), labels) for m, labels in enumerate(([0, 1, 0], [0, 1, 1]))]
    with pytest.raises(UserError, match="same images"):
        evaluate_ensemble({"average": "logits"}, {"members": members}, tmp_path, RUNTIME)


def test_a_corrupt_member_is_refused(tmp_path):
    member = write_logits(tmp_path / "0", draw(3, 2), [0, 1, 0])
    file = member / "logits.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="corrupt"):
        evaluate_ensemble({"average": "logits"}, {"members": [member]}, tmp_path, RUNTIME)


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_top_confidences(classes):
    logits = draw(20, classes).astype(np.float32)
    ranked = -np.sort(-softmax(logits.astype(np.float64)), axis=1)
    found = top_confidences(torch.from_numpy(logits))
    assert list(found) == [f"confidence_top{k}_pct" for k in range(1, min(4, classes) + 1)]
    np.testing.assert_allclose(list(found.values()), 100 * ranked.mean(axis=0)[:4], rtol=1e-9)


def write_dataset(folder, shape=(1, 8, 8), per_class=10, seed=0):
    """Two classes: bright above, or bright below."""
    generator = np.random.default_rng(seed)
    images, labels = {}, {}
    for split, count in (("train", 2 * per_class), ("test", per_class)):
        labels[split] = np.arange(count) % 2
        images[split] = generator.integers(0, 120, size=(count, *shape), dtype=np.uint8)
        half = shape[1] // 2
        for image, label in zip(images[split], labels[split], strict=True):
            image[:, half * label : half * (label + 1)] += 120
    data = Images(images, labels, ["above", "below"], [], [])
    save_images(data, folder)
    write_receipt(folder, "dataset.safetensors")
    return data


def write_network(folder, seed, classes=2):
    folder.mkdir()
    torch.manual_seed(seed)
    description = Description(NETWORK, [1, 8, 8], classes, [120.0], [70.0], "float32")
    network = description.build().eval()
    torch.nn.init.normal_(network.classifier.weight, std=3)
    save_network(network, description, folder)
    return network


def test_statistics_of_a_network(tmp_path):
    """Of its weights alone: the folder of the network holds nothing else."""
    data = write_dataset(tmp_path / "dataset")
    network = write_network(tmp_path / "network", seed=4)
    write_receipt(tmp_path / "network", "model.safetensors")
    logits = {}
    for split, images in data.images.items():
        with torch.no_grad():
            logits[split] = network(torch.from_numpy((images - 120.0) / 70).float()).numpy().astype(np.float64)
    top = -np.sort(-softmax(logits["train"]), axis=1).mean(axis=0)
    train, test = (np.mean(logits[split].argmax(1) == data.labels[split]) for split in ("train", "test"))
    assert len({train, test, 0.5}) == 3
    found = confidence_statistics(
        {}, {"dataset": tmp_path / "dataset", "network": tmp_path / "network"}, tmp_path / "statistics", RUNTIME
    )
    assert list(found) == ["confidence_top1_pct", "confidence_top2_pct", "train_accuracy_pct", "test_accuracy_pct", "ece_test_pct"]
    np.testing.assert_allclose(list(found.values())[:-1], 100 * np.array([*top, train, test]), rtol=1e-4)


def separable(count, seed):
    """Three classes far apart in five dimensions, on scales that differ by a million."""
    labels = np.arange(count) % 3
    points = 10 * np.eye(5)[labels] + draw(count, 5, scale=0.5, seed=seed)
    return (points * [1e3, 1, 1e-3, 1, 1]).astype(np.float32), labels


def test_svm_separates_what_is_separable():
    train, train_labels = separable(60, seed=0)
    test, test_labels = separable(45, seed=1)
    found = linear_svm(train, train_labels, test, test_labels)
    assert (found["test_error_pct"], found["train_error_pct"]) == (0, 0)
    wrong = test_labels.copy()
    wrong[:9] = (wrong[:9] + 1) % 3
    assert linear_svm(train, train_labels, test, wrong)["test_error_pct"] == pytest.approx(20)


def overlapping(count, seed):
    """Two classes that overlap, in 30 dimensions of which one matters: too large a C overfits."""
    labels = np.arange(count) % 2
    points = draw(count, 30, scale=1, seed=seed)
    points[:, 0] += 1.2 * labels
    return points, labels


def best_cost(points, labels):
    """The C with the best accuracy over 5 folds, each standardised by its own training part; of equals the smallest."""
    accuracies = []
    for cost in (1e-4, 1e-3, 1e-2, 1e-1, 1, 10):
        folds = []
        for train, held in StratifiedKFold(5, shuffle=True, random_state=0).split(points, labels):
            mean, std = points[train].mean(axis=0), points[train].std(axis=0)
            svm = LinearSVC(C=cost, dual="auto", random_state=0, max_iter=5000).fit((points[train] - mean) / std, labels[train])
            folds.append(np.mean(svm.predict((points[held] - mean) / std) == labels[held]))
        accuracies.append(np.mean(folds))
    return [1e-4, 1e-3, 1e-2, 1e-1, 1, 10][int(np.argmax(accuracies))]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_cost_is_chosen_on_training_images_only(seed):
    train, train_labels = overlapping(80, seed)
    test, test_labels = overlapping(40, seed + 10)
    found = [linear_svm(train, train_labels, test, labels) for labels in (test_labels, 1 - test_labels, np.roll(test_labels, 1))]
    assert {result["C"] for result in found} == {best_cost(train, train_labels)}
    assert found[0]["test_error_pct"] == pytest.approx(100 - found[1]["test_error_pct"])
    other = linear_svm(train, train_labels, 100 * test, test_labels)
    assert (other["C"], other["train_error_pct"]) == (found[0]["C"], found[0]["train_error_pct"])


def test_svm_of_few_images_a_class():
    train, train_labels = separable(6, seed=0)
    assert linear_svm(train, train_labels, train, train_labels)["test_error_pct"] == 0


def describe(*shape):
    return Description(NETWORK, list(shape), 10, [0.0], [1.0], "float32")


def random_images(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 5)])
def test_images_that_fit_stay_as_they_are(shape):
    images = random_images(4, *shape)
    assert torch.equal(fit_to(images, describe(*shape)), images)


def test_grey_is_repeated_to_rgb():
    images = random_images(4, 1, 6, 5)
    fitted = fit_to(images, describe(3, 6, 5))
    assert fitted.dtype == torch.uint8
    assert np.array_equal(fitted.numpy(), np.repeat(images.numpy(), 3, axis=1))


def test_rgb_is_averaged_to_grey():
    images = random_images(4, 3, 6, 5)
    fitted = fit_to(images, describe(1, 6, 5))
    assert np.array_equal(fitted.numpy(), np.rint(images.numpy().astype(np.float64).mean(axis=1, keepdims=True)).astype(np.uint8))


def weights_of_resizing(before, after):
    """Antialiased bilinear weights, (after, before): a triangle as wide as the pixels of the smaller grid."""
    scale = before / after
    width = max(scale, 1.0)
    distance = np.abs((np.arange(after)[:, None] + 0.5) * scale - (np.arange(before) + 0.5)) / width
    triangle = np.maximum(1 - distance, 0)
    return triangle / triangle.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("before", "after"), [((8, 8), (28, 28)), ((28, 28), (8, 8)), ((32, 20), (8, 30)), ((8, 8), (16, 16))])
def test_other_sizes_are_resized_bilinearly(before, after):
    images = random_images(2, 3, *before)
    fitted = fit_to(images, describe(3, *after))
    rows, columns = (weights_of_resizing(b, a) for b, a in zip(before, after, strict=True))
    expected = np.einsum("ih,nchw,jw->ncij", rows, images.numpy().astype(np.float64), columns)
    assert (fitted.dtype, fitted.shape) == (torch.uint8, (2, 3, *after))
    assert np.abs(fitted.numpy() - expected).max() < 0.51


def test_transfer_to_images_of_another_size(tmp_path):
    write_dataset(tmp_path / "dataset", shape=(3, 16, 16))
    write_network(tmp_path / "network", seed=0, classes=7)
    write_receipt(tmp_path / "network", "model.safetensors")
    found = evaluate_transfer({}, {"network": tmp_path / "network", "dataset": tmp_path / "dataset"}, tmp_path, RUNTIME)
    assert found["test_error_pct"] == 0
    assert found["C"] in (1e-4, 1e-3, 1e-2, 1e-1, 1, 10)
