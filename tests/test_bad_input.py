"""Mistakes and mishaps, as a user meets them: the command fails with a message that says what to do, and nothing is lost."""

import ctypes
import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY = """\
# @package _global_
defaults:
  - override /dataset: npz
  - override /recipe: digits
dataset: { path: tiny.npz }
network: { width: 4 }
recipe: { epochs: 1, batch_size: 8, pad: 1, precision: float32 }
generations: 1
"""
# Run all steps of the experiment `tiny` and write results/, in one process; keep the steps' specs.
RUN_ALL = """
import json, sys
from pathlib import Path
from gendistill.__main__ import main
from gendistill.execute import execute
from gendistill.plan import build_plan
plan = build_plan(["tiny"])
for step in plan.steps.values():
    assert execute(json.loads(step.to_json())) == 0
assert main(["report", "--experiments", '["tiny"]', "--view", plan.view_id]) == 0
Path("results/.view").mkdir(exist_ok=True)
Path("results/.view", plan.view_id).touch()
Path("specs.json").write_text(json.dumps({step.kind: json.loads(step.to_json()) for step in plan.steps.values()}))
Path("view.txt").write_text(plan.view_id)
"""


@pytest.fixture(scope="module")
def made():
    """A copy of the project in which the tiny experiment is finished, and a folder for copies of it."""
    with tempfile.TemporaryDirectory(prefix="gendistill-") as folder:
        project = Path(folder, "made")
        for part in ("workflow", "config", "src", "profiles"):
            shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for part in ("Snakefile", "environment.yml"):
            shutil.copy(ROOT / part, project)
        (project / "config/experiment/tiny.yaml").write_text(TINY)
        write_npz(project / "tiny.npz")
        done = run(project, "-c", RUN_ALL)
        assert done.returncode == 0, done.stderr
        yield project


@pytest.fixture
def project(made):
    """A copy of the finished project, for one test."""
    folder = Path(tempfile.mkdtemp(dir=made.parent))
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder


def write_npz(path: Path, size: int = 8, train_labels: np.ndarray | None = None) -> None:
    random = np.random.default_rng(0)
    np.savez(
        path,
        train_images=random.integers(0, 256, (24, size, size), dtype=np.uint8),
        train_labels=np.arange(24) % 4 if train_labels is None else train_labels,
        test_images=random.integers(0, 256, (8, size, size), dtype=np.uint8),
        test_labels=np.arange(8) % 4,
    )


def run(project: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run Python in the project with the project's own code."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SNAKEMAKE", "HYDRA"))}
    env |= {"PYTHONPATH": str(project / "src"), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, env=env, capture_output=True, text=True, timeout=120, check=False, **options
    )


def run_step(project: Path, kind: str, spec: dict | None = None, **options) -> subprocess.CompletedProcess:
    """Run a step: that of the tiny experiment, if no other is given."""
    spec = spec or json.loads((project / "specs.json").read_text())[kind]
    return run(project, "-m", "gendistill", kind, "--spec", json.dumps(spec), **options)


def train(project: Path, *overrides: str, **options) -> subprocess.CompletedProcess:
    return run(project, "-m", "gendistill.train", "experiment=tiny", *overrides, **options)


def report(project: Path, **options) -> subprocess.CompletedProcess:
    view = (project / "view.txt").read_text()
    return run(project, "-m", "gendistill", "report", "--experiments", '["tiny"]', "--view", view, **options)


def snakemake(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run(project, "-m", "snakemake", "--cores", "1", *arguments)


def folder_of(project: Path, kind: str) -> Path:
    return project / "runs" / kind / json.loads((project / "specs.json").read_text())[kind]["id"]


def files_of(project: Path) -> dict[str, str]:
    """The files of results, each with a hash of its content; a lock is no result."""
    files = [p for part in ("runs", "results") for p in (project / part).rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p.relative_to(project)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def assert_explained(done: subprocess.CompletedProcess, *expected: str) -> None:
    """The command failed with a message that has all of `expected`, and with no trace of where in the code."""
    output = done.stdout + done.stderr
    end = output[-1500:]
    assert done.returncode not in (0, 75), end
    traces = re.findall(r'^Traceback.*|^ *File ".*gendistill/\w+.*', output, re.MULTILINE)
    assert not traces, end
    missing = [text for text in expected if text not in output]
    assert not missing, end


def assert_nothing_lost(project: Path, before: dict[str, str]) -> None:
    after = files_of(project)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name.endswith(".tmp")]


# Wrong settings, from the command line


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (["experiments=[nope]"], ["experiment = nope", "demo", "tiny", "--config experiments=[NAME]"]),
        (["experiments=3"], ["experiment = 3", "tiny"]),
        (["experiments=[]"], ["experiments", "tiny"]),
        (["experiment=[tiny]"], ["experiment", "experiments"]),
        (["experiments=[tiny]", "overrides=recipe.epochs=0"], ["recipe.epochs = 0", "an integer of at least 1"]),
    ],
)
def test_snakemake_explains_a_wrong_choice(project, config, expected):
    before = files_of(project)
    assert_explained(snakemake(project, "-n", "--config", *config), *expected)
    assert files_of(project) == before


