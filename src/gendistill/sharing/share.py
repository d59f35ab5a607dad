"""Put all finished large files under DVC, in one call; the small ones are for git."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from gendistill.errors import UserError
from gendistill.files import RECEIPT, in_units, is_locked, read_receipt, remove, sha256
from gendistill.plan.build import build_plan, read_choice
from gendistill.plan.plan import Plan
from gendistill.plan.step import LARGE
from gendistill.results.view import read_view, view_is_current, write_view
from gendistill.sharing.dvc import pointer_of, read_size, run_dvc

RUNS = Path("runs")
SOFT_LABELS = ("softlabels", "language_softlabels")
# Far below what a command line may hold.
FILES_PER_CALL = 5000


@dataclass
class Found:
    """The large files in `runs/`.

    Attributes:
        new: of finished steps, to be put under DVC.
        shared: how many are under DVC.
        kept: soft labels that nobody asked to share.
        unfinished: folders of steps that were interrupted, or are running.
        damaged: what is wrong with files that are not what their receipts say, and with receipts, and what helps.
    """

    new: list[Path] = field(default_factory=list)
    shared: int = 0
    kept: list[Path] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def shown_choice() -> tuple[list[str], tuple[str, ...]]:
    """The experiments and overrides that `results/` shows; where there is none, the default ones."""
    view = read_view()
    return (view["experiments"], tuple(view["overrides"])) if view else read_choice({})


def share(experiments: list[str], overrides: tuple[str, ...]) -> str:
    """Put what is finished under DVC, bring `results/` up to date, and say what is left to do.

    Raises:
        UserError: this is no git or DVC repository, or DVC refuses.
    """
    _check_repository()
    plan = build_plan(experiments, overrides)
    found = find_large_files(plan)
    print(f"{len(found.new)} files to put under DVC ({_size(found.new)})", flush=True)
    for start in range(0, len(found.new), FILES_PER_CALL):
        files = [str(path) for path in found.new[start : start + FILES_PER_CALL]]
        for path in found.new[start : start + FILES_PER_CALL]:
            # Of another content, or damaged: DVC would refuse to write over it.
            remove(pointer_of(path))
        # After a call that was killed, the next one tidies up and fails, and the one after it works.
        added = run_dvc("add", *files)
        added = run_dvc("add", *files) if added.returncode else added
        if added.returncode:
            raise UserError(
                f"dvc add failed; what it had added stays.\n{added.stderr.strip()}\nMend what it names and run the same command "
                "again. If it names .dvc/tmp/rwlock, and no other DVC command runs: rm .dvc/tmp/rwlock"
            )
    lines = [f"{len(found.new)} files put under DVC, {found.shared} were there before."]
    if found.kept:
        lines.append(
            f"Not shared: {len(found.kept)} soft labels ({_size(found.kept)}), which are computed anew where they are needed. "
            "To share them too: runtime.share_soft_labels=true among the overrides."
        )
    lines += [f"Not finished, left out: {folder}" for folder in found.unfinished]
    lines += [f"Damaged, left out: {text}" for text in found.damaged]
    return "\n".join([*lines, _refresh_view(experiments, overrides, plan), *_left_to_do()])


def find_large_files(plan: Plan) -> Found:
    """What there is to share in the current directory."""
    found = Found()
    for folder in sorted(RUNS.glob("*/*")):
        if not (folder / RECEIPT).exists() or is_locked(folder):
            found.unfinished += [folder]
            continue
        try:
            outputs = read_receipt(folder).get("outputs", {})
        except UserError as error:
            found.damaged.append(str(error))
            continue
        for path in (folder / name for name in outputs if name in LARGE):
            size = outputs[path.name]["bytes"]
            if read_size(pointer_of(path)) == size:
                found.shared += 1
            elif not path.exists():
                if pointer_of(path).exists():
                    found.damaged.append(f"{pointer_of(path)}. Take it as it is in git: git checkout -- {folder}")
            elif folder.parent.name in SOFT_LABELS and not _is_asked_for(folder, plan):
                found.kept.append(path)
            elif path.stat().st_size != size or sha256(path) != outputs[path.name]["sha256"]:
                found.damaged.append(f"{path} is not what its receipt says. To have it made anew: rm {path}")
            else:
                found.new.append(path)
    return found


def _is_asked_for(folder: Path, plan: Plan) -> bool:
    return plan.runtime.get(f"{folder.parent.name}/{folder.name}", {}).get("share_soft_labels", False)


def _refresh_view(experiments: list[str], overrides: tuple[str, ...], plan: Plan) -> str:
    shown = ", ".join(experiments)
    if view_is_current(plan):
        return f"results/ shows {shown}, up to date."
    missing = [step for step in plan.steps.values() if not Path(step.receipt).exists()]
    if missing:
        return f"results/ was left as it is: {len(missing)} steps of {shown} are not finished. Run snakemake to finish them."
    write_view(experiments, overrides)
    return f"results/ was brought up to date: it shows {shown}."


def _left_to_do() -> list[str]:
    changed = _git("status", "--porcelain", "--untracked-files=all", "--", "runs", "results").stdout.splitlines()
    lines = ["", "Left to do, so that others get it:"]
    folders = " ".join(name for name in ("runs", "results") if Path(name).exists())
    lines += [f"    git add {folders} && git commit    # {len(changed)} files"] if changed else []
    remotes = run_dvc("remote", "list").stdout.strip()
    lines += [] if remotes else ["    dvc remote add -d NAME URL && git add .dvc/config    # once; see docs/sharing.md"]
    return [*lines, "    dvc push", "    git push"]


def _check_repository() -> None:
    if _git("rev-parse", "--git-dir").returncode:
        raise UserError("This is no git repository, and DVC works beside git. Make it one: git init && git add . && git commit")
    if not Path(".dvc").is_dir():
        raise UserError("This is no DVC repository. Make it one: dvc init && git commit -m 'Use DVC'")


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)


def _size(paths: list[Path]) -> str:
    return in_units(sum(path.stat().st_size for path in paths))
