"""Downloads that are checked by hash, and archives of images."""

import hashlib
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from gendistill.errors import UserError
from gendistill.files import open_atomic

DOWNLOADS = Path("data")
ATTEMPTS = 3
# Seconds: without a byte until an attempt counts as failed, between two attempts, between two lines of progress.
SILENCE = 60
PAUSE = 2.0
LINE = 10.0
CHUNK = 1 << 20


class _Failed(Exception):
    """An attempt to download failed; `lasting` if another one would fail alike."""

    def __init__(self, reason: object, lasting: bool) -> None:
        super().__init__(str(reason) or type(reason).__name__)
        self.lasting = lasting


def download(url: str, path: Path, algorithm: str, digest: str) -> Path:
    """Have the file of `url` at `path`: what is there with the right hash stays, else it is downloaded.

    Args:
        url: where the file is.
        path: where it goes, atomically.
        algorithm: of the hash: `md5`, `sha1` or `sha256`.
        digest: the hash, in hexadecimal.

    Returns:
        `path`.

    Raises:
        UserError: the file cannot be had whole and with this hash; the message says what to put where by hand.
    """
    if path.is_file():
        with open(path, "rb") as file:
            if hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest() == digest:
                return path
        _say(f"{path} is not the original (its {algorithm.upper()} is not {digest}): downloading it")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _fetch(url, path, algorithm, digest)
            return path
        except _Failed as error:
            if error.lasting or attempt == ATTEMPTS:
                raise UserError(
                    f"{path.name} could not be had from {url}: {error}. Run again later, "
                    f"or put the original file ({algorithm.upper()} {digest}) at {path} by hand."
                ) from error
            _say(f"{url}: {error}; trying again ({attempt + 1} of {ATTEMPTS})")
        time.sleep(PAUSE * attempt)
    raise AssertionError("the last attempt returns or raises")


def _fetch(url: str, path: Path, algorithm: str, digest: str) -> None:
    state = hashlib.new(algorithm, usedforsecurity=False)
    with open_atomic(path) as file:
        for chunk in _chunks(url, path.name):
            state.update(chunk)
            file.write(chunk)
        if state.hexdigest() != digest:
            raise _Failed(f"it has the {algorithm.upper()} {state.hexdigest()}, so it is not the original", lasting=True)


def _chunks(url: str, name: str) -> Iterator[bytes]:
    """The content of `url`; only what goes wrong with the network is caught here, not what the reader does with it."""
    request = urllib.request.Request(url, headers={"User-Agent": "gendistill"})
    try:
        with urllib.request.urlopen(request, timeout=SILENCE) as response:
            total, done, shown = int(response.headers.get("Content-Length") or 0), 0, time.monotonic()
            while chunk := response.read(CHUNK):
                done += len(chunk)
                yield chunk
                if time.monotonic() - shown > LINE:
                    shown = time.monotonic()
                    _say(f"{name}: {done >> 20:,} of {total >> 20:,} MiB")
    except (OSError, HTTPException) as error:
        raise _Failed(error, lasting=getattr(error, "code", 500) < 500) from error
    if done < total:
        raise _Failed(f"the connection ended after {done:,} of {total:,} bytes", lasting=False)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def image_members(archive: tarfile.TarFile, folder: str) -> dict[str, tarfile.TarInfo]:
    """The images `FOLDER/CLASS/IMAGE.jpg` in an archive, by `CLASS/IMAGE.jpg`, sorted; `FOLDER` may lie in other folders.

    Raises:
        UserError: the archive is damaged, or a member would leave the folder it is read into (PEP 706's data filter).
    """
    found = {}
    try:
        for member in archive:
            tarfile.data_filter(member, ".")
            parts = PurePosixPath(member.name).parts
            if member.isreg() and parts[-3:-2] == (folder,) and parts[-1].lower().endswith(".jpg"):
                found["/".join(parts[-2:])] = member
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _bad_archive(archive.name, error) from error
    return dict(sorted(found.items()))


def open_archive(path: Path) -> tarfile.TarFile:
    """Open a tar archive for reading.

    Raises:
        UserError: it is no archive.
    """
    try:
        return tarfile.open(path)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _bad_archive(path, error) from error


def extract(path: Path, folder: Path) -> None:
    """Extract an archive into `folder`: each file or folder at its top appears there whole or not at all.

    Raises:
        UserError: the archive is damaged, a member would leave the folder, or something of that name is in the way.
    """
    with open_archive(path) as archive:
        try:
            with TemporaryDirectory(prefix=".extract-", dir=folder) as temporary:
                archive.extractall(temporary, filter="data")
                for entry in sorted(Path(temporary).iterdir()):
                    entry.rename(folder / entry.name)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise _bad_archive(path, error) from error


def _bad_archive(path: object, error: Exception) -> UserError:
    return UserError(f"{path} could not be extracted: {error}. Mend what it names, or remove the archive and run again.")
