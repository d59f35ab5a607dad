"""Dropout, spatial dropout and DropBlock: how much is dropped, what of, and when."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import Grouped
from gendistill.networks.multi_exit import MultiExit, early_exit
from gendistill.networks.resnet import ResNet
from gendistill.training.dropout import add_dropout, drop_block


class Passes(Grouped):
    """Gives on what it gets, through three groups and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.classifier = nn.Identity(), nn.Identity()
        self.groups = nn.ModuleList(nn.Identity() for _ in range(3))


def passing(**recipe):
    network = Passes()
    add_dropout(network, recipe)
    return network.train()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(3)


def within(found, share, count):
    """Whether a share lies within a binomial bound."""
    return abs(found - share) < 4 * (share * (1 - share) / count) ** 0.5


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_dropout_drops_features_before_the_classifier_and_scales_the_others(share):
    network = passing(dropout=share)
    maps, features = network.maps(torch.ones(200, 50, 2, 2)), network(torch.ones(200, 50, 2, 2))
    assert all((each == 1).all() for each in maps)
    assert features.unique().tolist() == pytest.approx([0, 1 / (1 - share)])
    assert within((features == 0).double().mean().item(), share, features.numel())


def test_spatial_dropout_drops_whole_channels_after_each_group():
    share = 0.3
    maps = passing(spatial_dropout=share).maps(torch.ones(100, 30, 4, 5))
    for number, each in enumerate(maps, start=1):
        channels = each.flatten(2)
        assert (channels == channels[:, :, :1]).all()
        assert channels.unique().tolist() == pytest.approx([0, (1 - share) ** -number])
        # A channel is left if no group until here has dropped it.
        assert within((channels[:, :, 0] != 0).double().mean().item(), (1 - share) ** number, 3000)


def expected_share(share, size, height, width):
    """The share of dropped values: a value is left if none of the blocks that cover it begins."""
    rows, columns = height - size + 1, width - size + 1
    gamma = share / size**2 * (height * width) / (rows * columns)
    covering = np.zeros((height, width))
    for row in range(rows):
        for column in range(columns):
            covering[row : row + size, column : column + size] += 1
    return (1 - (1 - gamma) ** covering).mean()


@pytest.mark.parametrize(
    ("share", "size", "height", "width"), [(0.1, 7, 14, 14), (0.05, 3, 8, 12), (0.3, 7, 8, 8), (0.2, 1, 6, 6), (0.2, 7, 7, 7)]
)
def test_drop_block_drops_the_share_that_is_set_less_what_blocks_overlap(share, size, height, width):
    dropped = drop_block(torch.ones(200, 16, height, width), share, size) == 0
    shares = dropped.double().mean(dim=(2, 3)).flatten()
    expected, error = expected_share(share, size, height, width), shares.std().item() / len(shares) ** 0.5
    # Channels are independent, the values in one are not.
    assert abs(shares.mean().item() - expected) < 4 * error
    # Where blocks overlap a value is dropped once, but counted for each by gamma.
    assert 0.75 * share < expected <= share + 1e-12


@pytest.mark.parametrize("size", [2, 3, 5])
def test_drop_block_drops_squares_that_lie_within_the_map(size):
    dropped = (drop_block(torch.ones(50, 8, 9, 11), 0.1, size) == 0).float()
    windows = dropped.unfold(2, size, 1).unfold(3, size, 1)
    covered = torch.zeros_like(dropped)
    for image, channel, row, column in (windows.mean(dim=(4, 5)) == 1).nonzero().tolist():
        covered[image, channel, row : row + size, column : column + size] = 1
    assert dropped.any()
    assert torch.equal(covered, dropped)


def test_drop_block_keeps_the_mean_and_scales_all_that_is_kept_alike():
    maps = torch.rand(8, 4, 10, 10) + 1
    out = drop_block(maps, 0.2, 3)
    kept = out != 0
    assert (out[kept] / maps[kept]).numpy() == pytest.approx(kept.numel() / kept.sum().item())
    assert drop_block(torch.ones(8, 4, 10, 10), 0.2, 3).mean().item() == pytest.approx(1)


