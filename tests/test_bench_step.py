"""`make bench-step` at tiny sizes: the parts of a step by an independent count, and that tricks are taken away."""

import json
import sys

import pytest
import torch
from torch import nn

from gendistill.data.sources import ArrayImages
from gendistill.data.views import ViewSpace
from tests import bench_step, bench_students
from tests.bench_step import one_image_after_the_other, part_of, patched
from tests.tiny import one_thread

pytestmark = pytest.mark.slow
IMAGES = 4


@pytest.fixture
def measured(tmp_path, monkeypatch, capsys):
    """What a tiny measurement found and printed."""
    monkeypatch.setattr(bench_step, "MATRIX", 16)
    monkeypatch.setattr(bench_step, "COPIED", 1 << 12)
    for who in ("teacher", "student"):
        monkeypatch.setitem(bench_students.WORK, who, "resnet8")
    monkeypatch.setitem(bench_students.WORK, "batch_size", IMAGES)
    sizes = ["--images", str(IMAGES), "--dump-images", "1", "--rounds", "2", "--seconds", "0"]
    monkeypatch.setattr(sys, "argv", ["bench", *sizes, "--device", "cpu", "--threads", "1", "--out", str(tmp_path)])
    with one_thread():
        bench_step.main()
    return json.loads((tmp_path / "step.json").read_text()), capsys.readouterr().out


def convolution_flops():
    """Of one image through all convolutions of the student but the first, and through the first: 2 k^2 C_in per output number."""
    found = []

    def count(module, inputs, output):
        found.append(2 * module.kernel_size[0] ** 2 * module.in_channels * output[0].numel())

    network = bench_students.describe("resnet8", [0.0] * 3, [1.0] * 3, "float32").build()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network(torch.zeros(2, 3, 32, 32))
    return sum(found[1:]), found[0]


def test_parts_and_tricks(measured):
    found, printed = measured
    later, first = convolution_flops()
    by_labels = {labels: {row["part"]: row for row in rows} for labels, rows in found["parts"].items()}
    forward, backward = (by_labels["dumped"][f"convolutions, {way}"] for way in ("forward", "backward"))
    assert forward["flops"] == IMAGES * (first + later)
    # Gradients of inputs and of weights; nobody asks for that of the images.
    assert backward["flops"] == IMAGES * (first + 2 * later)
    assert by_labels["online"]["convolutions, forward"]["flops"] == 2 * forward["flops"]
    assert by_labels["online"]["batch norm"]["bytes"] == by_labels["dumped"]["batch norm"]["bytes"] > 0
    peak = found["peaks"]["auto"]
    assert forward["roofline"] == pytest.approx(max(forward["flops"] / peak["flops"], forward["bytes"] / peak["bytes"]))
    assert all(row["seconds"] > 0 for rows in found["parts"].values() for row in rows)
    assert len(found["tricks"]) == 8
    for row in found["tricks"]:
        assert len(row["with"]) == len(row["without"]) == 2
        assert f"| {row['trick']} " in printed


def test_operations_belong_to_parts():
    names = {
        "aten::convolution_backward": "convolutions, backward",
        "aten.conv2d.default": "convolutions, forward",
        "aten::native_batch_norm_backward": "batch norm",
        "aten::threshold_backward": "ReLU",
        "aten::addmm": bench_step.OTHERS,
        "aten::add_": "sums",
        "aten::_fused_sgd_": "SGD",
    }
    assert {name: part_of(name) for name in names} == names


def test_views_one_after_the_other_are_the_same():
    space = ViewSpace(bench_step.SPACE.pad, flip=True)
    source = ArrayImages(torch.randint(256, (9, 3, 32, 32), dtype=torch.uint8), torch.zeros(9, dtype=torch.long), space)
    order, views = torch.randperm(9), torch.randint(len(space), (9,))
    for one, other in zip(one_image_after_the_other(source, order, views, 4), source.batches(order, views, 4), strict=True):
        assert torch.equal(one, other)


def test_a_trick_is_away_while_its_way_is_made_and_goes(monkeypatch):
    from unittest import mock

    seen = []
    way = patched(
        lambda: lambda times: (seen.append(bench_step.MATRIX), (times, 1.0))[1], [mock.patch.object(bench_step, "MATRIX", 1)]
    )
    assert bench_step.MATRIX != 1
    assert way(3) == (3, 1.0)
    assert seen == [1]
