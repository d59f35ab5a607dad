"""Dropout, spatial dropout and DropBlock on any `Grouped` network, by hooks that act in training only.

The network's class, its weights and its file stay as they are, and in eval mode nothing is dropped. The random numbers come
from PyTorch's global generator, which the loop seeds in each micro-batch. An objective that matches maps is given them after
values were dropped.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import Grouped
from gendistill.softlabels.exact import OFF

# Ghiasi et al. put DropBlock on the last two of the four groups of a ResNet-50.
GROUPS_WITH_BLOCKS = 2


def add_dropout(network: nn.Module, recipe: dict[str, Any]) -> None:
    """Let `network`, and each network in it, drop values while it is trained, as the recipe says.

    - dropout: of the features that enter each classifier (Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from
      Overfitting, 2014; values that are kept are divided by 1 - dropout in training, so that nothing is to be done in eval mode);
    - spatial_dropout: whole channels of the output of each group (Tompson et al., Efficient Object Localization Using Convolutional
      Networks, 2015, section 3.2);
    - drop_block: blocks of `drop_block_size` in the output of each of the last two groups (Ghiasi et al., DropBlock: A
      regularization method for convolutional networks, 2018; they drop after each convolution and shortcut in these groups).

    Raises:
        SettingError: there are no groups of layers to put it on.
    """
    recipe = {**OFF, **recipe}
    share, channels, blocks, size = (recipe[name] for name in ("dropout", "spatial_dropout", "drop_block", "drop_block_size"))
    chosen = {name: recipe[name] for name in ("dropout", "spatial_dropout", "drop_block") if recipe[name]}
    # An early exit shows the groups of the network in it as its own.
    groups = list({each.groups: None for each in network.modules() if isinstance(each, Grouped)})
    if chosen and not groups:
        name, value = next(iter(chosen.items()))
        raise SettingError(
            f"recipe.{name} = {value}: {type(network).__name__} has no groups of layers to drop values of. It must be 0: set it in "
            "the recipe of the experiment."
        )
    for layer in _classifiers(network) if share else ():
        layer.register_forward_pre_hook(lambda layer, given: F.dropout(given[0], share, layer.training))
    for each in groups:
        for group in each if channels else ():
            group.register_forward_hook(lambda layer, given, output: F.dropout2d(output, channels, layer.training))
        for group in each[-GROUPS_WITH_BLOCKS:] if blocks else ():
            group.register_forward_hook(lambda layer, given, output: drop_block(output, blocks, size) if layer.training else output)


def _classifiers(network: nn.Module) -> list[nn.Module]:
    """The last layers of the networks, and exits, in a network; each once."""
    found = (getattr(each, "classifier", None) for each in network.modules())
    return list({layer: None for layer in found if isinstance(layer, nn.Module)})


def drop_block(maps: Tensor, share: float, size: int) -> Tensor:
    """Drop square blocks of each channel, and scale what is kept so that as much is left in all (Ghiasi et al., Algorithm 1).

    In each channel a block begins at each pixel where it fits with probability gamma, independently (Eqn 1):

        gamma = share / size^2 * (H W) / ((H - size + 1) (W - size + 1)).

    So `share` of the values are in a block, counted once for each of the blocks that they are in; as blocks overlap, a little
    less is dropped. It is the same from the first step to the last: the paper's schedule, where it rises from 0, is left out.

    Args:
        maps: float, shape (B, C, H, W).
        share: of the values, 1 - keep_prob.
        size: side of a block, at most H and W; on smaller maps a block covers the shorter side.

    Returns:
        maps * kept * (number of values / number of kept values), shape and dtype of `maps`; zero if none is kept.
    """
    height, width = maps.shape[2:]
    size = min(size, height, width)
    rows, columns = height - size + 1, width - size + 1
    gamma = share * height * width / (size**2 * rows * columns)
    first = (torch.rand(*maps.shape[:2], rows, columns, device=maps.device) < gamma).float()
    kept = 1 - F.max_pool2d(F.pad(first, (size - 1,) * 4), size, stride=1)
    return maps * (kept * (kept.numel() / kept.sum().clamp(min=1))).to(maps.dtype)
