"""What published tables cost: operations of a network, hours of a step, and the list of all tables."""

import pandas as pd
import pytest
import torch
from torch import nn

from gendistill.cost.calibration import find_calibration
from gendistill.cost.predict import expected_seconds
from gendistill.cost.work import work_of
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


def test_hours_are_those_of_the_cost_model_for_steps_that_compute():
    plan = build_plan([NAME], without_data=True)
    hours = paper_costs.gpu_hours(plan, find_calibration("generic-gpu"))
    network, table = plan.roles[f"{NAME}-ban-gen0-seed0"], plan.roles[f"{NAME}-paper_table"]
    work = work_of(plan, plan.steps[network])
    # ResNet-110: 164 epochs of CIFAR-100.
    assert work.trained == 164 * 50_000
    assert hours[network] == pytest.approx(expected_seconds(work, find_calibration("generic-gpu")) / 3600)
    assert hours[table] == 0
    assert set(hours) == set(plan.steps)


def test_the_list_of_tables_counts_shared_steps_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [NAME, "tolerant_teachers_table3"]
    (tmp_path / "tables").mkdir()
    pd.DataFrame({"n": [1, 1, 0]}).to_csv(tmp_path / "tables" / f"{NAME}.csv")
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in paper_costs.table_of_papers(names, tmp_path, "generic-gpu").splitlines()
    ]
    *lines, _, device = lines
    assert device == ["Device: " + find_calibration("generic-gpu").told + "."]
    one, other, apart, together = lines[2:]
    assert (one[0], one[1], one[5]) == (NAME, "5", "2 of 3")
    # Table 3 grows four lineages of 6 networks; the first 5 of the first are those of Table 1.
    assert (other[1], other[5]) == ("24", "failed")
    assert (apart[1], together[1]) == ("29", "24")
    shared = len(build_plan(names).steps)
    assert int(together[2]) == shared
    assert int(one[3]) + int(other[3]) == shared
