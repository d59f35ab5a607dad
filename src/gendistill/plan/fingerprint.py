"""Identify a user's own data by content, so that results follow the content and not the place."""

import hashlib
import json
from pathlib import Path

from gendistill.errors import SettingError
from gendistill.plan.paths import CACHE
from gendistill.plan.settings import write_cache


def fingerprint(path: str, where: str) -> str:
    """A hash of the content of a file, or of the names and contents of all files below a folder.

    Contents are read once: the answer is kept until a name, a size or a modification time changes.

    Raises:
        SettingError: there is nothing at `path`.
    """
    root = Path(path)
    if not root.exists():
        raise SettingError(f"dataset.path = {path}: there is no such file or folder. Set in {where}.")
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    state = hashlib.sha256()
    for file in files:
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
        for file in files:
            try:
                with open(file, "rb") as stream:
                    name = "" if file == root else str(file.relative_to(root))
                    content.update(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
            except OSError as error:
                raise SettingError(f"dataset.path = {path}: {file} cannot be read: {error.strerror}. Set in {where}.") from error
        known[key] = content.hexdigest()[:16]
        write_cache(cache, known)
    return known[key]