def specs_of(project: Path, experiment: str = "tiny", *overrides: str, **options) -> subprocess.CompletedProcess:
    """Plan as the Snakefile does; print the steps as JSON, or a message."""
    code = f"""
import json, sys
from gendistill.errors import UserError
from gendistill.plan import build_plan
try:
    plan = build_plan([{experiment!r}], {overrides!r})
except UserError as error:
    sys.exit(str(error))
print(json.dumps({{step.kind: json.loads(step.to_json()) for step in plan.steps.values()}}))
"""
    return run(project, "-c", code, **options)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("generations: [1\nseeds: {", ["broken.yaml", "line 2"]),
        (TINY.replace("epochs: 1", "epochs: 0"), ["recipe.epochs = 0", "config/experiment/broken.yaml"]),
        (TINY.replace("epochs:", "epoch:"), ["recipe.epoch", "epochs", "broken.yaml"]),
        (TINY.replace("# @package _global_\n", ""), ["broken.yaml", "dataset"]),
        ("# @package _global_\ndataset: npz\n", ["dataset", "npz", "broken.yaml"]),
    ],
)
def test_a_mistake_in_an_experiment_file_is_found(project, content, expected):
    (project / "config/experiment/broken.yaml").write_text(content)
    assert_explained(specs_of(project, "broken"), *expected)


def test_a_file_that_cannot_be_read_does_not_disturb_other_experiments(project):
    (project / "config/experiment/broken.yaml").write_text("generations: [1\nseeds: {")
    assert specs_of(project).returncode == 0


def test_a_recipe_file_must_have_all_settings(project):
    text = (project / "config/recipe/digits.yaml").read_text().replace("name: digits", "name: mine")
    (project / "config/recipe/mine.yaml").write_text(text.replace("momentum: 0.9\n", ""))
    assert_explained(specs_of(project, "tiny", "recipe=mine"), "momentum", "config/recipe/mine.yaml")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["recipe.epochs=0"], ["recipe.epochs = 0", "an integer of at least 1"]),
        (["objective.temprature=2"], ["objective.temprature", "temperature"]),
        (["run.generation=5"], ["run.generation = 5", "tiny-ban-gen1-seed0"]),
        (["run.lineage=tolerant"], ["run.lineage = tolerant", "tiny-ban-gen1-seed0"]),
        (["dataset.path=nowhere.npz"], ["dataset.path = nowhere.npz", "no such file"]),
        (["experiment=nope"], ["nope", "tiny"]),
    ],
)
def test_train_explains_a_wrong_setting(project, overrides, expected):
    before = files_of(project)
    assert_explained(train(project, *overrides), *expected)
    assert files_of(project) == before


