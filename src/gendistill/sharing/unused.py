"""Runs that no experiment names any more: listed, and removed only when told to."""

import json
import re
import shutil
from pathlib import Path

from gendistill.errors import UserError
from gendistill.files import RECEIPT, in_units, is_locked, remove
from gendistill.plan.build import build_plan
from gendistill.plan.fingerprint import recorded
from gendistill.plan.paths import CONFIG
from gendistill.plan.settings import experiment_names, paper_names
from gendistill.plan.step import LARGE, OUTPUTS
from gendistill.results.view import read_view
from gendistill.sharing.dvc import pointer_of

RUNS = Path("runs")


def unused_runs(experiments: list[str], overrides: tuple[str, ...]) -> list[Path]:
    """Folders of `runs/` that are no step of any experiment or published table, at any scale, nor of what `results/` shows.

    Args:
        experiments: what else is still wanted, with `overrides`.
        overrides: in Hydra's syntax.

    Raises:
        UserError: the settings of an experiment are wrong, or the user's own data are not here, so nobody knows what it names.
    """
    for path, contents in recorded().items():
        if len(contents) > 1 and not Path(path).exists():
            raise UserError(
                f"dataset.path = {path} is not here, and data sets were made from {len(contents)} different contents of it: which "
                "runs experiments name depends on it. Put it there first."
            )
    view = read_view()
    choices = [(experiment_names() + paper_names(), [f"scale={path.stem}"]) for path in sorted((CONFIG / "scale").glob("*.yaml"))]
    choices += [(view["experiments"], view["overrides"])] if view else []
    choices += [(experiments, overrides)]
    named = {step for names, changes in choices for step in build_plan(names, tuple(changes), without_data=True).steps}
    return [folder for folder in _step_folders() if f"{folder.parent.name}/{folder.name}" not in named]


def _step_folders() -> list[Path]:
    """The folders of `runs/` that are of a step; what else somebody keeps there is not ours to remove."""
    folders = [folder for kind in OUTPUTS for folder in RUNS.glob(f"{kind}/*")]
    return sorted(folder for folder in folders if folder.is_dir() and re.search(r"-[0-9a-f]{10}$", folder.name))


def list_unused(folders: list[Path]) -> str:
    """The folders with their sizes on this disk and in DVC, the largest first."""
    if not folders:
        return "Each run is named by an experiment, a published table or results/."
    sizes = {folder: size_of(folder) for folder in folders}
    marks = {folder: "    (not shared: the only copy)" if _has_only_copy(folder) else "" for folder in folders}
    lines = [f"{in_units(sizes[folder]):>10}  {folder}{marks[folder]}" for folder in sorted(folders, key=lambda f: (-sizes[f], f))]
    return "\n".join(
        [
            f"{len(folders)} runs that no experiment names, {in_units(sum(sizes.values()))}:",
            *lines,
            "Runs of other settings than those in config/ are among them: name them to keep them, --config experiments=[NAME] "
            "overrides=[...].",
            "To remove all that is listed: the same command with --remove",
        ]
    )


def remove_unused(folders: list[Path]) -> str:
    """Remove the folders, with their logs; say which, and what is left to do.

    Raises:
        UserError: Snakemake runs here, or a folder can't be removed.
    """
    if any(Path(".snakemake/locks").glob("*")):
        raise UserError(
            "Snakemake is running here, and may need what no experiment in config/ names. Wait for it, or, if it was killed: "
            "snakemake --unlock"
        )
    removed, size = [], 0
    for folder in folders:
        if is_locked(folder):
            continue
        size += size_of(folder)
        # First what says that the step is done, so that no half of a result can be taken for a whole one.
        remove(folder / RECEIPT)
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise UserError(f"could not remove {folder}: {error.strerror or error}. {len(removed)} were removed.") from error
        name = f"{folder.parent.name}/{folder.name}"
        remove(Path("logs", f"{name}.log"))
        remove(Path("benchmarks", f"{name}.tsv"))
        removed.append(folder)
    names = "".join(f"    {folder}\n" for folder in removed)
    running = f" {len(folders) - len(removed)} are being worked on and were left." if len(removed) < len(folders) else ""
    return (
        f"{len(removed)} runs removed, {in_units(size)}.{running}\n{names}"
        "    git add --all runs && git commit    # earlier commits still name them\n"
        "    dvc gc --workspace                  # frees DVC's cache of what no file here names; --cloud: the remote too"
    )


def _has_only_copy(folder: Path) -> bool:
    """Whether a folder holds a large file that is not under DVC; soft labels count not, which can be computed anew."""
    return any(path.name in LARGE and path.name != "softlabels.npy" and not pointer_of(path).exists() for path in folder.iterdir())


def size_of(folder: Path) -> int:
    """Bytes of a run: its files, and those that are only in DVC."""
    here = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    try:
        written = json.loads((folder / RECEIPT).read_text())["outputs"]
    except (OSError, ValueError, KeyError, TypeError):
        written = {}
    elsewhere = {name: about["bytes"] for name, about in written.items() if f"{name}.dvc" in here}
    return sum((elsewhere | here).values())
