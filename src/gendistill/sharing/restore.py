"""The restore step: fetch one large file that someone has shared, and check that it is what its receipt says."""

import contextlib
import os
import subprocess
from pathlib import Path

from gendistill.errors import UserError
from gendistill.files import RECEIPT, only_one, read_receipt, remove, sha256
from gendistill.plan.step import LARGE, OUTPUTS
from gendistill.sharing.dvc import cached, explain_remote, md5_of, pointer_of, read_md5, run_dvc


def steps_to_fetch() -> set[str]:
    """The steps, as `kind/id`, that are finished but whose large files are not all here, and are shared: none need be made."""
    found = set()
    for kind, names in OUTPUTS.items():
        large = {name for name in names if name in LARGE}
        folder = Path("runs", kind)
        for step in os.scandir(folder) if large and folder.exists() else ():
            # A link to where a cache was is no file.
            files = {entry.name for entry in os.scandir(step) if entry.is_file()} if step.is_dir() else set()
            absent = large - files
            if absent and RECEIPT in files and {f"{name}.dvc" for name in absent} <= files:
                found.add(f"{kind}/{step.name}")
    return found


def restore(path: Path) -> None:
    """Fetch a shared file into the workspace, from DVC's cache on this machine or from the remote.

    Args:
        path: of the file, `runs/<kind>/<id>/<name>`, in the current directory.

    Raises:
        UserError: it is no such path, it is not shared, the remote does not give it, or what comes is not what the receipt says.
    """
    if len(path.parts) != 4 or path.parts[0] != "runs":
        raise UserError(f"{path}: must be the path of a large file from here, runs/KIND/ID/FILE, such as results/index.json names.")
    expected = read_receipt(path.parent).get("outputs", {}).get(path.name, {}).get("sha256")
    with only_one(path.parent, lambda other: None):
        if path.exists() and sha256(path) == expected:
            return
        pointer = pointer_of(path)
        if not pointer.exists():
            raise UserError(f"{path} is not shared: there is no {pointer}.")
        md5 = read_md5(pointer)
        for _ in range(2):
            remove(path)
            done = run_dvc("pull", str(pointer))
            if not path.exists():
                raise UserError(_why(path, md5, done.stderr))
            if sha256(path) == expected:
                return
            if md5_of(path) == md5:
                remove(path)
                raise UserError(
                    f"{path} is shared, but by another run of the same step than the one that wrote {path.parent / RECEIPT}. "
                    f"After a merge, take one side for the whole folder: git checkout --ours -- {path.parent}  (or --theirs)"
                )
            # DVC trusts what is in its cache; a copy that was damaged there would come back for ever.
            with contextlib.suppress(FileNotFoundError):
                cached(md5).unlink()
        remove(path)
        raise UserError(f"{path}: what the remote holds is damaged. Whoever has the file: remove it there, and dvc push again.")


def _why(path: Path, md5: str, said: str) -> str:
    reason, pointer = explain_remote(md5, said), pointer_of(path)
    if not reason:
        found = subprocess.run(["git", "log", "-1", "--format=%an <%ae>, %as", "--", pointer], capture_output=True, text=True)
        reason = (
            f"The remote does not have it. Somebody has committed {pointer.name} ({found.stdout.strip() or 'not in git here'}), "
            "but not pushed the file yet: where it was made, run dvc push; then run snakemake here again."
        )
    return (
        f"{path} is shared through DVC, and could not be fetched.\n{reason}\n"
        f"Nothing was trained instead. To make it here after all: rm {path.parent}/*.dvc && snakemake {path} --config ..."
    )
