"""Studies that cannot be: refused by the plan, before anything is trained."""

import shutil

import pytest

from gendistill.errors import SettingError
from gendistill.plan import build_plan, code

# One lineage of one generation, on CIFAR-100.
ONE = ("seeds=[0]", "generations=1", "scratch=0")
FOR_TEXT = ("dataset=pydoc", "network=lstm_small", "recipe=pydoc_lstm", "objective=ban_label")


def refused(*overrides: str, experiment: str = "cifar100_short") -> str:
    with pytest.raises(SettingError) as error:
        build_plan([experiment], (*ONE, *overrides))
    return str(error.value)


def test_a_teacher_of_other_classes():
    message = refused("+patriarch.dataset=cifar10")
    for part in ("cifar100 with 100 classes", "cifar10 with 10", "patriarch.dataset", "config/experiment/cifar100_short.yaml"):
        assert part in message


def test_a_teacher_of_other_data_with_the_same_classes():
    plan = build_plan(["cifar100_short"], (*ONE, "dataset=svhn", "+patriarch.dataset=cifar10"))
    student = plan.steps[plan.roles["cifar100_short-ban-gen1-seed0"]]
    teacher = plan.steps[plan.roles["cifar100_short-ban-gen0-seed0"]]
    assert plan.steps[student.inputs["dataset"]].settings["name"] == "svhn"
    assert plan.steps[teacher.inputs["dataset"]].settings["name"] == "cifar10"
    # What is measured is measured on the students' data, of the teacher too.
    statistics = plan.of_kind("statistics")
    assert [step.inputs["network"] for step in statistics] == [teacher.name, student.name]
    assert {plan.steps[step.inputs["dataset"]].settings["name"] for step in statistics} == {"svhn"}
    # The labels are those of the student's images.
    labels = plan.steps[student.inputs["softlabels"]]
    assert plan.steps[labels.inputs["dataset"]].settings["name"] == "svhn"


@pytest.mark.parametrize("objective", ["attention_transfer", "kd_attention"])
def test_attention_maps_of_other_resolutions(objective):
    message = refused(f"objective={objective}", "+patriarch.network=resnet18")
    for part in (objective, "resnet8", "resnet18", "[1, 2, 4]", "[4, 8, 16, 32]", "network or objective"):
        assert part in message


def test_attention_maps_of_equal_resolutions_and_other_widths():
    plan = build_plan(["cifar100_short"], (*ONE, "objective=kd_attention", "+patriarch.network=wrn_16_2"))
    student = plan.steps[plan.roles["cifar100_short-kd_attention-gen1-seed0"]]
    # Maps are not stored: the teacher runs, whatever soft_labels says.
    assert student.inputs["teacher"] == plan.roles["cifar100_short-kd_attention-gen0-seed0"]
    assert "softlabels" not in student.inputs


def test_other_objectives_need_no_equal_resolutions():
    build_plan(["cifar100_short"], (*ONE, "objective=kd", "+patriarch.network=resnet18"))


def test_a_missing_file_of_superclasses():
    message = refused("dataset.superclasses=config/superclasses/nothing.yaml")
    for part in ("dataset.superclasses = config/superclasses/nothing.yaml", "no such file", "config/superclasses/cifar100.yaml"):
        assert part in message


@pytest.mark.parametrize("content", ["[a, b]", "trees: oak", "trees: [oak"])
def test_a_file_of_superclasses_that_is_none(tmp_path, content):
    (tmp_path / "own.yaml").write_text(content)
    assert "dataset.superclasses" in refused(f"dataset.superclasses={tmp_path}/own.yaml")


def test_superclasses_are_part_of_what_compares_them_and_of_no_network(tmp_path):
    plans = []
    for content in ("all: [a]", "all: [b]", "name: [a]"):
        (tmp_path / "own.yaml").write_text(content)
        plans.append(build_plan(["cifar100_short"], (*ONE, f"dataset.superclasses={tmp_path}/own.yaml")))
    plans.append(build_plan(["cifar100_short"], ONE))
    for kind, count in (("dataset", 1), ("patriarch", 1), ("generation", 1), ("class_structure", 4)):
        assert len({plan.of_kind(kind)[0].id for plan in plans}) == count
    (tables,) = plans[-1].of_kind("tables")
    assert "structure" in tables.settings["tables"]


def test_a_patriarch_has_no_teacher_to_share_layers_with():
    message = refused("network=match_wrn_1_1")
    for part in ("network.shares", "generation 0", "patriarch.network", "[]"):
        assert part in message


