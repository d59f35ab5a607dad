"""Networks that learn together: what they give in training, and that each member alone is the same network as before."""

import inspect
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from gendistill.errors import SettingError
from gendistill.networks.folded import folded
from gendistill.objectives import cross_entropy, mutual, netaug, one, own_teacher
from tests.joint_networks import (
    NO_ARGUMENTS,
    PRERESNET,
    RESNET,
    WIDE,
    augmented,
    branched,
    build,
    images,
    module_of,
    multi_exit,
    peers,
    trained,
)

SHAPES = [(1, 28, 28), (3, 32, 32)]
EXITS = ["exit3", "exit1", "exit2", "ensemble"]
JOINTS = [
    (peers(RESNET, RESNET), ["peer1", "peer2"]),
    (peers(RESNET, WIDE, PRERESNET), ["peer1", "peer2", "peer3"]),
    *((branched(each), ["single", "ensemble"]) for each in (RESNET, WIDE, PRERESNET)),
    (branched(RESNET, branches=2, separate=3), ["single", "ensemble"]),
    *((multi_exit(each), EXITS) for each in (RESNET, WIDE, PRERESNET)),
    *((augmented(each), ["base"]) for each in (RESNET, WIDE, PRERESNET)),
]
IDS = ["-".join([settings["name"], *(each["name"] for each in settings["networks"])]) for settings, _ in JOINTS]
ALONE = {"alone": cross_entropy.loss}
OWN_TEACHER = {**ALONE, "alpha": 0.3, "lambda_": 0.03, "temperature": 1.0}
LOSSES = {
    "peers": (mutual.loss, ["peer_logits"], ALONE),
    "branched": (one.loss, ["branch_logits", "gate"], {**ALONE, "temperature": 3.0}),
    "multi_exit": (own_teacher.loss, ["exit_logits", "exit_features"], OWN_TEACHER),
    "augmented": (netaug.loss, ["augmented_logits"], {**ALONE, "alpha": 1.0}),
}


def count(network):
    return sum(weight.numel() for weight in network.parameters())


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("settings", "members"), JOINTS, ids=IDS)
@torch.no_grad()
def test_members_alone_give_what_they_gave_together(settings, members, shape):
    joint, shown = trained(settings, shape[0]), images(shape)
    together = joint.member_logits(shown)
    assert list(together) == members
    close(joint(shown), together[members[0]])
    for member, logits in together.items():
        taken = joint.take(member).eval()
        torch.manual_seed(99)
        alone = build(module_of(settings).alone(settings, member), shape[0]).eval()
        alone.load_state_dict(taken.state_dict(), strict=True)
        close(taken(shown), logits)
        close(alone(shown), logits)
        close(folded(alone, images(shape, batch=2))(shown), logits)
    # Taking a member leaves the rest as it was.
    close(joint(shown), together[members[0]])
    assert all(torch.equal(logits, joint.member_logits(shown)[member]) for member, logits in together.items())
    assert len({tuple(logits.flatten().tolist()) for logits in together.values()}) == len(members)


@pytest.mark.parametrize("settings", [peers(RESNET, RESNET), branched(RESNET), multi_exit(RESNET), augmented(RESNET)])
def test_there_are_no_other_members(settings):
    joint = build(settings)
    for member in ("peer0", "peer3", "exit0", "exit4", "branch1", ""):
        with pytest.raises(SettingError, match=f"member {member}"):
            joint.take(member)
        with pytest.raises(SettingError, match="takes"):
            module_of(settings).alone(settings, member)


@pytest.mark.parametrize("settings", [peers(RESNET, WIDE), branched(WIDE), multi_exit(WIDE), augmented(WIDE)])
def test_training_lowers_the_loss_and_reaches_all_weights(settings):
    torch.manual_seed(0)
    joint, (loss, needs, own) = build(settings), LOSSES[settings["name"]]
    shown, labels = images((1, 12, 12), batch=15), torch.arange(15) % 5
    weights, losses = list(joint.parameters()), []
    optimizer = torch.optim.SGD(weights, lr=0.05, momentum=0.9)
    for step in range(25):
        outputs = joint.outputs(shown, step)
        terms = loss(outputs["logits"], labels, None, **{name: outputs[name] for name in needs}, **own)
        losses.append({name: term.item() for name, term in terms.items()} | {"all": sum(terms.values()).item()})
        gradients = torch.autograd.grad(sum(terms.values()), weights)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        optimizer.step()
    assert losses[-1]["all"] < 0.7 * losses[0]["all"]
    assert set(losses[0]) > {"all"}


def test_peers_are_updated_as_by_an_optimizer_each():
    torch.manual_seed(0)
    together, apart = build(peers(RESNET, WIDE)), build(peers(RESNET, WIDE))
    apart.load_state_dict(together.state_dict())
    make = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True)
    for_all, for_each = make(together.parameters()), [make(peer.parameters()) for peer in apart.peers]
    labels = torch.tensor([0, 3, 4, 1])
    for step in range(3):
        shown = images((1, 12, 12), batch=4, seed=step)
        outputs = together.outputs(shown, step)
        for_all.zero_grad()
        sum(mutual.loss(outputs["logits"], labels, None, peer_logits=outputs["peer_logits"], **ALONE).values()).backward()
        for_all.step()
        logits = [peer(shown) for peer in apart.peers]
        for k, optimizer in enumerate(for_each):
            optimizer.zero_grad()
            p = F.softmax(logits[1 - k].detach(), dim=1)
            divergence = (p * (p.log() - F.log_softmax(logits[k], dim=1))).sum(dim=1).mean()
            (F.cross_entropy(logits[k], labels) + divergence).backward(retain_graph=True)
        for optimizer in for_each:
            optimizer.step()
    for a, b in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_peers_begin_at_different_weights():
    first, second = build(peers(RESNET, RESNET)).peers
    assert not torch.equal(first.stem.weight, second.stem.weight)
    with pytest.raises(SettingError, match="at least 2"):
        build(peers(RESNET))


