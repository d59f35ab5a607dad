"""What networks and steps have to do: operations, kernels, bytes, images."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gendistill.cost import counts as cost_counts
from gendistill.cost.counts import count_image_network, counts_of
from gendistill.cost.data import size_of
from gendistill.cost.work import work_of
from gendistill.networks.cost import kept_bytes, kernels, training_flops
from gendistill.plan import build_plan
from gendistill.plan.nested import members_of
from gendistill.plan.settings import load_group
from tests.tiny import NETWORK

SMALL = ("dataset.train_per_class=20", "dataset.test_per_class=30", "seeds=[0]")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """No test finds what was counted before it, or results of the checkout."""
    monkeypatch.chdir(tmp_path)


def plan_of(*overrides, name="demo"):
    return build_plan([name], (*SMALL, *overrides))


def work(plan, role):
    return work_of(plan, plan.steps[plan.roles[role]])


def small_net():
    """On 2x8x8: 5x8x8 after the convolution and after ReLU, and 7 logits."""
    layers = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(320, 7))
    return layers.to("meta"), torch.zeros(3, 2, 8, 8, device="meta")


def test_operations_of_a_training_step_by_hand():
    network, images = small_net()
    convolution, linear = 2 * (64 * 9 * 2 * 5), 2 * (320 * 7)
    # Backward twice as much, but nobody wants the gradient of the pixels.
    assert training_flops(network, images) == 3 * (2 * convolution + 3 * linear)


def test_bytes_that_a_backward_pass_needs_by_hand():
    """The pixels for the convolution, and what ReLU leaves: for itself and, in the same place, for the linear layer."""
    network, images = small_net()
    assert sorted(kept_bytes(network, images)) == [3 * 4 * 2 * 64, 3 * 4 * 5 * 64]


def test_kernels_by_hand():
    network, images = small_net()
    forward, training = kernels(network, images)
    # Convolution, ReLU and linear layer; flattening moves nothing.
    assert forward == 3
    # Besides these the loss (2), its gradient (2), that of ReLU and of the convolution, and of the linear layer products and a sum.
    assert training >= 3 + 2 + 2 + 2 + 3


def test_bytes_of_a_resnet_by_hand():
    """ResNet-8 of width 4 on 1x8x8: in each of 7 pairs of a convolution and batch norm, the convolution's input and output, and
    what follows. ReLU of a block adds its own output, which is the next one's input."""
    counted = count_image_network(NETWORK, (1, 8, 8), 3)
    places, maps = {4: 64, 8: 16, 16: 4}, {}
    maps["image"] = 64
    # Convolution's output and ReLU's, for the stem, and for both convolutions of a block.
    maps["stem"] = 2 * 4 * places[4]
    maps["blocks"] = sum(4 * width * places[width] for width in places)
    features = 16
    assert counted.activation_bytes == 4 * (sum(maps.values()) + features)
    assert counted.largest_bytes == 4 * 4 * 64
    weights = 9 * (1 * 4 + 2 * 4 * 4 + 4 * 8 + 8 * 8 + 8 * 16 + 16 * 16) + 16 * 3 + 3
    norms = 3 * 4 + 2 * 8 + 2 * 16
    assert counted.parameters == weights + 2 * norms
    # A mean and a variance for each channel, and for each of 7 norms the batches counted, in 8 bytes.
    assert counted.state_bytes == 4 * (weights + 4 * norms) + 8 * 7


def test_what_is_computed_again_is_not_kept():
    settings = load_group("network", "densenet_bc_40_12")
    kept, again = (count_image_network({**settings, "recompute": r}, (3, 32, 32), 10) for r in (False, True))
    assert again.activation_bytes < 0.6 * kept.activation_bytes
    assert 1.1 < again.training_flops / kept.training_flops < 1.5
    assert again.training_kernels > kept.training_kernels
    assert again.forward_flops == kept.forward_flops
    assert kept.activation_bytes_bfloat16 < 0.8 * kept.activation_bytes


def test_joint_networks_of_networks_that_compute_again_are_counted():
    one = {**load_group("network", "densenet_bc_40_12"), "units": 1}
    both = [{**load_group("network", "peers"), "networks": 2 * [{**one, "recompute": again}]} for again in (False, True)]
    kept, again = (count_image_network(settings, (3, 32, 32), 10) for settings in both)
    assert again.training_kernels > kept.training_kernels
    assert again.forward_flops == 2 * count_image_network(one, (3, 32, 32), 10).forward_flops


