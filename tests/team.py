"""People who share one project through git and DVC, each in a clone of their own, on one machine."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.conftest import ROOT, Checkout, made_once

PARTS = (".gitignore", ".gitattributes", ".dvcignore", ".dvc/config", ".dvc/.gitignore")
LAMBDAS = "[0.6, 0.6, 0.6, 0.6, 0.6]"
# Lambda of the last generation was changed once.
CHANGED = "[0.6, 0.6, 0.6, 0.6, 0.1]"
FINISH = """
import json
from pathlib import Path
from gendistill.execute import execute
from gendistill.plan import build_plan
data = build_plan(["tiny"], ("transfer=[other]",)).of_kind("dataset")
for step in [*build_plan(["tiny"]).steps.values(), *data]:
    if not Path(step.receipt).exists():
        assert execute(json.loads(step.to_json())) == 0
"""


@dataclass
class Person(Checkout):
    """Somebody's clone."""

    def env(self) -> dict[str, str]:
        own = self.folder.parent / "settings"
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in IDENTITY.items()}
        # The settings of whoever runs the tests, such as hooks and common caches, must not matter.
        git = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_EDITOR": "true"}
        dvc = {f"DVC_{place}_DIR": str(own / place) for place in ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE")}
        env = super().env()
        path = f"{Path(shutil.which('git')).parent}:{env['PATH']}"
        return {**env, **who, **git, **dvc, "DVC_NO_ANALYTICS": "1", "CI": "true", "PATH": path}

    def git(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.folder, env=self.env(), capture_output=True, text=True)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def dvc(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        return self.run("dvc", *arguments, **options)

    def snakemake(self, *targets: str, experiments: str = "tiny", overrides: tuple[str, ...] = (), **options):
        config = (f"experiments=[{experiments}]", f"overrides={json.dumps(list(overrides))}")
        return self.run("snakemake", "--cores", "2", *targets, "--config", *config, **options)

    def finish(self) -> None:
        """Run what the experiment `tiny` lacks, and prepare `other`, in one process: a step of its own imports PyTorch anew."""
        done = subprocess.run([sys.executable, "-c", FINISH], cwd=self.folder, env=self.env(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def share(self, *overrides: str, experiments: str = "tiny", **options) -> str:
        config = ("--config", f"experiments=[{experiments}]", f"overrides={json.dumps(list(overrides))}")
        return self.run("gendistill", "share", *config, **options).stdout

    def planned(self, *targets: str, **options) -> dict[str, list[str]]:
        """The first output of each job that Snakemake would run, sorted, by rule; {} if there is nothing to be done."""
        return jobs(self.snakemake("-n", *targets, **options))

    def set_lambdas(self, new: str, old: str = CHANGED) -> None:
        self.edit("config/experiment/tiny.yaml", old, new)

    def path(self, name: str, file: str = "model.safetensors") -> str:
        """The path of a file of the tiny experiment as `results/` shows it; `name` such as `gen3` or `dataset-npz`."""
        return self.path_of(f"tiny-line-{name}-seed0" if name.startswith(("gen", "softlabels")) else f"tiny-{name}", file)

    def path_of(self, role: str, file: str = "model.safetensors") -> str:
        """The path of a file of any role that `results/` shows."""
        return f"{json.loads((self.folder / 'results/index.json').read_text())[role]}/{file}"

    def receipt(self, path: str) -> dict:
        """The receipt beside a file."""
        return json.loads((self.folder / path).with_name("receipt.json").read_text())

    def is_as_made(self, path: str) -> bool:
        """Whether a file is here, and is what the receipt beside it says."""
        file = self.folder / path
        expected = self.receipt(path)["outputs"][file.name]["sha256"]
        return file.exists() and sha256(file) == expected

    def restore(self, *paths: str, **options) -> subprocess.CompletedProcess:
        return self.run("gendistill", "restore", *paths, **options)

    def large_files(self) -> set[str]:
        """The large files that are here."""
        found = [p for p in self.folder.glob("runs/*/*/*") if p.suffix in (".safetensors", ".npy")]
        return {str(p.relative_to(self.folder)) for p in found}

    def pointers(self) -> set[str]:
        """The large files that a `.dvc` stands for."""
        return {str(p.relative_to(self.folder)).removesuffix(".dvc") for p in self.folder.glob("runs/**/*.dvc")}

    def clone(self, name: str, rev: str = "main") -> "Person":
        """A teammate who has cloned this repository, and pulled nothing from DVC."""
        self.git("clone", "--quiet", "--branch", rev, ".", f"../{name}")
        return Person(self.folder.parent / name)


IDENTITY = {"NAME": "A. Person", "EMAIL": "person@example.org"}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def spoil(path: Path) -> None:
    """Change one bit of a file, as a bad disk does: DVC believes a file that is read-only."""
    content, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    path.chmod(mode)


def jobs(done: subprocess.CompletedProcess) -> dict[str, list[str]]:
    """The first output of each job that Snakemake said it would run, or ran, sorted, by rule."""
    found: dict[str, list[str]] = {}
    for rule, output in re.findall(
        r"^(?:local)?rule (\w+):\n(?:    input: .*\n)?    output: ([^\s,]+)", done.stdout + done.stderr, re.M
    ):
        found.setdefault(rule, []).append(output)
    return {rule: sorted(outputs) for rule, outputs in found.items()}


def generations_of(paths: list[str]) -> list[int]:
    """The numbers of the generations that paths name, sorted; of others none."""
    return sorted(int(number) for path in paths for number in re.findall(r"-gen(\d+)-", path))


def remote_files(author: Person) -> list[Path]:
    """The objects in the team's remote."""
    return [path for path in (author.folder.parent / "remote").rglob("*") if path.is_file()]


def cached_object(author: Person, path: str) -> Path:
    """The copy of a shared file in DVC's cache."""
    return author.folder / ".dvc/cache" / remote_object(author, path).relative_to(author.folder.parent / "remote")


def remote_object(author: Person, path: str) -> Path:
    """The object in the team's remote that a shared file is."""
    md5 = re.search(r"md5: (\w+)", (author.folder / f"{path}.dvc").read_text())[1]
    return author.folder.parent / "remote/files/md5" / md5[:2] / md5[2:]


def new_team(finished: Checkout, parent: Path, folder: Path) -> Person:
    """The author of the tiny experiment, in `folder`, with the team's remote beside it: for one test, to do as it likes.

    The repository has two commits with results: `first`, and `main`, in which lambda of generation 5 was changed. All is shared
    and pushed but soft labels; also the data set `other`, for transfer. Only the author has tiny.npz, which is not in git.
    """
    shutil.copytree(made_once("team", lambda made: _share(finished.folder, made), parent), folder, symlinks=True)
    return Person(folder / "author")


def _share(finished: Path, folder: Path) -> None:
    shutil.copytree(finished, folder / "author", symlinks=True)
    author = Person(folder / "author")
    for part in PARTS:
        (author.folder / part).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / part, author.folder / part)
    (author.folder / ".git/info").mkdir(parents=True)
    (author.folder / ".git/info/exclude").write_text("/tiny.npz\n")
    # Each would be composed by `unused`, in each copy anew.
    for paper in sorted((author.folder / "config/paper").glob("*.yaml"))[1:]:
        paper.unlink()
    text = (ROOT / "config/dataset/npz.yaml").read_text()
    (author.folder / "config/dataset/other.yaml").write_text(
        text.replace("name: npz", "name: other").replace("data/images.npz", "other.npz")
    )
    arrays = dict(np.load(author.folder / "tiny.npz"))
    np.savez(author.folder / "other.npz", **{key: 255 - a if "images" in key else a for key, a in arrays.items()})
    author.git("init", "--quiet", "--initial-branch=main")
    author.dvc("remote", "add", "--quiet", "--default", "store", "../remote")
    author.commit("The project")
    author.share()
    author.commit("first")
    author.git("tag", "first")
    author.set_lambdas(CHANGED, LAMBDAS)
    author.finish()
    author.share()
    author.commit("second")
    author.dvc("push", "--quiet")
