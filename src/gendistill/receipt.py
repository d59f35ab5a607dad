"""The receipt of a step: what was run, from what, with what, and what came out."""

import contextlib
import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.files import RECEIPT, read_receipt, sha256, write_json
from gendistill.plan.code import code_hash, module_hashes
from gendistill.plan.paths import ROOT

# What git says to be changed is told of these only: results are committed beside them.
CODE = ("Snakefile", "workflow", "src", "config")
PACKAGES = ("torch", "numpy", "safetensors", "scikit-learn", "torchvision", "snakemake", "hydra-core", "dvc")


def write_receipt(
    folder: Path, spec: dict[str, Any], outputs: tuple[str, ...], metrics: dict[str, Any], times: dict[str, Any]
) -> None:
    """Write `receipt.json`, the last file of a step: where it exists, the step is done.

    Beside the step it tells, for people and not for the id, each module that the code hashes cover, and the SHA-256 of the files
    of the steps that it read. Where the very same files were made before, it stays as it was committed then.
    """
    files = {name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in outputs}
    receipt = {
        "spec": spec,
        "metrics": metrics,
        "outputs": files,
        "inputs": _inputs(spec.get("inputs", {})),
        "modules": _modules(spec.get("code", {})),
        "times": times,
        "environment": environment(),
    }
    committed = _committed(folder / RECEIPT)
    same = all(committed.get(key) == receipt[key] for key in ("spec", "outputs", "metrics"))
    write_json(folder / RECEIPT, committed if same else receipt)


def _committed(path: Path) -> dict[str, Any]:
    """The receipt as it is in git; empty if it is not."""
    text = _git("show", f"HEAD:./{path}", folder=Path.cwd())
    try:
        return json.loads(text or "{}")
    except ValueError:
        return {}


def _inputs(inputs: dict[str, str | list[str]]) -> dict[str, dict[str, str]]:
    """For each step that was read, as `kind/id`, the SHA-256 of each of its files, as its receipt tells it now."""
    found = {}
    for names in inputs.values():
        for name in [names] if isinstance(names, str) else names:
            # Some steps need no receipt of what they read.
            with contextlib.suppress(UserError):
                outputs = read_receipt(Path("runs", name)).get("outputs", {})
                found[name] = {file: output["sha256"] for file, output in outputs.items()}
    return found


def _modules(code: dict[str, str]) -> dict[str, str]:
    """The hash of each module that the step's code hashes cover; none of what was edited since the step was planned."""
    found: dict[str, str] = {}
    for root, planned in code.items():
        # Files may be half edited by now, and no finished training shall be lost for that.
        with contextlib.suppress(Exception):
            if code_hash(root) == planned:
                found |= module_hashes(root)
    return found


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
    found["git_commit"], found["git_changed"] = _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain", "-uno", "--", *CODE))
    return found


def _git(*arguments: str, folder: Path = ROOT) -> str | None:
    """What git says of the checkout; None where there is no git or no repository."""
    try:
        run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
