"""DVC as the commands that a user would type, and what its remote says when a file does not come."""

import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from gendistill.errors import UserError
from gendistill.files import remove
from gendistill.yaml_text import YAMLError, read_yaml


def run_dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `dvc` in the current directory; if another DVC command holds the lock, after that one. Its output is kept."""
    # DVC's check for updates asks the network.
    env = {**os.environ, "DVC_NO_ANALYTICS": "1", "CI": "true"}
    # A relative path to a module of the checkout must not hide DVC's own.
    command = [sys.executable, "-P", "-m", "dvc", "--wait-for-lock", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def pointer_of(path: Path) -> Path:
    """The small file in git that stands for a large one in DVC."""
    return path.with_name(f"{path.name}.dvc")


def read_md5(pointer: Path) -> str:
    """The MD5 by which DVC names the content.

    Raises:
        UserError: the file is no `.dvc` file, such as after a merge with conflicts.
    """
    try:
        return read_yaml(pointer.read_text())["outs"][0]["md5"]
    except (OSError, YAMLError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{pointer} is damaged or has a merge conflict. Take one side for the whole folder: "
            f"git checkout --ours -- {pointer.parent}  (or --theirs), then git add {pointer.parent}"
        ) from error


def read_size(pointer: Path) -> int | None:
    """The bytes of the file that a `.dvc` stands for; None if there is no such `.dvc`, or it is damaged."""
    try:
        return read_yaml(pointer.read_text())["outs"][0]["size"]
    except (OSError, YAMLError, KeyError, IndexError, TypeError):
        return None


def drop_stale_pointer(path: Path) -> None:
    """Remove the `.dvc` of a file that has been made again, if it stands for another content."""
    pointer = pointer_of(path)
    if pointer.exists():
        with contextlib.suppress(UserError):
            if read_md5(pointer) == md5_of(path):
                return
        remove(pointer)


def md5_of(path: Path) -> str:
    """The MD5 of a file's content, by which DVC names it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def cached(md5: str) -> Path:
    """Where DVC keeps the content of an MD5 on this machine."""
    from dvc.repo import Repo

    with Repo() as repo:
        return Path(repo.cache.local.oid_to_path(md5))


def explain_remote(md5: str, said: str) -> str:
    """Why a content did not come from the default remote, in a sentence; empty if that has no such content.

    Args:
        md5: of the content.
        said: what DVC wrote to standard error when it did not fetch it.
    """
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            odb = repo.cloud.get_remote_odb()
            name = repo.config["core"]["remote"]
            remote = f"The remote {name} ({repo.config['remote'][name]['url']})"
            if odb.fs.protocol == "local" and not Path(repo.config["remote"][name]["url"]).exists():
                return f"{remote} cannot be reached: there is no such folder."
            try:
                odb.fs.info(odb.oid_to_path(md5))
                errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
                why = "; ".join(errors) or said
                return f"{remote} has it (files/md5/{md5[:2]}/{md5[2:]}), but DVC could not bring it here: {why}"
            except Exception as error:  # each kind of remote has errors of its own
                # Over HTTP, a server that cannot be reached is a missing file too, by that cause.
                cause = error.__cause__ or error
                is_absent = isinstance(error, FileNotFoundError) and (cause is error or not isinstance(cause, OSError))
                return "" if is_absent else f"{remote} cannot be reached: {type(cause).__name__}: {cause}"
    except NoRemoteError:
        return "No remote is set. Set the team's one: dvc remote add -d NAME URL"
    except ImportError as error:
        return f"DVC lacks the plugin of the remote: {error}. It is installed by pip; see docs/sharing.md."
    except (DvcException, OSError) as error:
        return f"DVC says: {error}"