def test_a_student_that_shares_layers_reads_its_teacher_besides_the_soft_labels():
    plan = build_plan(["cifar100_short"], (*ONE, "network=match_wrn_1_1", "+patriarch.network=densenet_90_60"))
    student = plan.steps[plan.roles["cifar100_short-ban-gen1-seed0"]]
    assert student.inputs["teacher"] == plan.roles["cifar100_short-ban-gen0-seed0"]
    assert "softlabels" in student.inputs


def test_stored_soft_labels_of_images_on_disk(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    on_disk = ("dataset=imagenet", "dataset.path=data", "network=resnet18", "recipe=imagenet_tt", "recipe.epochs=1")
    message = refused(*on_disk)
    for part in ("soft_labels = stored", "imagenet", "online"):
        assert part in message
    plan = build_plan(["cifar100_short"], (*ONE, *on_disk, "soft_labels=online"))
    # Where the files lie is known to each step that reads them, and part of no id.
    steps = [*plan.of_kind("dataset"), *plan.of_kind("patriarch"), *plan.of_kind("generation")]
    assert [step.source for step in steps] == [{"path": "data"}] * 3


def test_crops_of_images_on_disk_are_not_those_of_a_recipe_for_arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused("dataset=imagenet", f"dataset.path={tmp_path}", "network=resnet18", "soft_labels=online")
    for part in ("recipe.pad = 4", "random resized crops", "pad must be 0 and flip true"):
        assert part in message


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (("dataset=pydoc",), ("network = resnet8", "for images", "pydoc has text")),
        (("dataset=pydoc", "network=lstm_small"), ("recipe = cifar_tt", "for images", "pydoc has text")),
        (("network=lstm_small",), ("network = lstm_small", "for text", "cifar100 has images")),
        ((*FOR_TEXT[:3], "objective=dkpp"), ("objective = dkpp", "not for text", "ban_label")),
    ],
)
def test_text_and_images_do_not_mix(overrides, parts):
    # The experiment changes settings of its recipe that a recipe for text does not have.
    message = refused(*overrides, *(("~recipe.evaluate_every",) if "recipe=pydoc_lstm" in overrides else ()))
    for part in parts:
        assert part in message


def test_a_study_of_text_has_steps_of_its_own():
    plan = build_plan(["cifar100_short"], (*ONE, *FOR_TEXT, "~recipe.evaluate_every"))
    kinds = {step.kind for step in plan.steps.values()}
    assert kinds == {"text", "language_patriarch", "language_softlabels", "language_generation", "tables", "figure"}
    (tables,) = plan.of_kind("tables")
    assert tables.settings["tables"] == ["perplexity"]


def test_transfer_from_text_to_images():
    message = refused(*FOR_TEXT, "~recipe.evaluate_every", "transfer=[digits8x8]")
    assert "network = lstm_small: it is for text, but the data set digits8x8 has images" in message


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("recipe.epochs=abc", ("recipe.epochs = 'abc'", "an integer")),
        ("recipe.batch_size=-1", ("recipe.batch_size = -1",)),
        ("network.depth=9", ("network.depth = 9", "6n+2")),
        ("scale.recipe.images.epochs_divided_by=0", ("scale.recipe.images.epochs_divided_by = 0",)),
        ("~scale.network.resnet8", ("network = resnet8: scale smoke does not say how to shrink it",)),
    ],
)
def test_smoke_finds_the_mistakes_that_full_scale_would(override, parts):
    message = refused("scale=smoke", override)
    for part in parts:
        assert part in message


def test_how_files_are_read_is_part_of_studies_on_disk_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    on_disk = ("dataset=imagenet", f"dataset.path={tmp_path}", "network=resnet18", "recipe=imagenet_tt", "recipe.epochs=1")
    plan = build_plan(["cifar100_short"], (*ONE, *on_disk, "soft_labels=online"))
    steps = [*plan.of_kind("patriarch"), *plan.of_kind("generation")]
    assert all("gendistill.data.on_disk" in step.code for step in steps)
    plan = build_plan(["cifar100_short"], ONE)
    assert not any("gendistill.data.on_disk" in step.code for step in plan.steps.values())
    # Not through an import either.
    source = (code.SOURCE / "gendistill/data/decode.py").read_text()
    before = code.code_hash("gendistill.training.run")
    copied = tmp_path / "src"
    shutil.copytree(code.SOURCE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    (copied / "gendistill/data/decode.py").write_text(source + "\nADDED = 1\n")
    monkeypatch.setattr(code, "SOURCE", copied)
    assert code.code_hash("gendistill.training.run") == before
    assert code.code_hash("gendistill.data.on_disk") != steps[0].code["gendistill.data.on_disk"]
