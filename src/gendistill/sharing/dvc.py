"""DVC as the commands that a user would type, and what its remote says when a file does not come."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from gendistill.errors import UserError


def run_dvc(*arguments: str, quiet: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `dvc` in the current directory; if another DVC command holds the lock, after that one. Its output is kept if `quiet`."""
    # DVC's check for updates asks the network.
    env = {**os.environ, "DVC_NO_ANALYTICS": "1", "CI": "true"}
    # A relative path to a module of the checkout must not hide DVC's own.
    command = [sys.executable, "-P", "-m", "dvc", "--wait-for-lock", *arguments]
    return subprocess.run(command, env=env, capture_output=quiet, text=True, check=False)


def pointer_of(path: Path) -> Path:
    """The small file in git that stands for a large one in DVC."""
    return path.with_name(f"{path.name}.dvc")


def read_md5(pointer: Path) -> str:
    """The MD5 by which DVC names the content.

    Raises:
        UserError: the file is no `.dvc` file, such as after a merge with conflicts.
    """
    try:
        return yaml.safe_load(pointer.read_text())["outs"][0]["md5"]
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{pointer} is damaged or has a merge conflict. Take one side for the whole folder: "
            f"git checkout --ours -- {pointer.parent}  (or --theirs), then git add {pointer.parent}"
        ) from error


def cached(md5: str) -> Path:
    """Where DVC keeps the content of an MD5 on this machine."""
    from dvc.repo import Repo

    with Repo() as repo:
        return Path(repo.cache.local.oid_to_path(md5))


def explain_remote(md5: str) -> str:
    """Why the default remote did not give a content, in a sentence; empty if it has no such content."""
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            odb = repo.cloud.get_remote_odb()
            name = repo.config["core"]["remote"]
            remote = f"The remote {name} ({repo.config['remote'][name]['url']})"
            if odb.fs.protocol == "local" and not odb.fs.exists(odb.path):
                return f"{remote} cannot be reached: there is no such folder."
            try:
                odb.fs.info(odb.oid_to_path(md5))
                return (
                    f"{remote} holds a damaged copy. Remove it there (files/md5/{md5[:2]}/{md5[2:]}); where it was made: dvc push"
                )
            except Exception as error:  # each kind of remote has errors of its own
                # Over HTTP, a server that cannot be reached is a missing file too, by that cause.
                cause = error.__cause__ or error
                is_absent = isinstance(error, FileNotFoundError) and (cause is error or not isinstance(cause, OSError))
                return "" if is_absent else f"{remote} cannot be reached: {type(cause).__name__}: {cause}"
    except NoRemoteError:
        return "No remote is set. Set the team's one: dvc remote add -d NAME URL"
    except ImportError as error:
        return f"DVC lacks the plugin of the remote: {error}. It is installed by pip; see docs/sharing.md."
    except DvcException as error:
        return f"DVC says: {error}"


def in_units(size: float) -> str:
    """A number of bytes, to be read."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
