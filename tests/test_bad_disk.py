"""A full disk and folders that cannot be written, as a user meets them: a message says what to do, and nothing is lost."""

import ctypes
import resource
import shutil
from functools import partial

import pytest

from tests.tiny_project import (
    assert_explained,
    assert_nothing_lost,
    copy_of_finished,
    files_of,
    folder_of,
    report,
    run,
    run_step,
    specs_of,
    train,
)


@pytest.fixture
def project(tmp_path_factory):
    with copy_of_finished(tmp_path_factory) as folder:
        yield folder


# A full disk, stood for by a limit on the size of files; a write beyond it fails like one to a full disk.


def no_file_above(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    ("kind", "name", "size"),
    [
        ("dataset", "dataset.safetensors", 1000),
        ("patriarch", "model.safetensors", 4000),
        ("softlabels", "softlabels.npy", 200),
        ("ensemble", "receipt.json", 500),
        ("ensemble", "", 0),
    ],
)
def test_a_full_disk_is_explained_and_costs_nothing(project, kind, name, size):
    """An earlier file is there, and stays as it is."""
    folder = folder_of(project, kind)
    (folder / "receipt.json").unlink()
    before = files_of(project)
    done = run_step(project, kind, preexec_fn=partial(no_file_above, size))
    assert_explained(done, "could not write", str((folder / name).relative_to(project)), "File too large", "run")
    assert_nothing_lost(project, before)
    assert files_of(project).keys() == before.keys()


def test_a_full_disk_during_the_report(project):
    before = {name: content for name, content in files_of(project).items() if ".view" not in name}
    done = report(project, preexec_fn=partial(no_file_above, 5000))
    assert_explained(done, "could not write results/", "File too large", "run the same command again")
    assert_nothing_lost(project, before)


# Folders that cannot be written


def obey_permissions() -> None:
    """Before a program starts: root, too, is to be held by the permissions of files."""
    drop_from_bounding_set, override_permissions, search_anywhere = 24, 1, 2
    for capability in (override_permissions, search_anywhere):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


@pytest.fixture
def lock_folder(project):
    """Take the right to write from a folder and all below; give it back at the end."""
    locked = []

    def lock(name: str) -> None:
        below = project / name
        for path in [below, *below.rglob("*")]:
            path.chmod(path.stat().st_mode & ~0o222)
            locked.append(path)
        probe = run(project, "-c", f"open({str(below / 'probe')!r}, 'w')", preexec_fn=obey_permissions)
        if probe.returncode == 0:
            pytest.skip("this user can write anywhere")

    yield lock
    for path in locked:
        path.chmod(path.stat().st_mode | 0o200)


def test_a_read_only_runs_folder_is_explained(project, lock_folder):
    folder = folder_of(project, "dataset")
    (folder / "receipt.json").unlink()
    before = files_of(project)
    lock_folder("runs")
    done = run_step(project, "dataset", preexec_fn=obey_permissions)
    assert_explained(done, "could not write", str(folder.relative_to(project)), "Permission denied", "writable")
    assert files_of(project) == before


def test_a_read_only_folder_for_a_new_step_is_explained(project, lock_folder):
    before = files_of(project)
    lock_folder("runs")
    done = train(project, "run.generation=0", "patriarch.objective=label_smoothing", preexec_fn=obey_permissions)
    assert_explained(done, "could not write", "runs/patriarch/", "Permission denied", "writable")
    assert files_of(project) == before


def test_a_damaged_checkpoint_in_a_read_only_folder_is_explained(project, lock_folder):
    """The lock file can be opened, but nothing can be put aside."""
    folder = folder_of(project, "patriarch")
    (folder / "receipt.json").unlink()
    (folder / "resume.pt").write_bytes(b"damaged")
    lock_folder(str(folder.relative_to(project)))
    (folder / ".lock").chmod(0o644)
    done = run_step(project, "patriarch", preexec_fn=obey_permissions)
    assert_explained(done, "Permission denied", str(folder.relative_to(project)))
    assert (folder / "resume.pt").read_bytes() == b"damaged"


def test_a_read_only_results_folder_is_explained(project, lock_folder):
    before = files_of(project)
    lock_folder("results")
    done = report(project, preexec_fn=obey_permissions)
    assert_explained(done, "could not write", "results", "Permission denied", "writable")
    assert files_of(project) == before


def test_images_that_cannot_be_read_are_named(project):
    (project / "own.npz").write_bytes(b"images")
    (project / "own.npz").chmod(0)
    probe = run(project, "-c", "open('own.npz')", preexec_fn=obey_permissions)
    if probe.returncode == 0:
        pytest.skip("this user can read anything")
    done = specs_of(project, "tiny", "dataset.path=own.npz", preexec_fn=obey_permissions)
    assert_explained(done, "dataset.path = own.npz", "Permission denied")


@pytest.mark.parametrize("cached", [True, False])
def test_a_finished_project_can_be_read_where_nothing_can_be_written(project, lock_folder, cached):
    """What is only cached need not be written."""
    if not cached:
        shutil.rmtree(project / ".snakemake/gendistill")
    lock_folder(".")
    done = train(project, "run.generation=1", preexec_fn=obey_permissions)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to be done" in done.stdout


@pytest.mark.parametrize("name", ["runs", "results"])
def test_a_file_where_a_folder_should_be_is_explained(project, name):
    (project / name).rename(project / "moved")
    (project / name).write_text("in the way")
    done = report(project) if name == "results" else run_step(project, "dataset")
    assert_explained(done, "could not write", f"{name}/")
    assert (project / name).read_text() == "in the way"
