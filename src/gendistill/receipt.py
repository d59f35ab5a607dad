"""The receipt of a step: what was run, from what, with what, and what came out."""

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gendistill.files import RECEIPT, sha256, write_json
from gendistill.plan.paths import ROOT

PACKAGES = ("torch", "numpy", "safetensors", "scikit-learn", "torchvision", "snakemake", "hydra-core", "dvc")


def write_receipt(
    folder: Path, spec: dict[str, Any], outputs: tuple[str, ...], metrics: dict[str, Any], times: dict[str, Any]
) -> None:
    """Write `receipt.json`, the last file of a step: where it exists, the step is done."""
    files = {name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in outputs}
    receipt = {"spec": spec, "metrics": metrics, "outputs": files, "times": times, "environment": environment()}
    write_json(folder / RECEIPT, receipt)


def environment() -> dict[str, Any]:
    """Versions, device and the state of the code."""
    found: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found["processor"] = _processor()
    if "torch" in sys.modules:
        import torch

        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
            found["cuda"] = torch.version.cuda
    found["git_commit"], found["git_changed"] = _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain", "-uno"))
    return found


def _git(*arguments: str) -> str | None:
    """What git says of the checkout; None where there is no git or no repository."""
    try:
        run = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
