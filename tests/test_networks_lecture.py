"""The networks of the lecture's papers, and the layers of every image network of config/network that `tap_paths` names."""

import functools

import pytest
import torch
import torch.nn.functional as F
import yaml

from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import SettingError
from gendistill.networks.mobilenet import MobileNet, Separable
from gendistill.networks.mobilenet_v2 import InvertedResidual, MobileNetV2, multiple_of_8
from gendistill.networks.mobilenet_v3 import Block, Excitation, MobileNetV3
from gendistill.networks.multi_exit import early_exit
from gendistill.networks.pyramidnet import PyramidBottleneck, PyramidNet
from gendistill.networks.resnet import ResNet
from gendistill.networks.resnext import ResNeXt
from gendistill.networks.vgg import VGG
from gendistill.plan.settings import load_group
from gendistill.targets import instantiate
from tests.conftest import ROOT

SMOKE = yaml.safe_load((ROOT / "config/scale/smoke.yaml").read_text())["network"]
ALL = sorted(name for name in SMOKE if "reductions" in load_group("network", name))
# Of each new family one.
NEW = ["vgg13", "resnet8x4", "cifar_resnet18", "resnext29_8x64d", "pyramidnet101_240", "mobilenet", "mobilenet_v2_tiny"]
NEW += ["mobilenet_v3_035"]


def settings_of(name):
    return {**load_group("network", name), **SMOKE[name]}


@functools.cache
def build(name, channels=3, classes=5):
    """The network at smoke size, in eval mode, all of its batch norms other than the identity."""
    torch.manual_seed(0)
    return with_statistics(instantiate(settings_of(name))(channels=channels, classes=classes)).requires_grad_(False)


def with_statistics(network):
    """All batch norms other than the identity, and convolutions that pass on what they are given undiminished, also depthwise."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1)
            torch.nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def images_of(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def values_at(network, paths, images):
    """What layers return, or with `:input` are given, in one forward pass; a layer that runs twice is an error."""
    found, hooks = {}, []

    def keep(path, value):
        assert path not in found, path
        found[path] = value

    for path in paths:
        layer, _, given = path.partition(":")
        if given:
            hook = functools.partial(lambda path, _, inputs: keep(path, inputs[0]), path)
            hooks.append(network.get_submodule(layer).register_forward_pre_hook(hook))
        else:
            hook = functools.partial(lambda path, _, inputs, output: keep(path, output), path)
            hooks.append(network.get_submodule(layer).register_forward_hook(hook))
    network(images)
    for hook in hooks:
        hook.remove()
    return [found[path] for path in paths]


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", ALL)
def test_taps_of_groups_are_the_maps(name):
    network, images = build(name), images_of(2, 3, 32, 32)
    maps, paths = network.maps(images), network.tap_paths("stem_and_groups")
    assert network.tap_paths("groups") == paths[1:] == [f"groups.{i}" for i in range(len(maps))]
    for found, expected in zip(values_at(network, paths, images), [network.begin(images), *maps], strict=True):
        assert torch.equal(found, expected)


def what_comes_next(network, path, images):
    """What is made of the values at `path` by an activation: a layer of the same block is given it, or it is a group's output."""
    block, _, layer = path.removesuffix(":input").rpartition(".")
    following = {"norm1": "conv1", "norm3": "conv3", "norm": "conv"}.get(layer)
    if isinstance(network.get_submodule(block), (InvertedResidual, Block)):
        following = "excite" if getattr(network.get_submodule(block), "excite", None) is not None else "project"
    return values_at(network, [f"{block}.{following}:input" if following else ".".join(block.split(".")[:2])], images)[0]


