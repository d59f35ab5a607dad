"""What all families of image networks keep: maps, pooled features, logits, and that they learn."""

import pytest
import torch
import torch.nn.functional as F

from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import SettingError
from gendistill.networks.densenet import DenseNet
from gendistill.networks.imagenet_resnet import ImageNetResNet
from gendistill.networks.match import MatchPreResNet, MatchWideResNet
from gendistill.networks.preresnet import Bottleneck, PreResNet
from gendistill.networks.resnet import ResNet
from gendistill.networks.wide_resnet import WideBlock, WideResNet

TEACHER = {"teacher_units": 2, "teacher_growth": 4, "teacher_first_width": 8}
TINY = {
    "resnet": lambda channels, classes: ResNet(channels, classes, 8, width=4),
    "resnet_b": lambda channels, classes: ResNet(channels, classes, 14, "B", width=4),
    "preresnet": lambda channels, classes: PreResNet(channels, classes, 11, width=4),
    "wide_resnet": lambda channels, classes: WideResNet(channels, classes, 10, 2, base=4),
    "densenet": lambda channels, classes: DenseNet(channels, classes, 2, 4, bottleneck=0, compression=1.0, first_width=8),
    "densenet_bc": lambda channels, classes: DenseNet(channels, classes, 2, 4, first_width=8, last_width=6, recompute=True),
    "match_wide": lambda channels, classes: MatchWideResNet(channels, classes, 1, 0.5, **TEACHER),
    "match_pre": lambda channels, classes: MatchPreResNet(channels, classes, 2, 1.0, **TEACHER),
    "imagenet": lambda channels, classes: ImageNetResNet(channels, classes, 10, width=4),
}
SMALL_IMAGES = [name for name in TINY if name != "imagenet"]
WIDTHS = {
    "resnet": [4, 8, 16],
    "resnet_b": [4, 8, 16],
    "preresnet": [16, 32, 64],
    "wide_resnet": [8, 16, 32],
    "densenet": [16, 24, 32],
    "densenet_bc": [16, 16, 6],
    "match_wide": [4, 4, 8],
    "match_pre": [8, 8, 8],
    "imagenet": [4, 8, 16, 32],
}


def images_of(*shape, seed=0):
    images = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return images.to(memory_format=torch.channels_last)


def make(name, channels=3, classes=5, seed=0):
    torch.manual_seed(seed)
    return TINY[name](channels, classes).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", SMALL_IMAGES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 17, 23), (3, 32, 32)])
