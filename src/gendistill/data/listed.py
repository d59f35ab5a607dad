"""What data sets on disk share whose authors give lists of the images: the archives, the lists, and checks of both."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gendistill.data.download import download, extract
from gendistill.data.on_disk import FileIndex
from gendistill.errors import UserError


@dataclass(frozen=True)
class Copy:
    """A user's copy of a data set.

    Attributes:
        path: the setting dataset.path.
        hint: how to get what is missing, the end of each message.
    """

    path: str
    hint: str

    def refused(self, problem: str) -> UserError:
        """What to say of a copy that is not the original."""
        return UserError(f"dataset.path = {self.path}: {problem} {self.hint}")


def read_table(copy: Copy, name: str, *columns: Callable[[str], Any]) -> list[tuple[Any, ...]]:
    """The lines of a text file, each split at white space; `columns` turns the words of a line into its values.

    Raises:
        UserError: the file is missing, or a line has other columns.
    """
    rows = []
    for number, line in enumerate(_content(copy, name).decode(errors="replace").splitlines(), 1):
        words = line.split()
        try:
            rows.append(tuple(column(word) for column, word in zip(columns, words, strict=True)))
        except ValueError:
            wanted = " and ".join("a number" if column is int else "a name" for column in columns)
            raise copy.refused(f"line {number} of {name} is {line[:80]!r}, it must be {wanted}.") from None
    return rows


def read_mat(copy: Copy, name: str, variable: str) -> np.ndarray:
    """A variable of a MATLAB file, without its dimensions of size 1; a structure has its fields by name.

    Raises:
        UserError: the file is missing or damaged, or has no such variable.
    """
    from io import BytesIO

    from scipy.io import loadmat

    content = _content(copy, name)
    try:
        return np.atleast_1d(loadmat(BytesIO(content), squeeze_me=True)[variable])
    except Exception as error:  # SciPy's reader raises errors of any kind for damaged files
        raise copy.refused(f"{name} is not the authors' MATLAB file with {variable}: {error}.") from error


def _content(copy: Copy, name: str) -> bytes:
    try:
        return (Path(copy.path) / name).read_bytes()
    except OSError as error:
        raise copy.refused(f"{name} in it cannot be read: {error.strerror}.") from error


def index_lists(
    copy: Copy,
    listed: dict[str, list[tuple[str, int]]],
    counts: dict[str, int],
    names: list[str],
    image_size: int,
    classes: int,
) -> FileIndex:
    """The index of a data set that its lists describe. No image is opened.

    Args:
        copy: where it is.
        listed: for each of the splits `train` and `test`: images, relative to the folder, with their classes from 0.
        counts: how many images each split has in the original.
        names: of the classes.
        image_size: side of the square that networks are fed, in pixels.
        classes: how many classes there must be in each split.

    Raises:
        UserError: a list has another number of images or classes, or an image is missing.
    """
    for split, images in listed.items():
        found = {label for _, label in images}
        if found != set(range(classes)) or len(names) != classes:
            raise copy.refused(f"its list of {split} images has {len(found)} of {len(names)} classes, there must be {classes}.")
        if len(images) != counts[split]:
            raise copy.refused(f"its list of {split} images names {len(images):,}, there must be {counts[split]:,}.")
        files = [file for file, _ in images]
        if absent := _absent(Path(copy.path), files):
            raise copy.refused(f"{len(absent):,} of the {len(files):,} {split} images are missing, the first is {absent[0]}.")
    paths = {split: [file for file, _ in images] for split, images in listed.items()}
    labels = {split: np.array([label for _, label in images], np.int64) for split, images in listed.items()}
    return FileIndex(paths, labels, names, image_size)


def _absent(root: Path, files: list[str]) -> list[str]:
    present = set()
    for folder in {file.rpartition("/")[0] for file in files}:
        if (root / folder).is_dir():
            present |= {f"{folder}/{name}" for name in os.listdir(root / folder)}  # noqa: PTH208
    return [file for file in files if file not in present]


def fetch(path: str, originals: dict[str, tuple[str, str, str]]) -> Path:
    """Download the authors' files into PATH and unpack archives there; what is there stays.

    Archives are kept in PATH-archives, since what lies in PATH counts as the content of the data set.

    Args:
        path: the folder.
        originals: for each file or folder that PATH then has: the address of it, or of the archive that has it, the algorithm of
            the hash (`md5`, `sha1` or `sha256`), and the hash in hexadecimal.

    Returns:
        The folder of the archives.

    Raises:
        UserError: a file cannot be downloaded, has a wrong hash, or cannot be unpacked.
    """
    root = Path(path).resolve()
    archives = root.with_name(f"{root.name}-archives")
    for result, (url, algorithm, digest) in originals.items():
        file = url.rpartition("/")[2]
        if file == result:
            download(url, root / file, algorithm, digest)
        elif not (root / result).exists():
            archive = download(url, archives / file, algorithm, digest)
            root.mkdir(parents=True, exist_ok=True)
            extract(archive, root)
    return archives


def fetch_by_command(originals: dict[str, tuple[str, str, str]]) -> None:
    """What `python -m gendistill.data.NAME PATH` does."""
    if len(sys.argv) != 2:
        sys.exit("one argument is needed: the folder to download to")
    try:
        archives = fetch(sys.argv[1], originals)
    except UserError as problem:
        sys.exit(str(problem))
    print(f"{sys.argv[1]} is complete; the archives in {archives} are no longer needed")
