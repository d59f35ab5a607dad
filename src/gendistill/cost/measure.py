"""`gendistill calibrate`: measure in about a minute how fast this device trains and evaluates."""

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.sgd import sgd

from gendistill.cost.calibration import Calibration, fit_coefficients, save_calibration, seconds_of, slug_of
from gendistill.cost.counts import Counts, count_image_network
from gendistill.cost.used import MB, used
from gendistill.data.decode import random_view
from gendistill.data.views import ViewSpace
from gendistill.errors import UserError
from gendistill.networks.trained import Description, logits_of
from gendistill.plan.settings import load_group
from gendistill.precision import autocast, choose_device, layout, make_deterministic, number_format
from gendistill.receipt import environment

SHAPE, CLASSES = (3, 32, 32), 100
# Networks and batch sizes: few kernels and many, small maps and large ones, few operations a byte and many.
POINTS = {
    "cpu": [
        ("resnet8", 25),
        ("resnet8", 128),
        ("resnet20", 32),
        ("resnet20", 128),
        ("resnet56", 16),
        ("wrn_16_1", 64),
        ("wrn_16_2", 64),
        ("wrn_28_2", 16),
        ("densenet_bc_40_12", 32),
    ],
    "cuda": [
        ("resnet8", 25),
        ("resnet20", 128),
        ("resnet110", 128),
        ("wrn_16_4", 128),
        ("wrn_28_10", 64),
        ("wrn_28_10", 128),
        ("densenet_bc_40_12", 64),
        ("densenet_bc_100_12", 64),
        ("densenet_40_12", 128),
    ],
}
# Of one point: its steps are repeated as long, but at least so often. The first one finds kernels and memory.
SECONDS, TIMES = 1.2, 3
PHOTOGRAPH = (375, 500, 3)
Step = Callable[[], None]


def calibrate(device: str = "auto", threads: int = 1, log: Callable[[str], None] = print, folder: Path | None = None) -> Path:
    """Measure this device and write its calibration; return the file.

    Args:
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads.
        log: called with a line for each step of the way.
        folder: where the file goes; if None, `config/device/`.

    Raises:
        SettingError: `cuda` was asked for where there is none.
        UserError: the folder can't be written.
    """
    make_deterministic()
    torch.set_num_threads(threads)
    where = choose_device(device)
    start = start_of_process(where.type, threads)
    log(f"a process starts in {start['seconds']:.1f} s and takes {start['memory_mb']:.0f} MB")
    decode = seconds_to_decode()
    log(f"a photograph is decoded in {1000 * decode:.1f} ms")
    formats = {name: str(number_format(name, where)).removeprefix("torch.") for name in ("auto", "float32")}
    points, coefficients = [], {}
    for precision, kind in ((p, k) for p in formats for k in ("training", "forward")):
        if precision == "float32" and formats["auto"] == "float32":
            coefficients["float32"] = coefficients["auto"]
            continue
        own = [measure_point(name, batch, precision, kind, where) for name, batch in POINTS[where.type]]
        found = fit_coefficients([point["counts"] for point in own], [point["seconds"] for point in own])
        coefficients.setdefault(precision, {})[kind] = found
        for point in own:
            point["fitted_seconds"] = seconds_of(found, point["counts"])
            milliseconds = [f"{1000 * point[key]:.1f} ms" for key in ("seconds", "fitted_seconds")]
            what = f"{kind} {point['network']}, batch {point['batch']}, {formats[precision]}"
            log(f"{what}: {milliseconds[0]} a step, fitted {milliseconds[1]}")
        points += own
    name = device_name(where, threads)
    calibration = Calibration(
        slug=slug_of(name),
        device=name,
        type=where.type,
        threads=threads,
        coefficients=coefficients,
        number_formats=formats,
        start_seconds=start["seconds"],
        base_memory_mb=start["memory_mb"],
        gpu_context_mb=start["gpu_context_mb"],
        decode_seconds=decode,
        gpu_total_mb=torch.cuda.get_device_properties(where).total_memory // MB if where.type == "cuda" else 0,
        torch=torch.__version__,
        date=datetime.now(UTC).date().isoformat(),
        points=points,
    )
    path = save_calibration(calibration, folder)
    log(f"{path}: {calibration.told}")
    return path


