"""Identify a user's own data by content, so that results follow the content and not the place."""

import contextlib
import hashlib
import itertools
import json
import os
from pathlib import Path

from gendistill.errors import SettingError
from gendistill.plan.cache import read_cache, write_cache
from gendistill.plan.paths import CACHE


def fingerprint(path: str, where: str, by_size: bool = False) -> str:
    """A hash of the content of a file, or of the names and contents of all files below a folder.

    The answer is kept until a name, a size or a modification time changes.

    Args:
        path: of a file or folder.
        where: it was set.
        by_size: for folders of a million files: take names and sizes for the contents of images, and the modification times
            of folders, which change when a file comes or goes, for those of files.

    Where there is nothing at `path`, as in the checkout of a teammate, it is the hash of what the data set was made from.

    Raises:
        SettingError: there is nothing at `path`, nor has a data set been made from it; or several have.
    """
    root = Path(path)
    if not root.exists():
        return _only_recorded(path, where)
    folders = _folders(root) if by_size else []
    parents = {folder.parent for folder in folders}
    # Lists of labels lie beside folders; images lie in folders of their own.
    lists = sorted(p for folder in folders if folder in parents for p in folder.iterdir() if p.is_file())
    watched = [*folders, *lists] if by_size else _files(root)
    state = hashlib.sha256(f"{by_size}\n".encode())
    for file in watched:
        stat = file.stat()
        state.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    cache = CACHE / "fingerprints.json"
    known = read_cache(cache) or {}
    key = state.hexdigest()[:16]
    if key not in known:
        content = hashlib.sha256()
        for file in _files(root):
            name = "" if file == root else str(file.relative_to(root))
            image = by_size and file.parent not in parents
            try:
                content.update(f"{name}\0{file.stat().st_size if image else _sha256(file)}\n".encode())
            except OSError as error:
                raise SettingError(f"dataset.path = {path}: {file} cannot be read: {error.strerror}. Set in {where}.") from error
        known[key] = content.hexdigest()[:16]
        write_cache(cache, known)
    return known[key]


def recorded() -> dict[str, set[str]]:
    """For each path that data sets here were made from, the hashes of what was there, as their receipts tell."""
    found: dict[str, set[str]] = {}
    for kind in ("dataset", "text"):
        for receipt in Path("runs", kind).glob("*/receipt.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                spec = json.loads(receipt.read_text())["spec"]
                found.setdefault(spec["source"]["path"], set()).add(spec["settings"]["content"])
    return found


def _only_recorded(path: str, where: str) -> str:
    found = recorded().get(path, set())
    if len(found) == 1:
        return found.pop()
    said = f"dataset.path = {path}: there is no such file or folder. Set in {where}."
    if Path(f"{path}.dvc").exists():
        said += f" It is under DVC: dvc pull {path}.dvc"
    if found:
        said += f" Data sets were made from {len(found)} different contents of it, so it must be there to know which one is meant."
    raise SettingError(said)


def _files(root: Path) -> list[Path]:
    return [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())


def _folders(root: Path) -> list[Path]:
    """`root` and all folders below it. Where a folder starts with files, it is taken for one of images: nothing is below it."""
    found, waiting = [], [root]
    while waiting:
        folder = waiting.pop()
        found.append(folder)
        with os.scandir(folder) as entries:
            first = list(itertools.islice(entries, 100))
            if any(entry.is_dir() for entry in first):
                waiting += [Path(entry) for entry in (*first, *entries) if entry.is_dir()]
    return sorted(found)


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