@pytest.mark.parametrize("name", ["resnet8", "vgg19"])
def test_members_of_joint_networks_are_counted(name):
    """An exit's operations: those of the groups before it and of its own layers; on fake tensors, which cannot be copied."""
    joint = {**load_group("network", "multi_exit"), "networks": [{**load_group("network", name), "width": 4}]}
    ends = [count_image_network({**joint, "taken": member}, (3, 32, 32), 10) for member in members_of(joint)]
    deepest, *before, ensemble = (end.forward_flops for end in ends)
    assert before == sorted(before)
    assert ensemble > max(deepest, *before)


@pytest.mark.parametrize("name", ["peers", "branched", "multi_exit", "augmented"])
def test_joint_networks_are_counted_with_all_that_trains(name):
    one = {**load_group("network", "resnet8"), "width": 4}
    joint = {**load_group("network", name), "networks": [one] * (2 if name == "peers" else 1)}
    alone, together = (count_image_network(settings, (3, 32, 32), 10) for settings in (one, joint))
    for what in ("training_flops", "activation_bytes", "parameters", "training_kernels"):
        assert getattr(together, what) > getattr(alone, what)


def test_a_training_by_hand():
    """200 training and 300 test images, 15 epochs, evaluated after the last one; then the training images once."""
    plan = plan_of()
    patriarch = work(plan, "demo-ban-gen0-seed0")
    assert (patriarch.training_steps, patriarch.trained, patriarch.batch) == (15 * 8, 15 * 200, 25)
    assert [(look.images, look.batch) for look in patriarch.passes] == [(300 + 200, 200)]
    assert patriarch.written["logits.safetensors"] == 300 * (4 * 10 + 8)
    assert patriarch.view_bytes == 200 * 32 * 32
    every_third = work(plan_of("recipe.evaluate_every=4"), "demo-ban-gen0-seed0")
    assert every_third.passes[0].images == 4 * 300 + 200


def test_a_batch_in_parts_takes_less_memory_at_a_time():
    patriarch = work(plan_of("recipe.micro_batch=5"), "demo-ban-gen0-seed0")
    assert (patriarch.batch, patriarch.training_steps, patriarch.trained) == (5, 15 * 40, 15 * 200)


def test_soft_labels_by_hand():
    """In 15 epochs 25 (1 - (24/25)^15) = 11.46 of an image's 25 views are drawn; in 20 more than half, so all are dumped."""
    plan = plan_of()
    labels = work(plan, "demo-ban-softlabels0-seed0")
    assert labels.written == {"softlabels.npy": 2290 * 10 * 2}
    assert [(look.images, look.batch) for look in labels.passes] == [(2290, 200)]
    student = work(plan, "demo-ban-gen1-seed0")
    assert student.mapped_bytes == 2290 * 10 * 2
    assert len(student.passes) == 1
    labels = work(plan_of("recipe.epochs=20"), "demo-ban-softlabels0-seed0")
    assert labels.written == {"softlabels.npy": 200 * 25 * 10 * 2}


@pytest.mark.parametrize(("share", "epochs"), [(1, 15), (0.5, 8), (0, 0)])
def test_a_teacher_online_looks_at_each_image_until_it_is_not_asked_any_more(share, epochs):
    plan = plan_of("objective=kd", f"objective.distil_until={share}", "soft_labels=online")
    student = work(plan, "demo-ban-gen1-seed0")
    assert [(look.images, look.batch) for look in student.passes[1:]] == [(epochs * 200, 25)]
    assert student.mapped_bytes == 0


def test_gradients_by_the_images_take_another_backward_pass_of_both():
    plans = [plan_of(f"objective={name}") for name in ("attention_transfer", "attention_gradient")]
    maps, gradients = (work(plan, "demo-ban-gen1-seed0") for plan in plans)
    for name, times in (("training_flops", 3), ("training_kernels", 3), ("activation_bytes", 2), ("activation_bytes_bfloat16", 2)):
        assert getattr(gradients.counts, name) == times * getattr(maps.counts, name)
    assert gradients.counts.parameters == maps.counts.parameters
    assert [look.by_images for look in (maps.passes[-1], gradients.passes[-1])] == [False, True]


@pytest.mark.parametrize(("objective", "kept"), [("kd", False), ("attention_transfer", True), ("rkd", False)])
def test_a_student_that_is_looked_into_keeps_what_it_would_compute_again(objective, kept):
    again = plan_of(f"objective={objective}", "network=densenet_bc_40_12", "network.units=2", "network.recompute=true")
    once = plan_of(f"objective={objective}", "network=densenet_bc_40_12", "network.units=2")
    keeps = [work(plan, "demo-ban-gen1-seed0").counts.activation_bytes for plan in (again, once)]
    assert (keeps[0] == keeps[1]) == kept