@pytest.mark.parametrize("name", ALL)
def test_relu_of_taps_before_relu_is_what_comes_next(name):
    network, images = build(name), images_of(2, 3, 32, 32)
    paths = network.tap_paths("before_relu")
    assert len(paths) == len(network.groups)
    for path, value in zip(paths, values_at(network, paths, images), strict=True):
        assert (value < 0).any() and (value > 0).any()
        if path == "norm":
            torch.testing.assert_close(F.relu(value).mean(dim=(2, 3)), network.features(images))
        else:
            activation = network.get_submodule(path.removesuffix(":input")) if path.endswith(":input") else F.relu
            assert torch.equal(activation(value), what_comes_next(network, path, images))


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("resnet56", ["groups.0.1.relu:input", "groups.1.1.relu:input", "groups.2.1.relu:input"]),
        ("resnet50", [f"groups.{i}.0.relu:input" for i in range(4)]),
        ("wrn_16_1", ["groups.1.0.norm1", "groups.2.0.norm1", "norm"]),
        ("preresnet1001", ["groups.1.0.norm1", "groups.2.0.norm1", "norm"]),
        ("densenet_40_12", ["groups.1.0.norm", "groups.2.0.norm", "norm"]),
        ("match_wrn_2_1", ["groups.1.0.norm", "groups.2.0.norm", "norm"]),
        ("vgg8", ["groups.0.3:input", "groups.1.3:input", "groups.2.3:input", "groups.3.2:input"]),
        ("pyramidnet101_240", ["groups.0.0.norm3", "groups.1.0.norm3", "norm"]),
        ("mobilenet_v2_tiny", [*(f"groups.{i}.{n}.relu:input" for i, n in enumerate((0, 1, 2, 6))), "groups.4.6:input"]),
    ],
)
def test_taps_before_relu_by_name(name, paths):
    assert build(name).tap_paths("before_relu") == paths


def test_groups_of_mobilenet_v2_end_linearly_but_for_the_last():
    """So the last activation of a group is inside its last block."""
    signs = [bool((x < 0).any()) for x in build("mobilenet_v2_tiny").maps(images_of(8, 3, 64, 64))]
    assert signs == [True, True, True, True, False]


def test_unknown_taps_are_refused():
    with pytest.raises(SettingError, match=r"objective\.taps = stem: must be one of groups, stem_and_groups, before_relu"):
        build("resnet8").tap_paths("stem")


def test_an_early_exit_knows_the_activations_of_its_groups_only():
    early = early_exit(1, 5, [instantiate(settings_of("resnet8"))], 2)
    assert early.tap_paths("before_relu") == build("resnet8").tap_paths("before_relu")[:2]
    ends_before = early_exit(1, 5, [instantiate(settings_of("wrn_16_2"))], 2)
    assert ends_before.tap_paths("groups") == ["groups.0", "groups.1"]
    with pytest.raises(SettingError, match=r"before_relu: an early exit of \w+ ends before an activation .* network\.takes"):
        ends_before.tap_paths("before_relu")


