"""How fast a type of device is: measured once on one of them (`gendistill calibrate`) and kept in `config/device/`."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gendistill.errors import SettingError, UserError
from gendistill.files import write_json
from gendistill.plan.paths import CONFIG

FOLDER = CONFIG / "device"
# What the three coefficients multiply: kernels, floating-point operations, bytes of activations in float32.
TERMS = ("seconds_per_kernel", "seconds_per_flop", "seconds_per_byte")


@dataclass(frozen=True)
class Calibration:
    """What was measured on one type of device.

    Attributes:
        slug: the name of its file.
        device: the name that its maker gives it, and how many threads were used of a CPU.
        type: `cpu` or `cuda`.
        threads: CPU threads.
        coefficients: for each precision that a recipe can set (`auto`, `float32`), and for `training` and `forward`: seconds for
            each of `TERMS`.
        number_formats: for each precision, what it means on the device.
        start_seconds: of a process until its first step.
        base_memory_mb: of a process that has done its first step, for a small network and few images.
        gpu_context_mb: GPU memory of such a process beside PyTorch's own.
        decode_seconds: to decode and cut one photograph, on one thread.
        gpu_total_mb: memory of the GPU; 0 if there is none, or it is not known.
        torch: its version.
        date: of the measurement.
        points: measured and fitted seconds of each step that the coefficients were fitted to.
    """

    slug: str
    device: str
    type: str
    threads: int
    coefficients: dict[str, dict[str, list[float]]]
    number_formats: dict[str, str]
    start_seconds: float
    base_memory_mb: float
    gpu_context_mb: float
    decode_seconds: float
    gpu_total_mb: float = 0
    torch: str = ""
    date: str = ""
    points: list[dict[str, Any]] = field(default_factory=list)

    @property
    def told(self) -> str:
        """What the numbers rest on, for people."""
        if not self.points:
            return f"a cautious guess for {self.device} (`gendistill calibrate` measures one; --device chooses one of several)"
        errors = [abs(p["fitted_seconds"] / p["seconds"] - 1) for p in self.points]
        return f"{self.slug}, measured {self.date} on {self.device}; its own points are met within {100 * max(errors):.0f} %"


def _guess(kernel: float, flop: float, byte: float) -> dict[str, dict[str, list[float]]]:
    each = {"training": [kernel, flop, byte], "forward": [kernel, flop, byte]}
    return {"auto": each, "float32": {kind: [a, 4 * b, 2 * c] for kind, (a, b, c) in each.items()}}


# Assumed, not measured, and meant to be rather too slow: of a GPU for data centres 10 us a kernel, 40 TFLOP/s in half precision,
# and three bytes moved for each one kept in float32, at 1 TB/s; of a CPU core 10 us, 20 GFLOP/s, and four bytes at 4 GB/s.
GENERIC_OF = {
    "cuda": Calibration(
        slug="generic-gpu",
        device="any GPU",
        type="cuda",
        threads=1,
        coefficients=_guess(10e-6, 1 / 40e12, 3 / 1e12),
        number_formats={"auto": "float32", "float32": "float32"},
        start_seconds=60,
        base_memory_mb=3500,
        gpu_context_mb=700,
        decode_seconds=0.015,
    ),
    "cpu": Calibration(
        slug="generic-cpu",
        device="any CPU",
        type="cpu",
        threads=1,
        coefficients=_guess(10e-6, 1 / 20e9, 4 / 4e9),
        number_formats={"auto": "float32", "float32": "float32"},
        start_seconds=20,
        base_memory_mb=700,
        gpu_context_mb=0,
        decode_seconds=0.015,
    ),
}


def calibrations() -> list[str]:
    """The types of device that were measured."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def find_calibration(slug: str | None = None, type: str | None = None) -> Calibration:
    """The calibration of a type of device.

    Args:
        slug: of a file in `config/device/`; if None, the only one there is of `type`, or the cautious guess for any device where
            there is none, or several.
        type: `cuda` or `cpu`; if None, `cpu` where only CPUs were measured, else `cuda`.

    Raises:
        SettingError: there is no such file.
        UserError: the file is damaged.
    """
    if slug is not None:
        if slug in (generic := {each.slug: each for each in GENERIC_OF.values()}):
            return generic[slug]
        if slug not in calibrations():
            allowed = ", ".join([*calibrations(), *generic])
            raise SettingError(
                f"device = {slug}: there is no such calibration. Allowed: {allowed}. Set by --device, or by device in "
                "profiles/slurm/site.yaml; `gendistill calibrate`, on such a device, makes config/device/<slug>.json."
            )
        return read_calibration(FOLDER / f"{slug}.json")
    found = [read_calibration(FOLDER / f"{slug}.json") for slug in calibrations()]
    if type is None:
        type = "cpu" if found and all(each.type == "cpu" for each in found) else "cuda"
    fitting = [each for each in found if each.type == type]
    return fitting[0] if len(fitting) == 1 else GENERIC_OF[type]


def read_calibration(path: Path) -> Calibration:
    """The calibration that `save_calibration` wrote.

    Raises:
        UserError: the file is damaged.
    """
    try:
        found = Calibration(**{**json.loads(path.read_text()), "slug": path.stem})
        for kinds in (found.coefficients[precision] for precision in ("auto", "float32")):
            if any(len(kinds[kind]) != len(TERMS) or min(kinds[kind]) < 0 for kind in ("training", "forward")):
                raise ValueError("its coefficients must be three numbers of at least 0")
        if found.type not in GENERIC_OF:
            raise ValueError("its type must be cpu or cuda")
        return found
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}). Remove it and run `gendistill calibrate` on the device again.") from error


def save_calibration(calibration: Calibration, folder: Path | None = None) -> Path:
    """Write `<slug>.json` into a folder, if None `config/device/`; return its path.

    Raises:
        UserError: the folder can't be written.
    """
    path = (folder or FOLDER) / f"{calibration.slug}.json"
    write_json(path, {key: value for key, value in asdict(calibration).items() if key != "slug"})
    return path


def slug_of(device: str) -> str:
    """The name of a device as that of a file: `NVIDIA A100-SXM4-40GB` is `nvidia-a100-sxm4-40gb`."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "device"


def fit_coefficients(counts: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Coefficients of at least 0 with the smallest squares of relative errors.

    Args:
        counts: for each measured step, its number of each of `TERMS`.
        seconds: that each took.
    """
    import numpy as np
    from scipy.optimize import nnls

    relative = np.asarray(counts, float) / np.asarray(seconds, float)[:, None]
    # Counts of kernels and of operations differ by ten orders of magnitude.
    scale = relative.max(axis=0)
    scale[scale == 0] = 1
    found, _ = nnls(relative / scale, np.ones(len(seconds)))
    return [float(value) for value in found / scale]


def seconds_of(coefficients: Sequence[float], counts: Sequence[float]) -> float:
    """Seconds of a step with these counts of `TERMS`."""
    return sum(coefficient * count for coefficient, count in zip(coefficients, counts, strict=True))
