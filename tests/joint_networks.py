"""Small joint networks for the tests, built from settings as a plan gives them."""

import importlib
from functools import partial

import torch

RESNET = {"name": "resnet8", "_target_": "gendistill.networks.resnet.ResNet", "depth": 8, "width": 4, "reductions": [1, 2, 4]}
WIDE = {"name": "wrn", "_target_": "gendistill.networks.wide_resnet.WideResNet", "depth": 10, "width": 1, "base": 4}
WIDE["reductions"] = [1, 2, 4]
PRERESNET = {"name": "pre", "_target_": "gendistill.networks.preresnet.PreResNet", "depth": 11, "width": 4, "reductions": [1, 2, 4]}
NO_ARGUMENTS = ("name", "_target_", "reductions", "gives", "members", "takes")


def peers(*networks):
    return {"name": "peers", "_target_": "gendistill.networks.peers.Peers", "networks": list(networks)}


def branched(network, **settings):
    return {"name": "branched", "_target_": "gendistill.networks.branched.Branched", "networks": [network], **settings}


def multi_exit(network, **settings):
    return {"name": "multi_exit", "_target_": "gendistill.networks.multi_exit.MultiExit", "networks": [network], **settings}


def augmented(network, factors=(1.0, 1.5, 3.0)):
    target = "gendistill.networks.augmented.Augmented"
    return {"name": "augmented", "_target_": target, "networks": [network], "factors": list(factors)}


def build(settings, channels=1, classes=5):
    """What the plan and the training do together: networks in networks become factories."""
    module, _, name = settings["_target_"].rpartition(".")
    arguments = {key: value for key, value in settings.items() if key not in NO_ARGUMENTS}
    if "networks" in arguments:
        arguments["networks"] = [partial(build, each) for each in arguments["networks"]]
    return getattr(importlib.import_module(module), name)(channels=channels, classes=classes, **arguments)


def module_of(settings):
    return importlib.import_module(settings["_target_"].rpartition(".")[0])


def trained(settings, channels=1, classes=5, seed=0):
    """A joint network in eval mode whose batch norms have statistics and weights of their own, as after a training."""
    torch.manual_seed(seed)
    network = build(settings, channels, classes)
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval()


def images(shape=(1, 28, 28), batch=3, seed=0):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed))
