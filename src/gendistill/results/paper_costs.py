"""What each published table asks for: networks, steps, and an estimate of GPU-hours at full scale."""

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from gendistill.plan import Plan, Step, build_plan
from gendistill.plan.canonical import canonical_json
from gendistill.plan.step import NETWORKS

# Training images (of text: words) and their shape at full scale.
SIZES: dict[str, tuple[int, tuple[int, ...]]] = {
    "cifar10": (50_000, (3, 32, 32)),
    "cifar100": (50_000, (3, 32, 32)),
    "imagenet": (1_281_167, (3, 224, 224)),
    "places365": (1_803_460, (3, 224, 224)),
    "ptb": (929_589, ()),
}
# Assumed, not measured: a fifth of an H200's 790 TFLOP/s of dense bfloat16, and 10 us for each of 6 kernels a layer and step.
FLOPS_PER_SECOND = 0.2 * 790e12
SECONDS_PER_LAYER_AND_STEP = 6 * 10e-6


def table_of_papers(names: Sequence[str], smoke: Path | None = None) -> str:
    """A Markdown table: for each published table its networks, steps, those that no table above has, and GPU-hours.

    `smoke`: the folder `results` of a run at scale smoke, of which to say how many of a table's rows have a value.
    """
    head = ["table", "networks", "steps", "steps no table above has", "GPU-hours", *(["rows run at scale smoke"] if smoke else [])]
    lines = [_line(head), "|---" * len(head) + "|"]
    seen: dict[str, float] = {}
    planned = networks = 0
    hours = 0.0
    for name in names:
        plan = build_plan([name], without_data=True)
        costs = {step.name: gpu_hours(plan, step) for step in plan.steps.values()}
        trained = [step for step in plan.steps.values() if step.kind in NETWORKS]
        new = [step for step in costs if step not in seen]
        planned, networks, hours = planned + len(costs), networks + len(trained), hours + sum(costs.values())
        seen |= costs
        cells = [name, len(trained), len(costs), len(new), f"{sum(costs.values()):,.1f}"]
        lines.append(_line([*cells, *([_rows_run(smoke / "tables" / f"{name}.csv")] if smoke else [])]))
    distinct = sum(name.partition("/")[0] in NETWORKS for name in seen)
    lines.append(_line(["all, one by one", networks, planned, "", f"{hours:,.1f}", *([""] if smoke else [])]))
    lines.append(_line(["all, shared steps once", distinct, len(seen), "", f"{sum(seen.values()):,.1f}", *([""] if smoke else [])]))
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _rows_run(table: Path) -> str:
    if not table.is_file():
        return "failed"
    rows = pd.read_csv(table)
    return f"{(rows['n'] > 0).sum()} of {len(rows)}"


def gpu_hours(plan: Plan, step: Step) -> float:
    """Estimated hours of a step that computes with large networks; 0 for all others.

    A training step of B images costs 3 B forward passes of the student and, with the teacher online, B of the teacher's; it
    takes no less time than its kernels take to launch. NaN where the number of training images is not known here.
    """
    if step.kind not in (*NETWORKS, "softlabels", "language_softlabels"):
        return 0.0
    if _data(plan, step).settings["name"] not in SIZES:
        return math.nan
    if step.kind in ("softlabels", "language_softlabels"):
        teacher, images = plan.steps[_one(step.inputs["teacher"])], _size(plan, step)
        views = (2 * step.settings["pad"] + 1) ** 2 * (1 + step.settings["flip"]) if step.kind == "softlabels" else 1
        return images * views * _forward(plan, teacher)[0] / FLOPS_PER_SECOND / 3600
    images, recipe = _size(plan, step), step.settings["recipe"]
    flops, layers = _forward(plan, step)
    distilled = 0.0
    if "teacher" in step.inputs and "softlabels" not in step.inputs:
        share = step.settings["objective"].get("distil_until", 1.0)
        distilled = share * _forward(plan, plan.steps[_one(step.inputs["teacher"])])[0]
    steps = recipe["epochs"] * images / recipe["batch_size"] / (recipe.get("unrolled_steps", 1))
    compute = recipe["epochs"] * images * (3 * flops + distilled) / FLOPS_PER_SECOND
    return max(compute, steps * layers * SECONDS_PER_LAYER_AND_STEP) / 3600


def _one(name: str | list[str]) -> str:
    return name if isinstance(name, str) else name[0]


def _data(plan: Plan, step: Step) -> Step:
    return plan.steps[_one(step.inputs["dataset"])]


def _size(plan: Plan, step: Step) -> int:
    return SIZES[_data(plan, step).settings["name"]][0]


def _forward(plan: Plan, step: Step) -> tuple[float, int]:
    """Floating-point operations of one forward pass over one image or word, and the number of layers."""
    data = _data(plan, step).settings
    own = {key: value for key, value in step.settings["network"].items() if key != "recompute"}
    return _forward_of(canonical_json(own), data["name"], data.get("classes") or data["vocabulary"])


@cache
def _forward_of(network: str, data: str, classes: int) -> tuple[float, int]:
    from torch import nn

    from gendistill.networks.cost import build_on_meta, image_flops

    settings: dict[str, Any] = json.loads(network)
    shape = SIZES[data][1]
    if not shape:
        model = build_on_meta(settings, vocabulary=[str(n) for n in range(classes)])
        # A word meets each weight once.
        return 2 * sum(p.numel() for p in model.parameters()), len(list(model.modules()))
    model = build_on_meta(settings, channels=shape[0], classes=classes)
    layers = sum(isinstance(m, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)) for m in model.modules())
    return image_flops(settings, shape, classes), layers
