"""workflow/refactorings.yaml says that code gives the same results as older code: train a few steps under both."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import PARTS, ROOT, copy_project

PROBE = Path(__file__).with_name("probe.py")


def run_with(code: Path, *command: str, cwd: Path = ROOT) -> str:
    env = {**os.environ, "PYTHONPATH": str(code / "src")}
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(code: Path, folder: Path) -> dict[str, str]:
    """Hashes of what every kind of step gives under some code, by role."""
    folder.mkdir(parents=True)
    return yaml.safe_load(run_with(code, str(PROBE), cwd=folder))


def old_code(repository: Path, commit: str, folder: Path) -> Path:
    """The project as it was at a commit."""
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "-C", str(repository), "archive", commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def hash_of(code: Path, module: str) -> str:
    return yaml.safe_load(run_with(code, "-m", "gendistill", "code-hashes"))[module]


def check_refactorings(repository: Path, folder: Path) -> None:
    """Check each entry of a repository's map, as the test below does for this one's."""
    entries = yaml.safe_load((repository / "workflow/refactorings.yaml").read_text()) or {}
    for module, equal in entries.items():
        for new, entry in equal.items():
            old = old_code(repository, entry["commit"], folder / f"{module}-{new}")
            assert hash_of(old, module) == entry["same_as"], (
                f"{module} at {entry['commit']} has another hash than {entry['same_as']}"
            )
            before = results(old, folder / f"{module}-{new}-before")
            assert results(repository, folder / f"{module}-{new}-after") == before, (
                f"{module}: {new} differs from {entry['same_as']}"
            )


def test_every_entry_gives_the_same_results(tmp_path):
    entries = yaml.safe_load((ROOT / "workflow/refactorings.yaml").read_text()) or {}
    for commit in {entry["commit"] for equal in entries.values() for entry in equal.values()}:
        if subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", f"{commit}^{{commit}}"], capture_output=True).returncode:
            pytest.skip(f"this checkout has no history back to {commit}")
    check_refactorings(ROOT, tmp_path)


@pytest.fixture
def repository(tmp_path):
    """A copy of the project under git, in which the ResNet was rewritten after the first commit, and the map says so."""
    checkout = copy_project(tmp_path / "project")
    (checkout.folder / "workflow/refactorings.yaml").write_text("{}\n")
    git = ["git", "-C", str(checkout.folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", *PARTS], check=True)
    subprocess.run([*git, "commit", "-qm", "before"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    module = "gendistill.networks.resnet"
    old = hash_of(checkout.folder, module)
    path = "src/gendistill/networks/resnet.py"
    checkout.edit(path, "y = F.relu(self.norm1(self.conv1(x)))", "hidden = self.norm1(self.conv1(x))\n        y = F.relu(hidden)")
    new = hash_of(checkout.folder, module)
    assert new != old
    entry = {module: {new: {"same_as": old, "commit": commit}}}
    (checkout.folder / "workflow/refactorings.yaml").write_text(yaml.safe_dump(entry))
    assert hash_of(checkout.folder, module) == old
    return checkout


@pytest.mark.chains
def test_a_true_entry_passes_and_a_false_one_is_found(repository, tmp_path):
    check_refactorings(repository.folder, tmp_path / "true")
    path = "src/gendistill/networks/resnet.py"
    (repository.folder / "workflow/refactorings.yaml").rename(tmp_path / "map.yaml")
    repository.edit(path, "y = F.relu(hidden)", "y = F.relu(hidden) * 1.01")
    new = hash_of(repository.folder, "gendistill.networks.resnet")
    ((_, entry),) = yaml.safe_load((tmp_path / "map.yaml").read_text())["gendistill.networks.resnet"].items()
    (repository.folder / "workflow/refactorings.yaml").write_text(yaml.safe_dump({"gendistill.networks.resnet": {new: entry}}))
    with pytest.raises(AssertionError, match="differs from"):
        check_refactorings(repository.folder, tmp_path / "false")
