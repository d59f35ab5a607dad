"""Counts of one network: operations, kernels, bytes. Kept in a file, so that only a network never seen before needs torch."""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gendistill.networks.recompute import computed_once
from gendistill.plan.cache import read_cache, write_cache
from gendistill.plan.canonical import digest
from gendistill.plan.code import code_hash
from gendistill.plan.nested import targets_in
from gendistill.plan.paths import CACHE

FILE = "costs.json"
# Kernels of an optimizer step, of the loss, and of taking and normalising a batch; each network has as many.
LOOP_KERNELS = 40
# Kernels of a step in time of an LSTM layer: forward and, about twice as many, backward.
LSTM_KERNELS = 8
# Float32 numbers that an LSTM layer keeps a word and unit: four gates, both states, input, output and mask of dropout.
LSTM_KEEPS = 10


@dataclass(frozen=True)
class Counts:
    """One network on images of one shape, or on words.

    Attributes:
        forward_flops: of a forward pass, for one image or word.
        training_flops: of a forward and a backward pass, for one image or word.
        activation_bytes: that autograd keeps for the backward pass, for one image or word, in float32.
        activation_bytes_bfloat16: the same where matrix products and convolutions are in bfloat16.
        largest_bytes: of the largest array among them, for one image or word.
        parameters: numbers that are learnt.
        state_bytes: of the weights and running statistics, as in `model.safetensors`.
        features: penultimate features.
        forward_kernels: operations of a forward pass over a batch; for text, for each step in time.
        training_kernels: operations of a training step; for text, for each step in time.
    """

    forward_flops: float
    training_flops: float
    activation_bytes: float
    activation_bytes_bfloat16: float
    largest_bytes: float
    parameters: int
    state_bytes: int
    features: int
    forward_kernels: int
    training_kernels: int


def counts_of(network: dict[str, Any], code: dict[str, str], shape: Sequence[int], classes: int) -> Counts:
    """The counts of the network of these settings.

    Args:
        network: the settings of the network group.
        code: code hashes, by module, the network's among them.
        shape: (C, H, W) of an image; () for text.
        classes: classes, or words of the vocabulary.
    """
    own = {key: value for key, value in network.items() if key not in ("name", "reductions", "shares")}
    modules = [target.rpartition(".")[0] for target in targets_in(network)]
    key = digest([own, [code.get(module, "") for module in modules], list(shape), classes, _own_code()], 20)
    known = _known()
    if key not in known:
        # Another process may have counted others meanwhile.
        known = _read() | known | {key: asdict(_count(network, shape, classes))}
        _memory[str(_path())] = known
        write_cache(_path(), known)
    return _as_counts(tuple(known[key].items()))


def with_second_backward(counts: Counts) -> Counts:
    """Counts of a training in which the gradient by the images is a part of the loss.

    Measured on a CPU, batches of 64 of ResNet-20, WRN-16-2 and DenseNet-BC-40-12: 2.9 to 3.9 times the time of a step with labels
    alone (matrix products are twice as many; the second derivative of batch norm is many small operations), and 1.8 to 2.0 times
    the bytes.
    """
    thrice, twice = ("training_flops", "training_kernels"), ("activation_bytes", "activation_bytes_bfloat16")
    times = dict.fromkeys(thrice, 3) | dict.fromkeys(twice, 2)
    return replace(counts, **{name: times[name] * getattr(counts, name) for name in times})


_memory: dict[str, dict[str, Any]] = {}


@functools.cache
def _own_code() -> str:
    """The hash of what counts: after a change of it all is counted anew."""
    return code_hash(__name__)


@functools.cache
def _as_counts(items: tuple[tuple[str, Any], ...]) -> Counts:
    return Counts(**dict(items))


def _path() -> Path:
    return (CACHE / FILE).resolve()


def _known() -> dict[str, Any]:
    path = str(_path())
    if path not in _memory:
        _memory[path] = _read()
    return _memory[path]


def _read() -> dict[str, Any]:
    try:
        return {key: value for key, value in read_cache(_path()).items() if set(value) == set(Counts.__dataclass_fields__)}
    except (AttributeError, TypeError):
        return {}


def _count(network: dict[str, Any], shape: Sequence[int], classes: int) -> Counts:
    return count_image_network(network, shape, classes) if shape else count_language_model(network, classes)


def count_image_network(network: dict[str, Any], shape: Sequence[int], classes: int) -> Counts:
    """Counts on images of shape (C, H, W). What does not grow with the batch is told apart by counting two batches."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from gendistill.networks import cost
    from gendistill.targets import instantiate, module_of

    if "taken" in network:
        network = module_of(network).alone(network, network["taken"])
    size = {"channels": shape[0], "classes": classes}
    # Fake tensors know the number format and what is computed again; on meta tensors, operations are those of a device.
    with FakeTensorMode():
        model = cost.whole(instantiate(network)(**size))
        # Batch norm needs two images where a map is a single pixel.
        two, four = (torch.zeros(n, *shape) for n in (2, 4))
        kept = [cost.kept_bytes(model, images) for images in (two, four)]
        with torch.autocast("cpu", torch.bfloat16):
            rounded = [cost.kept_bytes(model, images) for images in (two, four)]
        training_flops = cost.training_flops(model, two) / 2
    # Meta tensors cannot compute again.
    once = computed_once(network)
    recomputes = once != network
    model = cost.whole(cost.build_on_meta(once, **size))
    two = torch.zeros(2, *shape, device="meta")
    forward_kernels, training_kernels = cost.kernels(model, two)
    return Counts(
        forward_flops=cost.forward_flops(model, two) / 2,
        training_flops=training_flops,
        activation_bytes=(sum(kept[1]) - sum(kept[0])) / 2,
        activation_bytes_bfloat16=(sum(rounded[1]) - sum(rounded[0])) / 2,
        largest_bytes=max(kept[0]) / 2,
        parameters=sum(p.numel() for p in model.parameters()),
        state_bytes=sum(tensor.nbytes for tensor in model.state_dict().values()),
        features=0 if isinstance(model, cost.Whole) else model.classifier.in_features,
        forward_kernels=forward_kernels,
        training_kernels=training_kernels + recomputes * forward_kernels + LOOP_KERNELS,
    )


def count_language_model(network: dict[str, Any], vocabulary: int) -> Counts:
    """Counts of an LSTM over words, by formula: torch cannot run one without computing.

    A word meets each weight but those of the embedding once, forward, and twice backward. What a CNN-LSTM's filters cost, which
    meet each character of each different word, is left out beside its LSTM. Logits are kept four times: in both number
    formats, as log-probabilities, and the teacher's.
    """
    from gendistill.networks.cost import build_on_meta

    model = build_on_meta(network, vocabulary=[str(n) for n in range(vocabulary)])
    parameters = sum(p.numel() for p in model.parameters())
    width, layers = network["width"], network["layers"]
    kept = 4 * (LSTM_KEEPS * width * layers + 4 * vocabulary)
    forward = 2 * (parameters if network.get("tied", True) else parameters - vocabulary * width)
    return Counts(
        forward_flops=forward,
        training_flops=3 * forward,
        activation_bytes=kept,
        activation_bytes_bfloat16=kept,
        largest_bytes=4 * vocabulary,
        parameters=parameters,
        state_bytes=sum(tensor.nbytes for tensor in model.state_dict().values()),
        features=width,
        forward_kernels=LSTM_KERNELS * layers,
        training_kernels=3 * LSTM_KERNELS * layers,
    )