def test_drop_block_on_maps_that_are_smaller_than_a_block():
    out = drop_block(torch.ones(40, 10, 4, 4), 0.25, 7).flatten(2)
    assert (out == out[:, :, :1]).all()
    assert within((out[:, :, 0] == 0).double().mean().item(), 0.25, 400)
    assert (drop_block(torch.ones(1, 2, 4, 4), 1 - 1e-7, 7) == 0).all()


def test_drop_block_is_for_the_last_two_groups():
    first, second, third = passing(drop_block=0.2, drop_block_size=3).maps(torch.ones(20, 8, 9, 9))
    assert (first == 1).all()
    share = expected_share(0.2, 3, 9, 9)
    assert (second == 0).double().mean().item() == pytest.approx(share, rel=0.15)
    assert (third == 0).double().mean().item() == pytest.approx(1 - (1 - share) ** 2, rel=0.15)


ALL = {"dropout": 0.5, "spatial_dropout": 0.3, "drop_block": 0.2, "drop_block_size": 2}


def test_nothing_is_dropped_in_eval_mode_and_the_weights_are_the_same():
    plain, dropping = ResNet(1, 3, 8, "A", 4), ResNet(1, 3, 8, "A", 4)
    add_dropout(dropping, ALL)
    dropping.load_state_dict(plain.state_dict())
    pixels = torch.randn(6, 1, 8, 8)
    assert torch.equal(dropping.eval()(pixels), plain.eval()(pixels))
    assert not torch.equal(dropping.train()(pixels), plain.train()(pixels))
    assert dropping.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(dropping.state_dict())
    assert torch.equal(dropping.eval()(pixels), plain.eval()(pixels))


def test_what_is_dropped_comes_from_the_global_generator():
    network = passing(**ALL)
    found = []
    for seed in (5, 6, 5):
        torch.manual_seed(seed)
        found.append(network(torch.ones(20, 8, 9, 9)))
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


def test_gradients_flow_through_what_is_kept_only():
    maps = torch.ones(4, 4, 6, 6, requires_grad=True)
    out = drop_block(maps, 0.2, 3)
    (gradient,) = torch.autograd.grad(out.sum(), maps)
    assert torch.equal(gradient, out.detach())


def test_networks_within_a_network_drop_each_of_its_own():
    both = nn.ModuleList([Passes(), Passes()])
    add_dropout(both, {"dropout": 0.5})
    first, second = (each(torch.ones(20, 30, 1, 1)) for each in both.train())
    assert (first == 0).any()
    assert (second == 0).any()
    assert not torch.equal(first, second)


def hooks(layer):
    return len(layer._forward_pre_hooks) + len(layer._forward_hooks)


def test_each_exit_drops_features_and_each_group_is_dropped_from_once():
    build = [partial(ResNet, depth=8, width=2)]
    everything = {"dropout": 0.5, "spatial_dropout": 0.1}
    exits = MultiExit(1, 10, build)
    add_dropout(exits, everything)
    assert [hooks(layer) for layer in (*(each.classifier for each in exits.exits), exits.network.classifier)] == [1, 1, 1]
    assert [hooks(group) for group in exits.network.groups] == [1, 1, 1]
    early = early_exit(1, 10, build, 2)
    add_dropout(early, everything)
    assert hooks(early.classifier) == 1
    assert [hooks(group) for group in early.groups] == [1, 1]


@pytest.mark.parametrize("name", ["dropout", "spatial_dropout", "drop_block"])
def test_a_network_without_groups_names_the_setting(name):
    with pytest.raises(SettingError, match=rf"recipe\.{name} = 0\.1: Linear has no groups of layers .* must be 0"):
        add_dropout(nn.Linear(2, 2), {name: 0.1})
    add_dropout(nn.Linear(2, 2), {name: 0.0})
