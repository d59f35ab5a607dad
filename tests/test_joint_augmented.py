"""NetAug's wider networks, computed here as the base and a second path beside it: channels of batch norm are independent."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gendistill.errors import SettingError
from gendistill.networks.augmented import Augmented, changed, inner_layers
from gendistill.networks.densenet import DenseNet
from gendistill.networks.grouped import Grouped
from tests.joint_networks import PRERESNET, RESNET, WIDE, augmented, build, images, module_of, trained


class Excitation(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.up(F.relu(self.down(x.mean(dim=(2, 3), keepdim=True)))))


class Inverted(nn.Module):
    """An inverted residual, with the names of those of MobileNets."""

    def __init__(self, before, inner, after, parts):
        super().__init__()
        self.expand, self.norm1 = nn.Conv2d(before, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.depthwise, self.norm2 = nn.Conv2d(inner, inner, 3, padding=1, groups=parts), nn.BatchNorm2d(inner)
        self.relu, self.excite = nn.ReLU6(), Excitation(inner)
        self.project, self.norm3 = nn.Conv2d(inner, after, 1, bias=False), nn.BatchNorm2d(after)

    def forward(self, x):
        y = self.relu(self.norm2(self.depthwise(F.relu6(self.norm1(self.expand(x))))))
        return self.norm3(self.project(self.excite(y)))


class Tiny(Grouped):
    def __init__(self, channels, classes, parts):
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 3)
        self.groups = nn.ModuleList([nn.Sequential(Inverted(4, 6, 5, parts))])
        self.classifier = nn.Linear(5, classes)


def tiny(parts, factors):
    return Augmented(1, 3, [lambda channels, classes: Tiny(channels, classes, parts)], factors)


def draw_all(joint, seed=0):
    """Weights of all kinds, so that no factor is 1 and no bias 0."""
    torch.manual_seed(seed)
    for weight in joint.parameters():
        nn.init.normal_(weight, 0.2, 0.5)
    return joint


def norm(x, layer, weight=None, bias=None):
    """Batch norm by the statistics of the batch, with other factors and biases for other channels."""
    mean, variance = x.mean(dim=(0, 2, 3), keepdim=True), x.var(dim=(0, 2, 3), correction=0, keepdim=True)
    weight, bias = (layer.weight, layer.bias) if weight is None else (weight, bias)
    return (x - mean) / (variance + layer.eps).sqrt() * weight[:, None, None] + bias[:, None, None]


def of(kind, path, count):
    """The extra weights of a layer that `count` channels use."""
    return kind[path.replace(".", "_")][:count]


@pytest.mark.parametrize("factors", [[1.0, 1.5, 2.0], [3.0, 3.0, 3.0], [1.0, 1.0, 1.0]])
def test_a_wider_resnet_is_the_base_and_a_path_beside_it(factors):
    joint = draw_all(build(augmented(RESNET)))
    x = joint.base.begin(images())
    for i, (extra, factor) in enumerate(zip(joint.extra, factors, strict=True)):
        (block,), count = joint.base.groups[i], round(extra.inner * (factor - 1))
        conv1, norm1, conv2 = (f"groups.{i}.0.{name}" for name in ("conv1", "norm1", "conv2"))
        y = block.conv2(F.relu(norm(block.conv1(x), block.norm1)))
        if count:
            more = F.conv2d(x, of(extra.rows, conv1, count), stride=block.conv1.stride, padding=1)
            more = F.relu(norm(more, block.norm1, of(extra.rows, norm1, count), of(extra.shifts, norm1, count)))
            y = y + F.conv2d(more, extra.columns[conv2.replace(".", "_")][:, :count], padding=1)
        x = F.relu(norm(y, block.norm2) + block._shortcut(x))
    expected = joint.base.classifier(x.mean(dim=(2, 3)))
    torch.testing.assert_close(joint.wider(images(), factors), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("parts", "factor", "count"), [(6, 1.5, 3), (3, 1.9, 6), (1, 2.0, 6), (2, 1.3, 3)])
def test_a_wider_inverted_residual_is_made_of_its_parts(parts, factor, count):
    joint, shown = draw_all(tiny(parts, [1.0, 2.0])), images((1, 9, 9), batch=4)
    (extra,), (block,) = joint.extra, joint.base.groups[0]
    path = "groups.0.0."

    def both(x, layer, name, **more):
        weight = torch.cat([layer.weight, of(extra.rows, path + name, count)[:, : layer.weight.shape[1]]])
        return F.conv2d(x, weight, **more)

    def normalised(x, layer, name):
        weight = torch.cat([layer.weight, of(extra.rows, path + name, count)])
        return norm(x, layer, weight, torch.cat([layer.bias, of(extra.shifts, path + name, count)]))

    x = joint.base.begin(shown)
    y = F.relu6(normalised(both(x, block.expand, "expand"), block.norm1, "norm1"))
    if parts == 1:
        rows = extra.rows[f"{path}depthwise".replace(".", "_")][:count, : 6 + count]
        columns = extra.columns[f"{path}depthwise".replace(".", "_")][:, :count]
        y = F.conv2d(y, torch.cat([torch.cat([block.depthwise.weight, columns], dim=1), rows]), padding=1)
    else:
        y = both(y, block.depthwise, "depthwise", padding=1, groups=parts * (6 + count) // 6)
    y = y + torch.cat([block.depthwise.bias, of(extra.shifts, f"{path}depthwise", count)])[:, None, None]
    y = F.relu6(normalised(y, block.norm2, "norm2"))
    down, up = block.excite.down, block.excite.up
    means = y.mean(dim=(2, 3), keepdim=True)
    small = down(means[:, :6]) + F.conv2d(means[:, 6:], extra.columns[f"{path}excite.down".replace(".", "_")][:, :count])
    scale = both(F.relu(small), up, "excite.up")
    y = y * F.hardsigmoid(scale + torch.cat([up.bias, of(extra.shifts, f"{path}excite.up", count)])[:, None, None])
    y = block.project(y[:, :6]) + F.conv2d(y[:, 6:], extra.columns[f"{path}project".replace(".", "_")][:, :count])
    expected = joint.base.classifier(norm(y, block.norm3).mean(dim=(2, 3)))
    torch.testing.assert_close(joint.wider(shown, [factor]), expected, rtol=1e-4, atol=1e-4)
    assert block.depthwise.groups == parts


@pytest.mark.parametrize("network", [RESNET, WIDE, PRERESNET])
def test_the_base_does_not_depend_on_the_extra_weights(network):
    settings = augmented(network)
    joint, shown = trained(settings), images()
    before = joint(shown), joint.outputs(shown, 3)["logits"], joint.train().outputs(shown, 3)["logits"]
    wider = joint.outputs(shown, 3)["augmented_logits"]
    for weight in joint.extra.parameters():
        nn.init.normal_(weight)
    assert not torch.equal(joint.outputs(shown, 3)["augmented_logits"], wider)
    joint.load_state_dict({**joint.state_dict(), **{k: v for k, v in trained(settings).state_dict().items() if "running" in k}})
    after = joint.eval()(shown), joint.outputs(shown, 3)["logits"], joint.train().outputs(shown, 3)["logits"]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    exported = build(module_of(settings).alone(settings, "base"))
    exported.load_state_dict(joint.take("base").state_dict())
    joint.eval()
    assert torch.equal(exported.eval()(shown), joint(shown))
    assert sum(p.numel() for p in exported.parameters()) < sum(p.numel() for p in joint.parameters())


@pytest.mark.parametrize("network", [RESNET, WIDE])
def test_running_statistics_are_of_the_base_alone(network):
    joint, plain = build(augmented(network)), build(network)
    plain.load_state_dict(joint.base.state_dict())
    for step in range(3):
        joint.outputs(images(seed=step), step)
        plain(images(seed=step))
    for (name, own), (_, expected) in zip(joint.base.named_buffers(), plain.named_buffers(), strict=True):
        assert torch.equal(own, expected), name
    assert len(list(joint.buffers())) == len(list(plain.buffers()))


def test_widths_follow_the_key_alone():
    joint, keys = build(augmented(RESNET)), range(2**64 - 200, 2**64)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    drawn = [joint.draw(key) for key in keys]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert [build(augmented(RESNET)).draw(key) for key in keys] == drawn
    for block in range(3):
        counts = [[each[block] for each in drawn].count(factor) for factor in joint.factors]
        assert sum(counts) == 200
        assert min(counts) > 40
    assert len({tuple(each) for each in drawn}) > 20
    assert torch.equal(joint.outputs(images(), 5)["augmented_logits"], joint.outputs(images(), 5)["augmented_logits"])


def test_every_width_trains_the_base_and_the_extra_weights_that_it_uses():
    joint = build(augmented(RESNET))
    weights = dict(joint.named_parameters())
    found = torch.autograd.grad(joint.wider(images(), [1.0, 1.5, 3.0]).square().sum(), list(weights.values()))
    reached = {name: gradient.abs() for name, gradient in zip(weights, found, strict=True)}
    assert all(gradient.max() > 0 for name, gradient in reached.items() if name.startswith("base."))
    for block, used in enumerate((0, 4, 32)):
        rows = reached[f"extra.{block}.rows.groups_{block}_0_conv1"]
        columns = reached[f"extra.{block}.columns.groups_{block}_0_conv2"]
        assert (rows.amax(dim=(1, 2, 3)) > 0).tolist() == [i < used for i in range(len(rows))]
        assert (columns.amax(dim=(0, 2, 3)) > 0).tolist() == [i < used for i in range(len(rows))]


def test_inner_layers_of_blocks():
    (block,) = build(WIDE).groups[1]
    assert inner_layers(block) == {"conv1": (True, False), "norm2": (True, True), "conv2": (False, True)}
    found = inner_layers(Inverted(4, 6, 5, 6))
    assert found["depthwise"] == (True, False)
    assert {name for name, widened in found.items() if widened == (False, True)} == {"excite.down", "project"}
    separable = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 1))
    assert inner_layers(separable) == {}


def test_a_network_without_inner_channels_cannot_be_augmented():
    class Flat(Tiny):
        def __init__(self, channels, classes):
            super().__init__(channels, classes, 1)
            self.groups = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU())])

    with pytest.raises(SettingError, match="no block"):
        Augmented(1, 3, [Flat], [1.0, 2.0])


def test_what_is_changed_for_a_while_is_put_back_after_an_error():
    layer = nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="stop"), changed([(layer, "track_running_stats", False), (layer, "eps", 1.0)]):
        assert not layer.track_running_stats
        raise ValueError("stop")
    assert layer.track_running_stats
    assert layer.eps == 1e-5


def test_a_network_that_recomputes_is_widened_too():
    settings = {"units": 2, "growth": 4, "first_width": 8, "bottleneck": 16, "recompute": True}
    network = Augmented(1, 3, [partial(DenseNet, **settings)], [2.0]).train()
    found = network.outputs(images(), 0)
    (found["logits"].sum() + found["augmented_logits"].square().sum()).backward()
    assert all(weight.grad is not None for weight in network.parameters())
