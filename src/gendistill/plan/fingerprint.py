"""Identify a user's own data by content, so that results follow the content and not the place."""

import hashlib
import json
from pathlib import Path

from gendistill.errors import SettingError
from gendistill.plan.paths import CACHE
from gendistill.plan.settings import write_cache


def fingerprint(path: str, where: str, by_size: bool = False) -> str:
    """A hash of the content of a file, or of the names and contents of all files below a folder.

    The answer is kept until a name, a size or a modification time changes.

    Args:
        path: of a file or folder.
        where: it was set.
        by_size: for folders of a million files: take names and sizes for the contents, and the modification times of
            folders, which change when a file comes or goes, for those of files.

    Raises:
        SettingError: there is nothing at `path`.
    """
    root = Path(path)
    if not root.exists():
        raise SettingError(f"dataset.path = {path}: there is no such file or folder. Set in {where}.")
    watched = _folders(root) if by_size else _files(root)
    state = hashlib.sha256(f"{by_size}\n".encode())
    for file in watched:
        stat = file.stat()
        state.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    cache = CACHE / "fingerprints.json"
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        known = {}
    key = state.hexdigest()[:16]
    if key not in known:
        content = hashlib.sha256()
        for file in _files(root):
            name = "" if file == root else str(file.relative_to(root))
            try:
                content.update(f"{name}\0{file.stat().st_size if by_size else _sha256(file)}\n".encode())
            except OSError as error:
                raise SettingError(f"dataset.path = {path}: {file} cannot be read: {error.strerror}. Set in {where}.") from error
        known[key] = content.hexdigest()[:16]
        write_cache(cache, known)
    return known[key]


def _files(root: Path) -> list[Path]:
    return [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())


def _folders(root: Path) -> list[Path]:
    """`root` and the folders two levels below it: splits and their classes."""
    levels = [[root]]
    for _ in range(2):
        levels.append(sorted(p for folder in levels[-1] for p in folder.iterdir() if p.is_dir()))
    return [folder for level in levels for folder in level]


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
