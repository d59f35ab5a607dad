"""Networks folded for looking only, against the networks themselves; and `precision: reference`, which does without."""

import numpy as np
import pytest
import torch
from torch import nn

from gendistill.networks.folded import folded
from gendistill.networks.trained import Description, load_teacher, save_network
from gendistill.plan.settings import load_group
from gendistill.training import descent
from tests.tiny import FROM_TEACHER, train, weights, write_receipt, write_teacher

# Of each family one, made shallower; how many of its batch norms follow a convolution that nothing else reads.
FAMILIES = [
    ("resnet8", {}, 7),
    ("resnet18", {}, 20),
    ("wrn_16_1", {}, 6),
    ("preresnet1001", {"depth": 29}, 2 * 9 + 1),
    ("densenet_40_12", {}, 0),
    ("densenet_bc_40_12", {}, 18),
    ("vgg8", {}, 5),
    ("pyramidnet101_240", {"depth": 11}, 1 + 3 * 3),
    ("mobilenet", {}, 27),
    ("mobilenet_v2_tiny", {}, 52),
    ("mobilenet_v3_035", {}, 46),
]


def build(name, **changes):
    """A network in eval mode whose batch norms are all other than the identity."""
    torch.manual_seed(0)
    network = Description({**load_group("network", name), **changes}, [3, 32, 32], 5, [0.0] * 3, [1.0] * 3, "float32").build()
    for norm in norms(network):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1)
        nn.init.normal_(norm.bias, std=0.1)
    return network.eval().requires_grad_(False)


def norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize(("name", "changes", "gone"), FAMILIES)
def test_a_folded_network_says_the_same_with_fewer_batch_norms(name, changes, gone):
    network = build(name, **changes)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.randn(3, 3, 32, 32)
    expected = network.double()(images.double())
    quick = folded(network.float(), images)
    with torch.inference_mode():
        found = [quick(images) for _ in range(2)]
    assert torch.equal(*found)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found[0].numpy(), expected.numpy(), rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert len(norms(network)) - len(norms(quick)) == gone
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
    assert not quick.training and not any(weight.requires_grad for weight in quick.parameters())


def test_every_relu_of_a_folded_network_is_in_place():
    quick = folded(build("resnet8"), torch.randn(3, 3, 32, 32))
    relus = [node for node in quick.graph.nodes if "relu" in str(node.target)]
    assert [(node.target, node.kwargs.get("inplace")) for node in relus] == [(nn.functional.relu, True)] * 7


class TwoReaders(nn.Module):
    """A convolution, and a sum, that two layers read: neither may be folded or written over."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        total = self.norm(y) + y
        return y + nn.functional.relu(total) + total


def test_what_two_layers_read_stays():
    torch.manual_seed(0)
    network = TwoReaders().eval().requires_grad_(False)
    network.norm.running_mean.fill_(0.5)
    images = torch.randn(4, 3, 2, 2)
    quick = folded(network, images)
    assert len(norms(quick)) == 1
    torch.testing.assert_close(quick(images), network(images))


class Widening(nn.Module):
    """What one pixel of a convolution is added to is larger."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(x.mean(dim=(2, 3), keepdim=True)) + x


def test_what_is_smaller_than_a_sum_is_not_written_over():
    network, images = Widening().eval().requires_grad_(False), torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(folded(network, images)(images), network(images))


class Undecided(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_network_that_decides_by_values_stays_as_it_is():
    network = Undecided().eval()
    assert folded(network, torch.ones(2, 3, 4, 4)) is network


@pytest.mark.parametrize("precision", ["float32", "reference"])
def test_teachers_are_folded_unless_they_are_references(tmp_path, precision):
    network = build("resnet8")
    save_network(network, Description(load_group("network", "resnet8"), [3, 32, 32], 5, [0.0] * 3, [1.0] * 3, precision), tmp_path)
    write_receipt(tmp_path, "model.safetensors")
    teacher, _ = load_teacher(tmp_path, torch.device("cpu"))
    assert len(norms(teacher)) == (0 if precision == "float32" else 7)
    assert teacher.stem.weight.is_contiguous(memory_format=torch.channels_last) == (precision == "float32")


def test_a_reference_is_the_same_network_up_to_rounding_computed_without_tricks(dataset, teacher, tmp_path, monkeypatch):
    used = {}

    def record(*args, fused, **settings):
        convolution = next(weight for weight in args[0] if weight.ndim == 4 and weight.shape[1] > 1)
        used[recipe["precision"]] = (fused, convolution.is_contiguous(memory_format=torch.channels_last))
        return sgd(*args, fused=fused, **settings)

    sgd = descent.sgd
    monkeypatch.setattr(descent, "sgd", record)
    for recipe in ({"precision": "float32"}, {"precision": "reference"}):
        train(tmp_path / recipe["precision"], dataset, FROM_TEACHER, recipe, inputs={"teacher": teacher["teacher"]}, generation=1)
    assert used == {"float32": (True, True), "reference": (False, False)}
    one, other = (weights(tmp_path / name) for name in used)
    assert any((one[name] != other[name]).any() for name in one)
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-3, atol=1e-3, err_msg=name)


def test_a_reference_asks_a_teacher_that_is_not_folded(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("gendistill.networks.trained.folded", lambda *_: pytest.fail("folded"))
    train(tmp_path / "patriarch", dataset, recipe={"precision": "reference"})
    write_teacher(tmp_path / "patriarch", dataset)
