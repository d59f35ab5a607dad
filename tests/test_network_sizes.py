"""Every image network of config/network: its size against the published one and the sum over its layers, and its maps."""

import functools
from pathlib import Path

import jsonschema
import pytest
import torch
import yaml

from gendistill.networks.densenet import DenseNet, Transition
from gendistill.networks.imagenet_resnet import ImageNetResNet
from gendistill.networks.match import MatchPreResNet, MatchWideResNet
from gendistill.networks.mobilenet import MobileNet
from gendistill.networks.mobilenet_v2 import MobileNetV2
from gendistill.networks.mobilenet_v3 import MobileNetV3
from gendistill.networks.preresnet import PreResNet
from gendistill.networks.pyramidnet import PyramidNet
from gendistill.networks.resnet import ResNet
from gendistill.networks.resnext import ResNeXt
from gendistill.networks.vgg import VGG
from gendistill.networks.wide_resnet import WideResNet
from gendistill.targets import instantiate

ROOT = Path(__file__).resolve().parents[1]
TARGETS = yaml.safe_load((ROOT / "workflow/schemas/network.yaml").read_text())
FAMILIES = (ResNet, PreResNet, WideResNet, DenseNet, MatchWideResNet, MatchPreResNet, ImageNetResNet)
FAMILIES += (VGG, ResNeXt, PyramidNet, MobileNet, MobileNetV2, MobileNetV3)


def settings_of(name):
    return yaml.safe_load((ROOT / f"config/network/{name}.yaml").read_text())


FILES = [path.stem for path in (ROOT / "config/network").glob("*.yaml")]
NAMES = sorted(name for name in FILES if settings_of(name)["_target_"] in TARGETS and "networks" not in settings_of(name))
MATCH = [name for name in NAMES if name.startswith("match_")]


@functools.cache
def build(name, classes=100, channels=3):
    """The network without memory for its weights."""
    with torch.device("meta"):
        return instantiate(settings_of(name))(channels=channels, classes=classes)


def millions(network):
    return sum(p.numel() for p in network.parameters()) / 1e6


@pytest.mark.parametrize(
    ("name", "classes", "published"),
    [
        ("resnet14", 10, "0.17"),
        ("resnet20", 100, "0.28"),
        ("resnet56", 100, "0.86"),
        ("resnet110", 100, "1.73"),
        ("wrn_16_2", 10, "0.69"),
        ("wrn_28_1", 100, "0.375"),
        ("wrn_28_2", 100, "1.479"),
        ("wrn_28_5", 100, "9.16"),
        ("wrn_28_10", 100, "36.5"),
        ("wrn_28_20", 100, "146"),
        ("densenet_40_12", 10, "1.0"),
        ("densenet_bc_100_12", 100, "0.8"),
        ("densenet_bc_190_40", 10, "25.6"),
        ("densenet_bc_190_40", 100, "25.8"),
        ("densenet_112_33", 100, "6.72"),
        ("densenet_106_33", 100, "6.36"),
        ("densenet_90_60", 100, "16.12"),
        ("densenet_80_80", 100, "22.58"),
        ("densenet_80_120", 100, "50.47"),
        ("densenet_80_80_workshop", 10, "22.4"),
        ("densenet_80_120_workshop", 10, "50.4"),
        ("resnet18", 1000, "11.69"),
        ("resnet34", 1000, "21.80"),
        ("resnet50", 1000, "25.56"),
        ("resnet152", 1000, "60.19"),
        ("vgg8", 100, "3.97"),
        ("vgg13", 100, "9.46"),
        ("vgg16", 10, "14.73"),
        ("resnet8x4", 100, "1.23"),
        ("resnet32x4", 100, "7.43"),
        ("wrn_40_1", 100, "0.57"),
        ("wrn_40_2", 100, "2.26"),
        ("wrn_28_12", 10, "52.5"),
        ("cifar_resnet18", 10, "11.17"),
        ("cifar_resnet50", 100, "23.71"),
        ("resnext29_8x64d", 10, "34.4"),
        ("mobilenet", 100, "3.3"),
        ("mobilenet_v2_035", 1000, "1.7"),
        ("mobilenet_v2_tiny", 1000, "0.75"),
    ],
)
def test_parameters_are_as_published(name, classes, published):
    decimals = len(published.partition(".")[2])
    assert f"{millions(build(name, classes)):.{decimals}f}" == published


def test_parameters_of_the_smallest_resnet_are_cut_off_in_print():
    assert 0.07 < millions(build("resnet8", 10)) < 0.08