def test_train_finds_what_snakemake_made_under_the_same_settings(project):
    done = train(project, "network.width=4.0", "seeds=[0.0]", "run.generation=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to be done" in done.stdout


def test_quotes_and_braces_in_a_setting_reach_the_report(project):
    """The command of the report is typed to a shell."""
    overrides = json.dumps(['description="it\'s {mine}"'])
    done = snakemake(project, "-n", "-p", "--config", "experiments=[tiny]", f"overrides={overrides}")
    assert done.returncode == 0, done.stdout + done.stderr
    command = next(line for line in done.stdout.splitlines() + done.stderr.splitlines() if "gendistill report" in line)
    arguments = shlex.split(command)
    assert arguments[arguments.index("--overrides") + 1] == overrides


def test_train_without_an_experiment(project):
    assert_explained(run(project, "-m", "gendistill.train"), "experiment=demo")


# Settings that do not fit the data or the machine


def test_padding_larger_than_the_images(project):
    assert_explained(train(project, "recipe.pad=9", "run.generation=0"), "recipe.pad = 9", "8x8", "at most 8")


def test_more_top_scores_than_classes(project):
    done = train(project, "patriarch.objective=tsd", "run.generation=0")
    assert_explained(done, "objective.top_k = 5", "4 classes")


def test_a_last_batch_too_small_to_normalise(project):
    """4x4 images shrink to 1x1, where one image alone has no variance."""
    write_npz(project / "tiny.npz", size=4)
    specs = json.loads(specs_of(project, "tiny", "recipe.batch_size=23").stdout)
    assert run_step(project, "dataset", specs["dataset"]).returncode == 0
    assert_explained(run_step(project, "patriarch", specs["patriarch"]), "recipe.batch_size")


def test_a_gpu_that_is_not_there(project):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = train(project, "runtime.device=cuda", "recipe.batch_size=9", "run.generation=0")
    assert_explained(done, "runtime.device", "cuda", "auto")


def test_a_folder_needs_an_image_size(project):
    for split in ("train", "test"):
        (project / "images" / split / "a").mkdir(parents=True)
        shutil.copy(next(project.glob("runs/tables/*/*.png")), project / "images" / split / "a")
    done = specs_of(project, "tiny", "dataset=folder", "dataset.path=images", "dataset.image_size=null")
    if done.returncode == 0:
        done = run_step(project, "dataset", json.loads(done.stdout)["dataset"])
    assert_explained(done, "dataset.image_size")


def test_a_class_without_images(project):
    write_npz(project / "tiny.npz", train_labels=np.arange(24) % 3)
    before = files_of(project)
    done = snakemake(project, "--config", "experiments=[tiny]")
    assert_explained(done, "train: no images of class 3")
    assert_nothing_lost(project, before)


def test_transfer_to_classes_of_one_training_image():
    """Cross-validation needs two; a folder of one image a class is allowed otherwise."""
    from gendistill.errors import UserError
    from gendistill.evaluation.transfer import linear_svm

    features = np.arange(12.0).reshape(6, 2)
    labels = np.array([0, 0, 0, 0, 0, 1])
    try:
        result = linear_svm(features, labels, features, labels)
    except UserError as error:
        assert "class" in str(error)
    else:
        assert 0 <= result["test_error_pct"] <= 100


# Inputs that are missing or damaged


def test_train_says_how_to_make_what_is_missing(project):
    """The printed command works as it is."""
    done = train(project, "recipe.pad=2", 'description="it\'s mine"', "run.generation=1")
    assert_explained(done, "not there yet", "snakemake --config")
    command = next(line for line in done.stderr.splitlines() if line.strip().startswith("snakemake"))
    name, *arguments = shlex.split(command)
    made = run(project, "-m", name, "--cores", "1", "-n", *arguments)
    assert made.returncode == 0, made.stdout + made.stderr
    assert re.search(r"^softlabels +1$", made.stdout + made.stderr, re.MULTILINE)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


INPUTS = [
    ("dataset", "dataset.safetensors", "patriarch"),
    ("patriarch", "model.safetensors", "softlabels"),
    ("softlabels", "softlabels.npy", "generation"),
    ("patriarch", "logits.safetensors", "ensemble"),
]


@pytest.mark.parametrize(
    ("maker", "name", "reader", "damage"),
    [*((*i, flip_byte) for i in INPUTS), (*INPUTS[3], truncate)],
)
def test_a_damaged_input_is_not_used(project, maker, name, reader, damage):
    path = folder_of(project, maker) / name
    damage(path)
    (folder_of(project, reader) / "receipt.json").unlink()
    before = files_of(project)
    shown = str(path.relative_to(project))
    assert_explained(run_step(project, reader), f"{shown} is corrupt", f"rm {shown}", "snakemake")
    assert files_of(project) == before


@pytest.mark.parametrize("name", ["logits.safetensors", "receipt.json"])
def test_a_missing_input_is_named(project, name):
    path = folder_of(project, "patriarch") / name
    path.unlink()
    (folder_of(project, "ensemble") / "receipt.json").unlink()
    before = files_of(project)
    shown = str(path.relative_to(project))
    assert_explained(run_step(project, "ensemble"), f"{shown} is missing", f"snakemake {shown}")
    assert files_of(project) == before


@pytest.mark.parametrize("content", ["", "[]"])
def test_a_damaged_receipt_is_explained(project, content):
    receipt = folder_of(project, "patriarch") / "receipt.json"
    receipt.write_text(content)
    (folder_of(project, "ensemble") / "receipt.json").unlink()
    shown = str(receipt.relative_to(project))
    assert_explained(run_step(project, "ensemble"), shown, f"rm {shown}")


def test_a_damaged_receipt_stops_the_tables(project):
    receipt = folder_of(project, "ensemble") / "receipt.json"
    truncate(receipt)
    (folder_of(project, "tables") / "receipt.json").unlink()
    shown = str(receipt.relative_to(project))
    assert_explained(run_step(project, "tables"), shown, f"rm {shown}")


@pytest.mark.parametrize(
    ("name", "damage"),
    [("tables.json", truncate), ("tables.json", Path.unlink), ("error_by_generation.png", flip_byte)],
)
def test_damaged_tables_are_not_reported(project, damage, name):
    path = folder_of(project, "tables") / name
    damage(path)
    before = {name: content for name, content in files_of(project).items() if ".view" not in name}
    assert_explained(report(project), str(path.relative_to(project)))
    assert_nothing_lost(project, before)


def test_the_remedy_for_a_damaged_file_works(project):
    """Damage the soft labels, have snakemake refuse them, do what it says, and go on."""
    path = folder_of(project, "softlabels") / "softlabels.npy"
    good = path.read_bytes()
    flip_byte(path)
    student = str((folder_of(project, "generation") / "receipt.json").relative_to(project))
    (project / student).unlink()
    arguments = ("--config", "experiments=[tiny]", "--", student)
    done = snakemake(project, *arguments)
    assert_explained(done, "is corrupt")
    remedy = re.search(r"made anew: rm (\S+)", done.stdout + done.stderr)
    (project / remedy[1]).unlink()
    again = snakemake(project, *arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert path.read_bytes() == good
    assert (project / student).exists()


def test_train_does_not_call_a_step_finished_whose_files_are_gone(project):
    (folder_of(project, "patriarch") / "model.safetensors").unlink()
    done = train(project, "run.generation=0")
    assert done.returncode != 0 or (folder_of(project, "patriarch") / "model.safetensors").exists(), done.stdout + done.stderr


def test_only_soft_labels_can_be_checked(project):
    shown = str(folder_of(project, "dataset").relative_to(project))
    assert_explained(run(project, "-m", "gendistill", "check-labels", shown), shown)


def test_damaged_soft_labels_fail_their_check(project):
    folder = folder_of(project, "softlabels")
    flip_byte(folder / "softlabels.npy")
    done = run(project, "-m", "gendistill", "check-labels", str(folder.relative_to(project)))
    assert_explained(done, "softlabels.npy is corrupt", "rm ")


# A full disk, stood for by a limit on the size of files; a write beyond it fails like one to a full disk.


def no_file_above(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    ("kind", "name", "size"),
    [
        ("dataset", "dataset.safetensors", 1000),
        ("patriarch", "model.safetensors", 4000),
        ("softlabels", "softlabels.npy", 1000),
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
