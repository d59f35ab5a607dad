"""CIFAR ResNets against the published sizes, networks on disk, and what a `_target_` may name."""

import hashlib
import json

import numpy as np
import pytest
import torch

from gendistill.errors import SettingError, UserError
from gendistill.networks.resnet import Block, ResNet
from gendistill.networks.trained import Description, features_of, in_batches, load_network, logits_of, save_network
from gendistill.targets import instantiate

SMALL = {"name": "resnet8", "_target_": "gendistill.networks.resnet.ResNet", "depth": 8, "shortcut": "A", "width": 4}
CPU = torch.device("cpu")


def count(network):
    return sum(p.numel() for p in network.parameters())


def expected_count(depth, classes, channels=3, width=16, shortcut="A"):
    """Sum over the layers: k x k convolution: k^2 in out; batch norm: 2 out; linear: in out + out."""
    n = (depth - 2) // 6
    total = 9 * channels * width + 2 * width
    for before, after in ((width, width), (width, 2 * width), (2 * width, 4 * width)):
        total += 9 * before * after + (2 * n - 1) * 9 * after * after + 2 * n * 2 * after
        if shortcut == "B" and before != after:
            total += before * after + 2 * after
    return total + 4 * width * classes + classes


def describe(network=SMALL, **changes):
    values = {"shape": [1, 8, 8], "classes": 3, "mean": [100.0], "std": [50.0], "precision": "float32"}
    return Description(network, **{**values, **changes})


def make_trained(seed=0, description=None):
    """A network whose BatchNorm has statistics of its own, as after a training."""
    torch.manual_seed(seed)
    network = (description or describe()).build()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def write_receipt(folder, *names):
    outputs = {name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()} for name in names}
    (folder / "receipt.json").write_text(json.dumps({"outputs": outputs}))


def save(network, folder, description=None):
    folder.mkdir(exist_ok=True)
    save_network(network, description or describe(), folder)
    write_receipt(folder, "model.safetensors")


def random_images(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8))


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269722), (32, 464154), (44, 658586), (56, 853018), (110, 1727962)])
def test_parameters_for_10_classes_are_as_published(depth, parameters):
    assert count(ResNet(3, 10, depth)) == parameters == expected_count(depth, 10)


@pytest.mark.parametrize("depth", [8, 14, 20, 32, 56, 110])
def test_parameters_for_100_classes_are_the_sum_over_the_layers(depth):
    assert count(ResNet(3, 100, depth)) == expected_count(depth, 100)


@pytest.mark.parametrize(("depth", "millions"), [(20, "0.28"), (56, "0.86"), (110, "1.73")])
def test_parameters_for_100_classes_are_as_published(depth, millions):
    assert f"{count(ResNet(3, 100, depth)) / 1e6:.2f}" == millions


@pytest.mark.parametrize(("channels", "classes", "width"), [(1, 10, 16), (3, 7, 4), (2, 3, 5)])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_parameters_for_other_images_classes_and_widths(channels, classes, width, shortcut):
    assert count(ResNet(channels, classes, 14, shortcut, width)) == expected_count(14, classes, channels, width, shortcut)


@pytest.mark.parametrize("depth", [8, 20])
def test_shortcut_b_adds_two_1x1_convolutions_with_batch_norm(depth):
    assert count(ResNet(3, 10, depth, "B")) - count(ResNet(3, 10, depth, "A")) == (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)


def test_shortcut_a_subsamples_and_pads_with_zero_channels_on_both_sides():
    block = Block(4, 8, 2, "A").eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 7, 6)
    expected = np.zeros((2, 8, 4, 3), np.float32)
    expected[:, 2:6] = np.maximum(x.numpy()[:, :, ::2, ::2], 0)
    assert np.array_equal(block(x).detach().numpy(), expected)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 17, 23), (1, 8, 8)])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_any_image_size_works(shape, shortcut):
    network = ResNet(shape[0], 5, 8, shortcut).eval()
    images = torch.randn(2, *shape)
    features = network.features(images)
    assert features.shape == (2, 64)
    assert torch.equal(network(images), network.classifier(features))
    assert network(images).shape == (2, 5)


def test_features_are_the_mean_over_the_pixels_of_the_last_group():
    network = make_trained()
    images = torch.randn(2, 1, 8, 8)
    seen = []
    network.groups[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.detach().numpy()))
    features = network.features(images).detach().numpy()
    assert seen[0].shape == (2, 16, 2, 2)
    np.testing.assert_allclose(features, seen[0].mean(axis=(2, 3)), atol=1e-6)


@pytest.mark.parametrize("depth", [2, 7, 9, 10, 21])
def test_invalid_depth_is_refused(depth):
    with pytest.raises(SettingError, match=rf"network\.depth = {depth}"):
        ResNet(3, 10, depth)


