"""What published tables cost: operations of a network, hours of a step, and the list of all tables."""

import pandas as pd
import pytest
import torch
from torch import nn

from gendistill.networks.cost import build_on_meta, forward_flops, image_flops
from gendistill.plan import build_plan
from gendistill.plan.settings import load_group
from gendistill.results import paper_costs

NAME = "tolerant_teachers_table1"


def test_operations_of_layers_by_hand():
    """A 3x3 convolution of 2 to 5 channels on 8x8 places, and a linear layer of 320 to 7: two operations a product."""
    layers = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.Flatten(), nn.Linear(320, 7)).to("meta")
    expected = 2 * (64 * 9 * 2 * 5) + 2 * (320 * 7)
    assert forward_flops(layers, torch.zeros(1, 2, 8, 8, device="meta")) == expected
    assert forward_flops(layers, torch.zeros(3, 2, 8, 8, device="meta")) == 3 * expected


def test_operations_of_a_resnet_by_hand():
    """ResNet-8 on 3x32x32: stem, and three groups of one block, at 32x32, 16x16 and 8x8 with 16, 32 and 64 channels."""
    stem = 1024 * 9 * 3 * 16
    groups = 1024 * 9 * 2 * 16 * 16 + 256 * 9 * (16 * 32 + 32 * 32) + 64 * 9 * (32 * 64 + 64 * 64)
    assert image_flops(load_group("network", "resnet8"), (3, 32, 32), 100) == 2 * (stem + groups + 64 * 100)


def test_a_network_on_meta_has_no_memory():
    network = build_on_meta(load_group("network", "wrn_28_10"), channels=3, classes=10)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


def step_of(name: str, role: str, *overrides: str):
    plan = build_plan([name], overrides, without_data=True)
    return plan, plan.steps[plan.roles[f"{name}-{role}"]]


def test_hours_of_a_training_that_computes_all_the_time(monkeypatch):
    monkeypatch.setattr(paper_costs, "SECONDS_PER_LAYER_AND_STEP", 0)
    plan, step = step_of(NAME, "ban-gen0-seed0")
    flops = image_flops(load_group("network", "resnet110"), (3, 32, 32), 100)
    expected = 164 * 50_000 * 3 * flops / paper_costs.FLOPS_PER_SECOND / 3600
    assert paper_costs.gpu_hours(plan, step) == pytest.approx(expected)
    # Stored labels cost a student nothing more; a teacher online costs a forward pass.
    plan, step = step_of(NAME, "ban-gen1-seed0")
    assert paper_costs.gpu_hours(plan, step) == pytest.approx(expected)
    plan, step = step_of(NAME, "ban-gen1-seed0", "soft_labels=online")
    assert paper_costs.gpu_hours(plan, step) == pytest.approx(expected * 4 / 3)
    # All 162 views once.
    plan, step = step_of(NAME, "ban-softlabels0-seed0")
    assert paper_costs.gpu_hours(plan, step) == pytest.approx(162 * 50_000 * flops / paper_costs.FLOPS_PER_SECOND / 3600)


def test_hours_of_a_training_that_waits_for_kernels(monkeypatch):
    monkeypatch.setattr(paper_costs, "FLOPS_PER_SECOND", 1e30)
    plan, step = step_of(NAME, "ban-gen0-seed0")
    # 108 convolutions of 54 blocks, the stem, as many batch norms, and a linear layer.
    layers = 109 + 109 + 1
    expected = 164 * 50_000 / 128 * layers * paper_costs.SECONDS_PER_LAYER_AND_STEP / 3600
    assert paper_costs.gpu_hours(plan, step) == pytest.approx(expected)


def test_early_stopped_distillation_runs_its_teacher_for_a_share_of_the_epochs(monkeypatch):
    monkeypatch.setattr(paper_costs, "SECONDS_PER_LAYER_AND_STEP", 0)
    hours = []
    for share in (0, 0.5, 1):
        overrides = ("objective=kd", f"objective.distil_until={share}", "soft_labels=online", "generations=1")
        plan = build_plan(["cifar100_short"], overrides)
        hours.append(paper_costs.gpu_hours(plan, plan.steps[plan.roles["cifar100_short-kd-gen1-seed0"]]))
    assert hours[1] / hours[0] == pytest.approx(3.5 / 3)
    assert hours[2] / hours[0] == pytest.approx(4 / 3)


def test_the_list_of_tables_counts_shared_steps_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [NAME, "tolerant_teachers_table3"]
    (tmp_path / "tables").mkdir()
    pd.DataFrame({"n": [1, 1, 0]}).to_csv(tmp_path / "tables" / f"{NAME}.csv")
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in paper_costs.table_of_papers(names, tmp_path).splitlines()
    ]
    one, other, apart, together = lines[2:]
    assert (one[0], one[1], one[5]) == (NAME, "5", "2 of 3")
    # Table 3 grows four lineages of 6 networks; the first 5 of the first are those of Table 1.
    assert (other[1], other[5]) == ("24", "failed")
    assert (apart[1], together[1]) == ("29", "24")
    shared = len(build_plan(names).steps)
    assert int(together[2]) == shared
    assert int(one[3]) + int(other[3]) == shared