@pytest.mark.parametrize("name", ALL)
def test_groups_can_be_called_one_after_the_other(name):
    """As joint networks do, with a classifier of their own on each, at odd sizes, of which each halving keeps the last row."""
    network, x = build(name, 1), images_of(2, 1, 28, 21)
    sizes = [(-(-28 // r), -(-21 // r)) for r in load_group("network", name)["reductions"]]
    expected = network(x)
    x = network.begin(x)
    for group, size in zip(network.groups, sizes, strict=True):
        x = group(x)
        assert x.shape[2:] == size
    assert torch.equal(network.classifier(network.pool(x)), expected)


@pytest.mark.parametrize("name", NEW)
def test_new_networks_learn_a_fixed_batch_and_every_weight_takes_part(name):
    torch.manual_seed(0)
    network, labels = instantiate(settings_of(name))(channels=1, classes=4), torch.arange(16) % 4
    before = {key: weight.clone() for key, weight in network.named_parameters()}
    images = images_of(16, 1, 28, 28) + images_of(4, 1, 28, 28, seed=1)[labels]
    optimizer, losses = torch.optim.Adam(network.parameters(), lr=0.01), []
    for _ in range(30):
        losses.append(F.cross_entropy(network(images), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    assert [key for key, weight in network.named_parameters() if torch.equal(weight, before[key])] == []


def test_vgg_is_its_convolutions_between_poolings():
    images = 30 * images_of(2, 3, 32, 32)
    network, x = build("vgg8"), images
    weights = network.state_dict()
    layers = [("stem", "first.0"), *((f"groups.{i}.{j}", f"groups.{i}.{j + 1}") for i, j in enumerate((1, 1, 1, 0)))]
    expected = []
    for i, (conv, norm) in enumerate(layers):
        if i in (1, 2, 3):
            x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
        x = F.conv2d(x, weights[f"{conv}.weight"], weights[f"{conv}.bias"], padding=1)
        mean, var, gamma, beta = (
            weights[f"{norm}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
        )
        x = ((x - mean) / (var + 1e-5).sqrt() * gamma + beta).clamp(min=0)
        expected.append(x)
    for found, right in zip(network.maps(images), expected[1:], strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("depth", "stages"), [(8, "11111"), (11, "11222"), (13, "22222"), (16, "22333"), (19, "22444")])
def test_vgg_parameters_are_the_sum_over_the_layers(depth, stages):
    total, before = 512 * 100 + 100, 3
    for after, convolutions in zip((64, 128, 256, 512, 512), map(int, stages), strict=True):
        total += 9 * before * after + (convolutions - 1) * 9 * after**2 + convolutions * 3 * after
        before = after
    with torch.device("meta"):
        assert count(VGG(3, 100, depth)) == total


def test_a_resnet_may_begin_narrower():
    """RepDistiller's ResNet-8x4: 32 channels, then 64, 128 and 256; all three groups begin with a 1x1 convolution."""
    total, before = 27 * 32 + 2 * 32, 32
    for after in (64, 128, 256):
        total += 9 * before * after + 9 * after**2 + 4 * after + before * after + 2 * after
        before = after
    network = ResNet(3, 100, 8, "B", 64, 32)
    assert count(network) == total + 256 * 100 + 100
    assert [group[0].project[0].stride for group in network.groups] == [(1, 1), (2, 2), (2, 2)]
    network = ResNet(3, 5, 8, "A", 6, 4).eval()
    torch.nn.init.zeros_(network.groups[0][0].conv2.weight)
    images = images_of(2, 3, 8, 8)
    assert torch.equal(network.maps(images)[0], F.pad(network.begin(images), (0, 0, 0, 0, 1, 1)))


def test_a_resnet_that_begins_wider_needs_shortcut_b():
    with pytest.raises(SettingError, match=r"network\.first_width = 8: must be at most network\.width = 4"):
        ResNet(3, 5, 8, "A", 4, 8)
    assert ResNet(3, 5, 8, "B", 4, 8)(images_of(2, 3, 8, 8)).shape == (2, 5)


def test_the_resnet_for_small_images_keeps_their_resolution_at_first():
    network, images = build("cifar_resnet18"), images_of(2, 3, 9, 9)
    expected = F.relu(network.norm(F.conv2d(images, network.stem.weight, padding=1)))
    assert network.stem.kernel_size == (3, 3)
    torch.testing.assert_close(network.begin(images), expected)


def test_resnext_convolves_each_part_of_the_channels_by_itself():
    torch.manual_seed(0)
    convolution = ResNeXt(3, 5, 11, 4, 2, 4).groups[1][0].conv2
    x = images_of(2, 16, 6, 6)
    parts = zip(x.chunk(4, dim=1), convolution.weight.chunk(4), strict=True)
    torch.testing.assert_close(convolution(x), torch.cat([F.conv2d(part, w, stride=2, padding=1) for part, w in parts], dim=1))


@pytest.mark.parametrize(("depth", "alpha", "millions"), [(164, 270, 27.0), (200, 240, 26.6), (236, 220, 26.8), (272, 200, 26.0)])
def test_pyramidnet_parameters_but_for_batch_norms_are_as_published(depth, alpha, millions):
    with torch.device("meta"):
        network = PyramidNet(3, 10, depth, alpha)
    norms = sum(count(module) for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert (count(network) - norms) / 1e6 == pytest.approx(millions, abs=0.051)


def test_pyramidnet_adds_the_same_number_of_channels_in_each_block():
    network = PyramidNet(3, 5, 20, 15, 4)
    widths = [block.conv3.out_channels for group in network.groups for block in group]
    assert widths == [4 * width for width in (6, 9, 12, 14, 16, 19)]
    assert [block.stride for group in network.groups for block in group] == [1, 1, 2, 1, 2, 1]


def test_shortcuts_of_pyramidnet_average_pixels_and_pad_with_zero_channels():
    block, x = with_statistics(PyramidBottleneck(4, 2, 2)), images_of(2, 4, 6, 6)
    torch.nn.init.zeros_(block.norm4.weight)
    torch.nn.init.zeros_(block.norm4.bias)
    block.norm4.running_mean.zero_()
    expected = torch.zeros(2, 8, 3, 3)
    expected[:, :4] = x.reshape(2, 4, 3, 2, 3, 2).mean(dim=(3, 5))
    torch.testing.assert_close(block(x), expected)


def test_mobilenet_blocks_convolve_each_channel_and_then_each_pixel():
    torch.manual_seed(0)
    block, x = Separable(3, 5, 2).eval(), images_of(2, 3, 6, 6)
    scale = (1 + 1e-5) ** -0.5
    y = torch.cat([F.conv2d(x[:, [c]], block.depthwise.weight[[c]], stride=2, padding=1) for c in range(3)], dim=1)
    y = torch.einsum("bchw,oc->bohw", (scale * y).clamp(min=0), block.pointwise.weight[:, :, 0, 0])
    torch.testing.assert_close(block(x), (scale * y).clamp(min=0))


def test_mobilenet_parameters_are_the_sum_over_the_layers():
    total, before = 27 * 32 + 2 * 32, 32
    for after in (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024):
        total += 9 * before + 2 * before + before * after + 2 * after
        before = after
    with torch.device("meta"):
        assert count(MobileNet(3, 100)) == total + 1024 * 100 + 100


@pytest.mark.parametrize(
    ("own", "name", "settings"),
    [
        (lambda: MobileNetV2(3, 6), "mobilenet_v2", {}),
        (lambda: MobileNetV2(3, 6, 0.35), "mobilenet_v2", {"width_mult": 0.35}),
        (lambda: MobileNetV3(3, 6), "mobilenet_v3_large", {}),
    ],
)
def test_mobilenets_compute_what_those_of_torchvision_do(own, name, settings):
    """Both have the same layers in the same order; torchvision's MobileNetV3 adds 0.001, not 0.00001, to variances."""
    torch.manual_seed(0)
    theirs = with_statistics(getattr(import_torchvision().models, name)(num_classes=6, **settings)).requires_grad_(False)
    network, images = own().eval().requires_grad_(False), images_of(1, 3, 64, 64)
    weights = list(theirs.state_dict().values())
    network.load_state_dict(dict(zip(network.state_dict(), weights, strict=True)))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-5 if name == "mobilenet_v2" else 1e-3
    for model in (network, theirs):
        # Large enough for ReLU6 to cut.
        *_, last = (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
        last.bias += 6
    found, expected = (model.double()(images.double()) for model in (network, theirs))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("network", "millions"), [(MobileNetV2, "3.50"), (MobileNetV3, "5.48")])
def test_parameters_of_full_mobilenets_are_as_published(network, millions):
    with torch.device("meta"):
        assert f"{count(network(3, 1000)) / 1e6:.2f}" == millions


def test_widths_of_mobilenets_are_multiples_of_8():
    assert [multiple_of_8(x) for x in (1, 8, 11.2, 22.4, 33.6, 56, 112, 1280)] == [8, 8, 16, 24, 32, 56, 112, 1280]
    assert MobileNetV2(3, 5, 0.1, 2, 16).classifier.in_features == 16
    assert MobileNetV2(3, 5, 1.5, 1, 32).classifier.in_features == 48
    assert [block.depthwise.in_channels for block in MobileNetV2(3, 5, 0.1, 3).groups[2]] == [24, 24, 24]


def test_mobilenet_v3_squeezes_to_a_quarter_of_the_channels_or_the_least():
    found = {
        least: sorted({m.down.out_channels for m in MobileNetV3(3, 5, 0.35, 32, least).modules() if isinstance(m, Excitation)})
        for least in (8, 16)
    }
    assert found == {8: [8, 16, 40, 56, 88], 16: [16, 40, 56, 88]}


@pytest.mark.parametrize(
    ("network", "settings", "depths"),
    [
        (VGG, {}, (7, 12, 0)),
        (ResNeXt, {"cardinality": 2, "base_width": 2}, (2, 28)),
        (PyramidNet, {"alpha": 6}, (2, 109)),
    ],
)
def test_invalid_depth_is_refused(network, settings, depths):
    for depth in depths:
        with pytest.raises(SettingError, match=rf"network\.depth = {depth}"):
            network(3, 5, depth=depth, **settings)