def test_initial_weights_follow_the_seed():
    networks = [make_trained(seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
    for name in ("stem.weight", "groups.2.0.conv2.weight", "classifier.weight"):
        assert not torch.equal(networks[0][name], networks[2][name])


def test_convolutions_start_with_the_variance_of_he():
    torch.manual_seed(0)
    network = ResNet(3, 10, 8)
    for convolution, outputs in (
        (network.groups[1][0].conv1, 32),
        (network.groups[2][0].conv1, 64),
        (network.groups[2][0].conv2, 64),
    ):
        assert convolution.weight.std().item() == pytest.approx(np.sqrt(2 / (9 * outputs)), rel=0.04)


def test_images_are_normalised_per_channel():
    images = random_images((3, 2, 5, 4))
    description = describe(shape=[2, 5, 4], mean=[10.0, 120.0], std=[3.0, 70.0])
    expected = (images.numpy() - np.array([10, 120])[:, None, None]) / np.array([3, 70])[:, None, None]
    normalised = description.normalise(images)
    assert normalised.dtype == torch.float32
    np.testing.assert_allclose(normalised.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 200])
def test_batches_keep_the_order_and_the_last_part(batch_size):
    images = random_images((10, 1, 2, 2))
    sums = in_batches(lambda batch: batch.sum(dim=(1, 2, 3)), images, CPU, batch_size)
    assert np.array_equal(sums.numpy(), images.numpy().sum(axis=(1, 2, 3)))


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_saved_network_gives_the_same_outputs(tmp_path, shortcut):
    description = describe({**SMALL, "shortcut": shortcut})
    network, images = make_trained(description=description), random_images((5, 1, 8, 8))
    save(network, tmp_path, description)
    loaded, found = load_network(tmp_path, CPU)
    assert found == description
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    for name, weight in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    network = network.to(memory_format=torch.channels_last)
    assert torch.equal(logits_of(loaded, found, images), logits_of(network, description, images))
    assert torch.equal(features_of(loaded, found, images), features_of(network, description, images))


def flip_a_byte(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-10] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def truncate(folder):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])


def remove_model(folder):
    (folder / "model.safetensors").unlink()


def remove_receipt(folder):
    (folder / "receipt.json").unlink()


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, remove_model, remove_receipt])
def test_a_damaged_network_is_refused(tmp_path, damage):
    save(make_trained(), tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=r"corrupt|missing"):
        load_network(tmp_path, CPU)


@pytest.mark.parametrize("network", [{**SMALL, "width": 8}, {**SMALL, "depth": 14}, {**SMALL, "unknown": 1}])
def test_a_network_that_does_not_fit_its_description_is_refused(tmp_path, network):
    save(make_trained(), tmp_path, describe(network))
    with pytest.raises(UserError, match="holds no network"):
        load_network(tmp_path, CPU)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"not a network")
    write_receipt(tmp_path, "model.safetensors")
    with pytest.raises(UserError, match="holds no network"):
        load_network(tmp_path, CPU)


def test_a_network_file_cannot_name_foreign_code(tmp_path):
    save(make_trained(), tmp_path, describe({"_target_": "os.system", "command": "false"}))
    with pytest.raises(SettingError, match="not allowed"):
        load_network(tmp_path, CPU)


@pytest.mark.parametrize(
    "target", ["os.system", "torch.nn.Linear", "gendistill.files.write_bytes", "gendistill.networksx.resnet.ResNet", "ResNet", ""]
)
def test_a_target_outside_the_allowed_modules_is_refused(target):
    with pytest.raises(SettingError, match=f"_target_ = {target}: not allowed"):
        instantiate({"_target_": target})


@pytest.mark.parametrize("target", ["resnet.NoSuchNetwork", "no_such_module.ResNet", "resnet.nn.Linear"])
def test_a_target_that_does_not_exist_is_refused(target):
    with pytest.raises(SettingError, match=f"_target_ = gendistill.networks.{target}: "):
        instantiate({"_target_": f"gendistill.networks.{target}"})


@pytest.mark.parametrize("target", ["gendistill.networks.trained.json", "gendistill.data.images.write_bytes"])
def test_a_target_that_its_module_only_imports_is_refused(target):
    with pytest.raises(SettingError, match="_target_"):
        instantiate({"_target_": target})


def test_settings_become_arguments():
    found = instantiate(
        {"_target_": "gendistill.objectives.tolerant.loss", "name": "tolerant", "trains": "student", "lambda": 0.6, "u": 1}
    )
    assert found.keywords == {"lambda_": 0.6, "u": 1}
    assert found.func.__module__ == "gendistill.objectives.tolerant"
