"""Energy by the devices' own counters: a step's devices are read before it and after it."""

import contextlib
import sys
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
JOULES = {"micro": 1e-6, "milli": 1e-3}
# Counters by device, in joules, each with the joules after which it begins anew; infinite, if it does not.
Counters = dict[str, tuple[float, float]]


def read_counters() -> Counters:
    """The energy counters that this machine has: of processor packages (RAPL, where it may be read) and of NVIDIA GPUs, by UUID.

    Empty where there are none, as on most virtual machines.
    """
    return {**_processors(POWERCAP), **_gpus()}


def used_energy(before: Counters, after: Counters, processes: int = 1) -> dict[str, Any]:
    """What the devices of this process used between two readings, with all else that ran on them meanwhile.

    Args:
        before: the counters when the step began.
        after: when it ended.
        processes: that did the step together, each on a GPU of its own.

    Returns:
        `processor_joules` of all packages, and `gpu_joules` of the GPUs in use; None where no counter tells.
    """
    joules = {name: _between(before[name], after[name]) for name in before.keys() & after.keys()}
    packages = [value for name, value in joules.items() if not name.startswith("GPU-")]
    gpus = [joules.get(name) for name in _gpus_in_use(processes)]
    return {
        "processor_joules": round(sum(packages), 1) if packages else None,
        "gpu_joules": round(sum(gpus), 1) if gpus and None not in gpus else None,
    }


def _between(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Joules from one reading to the next, of a counter that has begun anew at most once."""
    difference = after[0] - before[0]
    return difference if difference >= 0 else difference + before[1]


def _processors(folder: Path) -> Counters:
    found = {}
    for zone in folder.glob("intel-rapl:*"):
        try:
            # A zone within a package, such as its cores, is counted by the package.
            if (zone / "name").read_text().startswith("package"):
                texts = ((zone / name).read_text() for name in ("energy_uj", "max_energy_range_uj"))
                found[zone.name] = tuple(int(text) * JOULES["micro"] for text in texts)
        except (OSError, ValueError):
            # On most systems only root may read it.
            continue
    return found


def _gpus() -> Counters:
    """Of all GPUs of the machine; those without such a counter (before Volta) and parts of a GPU (MIG) have none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        # NVML's errors are made when it is loaded: no driver, no GPU, or no such package.
        return {}
    found = {}
    # A driver that is lost must not cost a finished training its receipt.
    with contextlib.suppress(pynvml.NVMLError):
        for index in range(pynvml.nvmlDeviceGetCount()):
            with contextlib.suppress(pynvml.NVMLError):
                device = pynvml.nvmlDeviceGetHandleByIndex(index)
                joules = pynvml.nvmlDeviceGetTotalEnergyConsumption(device) * JOULES["milli"]
                found[_text(pynvml.nvmlDeviceGetUUID(device))] = (joules, float("inf"))
        pynvml.nvmlShutdown()
    return found


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _gpus_in_use(processes: int) -> list[str]:
    """UUIDs of the GPUs on which the processes of a step computed."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    count = min(processes, torch.cuda.device_count())
    return [f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(count)]