def test_preresnet1001_has_the_published_parameters_but_for_batch_norms():
    network = build("preresnet1001")
    norms = sum(m.weight.numel() + m.bias.numel() for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert f"{millions(network) - norms / 1e6:.1f}" == "10.2"
    assert 10.3 < millions(network) < 10.4


@pytest.mark.parametrize(
    ("name", "printed", "percent"),
    [
        ("densenet_90_60_workshop", 16.1, 0.9),
        ("match_densenet_7_1_2", 21.2, 0.7),
        ("match_densenet_28_1_2", 13.7, 0.3),
        ("match_densenet_42_1_2", 12.9, 0.4),
        ("match_densenet_56_1_2", 12.6, 0.0),
        ("match_densenet_14_05_1", 5.1, -8.5),
        ("match_densenet_14_075_15", 10.1, -5.2),
        ("match_densenet_14_1_3", 80.5, -5.7),
        ("match_wrn_1_1", 20.9, 0.8),
        ("match_wrn_2_1", 43.1, 0.2),
        ("match_wrn_4_05", 24.3, 0.4),
        ("match_wrn_4_1", 87.3, 0.1),
        ("match_preresnet_14_05", 7.3, -1.4),
        ("match_preresnet_14_1", 17.7, 1.3),
    ],
)
def test_readings_of_ban_deviate_from_the_printed_counts_as_told(name, printed, percent):
    assert 100 * (millions(build(name)) / printed - 1) == pytest.approx(percent, abs=0.06)


def wide_resnet_parameters(n, width, classes=100):
    """3x3 convolutions, 1x1 shortcuts and the two norms of each block, then the last norm and the linear layer."""
    total, before = 27 * 16, 16
    for after in (16 * width, 32 * width, 64 * width):
        total += 9 * before * after + (2 * n - 1) * 9 * after**2
        total += 2 * before + (2 * n - 1) * 2 * after
        total += before * after if before != after else 0
        before = after
    return total + 2 * before + (before + 1) * classes


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("wrn_")])
def test_wide_resnet_parameters_are_the_sum_over_the_layers(name):
    _, depth, width = name.split("_")
    assert round(1e6 * millions(build(name))) == wide_resnet_parameters((int(depth) - 4) // 6, int(width))


def densenet_parameters(units, growth, first, bottleneck, compression, last, classes=100):
    total, width = 27 * first, first
    for block in range(3):
        inputs = [width + i * growth for i in range(units)]
        if bottleneck:
            inner = bottleneck * growth
            total += sum((2 + inner) * c for c in inputs) + units * (2 * inner + 9 * inner * growth)
        else:
            total += sum((2 + 9 * growth) * c for c in inputs)
        width += units * growth
        after = int(compression * width) if block < 2 else last
        if after:
            total += 2 * width + width * after
            width = after
    return total + 2 * width + (width + 1) * classes


@pytest.mark.parametrize("name", [name for name in NAMES if "densenet" in name])
def test_densenet_parameters_are_the_sum_over_the_layers(name):
    s = settings_of(name)
    expected = densenet_parameters(s["units"], s["growth"], s["first_width"], s["bottleneck"], s["compression"], s["last_width"])
    assert round(1e6 * millions(build(name))) == expected


@pytest.mark.parametrize("name", MATCH)
def test_match_students_can_take_the_first_and_last_layer_of_their_teacher(name):
    student, teacher = build(name, 7, 2), build("densenet_90_60_workshop", 7, 2)
    assert settings_of(name)["shares"] == ["stem", "classifier"]
    for layer in ("stem", "classifier"):
        own, others = getattr(student, layer).state_dict(), getattr(teacher, layer).state_dict()
        assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in others.items()}


def transitions(network):
    return [module for module in network.modules() if isinstance(module, Transition)]


@pytest.mark.parametrize("name", [name for name in MATCH if name.startswith("match_densenet") and name.endswith("1_2")])
def test_dense_students_of_another_depth_have_the_widths_of_their_teacher(name):
    for own, others in zip(transitions(build(name)), transitions(build("densenet_90_60_workshop")), strict=True):
        assert own.conv.weight.shape == others.conv.weight.shape


@pytest.mark.parametrize("name", [name for name in MATCH if "densenet" not in name])
def test_residual_students_have_the_widths_of_their_teacher(name):
    student = build(name)
    if name.startswith("match_wrn"):
        found = [transition.conv.out_channels for transition in transitions(student)]
    else:
        found = [group[-1].conv3.out_channels for group in student.groups]
    assert (
        found == [transition.conv.out_channels for transition in transitions(build("densenet_90_60_workshop"))] == [480, 660, 750]
    )


@pytest.mark.parametrize("name", NAMES)
def test_reductions_are_those_of_the_maps(name):
    network = build(name).eval()
    maps = network.maps(torch.empty(2, 3, 64, 96, device="meta"))
    assert [(64 // x.shape[2], 96 // x.shape[3]) for x in maps] == [(r, r) for r in settings_of(name)["reductions"]]
    assert network.pool(maps[-1]).shape == (2, network.classifier.in_features)
    assert isinstance(network.stem, torch.nn.Conv2d)


@pytest.mark.parametrize("name", NAMES)
def test_settings_fit_the_schema_and_are_all_there(name):
    settings = settings_of(name)
    assert settings["name"] == name
    definitions = yaml.safe_load((ROOT / "workflow/schemas/settings.schema.yaml").read_text())["$defs"]
    jsonschema.validate(settings, {"properties": TARGETS[settings["_target_"]], "$defs": definitions})
    assert set(settings) - {"name", "_target_"} == set(TARGETS[settings["_target_"]]) - ({"shares"} - set(settings))


def test_the_schema_describes_all_families():
    joint = {settings_of(name)["_target_"] for name in FILES if "networks" in settings_of(name)}
    assert set(TARGETS) == {f"{family.__module__}.{family.__name__}" for family in FAMILIES} | joint
    assert len(joint) == 4
    for settings in TARGETS.values():
        for allowed in settings.values():
            assert "description" in allowed or "$ref" in allowed
