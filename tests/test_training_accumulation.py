"""Gradients added up over micro-batches: the arithmetic, batch norm's statistics, and what is left as it was."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gendistill.batches import micro_batch_size
from gendistill.data.views import ViewSpace, derive_key, draw_order, draw_views
from gendistill.errors import InterruptedTraining, SettingError
from gendistill.networks.resnet import ResNet
from gendistill.plan.step import make_step
from gendistill.training.micro_batches import share_out
from tests.tiny import (
    CLASSES,
    COUNT,
    EPOCHS,
    PAD,
    assert_same_bits,
    read_history,
    replace_loss,
    stop_at,
    tiny_images,
    train,
    weights,
)

pytestmark = pytest.mark.usefixtures("one_thread")
# 27 images: three batches of 8 in four micro-batches, and a last one of 3 in two, of 2 images and of 1.
BATCH, MICRO = 8, 2
STEPS = 4


def norms_of(network):
    return [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def train_plainly():
    """The training written out: one loss over the batch, whose parts go through the network on their own."""
    data = tiny_images()
    images, labels = data.images["train"], torch.from_numpy(data.labels["train"])
    mean, std = images.mean(), images.astype(np.float64).std()
    torch.manual_seed(derive_key("initialisation", 0, 0, 0) % 2**63)
    network = ResNet(1, CLASSES, 8, "A", 4)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-3)
    # With momentum 1 batch norm's running statistics are those of the last part.
    for norm in norms_of(network):
        norm.momentum = 1.0
    running = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms_of(network)]
    losses = []
    for epoch in range(EPOCHS):
        order = draw_order(derive_key("order", 0, 0, 0), epoch, COUNT)
        views = draw_views(derive_key("views", 0, 0, 0), epoch, COUNT, ViewSpace(PAD, True))
        padded = np.pad(images, ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD)))
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = 0.05 * (1 + np.cos(np.pi * (epoch * STEPS + step) / (EPOCHS * STEPS))) / 2
            batch = order[BATCH * step : BATCH * (step + 1)]
            sums, total = [[0, 0] for _ in running], 0
            for start in range(0, len(batch), MICRO):
                part = batch[start : start + MICRO]
                pixels = []
                for i in part:
                    (top, left), mirrored = divmod(views[i] // 2, 2 * PAD + 1), views[i] % 2
                    view = padded[i, :, top : top + 8, left : left + 8]
                    pixels.append(view[:, :, ::-1] if mirrored else view)
                logits = network(torch.from_numpy((np.stack(pixels) - mean) / std).float())
                total = total + F.cross_entropy(logits, labels[part], reduction="sum")
                for found, norm in zip(sums, norms_of(network), strict=True):
                    found[0] = found[0] + len(part) * norm.running_mean
                    found[1] = found[1] + len(part) * norm.running_var
            optimizer.zero_grad()
            (total / len(batch)).backward()
            optimizer.step()
            losses.append(total.item())
            running = [
                [0.9 * before + 0.1 * found / len(batch) for before, found in zip(old, new, strict=True)]
                for old, new in zip(running, sums, strict=True)
            ]
    for (mean, var), norm in zip(running, norms_of(network), strict=True):
        norm.running_mean, norm.running_var = mean, var
        norm.num_batches_tracked.fill_(EPOCHS * STEPS)
    expected = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    return expected, np.array(losses).reshape(EPOCHS, STEPS).sum(1) / COUNT


def test_micro_batches_add_up_to_one_step_of_the_batch(dataset, tmp_path):
    train(tmp_path / "step", dataset, recipe={"batch_size": BATCH, "micro_batch": MICRO})
    expected, losses = train_plainly()
    found = weights(tmp_path / "step")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    assert [float(row["train_loss"]) for row in read_history(tmp_path / "step")] == pytest.approx(losses, rel=1e-4)


def test_null_and_micro_batches_that_hold_a_whole_batch_give_the_same_bits(dataset, tmp_path):
    for name, recipe in {
        "absent": {},
        "null": {"micro_batch": None},
        "whole": {"micro_batch": 7},
        "more": {"micro_batch": 9},
    }.items():
        train(tmp_path / name, dataset, recipe=recipe)
        assert_same_bits(tmp_path / name, tmp_path / "absent")
    train(tmp_path / "one", dataset, recipe={"micro_batch": 1})
    assert weights(tmp_path / "one")["stem.weight"].tobytes() != weights(tmp_path / "absent")["stem.weight"].tobytes()


def test_an_interrupted_training_in_micro_batches_goes_on_with_the_same_bits(dataset, tmp_path):
    recipe = {"batch_size": BATCH, "micro_batch": MICRO}
    train(tmp_path / "whole", dataset, recipe=recipe)
    for call in (2, STEPS - 1):
        with pytest.raises(InterruptedTraining):
            train(tmp_path / "step", dataset, recipe=recipe, runtime=stop_at(call))
    train(tmp_path / "step", dataset, recipe=recipe)
    assert_same_bits(tmp_path / "step", tmp_path / "whole")


def test_each_micro_batch_has_random_numbers_of_its_own(dataset, tmp_path, monkeypatch):
    seeds = []

    def loss(logits, labels, teacher_logits):
        seeds.append(torch.initial_seed())
        return F.cross_entropy(logits, labels)

    replace_loss(loss, monkeypatch)
    train(tmp_path / "micro", dataset, recipe={"batch_size": BATCH, "micro_batch": MICRO})
    assert len(set(seeds)) == len(seeds) == EPOCHS * (4 + 4 + 4 + 2)
    first_of_each_step = [seed for i, seed in enumerate(seeds) if i % 14 in (0, 4, 8, 12)]
    seeds.clear()
    train(tmp_path / "whole", dataset, recipe={"batch_size": BATCH})
    assert seeds == first_of_each_step


@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_share_out_all_micro_batches_of_a_batch(count):
    taken = [share_out(16, 27, 4, rank, count) for rank in range(count)]
    assert sorted((number, part.start, part.stop) for share in taken for number, part in share) == [
        (0, 16, 20),
        (1, 20, 24),
        (2, 24, 27),
    ]
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


@pytest.mark.parametrize(
    ("micro_batch", "processes", "message"),
    [
        (3, 1, r"recipe\.micro_batch = 3: recipe\.batch_size = 8 must be a multiple"),
        (
            None,
            2,
            r"recipe\.micro_batch = None: .* runtime\.processes = 2\. .* recipe\.micro_batch to 4 .* runtime\.processes to 1",
        ),
        (8, 2, r"recipe\.micro_batch = 8: .* recipe\.micro_batch to 4 .* runtime\.processes to 1"),
        (4, 3, r"recipe\.micro_batch = 4: .* runtime\.processes = 3\. .* recipe\.micro_batch to 2 .* runtime\.processes to 2"),
    ],
)
def test_batches_that_cannot_be_shared_out_are_refused(micro_batch, processes, message):
    with pytest.raises(SettingError, match=message):
        micro_batch_size({"batch_size": 8, "micro_batch": micro_batch}, processes)


def test_sizes_of_micro_batches():
    sizes = {(8, None, 1): 8, (8, 9, 1): 8, (8, 8, 1): 8, (8, 4, 1): 4, (8, 4, 2): 4, (8, 1, 8): 1}
    for (batch, micro, processes), size in sizes.items():
        assert micro_batch_size({"batch_size": batch, "micro_batch": micro}, processes) == size
    assert micro_batch_size({"batch_size": 8}, 1) == 8


def test_a_batch_norm_over_too_few_images_names_the_setting(dataset, tmp_path, monkeypatch):
    plain = ResNet.forward

    def refuse(network, images):
        if network.training:
            raise ValueError("Expected more than 1 value per channel")
        return plain(network, images)

    monkeypatch.setattr(ResNet, "forward", refuse)
    for recipe, name in (({"batch_size": 8, "micro_batch": 2}, r"micro_batch = 2"), ({"batch_size": 8}, r"batch_size = 8")):
        with pytest.raises(SettingError, match=rf"recipe\.{name}: a batch of \d cannot be trained on"):
            train(tmp_path / "step", dataset, recipe=recipe)


def test_micro_batches_are_part_of_the_id_and_null_is_as_before():
    def id_of(**recipe):
        return make_step("patriarch", "s", {"seed": 0, "recipe": {"name": "r", "batch_size": 8, **recipe}}, {}, {}).id

    assert id_of() == id_of(micro_batch=None)
    assert len({id_of(), id_of(micro_batch=4), id_of(micro_batch=2)}) == 3
