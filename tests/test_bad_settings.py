"""Wrong settings, as a user meets them: the command fails with a message that says what to do."""

import json
import shlex
import shutil

import numpy as np
import pytest

from tests.tiny_project import (
    TINY,
    assert_explained,
    assert_nothing_lost,
    copy_of_finished,
    files_of,
    run,
    run_step,
    snakemake,
    specs_of,
    train,
    write_npz,
)


@pytest.fixture
def project(tmp_path_factory):
    with copy_of_finished(tmp_path_factory) as folder:
        yield folder


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
        (
            ["runtime.processes=4"],
            ["recipe.micro_batch = None", "is 1 of them", "runtime.processes = 4"],
        ),
        (["runtime.side_by_side=2", "runtime.processes=2"], ["runtime.side_by_side = 2", "runtime.processes = 2"]),
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
    assert f"overrides={overrides}" in arguments


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


def test_a_gpu_that_is_not_there(project, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = train(project, "runtime.device=cuda", "recipe.batch_size=9", "run.generation=0")
    assert_explained(done, "runtime.device", "cuda", "auto")


def test_a_folder_needs_an_image_size(project):
    for split in ("train", "test"):
        (project / "images" / split / "a").mkdir(parents=True)
        shutil.copy(next(project.glob("runs/figure/*/*.png")), project / "images" / split / "a")
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