def test_maps_halve_the_resolution_from_group_to_group(name, shape):
    """Odd sizes are rounded up by every family, so that the maps of any two networks fit."""
    network = make(name, shape[0]).eval()
    maps = network.maps(images_of(2, *shape))
    sizes = [(-(-shape[1] // r), -(-shape[2] // r)) for r in (1, 2, 4)]
    assert [tuple(x.shape) for x in maps] == [(2, width, *size) for width, size in zip(WIDTHS[name], sizes, strict=True)]


@pytest.mark.parametrize(("channels", "size", "sizes"), [(3, 64, [16, 8, 4, 2]), (1, 50, [13, 7, 4, 2])])
def test_maps_for_large_images(channels, size, sizes):
    maps = make("imagenet", channels).eval().maps(images_of(2, channels, size, size))
    assert [tuple(x.shape) for x in maps] == [(2, width, s, s) for width, s in zip(WIDTHS["imagenet"], sizes, strict=True)]


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("training", [True, False])
def test_logits_are_the_classifier_on_the_pooled_last_map(name, training):
    network, images = make(name).train(training), images_of(4, 3, 32, 32)
    features = network.pool(network.maps(images)[-1])
    assert features.shape == (4, network.classifier.in_features)
    torch.testing.assert_close(network.features(images), features)
    expected = features @ network.classifier.weight.T + network.classifier.bias
    torch.testing.assert_close(network(images), expected)
    assert network(images).shape == (4, 5)
    assert isinstance(network.stem, torch.nn.Conv2d)
    assert network.stem.in_channels == 3


@pytest.mark.parametrize("name", TINY)
def test_every_weight_takes_part(name):
    network = make(name)
    F.cross_entropy(network(images_of(4, 3, 32, 32)), torch.arange(4)).backward()
    for key, weight in network.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_tiny_network_learns_a_fixed_batch(name, precision):
    network, size, labels = make(name, 1, 4), 32 if name == "imagenet" else 8, torch.arange(16) % 4
    images = images_of(16, 1, size, size) + images_of(4, 1, size, size, seed=1)[labels]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(20):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            logits = network(images)
        assert logits.dtype == precision
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", TINY)
def test_weights_follow_the_seed(name):
    first, again, other = (make(name, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    for key in first:
        if first[key].dim() == 4:
            assert not torch.equal(first[key], other[key])


@pytest.mark.parametrize("name", SMALL_IMAGES)
def test_convolutions_start_with_the_variance_of_he(name):
    """2 / (k^2 outputs), on average over all convolutions."""
    network = make(name)
    scaled = [
        (m.weight * (m.weight[0, 0].numel() * m.out_channels / 2) ** 0.5).flatten()
        for m in network.modules()
        if isinstance(m, torch.nn.Conv2d)
    ]
    assert torch.cat(scaled).var().item() == pytest.approx(1, rel=0.1)


def test_dropout_acts_in_training_only():
    images = images_of(4, 3, 8, 8)
    torch.manual_seed(0)
    plain, dropping = WideResNet(3, 5, 10, 1, 0.0, 4), WideResNet(3, 5, 10, 1, 0.5, 4)
    dropping.load_state_dict(plain.state_dict())
    assert torch.equal(plain(images), plain(images))
    assert not torch.equal(dropping(images), dropping(images))
    dropping.load_state_dict(plain.state_dict())
    assert torch.equal(dropping.eval()(images), plain.eval()(images))


def test_dropout_is_between_the_convolutions_and_keeps_the_mean():
    torch.manual_seed(0)
    block, x, seen = WideBlock(4, 4, dropout=0.25), images_of(50, 4, 20, 20), []
    block.conv2.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    block(x)
    (dropped,) = seen
    before = F.relu(block.norm2(block.conv1(F.relu(block.norm1(x)))))
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], before[kept] / 0.75)
    assert (kept.sum() / (before != 0).sum()).item() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("block", [WideBlock(4, 4), Bottleneck(4, 2, 4)])
def test_an_identity_shortcut_passes_the_input_itself(block):
    last = block.conv3 if isinstance(block, Bottleneck) else block.conv2
    torch.nn.init.zeros_(last.weight)
    x = images_of(2, 4, 5, 5)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("block", [WideBlock(4, 6, 2), Bottleneck(4, 2, 6, 2)])
def test_a_projection_takes_the_activated_input(block):
    last = block.conv3 if isinstance(block, Bottleneck) else block.conv2
    torch.nn.init.zeros_(last.weight)
    x = images_of(2, 4, 6, 6)
    scale = 1 / (1 + block.norm1.eps) ** 0.5
    activated = (x * scale).clamp(min=0)[:, :, ::2, ::2]
    expected = torch.einsum("bchw,oc->bohw", activated, block.project.weight[:, :, 0, 0])
    torch.testing.assert_close(block.eval()(x), expected)


@pytest.mark.parametrize("depth", [18, 50])
def test_the_imagenet_resnet_computes_what_torchvision_does(depth):
    torch.manual_seed(0)
    own, images = ImageNetResNet(3, 6, depth).eval(), images_of(1, 3, 64, 64)
    theirs = getattr(import_torchvision().models, f"resnet{depth}")(num_classes=6).eval()
    names = {"conv1": "stem", "bn1": "norm", "fc": "classifier", **{f"layer{i + 1}": f"groups.{i}" for i in range(4)}}
    weights = theirs.state_dict()
    own.load_state_dict({f"{names[key.split('.')[0]]}.{key.partition('.')[2]}": value for key, value in weights.items()})
    torch.testing.assert_close(own(images), theirs(images))


@pytest.mark.parametrize(
    ("network", "depths"), [(PreResNet, (2, 10, 12, 1000)), (WideResNet, (4, 9, 11, 27)), (ImageNetResNet, (0, 20, 51))]
)
def test_invalid_depth_is_refused(network, depths):
    for depth in depths:
        settings = {"width": 1} if network is WideResNet else {}
        with pytest.raises(SettingError, match=rf"network\.depth = {depth}"):
            network(3, 10, depth, **settings)
