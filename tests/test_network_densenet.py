"""DenseNet: its connections, and the memory that recomputing saves without a change of results."""

import subprocess
import sys

import pytest
import torch

from gendistill.networks.densenet import DenseNet
from gendistill.networks.recompute import as_trained

KINDS = {"plain": {"bottleneck": 0, "compression": 1.0}, "bc": {"first_width": 12, "last_width": 10}}


def make(kind, recompute, units=3):
    torch.manual_seed(0)
    network = DenseNet(2, 4, units, 6, recompute=recompute, **KINDS[kind])
    return network.to(memory_format=torch.channels_last)


def images_of(batch=4, height=13, width=10, seed=0):
    images = torch.randn(batch, 2, height, width, generator=torch.Generator().manual_seed(seed))
    return images.to(memory_format=torch.channels_last)


def loss_of(network, images, bfloat16=False):
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = network(images)
    return torch.nn.functional.cross_entropy(logits.double(), torch.arange(len(images)) % 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_recomputing_changes_neither_training_nor_statistics(kind, bfloat16):
    """Three steps of momentum SGD: losses, weights, running statistics and their counters."""
    results = []
    for recompute in (False, True):
        network, losses = make(kind, recompute), []
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        for step in range(3):
            loss = loss_of(network, images_of(seed=step), bfloat16)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        results.append((losses, network.state_dict()))
    (plain_losses, plain), (losses, recomputed) = results
    assert losses == pytest.approx(plain_losses, rel=1e-5)
    torch.testing.assert_close(recomputed, plain)
    assert {int(value) for name, value in recomputed.items() if name.endswith("num_batches_tracked")} == {3}


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_gradients_are_those_of_finite_differences(kind):
    network, images = make(kind, True, units=1).double(), images_of(3, 5, 4).double()
    loss_of(network, images).backward()
    for weight in (network.stem.weight, network.groups[1][2].units[0].norm1.weight, network.groups[2][2].units[0].conv2.weight):
        first, h, losses = (0,) * weight.dim(), 1e-6, []
        with torch.no_grad():
            for change in (h, -2 * h):
                weight[first] += change
                losses.append(loss_of(network, images).item())
            weight[first] += h
        assert weight.grad[first].item() == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_second_gradients_of_what_is_recomputed_are_refused(kind):
    """They would be wrong, and nothing would say so."""
    network, images = make(kind, True), images_of().requires_grad_()
    with pytest.raises(RuntimeError, match="no second gradients"):
        torch.autograd.grad(loss_of(network, images), images, create_graph=True)


def test_networks_that_are_looked_into_are_not_recomputed():
    dense, plain = {"name": "dense", "recompute": True}, {"name": "plain"}
    assert as_trained({"networks": [dense, plain]}, ["input"]) == {"networks": [{**dense, "recompute": False}, plain]}
    assert as_trained(dense, ["maps", "parts"]) == {**dense, "recompute": False}
    assert as_trained({"networks": [dense, plain]}, ["peer_logits", "features"]) == {"networks": [dense, plain]}


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_are_frozen_get_no_gradient_and_leave_the_others_theirs(kind):
    found = []
    for recompute in (False, True):
        network = make(kind, recompute)
        frozen = [network.stem.weight, network.groups[0][0].units[1].norm1.bias]
        for weight in frozen:
            weight.requires_grad_(False)
        loss_of(network, images_of()).backward()
        assert all(weight.grad is None for weight in frozen)
        found.append({name: p.grad for name, p in network.named_parameters() if p.requires_grad})
    torch.testing.assert_close(found[1], found[0])


def saved_bytes(network, images):
    """Bytes of all different tensors that autograd keeps from the forward pass, without the weights."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(network, images)
    del loss
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("kind", KINDS)
def test_recomputing_keeps_memory_linear_in_the_depth(kind):
    images = images_of(2, 8, 8)
    plain, recomputed = ([saved_bytes(make(kind, recompute, units), images) for units in (6, 12)] for recompute in (False, True))
    assert recomputed[1] < 2.4 * recomputed[0]
    assert plain[1] > 2.6 * plain[0]
    assert recomputed[1] < 0.4 * plain[1]


def test_each_unit_sees_all_outputs_before_it():
    network, seen, made = make("bc", False).eval(), [], []
    for unit in network.groups[1][2].units:
        unit.norm1.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        unit.register_forward_hook(lambda module, inputs, output: made.append(output))
    block_output = network.maps(images_of())[1]
    start = block_output[:, : seen[0].shape[1]]
    for i, inputs in enumerate([*seen, block_output]):
        assert torch.equal(inputs, torch.cat([start, *made[:i]], dim=1))


def test_the_first_map_begins_with_the_first_convolution():
    network, images = make("bc", False).eval(), images_of()
    assert torch.equal(network.maps(images)[0][:, :12], network.stem(images))


def test_transitions_average_over_two_by_two_pixels():
    network, seen = make("bc", False).eval(), []
    network.groups[1][2].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    maps = network.maps(images_of(2, 8, 6))
    full = network.groups[1][0](maps[0])
    torch.testing.assert_close(seen[0], full.reshape(2, full.shape[1], 4, 2, 3, 2).mean(dim=(3, 5)))


def test_a_training_step_does_not_import_the_compiler():
    """It would take seconds at each start."""
    code = (
        "import sys, torch; from gendistill.networks.densenet import DenseNet\n"
        "DenseNet(1, 2, 1, 2, recompute=True)(torch.randn(2, 1, 8, 8)).sum().backward()\n"
        "print([name for name in sys.modules if name in ('torch._dynamo', 'torch._inductor')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