def device_name(device: torch.device, threads: int) -> str:
    """The GPU's name, or that of the CPU with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    name = environment()["processor"] or platform.machine()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def counts_of_step(counts: Counts, batch: int, kind: str) -> list[float]:
    """Kernels, operations and bytes of a step: training, or forward only."""
    if kind == "training":
        return [counts.training_kernels, batch * counts.training_flops, batch * counts.activation_bytes]
    return [counts.forward_kernels, batch * counts.forward_flops, batch * counts.activation_bytes]


def measure_point(name: str, batch: int, precision: str, kind: str, device: torch.device) -> dict[str, Any]:
    """The median seconds of a step of a network of `config/network/`, and its counts."""
    settings = load_group("network", name)
    counts = counts_of_step(count_image_network(settings, SHAPE, CLASSES), batch, kind)
    step = (training_step if kind == "training" else forward_step)(settings, batch, precision, device)
    seconds = seconds_of_call(step, device)
    return {"network": name, "batch": batch, "precision": precision, "kind": kind, "seconds": seconds, "counts": counts}


def seconds_of_call(step: Step, device: torch.device) -> float:
    """The median time of a call, the first one left out."""
    times: list[float] = []
    while len(times) <= TIMES or sum(times) < SECONDS:
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return median(times[1:])


def training_step(settings: dict[str, Any], batch: int, precision: str, device: torch.device) -> Step:
    """What the training loop does in a step, on random images: views, forward and backward pass, SGD."""
    description, network, images, labels = _setting(settings, batch, precision, device)
    space = ViewSpace(4, True)
    windows = space.windows(images)
    index, views = torch.arange(batch, device=device), torch.randint(len(space), (batch,), device=device)
    weights = list(network.parameters())
    momenta: list[torch.Tensor | None] = [None] * len(weights)

    def step() -> None:
        pixels = space.take(windows, index, views)
        network.train()
        with autocast(precision, device):
            logits = network(description.normalise(pixels))
        loss = nn.functional.cross_entropy(logits.float(), labels)
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            options = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "dampening": 0.0, "maximize": False}
            sgd(weights, list(gradients), momenta, fused=True, **options)

    return step


def forward_step(settings: dict[str, Any], batch: int, precision: str, device: torch.device) -> Step:
    """What an evaluation does in a step, on random images."""
    description, network, images, _ = _setting(settings, batch, precision, device)
    network.eval()

    def step() -> None:
        logits_of(network, description, images).cpu()

    return step


def _setting(
    settings: dict[str, Any], batch: int, precision: str, device: torch.device
) -> tuple[Description, nn.Module, torch.Tensor, torch.Tensor]:
    description = Description(settings, list(SHAPE), CLASSES, [127.0] * 3, [64.0] * 3, precision)
    network = description.build().to(device, memory_format=layout(precision))
    images = torch.randint(256, (batch, *SHAPE), dtype=torch.uint8, device=device)
    return description, network, images, torch.arange(batch, device=device) % CLASSES


def start_of_process(device: str, threads: int) -> dict[str, float]:
    """Seconds and memory of a fresh process that does one step of a small network."""
    code = f"from gendistill.cost.measure import first_step; first_step({device!r}, {threads})"
    started = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if run.returncode:
        raise UserError(f"a process on this device ({device}) fails:\n{run.stderr.strip()}")
    return {"seconds": time.perf_counter() - started, **json.loads(run.stdout.splitlines()[-1])}


def first_step(device: str, threads: int) -> None:
    """Do one step of a small network and print what the process has used: MB of memory, and of the GPU beside PyTorch's own."""
    # A training imports the loop; its receipt looks at versions.
    import gendistill.training.run  # noqa: F401

    torch.set_num_threads(threads)
    where = torch.device(device)
    training_step(load_group("network", "resnet8"), 8, "auto", where)()
    context = 0.0
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        context = (total - free - torch.cuda.memory_reserved()) / MB
    print(json.dumps({"memory_mb": used()["memory_mb"], "gpu_context_mb": round(context, 1)}))


def seconds_to_decode() -> float:
    """Seconds to decode and cut a photograph of the usual size of ImageNet's, on one thread: blurred noise."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (PHOTOGRAPH[0] // 4, PHOTOGRAPH[1] // 4, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photograph.jpg"
        Image.fromarray(pixels).resize((PHOTOGRAPH[1], PHOTOGRAPH[0]), Image.Resampling.BILINEAR).save(file, quality=95)
        return seconds_of_call(lambda: random_view(file, 224, 0), torch.device("cpu"))