@pytest.mark.parametrize("network", [RESNET, WIDE])
@torch.no_grad()
def test_branches_share_the_first_layers_and_the_gate_weighs_them(network):
    joint, shown = trained(branched(network)), images()
    outputs, first = joint.outputs(shown, 0), joint.single.maps(shown)[1]
    linear, norm, _ = joint.gate
    x = first.mean(dim=(2, 3)).double().numpy() @ linear.weight.double().numpy().T + linear.bias.double().numpy()
    mean, variance = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
    x = (x - mean) / np.sqrt(variance + norm.eps) * norm.weight.double().numpy() + norm.bias.double().numpy()
    gate = softmax(np.maximum(x, 0))
    np.testing.assert_allclose(outputs["gate"], gate, rtol=1e-4)
    logits = [joint.single(shown)] + [each.classifier(each.pool(each.groups[0](first))) for each in joint.others]
    for own, expected in zip(outputs["branch_logits"], logits, strict=True):
        close(own, expected)
    ensemble = sum(gate[:, [i]] * logits[i].numpy() for i in range(3))
    np.testing.assert_allclose(joint.member_logits(shown)["ensemble"], ensemble, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("separate", [1, 2, 3])
def test_branches_have_no_more_than_their_own_layers(separate):
    plain, joint = build(RESNET), build(branched(RESNET, branches=4, separate=separate))
    own = count(plain.groups[3 - separate :]) + count(plain.classifier)
    seen_by_gate = {1: 8, 2: 4, 3: 4}[separate]
    assert count(joint) == count(plain) + 3 * own + (seen_by_gate * 4 + 4) + 2 * 4


def test_a_branch_cannot_have_more_groups_than_there_are():
    with pytest.raises(SettingError, match=r"network\.separate = 4: must be at most 3"):
        build(branched(RESNET, separate=4))


@torch.no_grad()
def test_the_ensemble_of_exits_is_the_mean_of_their_probabilities():
    joint, shown = trained(multi_exit(RESNET)), images()
    found, outputs = joint.member_logits(shown), joint.outputs(shown, 0)
    mean = np.mean([softmax(found[f"exit{i}"].double().numpy()) for i in (1, 2, 3)], axis=0)
    np.testing.assert_allclose(softmax(found["ensemble"].double().numpy()), mean, rtol=1e-5)
    np.testing.assert_allclose(found["ensemble"].double().exp().sum(dim=1), 1, rtol=1e-5)
    assert [each.shape for each in outputs["exit_features"]] == [(3, 16)] * 3
    for number, features in enumerate(outputs["exit_features"], start=1):
        close(joint.take(f"exit{number}").eval().features(shown), features)


def test_an_early_exit_has_only_the_layers_it_uses():
    joint = build(multi_exit(RESNET))
    early, network = joint.take("exit2"), joint.network
    bottleneck = 8 * 4 + 9 * 4 * 4 + 4 * 16 + 2 * (4 + 4 + 16)
    before = count(network.stem) + count(network.norm) + count(network.groups[:2])
    assert count(early) == before + bottleneck + (16 * 5 + 5)
    shown = images()
    for own, whole in zip(early.eval().maps(shown), network.eval().maps(shown), strict=False):
        assert torch.equal(own, whole)
    assert len(early.maps(shown)) == 2
    assert early.stem.weight.shape == network.stem.weight.shape
    assert count(joint) == count(network) + count(joint.exits)


def test_statistics_stay_while_a_joint_network_is_built():
    for settings in (branched(RESNET), multi_exit(WIDE)):
        joint = build(settings)
        assert joint.training
        assert all(buffer.max() <= 1 and buffer.min() >= 0 for buffer in joint.buffers())
        assert all(norm.num_batches_tracked == 0 for norm in joint.modules() if isinstance(norm, torch.nn.BatchNorm2d))


@pytest.mark.parametrize("name", ["peers", "branched", "multi_exit", "augmented"])
def test_settings_file_builds_a_network_that_gives_what_it_says(name):
    settings = yaml.safe_load((Path(__file__).parents[1] / "config" / "network" / f"{name}.yaml").read_text())
    small = {**settings, "networks": [RESNET] * len(settings["networks"])}
    joint = build(small)
    taken = inspect.signature(type(joint)).parameters
    assert set(settings) - set(NO_ARGUMENTS) == set(taken) - {"channels", "classes"}
    assert set(joint.outputs(images(), 0)) == {"logits", *settings["gives"]}
    members = {"networks": ["peer1", "peer2"], "groups": EXITS}.get(str(settings["members"]), settings["members"])
    assert list(joint.eval().member_logits(images())) == members
