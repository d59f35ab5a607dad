"""What a site must say about its Slurm, read from `profiles/slurm/site.yaml` and checked before anything is submitted."""

import re
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from gendistill.errors import UserError
from gendistill.plan.paths import ROOT

FILE = ROOT / "profiles" / "slurm" / "site.yaml"
HINTS = {
    "partition": "of steps that need no GPU",
    "account": "whom the time is charged to; none, if the site has no accounts",
    "gpu_type": "such as a100; any; or none, to train on CPUs",
}


@dataclass(frozen=True)
class Site:
    """See `profiles/slurm/site.yaml`; None is what nobody has set."""

    partition: str | None = None
    gpu_partition: str | None = None
    account: str | None = None
    gpu_type: str | None = None
    device: str | None = None

    def resources(self, uses_gpu: bool) -> dict[str, str | int]:
        """What Snakemake's Slurm executor is to ask for, for a step that does or does not use a GPU where there is one."""
        gpu = uses_gpu and self.gpu_type != "none"
        found: dict[str, str | int] = {"slurm_partition": (gpu and self.gpu_partition) or self.partition or ""}
        if self.account not in (None, "none"):
            found["slurm_account"] = self.account
        if gpu:
            found["gpu"] = 1
            found |= {"gpu_model": self.gpu_type} if self.gpu_type not in (None, "any") else {}
        return found


def read_site(path: Path = FILE) -> Site:
    """The settings of a site.

    Raises:
        UserError: the file is missing or no YAML, or has other settings than a site's.
    """
    try:
        # As text: an account 0123 is no number. This loader makes nothing but text, lists and mappings.
        settings = yaml.load(path.read_text(), yaml.BaseLoader) or {}
        if not isinstance(settings, dict):
            raise ValueError("it must have lines NAME: VALUE")
        unknown = sorted(set(settings) - {each.name for each in fields(Site)})
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if unknown:
        allowed = ", ".join(each.name for each in fields(Site))
        raise UserError(f"{path}: {unknown[0]} is no setting of a site. Allowed: {allowed}.")
    return Site(**{key: str(value) or None for key, value in settings.items()})


def check_site(site: Site, path: Path = FILE) -> None:
    """Check that all is set, and that Slurm knows it.

    Raises:
        UserError: something is not set, Slurm does not answer, or it has no such partition or GPU.
    """
    missing = [name for name in HINTS if getattr(site, name) is None]
    partitions = _ask("sinfo", "--noheader", "--format=%R")
    if missing:
        told = "\n".join(f"    {name}: {HINTS[name]}" for name in missing)
        raise UserError(f"{path} does not say, and must:\n{told}\nThis Slurm has the partitions {', '.join(partitions)}.")
    for name in ("partition", "gpu_partition"):
        given = getattr(site, name)
        if given is not None and given not in partitions:
            raise UserError(f"{name} = {given}: Slurm has no such partition. It has: {', '.join(partitions)}. Set in {path}.")
    if site.gpu_type != "none":
        partition = site.gpu_partition or site.partition
        gpus = [text for text in _ask("sinfo", "--noheader", "--format=%G", f"--partition={partition}") if text.startswith("gpu")]
        if not gpus or (site.gpu_type != "any" and not any(f"gpu:{site.gpu_type}:" in text for text in gpus)):
            raise UserError(
                f"gpu_type = {site.gpu_type}: the partition {partition} has no such GPU. It has: {', '.join(gpus) or 'none'}. "
                f"Set gpu_type, or gpu_partition, in {path}."
            )


def longest_minutes(partition: str) -> int | None:
    """The time limit of a partition; None if it has none."""
    limits = _ask("sinfo", "--noheader", "--format=%l", f"--partition={partition}")
    # Such as 2-12:30:00, 12:30:00, 30:00; infinite.
    if not (found := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):\d+", limits[0] if limits else "")):
        return None
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return (24 * days + hours) * 60 + minutes


def _ask(*command: str) -> list[str]:
    """The distinct lines that a command of Slurm's prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        raise UserError(f"Slurm does not answer ({command[0]}: {said}). Is this a login node of the cluster?") from error
    return sorted({text for line in done.stdout.splitlines() for text in line.split(",") if text})
