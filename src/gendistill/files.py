"""Whole or absent: atomic writes, and reads that are checked against the receipt beside the file."""

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from gendistill.errors import UserError

RECEIPT = "receipt.json"


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` for writing, and rename it to `path` once it is whole and on disk.

    Raises:
        UserError: the folder or the disk refuses (read-only, full); an earlier `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextmanager
def only_one(folder: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Let one process at a time work in `folder`; the others wait. The lock goes with its process, however that ends.

    Args:
        folder: made if it is not there.
        waiting: called once with the holder's process number, if there is one to wait for.

    Raises:
        UserError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "a+")  # noqa: SIM115
    except OSError as error:
        raise _refused(folder, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            waiting(lock.read().strip())
            fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):
            # Whose lock it is is only told to those who wait; a full disk must not matter here.
            os.truncate(lock.fileno(), 0)
            os.write(lock.fileno(), f"{os.getpid()} on {platform.node()}".encode())
        yield


def is_locked(folder: Path) -> bool:
    """Whether a process works in `folder` right now."""
    try:
        with open(folder / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with open_atomic(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV atomically; a row may lack columns that others have."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def remove(path: Path) -> None:
    """Remove a file that may be there.

    Raises:
        UserError: the folder refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(path, error) from error


def link_files(names: Iterable[str], source: Path, target: Path) -> None:
    """Let files of one folder be in another too, each of them whole or absent: as hard links where the file system has them.

    Raises:
        UserError: the folder or the disk refuses.
    """
    for name in names:
        temporary = target / f".{name}.{os.getpid()}.tmp"
        try:
            target.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source / name, temporary)
            except OSError:
                shutil.copyfile(source / name, temporary)
            os.replace(temporary, target / name)
            # A link to the same file is not renamed over it.
            temporary.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(target / name, error) from error


def put_aside(path: Path, name: str) -> None:
    """Rename a file within its folder.

    Raises:
        UserError: the folder refuses.
    """
    try:
        path.replace(path.with_name(name))
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> UserError:
    return UserError(
        f"could not write {path}: {error.strerror or error}. Earlier results are untouched; "
        "make room or make the folder writable, then run the same command again."
    )


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(path: Path) -> Path:
    """`path`, once its content is known to be what the step that made it wrote.

    Raises:
        UserError: the file or its receipt is missing, or its content has another SHA-256 than the receipt says.
    """
    receipt = path.parent / RECEIPT
    for needed in (path, receipt):
        if not needed.exists():
            raise UserError(f"{needed} is missing. Make it with: snakemake {needed} --config experiments=[NAME]")
    expected = read_receipt(path.parent).get("outputs", {}).get(path.name, {}).get("sha256")
    if sha256(path) != expected:
        raise UserError(
            f"{path} is corrupt: its content is not what its receipt ({receipt}) says was written. "
            f"Remove it and run snakemake again, to have it fetched (where it is shared) or made anew: rm {path}"
        )
    return path


def read_receipt(folder: Path) -> dict[str, Any]:
    """The receipt of a finished step.

    Raises:
        UserError: there is none.
    """
    path = folder / RECEIPT
    if not path.exists():
        raise UserError(f"{path} is missing. Make it with: snakemake {path} --config experiments=[NAME]")
    text = path.read_text()
    if text.startswith("<<<<<<<") or "\n<<<<<<<" in text:
        raise UserError(
            f"{path} has a merge conflict: the same run was made twice. Take one of the two, for the whole folder: "
            f"git checkout --ours -- {folder}  (or --theirs), then git add {folder}"
        )
    try:
        receipt = json.loads(text)
        if not isinstance(receipt, dict):
            raise ValueError("it is no receipt")
        return receipt
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}). Remove it and run snakemake again: rm {path}") from error


def in_units(size: float) -> str:
    """A number of bytes, to be read."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def duration(seconds: float) -> str:
    """A time as hours, minutes and seconds, to be read: 26:03:59."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
