"""Find a trained network by its name: in the checkout, or in somebody's repository, from which it is fetched."""

import atexit
import difflib
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.files import RECEIPT, open_atomic, read_receipt, sha256, write_bytes
from gendistill.networks.weights import FILE
from gendistill.plan.step import HOLD_NETWORK, OUTPUTS

INDEX = "results/index.json"
CHUNK = 2**20
# The content of a small file of a checkout or a repository, by its path from the root; None if there is no such file.
Read = Callable[[str], bytes | None]


def find_here(name: str) -> Path:
    """The folder of a network in the current directory, its weights restored if they are shared and not here.

    Raises:
        UserError: there is no such network, or its weights can't be restored.
    """
    folder = Path(_find(name, _read_here, "this directory"))
    _check_network(read_receipt(folder), folder)
    path = folder / FILE
    if not path.exists() and path.with_name(f"{FILE}.dvc").exists():
        from gendistill.sharing.restore import restore

        restore(path)
    return folder


def _read_here(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def find_in(repo: str, rev: str | None, name: str) -> Path:
    """A folder of the user's cache that holds the receipt and the weights of a network of another repository.

    Args:
        repo: path or git URL.
        rev: branch, tag or commit; if None, what is in the folder, or the default branch of a URL.
        name: as in `find_here`.

    Raises:
        UserError: the repository cannot be read, has no such network, or its remote does not give the weights.
    """
    from dvc.api import DVCFileSystem

    _clean_at_exit()
    where = repo if rev is None else f"{repo} at {rev}"
    with closing(DVCFileSystem(repo, rev=rev)) as files:

        def read(path: str) -> bytes | None:
            try:
                return files.open(path).read()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return None
            except Exception as error:  # each kind of repository has errors of its own
                raise UserError(f"{where} cannot be read: {_said(error)}") from error

        source = _find(name, read, where)
        content = read(f"{source}/{RECEIPT}")
        if content is None:
            raise UserError(f"{where} has no {source}/{RECEIPT}, though {INDEX} there names it. Try another revision: rev=...")
        try:
            receipt = json.loads(content)
            _check_network(receipt, source)
            expected = receipt["outputs"][FILE]["sha256"]
            # It becomes the name of a folder.
            if not re.fullmatch("[0-9a-f]{64}", expected):
                raise ValueError(f"{expected} is no SHA-256")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{source}/{RECEIPT} of {where} is damaged: {error}") from error
        folder = _cache() / expected
        write_bytes(folder / RECEIPT, content)
        if not (folder / FILE).exists() or sha256(folder / FILE) != expected:
            _download(_chunks(files, f"{source}/{FILE}", where), folder / FILE, expected, where)
    return folder


def _download(chunks: Iterator[bytes], path: Path, expected: str, where: str) -> None:
    digest = hashlib.sha256()
    with open_atomic(path) as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != expected:
            raise UserError(
                f"the {FILE} that {where} gives is not the one that its receipt names. Its owner can look into it: dvc status."
            )


def _chunks(files: Any, path: str, where: str) -> Iterator[bytes]:
    try:
        with files.open(path) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except Exception as error:  # each kind of remote has errors of its own
        raise UserError(
            f"{path} of {where} could not be fetched: {_said(error)}. Either its owner has not run `dvc push`, or the DVC "
            "remote of that repository cannot be reached or read from here (`dvc remote list` in a clone shows it)."
        ) from error


def _said(error: BaseException) -> str:
    """An error and what caused it, in one line."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__
    return " < ".join(texts)


@functools.cache
def _clean_at_exit() -> None:
    """DVC keeps the clones of other repositories in the folder for temporary files, and would leave them there."""
    from dvc.repo.open_repo import clean_repos

    atexit.register(clean_repos)


def _cache() -> Path:
    """Where fetched weights are kept, by their SHA-256 (XDG Base Directory Specification: a relative path does not count)."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "gendistill" / "models"


def _find(name: str, read: Read, where: str) -> str:
    """The folder of a result, from the root of a checkout.

    Raises:
        UserError: there is none of that name.
    """
    index = _read_index(read, where)
    if name in index:
        return index[name]
    folders = [name, f"runs/{name}"] + ([] if "/" in name else [f"runs/{kind}/{name}" for kind in OUTPUTS])
    for folder in folders:
        if read(f"{folder}/{RECEIPT}") is not None:
            return folder
    raise UserError(f"{name}: there is no such network in {where}. {_known(name, index)}")


def _known(name: str, index: dict[str, str]) -> str:
    """What could have been meant, and what a name may be."""
    networks = {role: Path(folder) for role, folder in index.items() if Path(folder).parent.name in HOLD_NETWORK}
    ids = [folder.name for folder in networks.values()]
    names = list(dict.fromkeys([*networks, *ids, *(f"{folder.parent.name}/{folder.name}" for folder in networks.values())]))
    close = difflib.get_close_matches(name.removeprefix("runs/"), names)
    found = f"{INDEX} there names {len(networks)} networks" if index else f"There is no {INDEX}"
    first = f"Did you mean {' or '.join(close)}?" if close else f"{found}{', such as ' + next(iter(networks)) if networks else ''}."
    return (
        f"{first} It must be a readable name of {INDEX}, KIND/ID, an id, or a folder that holds {RECEIPT} and {FILE}. "
        'For a network of another repository: gendistill.load(NAME, repo="PATH OR GIT URL").'
    )


def _read_index(read: Read, where: str) -> dict[str, str]:
    content = read(INDEX)
    try:
        index = json.loads(content) if content is not None else {}
        return {role: str(folder) for role, folder in index.items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{INDEX} of {where} is damaged: {error}") from error


def _check_network(receipt: dict[str, Any], folder: str | Path) -> None:
    kind = receipt.get("spec", {}).get("kind")
    if kind not in HOLD_NETWORK:
        raise UserError(
            f"{folder} holds no network: it is the result of the step {kind}. A network is one of: {', '.join(HOLD_NETWORK)}"
        )
