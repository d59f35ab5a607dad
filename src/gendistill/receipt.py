"""The receipt of a step: what was run, from what, with what, and what came out."""

import contextlib
import hashlib
import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.files import RECEIPT, read_receipt, sha256, write_bytes, write_json
from gendistill.plan.code import code_hash, module_hashes
from gendistill.plan.paths import ROOT
from gendistill.plan.step import LARGE

# What git says to be changed is told of these only: results are committed beside them.
CODE = ("Snakefile", "workflow", "src", "config")
PACKAGES = ("torch", "numpy", "safetensors", "scikit-learn", "torchvision", "snakemake", "hydra-core", "dvc")


def write_receipt(
    folder: Path,
    spec: dict[str, Any],
    outputs: tuple[str, ...],
    metrics: dict[str, Any],
    times: dict[str, Any],
    resources: dict[str, Any] | None = None,
) -> None:
    """Write `receipt.json`, the last file of a step: where it exists, the step is done.

    Beside the step it tells, for people and not for the id, each module that the code hashes cover, and the SHA-256 of the files
    of the steps that it read. Where the very same large files were made before (or, of a step without any, the same files and
    metrics), it stays as it was committed then, and so do the small files, in which times are written.
    """
    files = {name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in outputs}
    receipt = {
        "spec": spec,
        "metrics": metrics,
        "outputs": files,
        "inputs": _inputs(spec.get("inputs", {})),
        "modules": _modules(spec.get("code", {})),
        "times": times,
        "resources": resources or {},
        "environment": environment(),
    }
    if not _keep_committed(folder, receipt):
        write_json(folder / RECEIPT, receipt)


def _keep_committed(folder: Path, receipt: dict[str, Any]) -> bool:
    """Put back the receipt and the small files that are in git, if they tell of the same result; say whether they do."""
    try:
        content = _committed(folder / RECEIPT)
        committed = json.loads(content)
        large = [name for name in receipt["outputs"] if name in LARGE]
        if committed["spec"] != receipt["spec"] or any(committed["outputs"][name] != receipt["outputs"][name] for name in large):
            return False
        if not large and any(committed[key] != receipt[key] for key in ("outputs", "metrics")):
            return False
        small = {name: _committed(folder / name) for name in receipt["outputs"] if name not in LARGE}
        if any(hashlib.sha256(small[name]).hexdigest() != committed["outputs"][name]["sha256"] for name in small):
            return False
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return False
    for name, text in small.items():
        write_bytes(folder / name, text)
    write_bytes(folder / RECEIPT, content)
    return True


def _committed(path: Path) -> bytes:
    """A file of the current directory as it is in git."""
    return subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True, check=True, timeout=10).stdout


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