def test_text_by_hand():
    plan = build_plan(["pydoc"], ("recipe.epochs=2", "recipe.batch_size=10", "recipe.unrolled_steps=7", "seeds=[0]"))
    data = size_of(plan.of_kind("text")[0]).counts
    length = (data["train"] - 1) // 10
    teacher, labels = (work(plan, f"pydoc-ban_label-{what}-seed0") for what in ("gen0", "softlabels0"))
    assert teacher.training_steps == 2 * -(-length // 7)
    assert teacher.trained == 2 * length * 10
    assert labels.written == {"softlabels.npy": length * 10 * 2000 * 2}


def test_evaluations_look_at_all_images():
    plan = plan_of()
    assert work(plan, "demo-ban-gen1-seed0-statistics").passes[0].images == 500
    # 10 x 50 digits of scikit-learn for training; its other 1,297 are tested on.
    assert work(plan, "demo-ban-gen1-seed0-transfer-digits8x8").passes[0].images == 1797
    assert not work(plan, "demo-tables").computes
    assert work(plan, "demo-ban-ensemble-gen1to3-seed0").passes == ()


def test_what_a_receipt_says_of_a_data_set_counts_more_than_what_is_known_of_its_name():
    plan = plan_of()
    step = plan.of_kind("dataset")[0]
    assert size_of(step).counts == {"train": 200, "test": 300}
    write_receipt(step, train=170, test=300, validation=30)
    assert size_of(step).counts == {"train": 170, "test": 300, "validation": 30}
    assert size_of(step).file_bytes == 12345
    assert work(plan, "demo-ban-gen0-seed0").trained == 15 * 170


def test_own_data_are_unknown_until_they_are_prepared():
    plan = build_plan(["demo"], ("dataset=npz", "seeds=[0]", "transfer=[]"), without_data=True)
    role = "demo-ban-gen0-seed0"
    assert work(plan, role).unknown == f"the size of the data set npz is known once {plan.of_kind('dataset')[0].name} is done"
    write_receipt(plan.of_kind("dataset")[0], train=50, test=20)
    assert work(plan, role).unknown == ""
    assert work(plan, role).trained == 15 * 50


def write_receipt(step, **images):
    folder = Path(step.folder)
    folder.mkdir(parents=True)
    metrics = {**{f"{split}_images": count for split, count in images.items()}, "classes": 10, "shape": [1, 28, 28]}
    receipt = {"metrics": metrics, "outputs": {"dataset.safetensors": {"bytes": 12345}}}
    (folder / "receipt.json").write_text(json.dumps(receipt))


def test_a_network_is_counted_once(monkeypatch):
    arguments = (NETWORK, {"gendistill.networks.resnet": "abc"}, (1, 8, 8), 3)
    first = counts_of(*arguments)
    monkeypatch.setattr(cost_counts, "_memory", {})
    monkeypatch.setattr(cost_counts, "count_image_network", lambda *_: pytest.fail("counted again"))
    assert counts_of(*arguments) == first
    # Names do not matter; other code or settings do.
    assert counts_of({**NETWORK, "name": "other"}, *arguments[1:]) == first
    for changed in ({**NETWORK, "width": 5}, *arguments[1:]), (NETWORK, {"gendistill.networks.resnet": "abd"}, *arguments[2:]):
        with pytest.raises(pytest.fail.Exception):
            counts_of(*changed)


def test_what_was_counted_needs_no_torch():
    code = (
        "import sys; from gendistill.plan import build_plan; from gendistill.cost.work import work_of\n"
        f"plan = build_plan(['demo'], {SMALL!r}); found = [work_of(plan, step) for step in plan.steps.values()]\n"
        "print('torch' in sys.modules)"
    )
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert said == ["True\n", "False\n"]


@pytest.mark.parametrize("damage", ["", "[]", '{"x": 1}', '{"x": {"parameters": 3}}'])
def test_a_damaged_cache_is_written_anew(damage, monkeypatch):
    arguments = (NETWORK, {}, (1, 8, 8), 3)
    first = counts_of(*arguments)
    path = Path(".snakemake/gendistill/costs.json")
    assert path.is_file()
    path.write_text(damage)
    monkeypatch.setattr(cost_counts, "_memory", {})
    assert counts_of(*arguments) == first
    assert len(json.loads(path.read_text())) == 1
