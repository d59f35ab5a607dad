"""What differs between two runs, and between what they come from."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest

from gendistill.errors import UserError
from gendistill.plan.step import Step
from gendistill.provenance.differences import difference
from gendistill.provenance.origins import Origin
from gendistill.provenance.pairs import pair_up
from tests.fake_runs import edit_receipt, sha256_of, write_runs

OVERRIDES = ("seeds=[0,1]", "scratch=2", "transfer=[]")
# What a student's network may differ in, in the order in which it is told.
METRICS = ["test_error_pct", "best_epoch_test_error_pct", "train_error_pct", "mean_member_test_error_pct"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two experiments in one folder: the demo, and one that differs from it in the second generation of its lineage `ban`."""
    folder = tmp_path_factory.mktemp("made")
    with contextlib.chdir(folder):
        other = write_runs(["demo"], (*OVERRIDES, "lineages.ban.objective.temperature=[1,2.5,1]"))
        text = write_runs(["pydoc"], ("seeds=[0]",))
        demo = write_runs(["demo"], OVERRIDES)
        Path("results/index.json").write_text(json.dumps({**text.index, **demo.index}))
    return folder, demo.roles, other.roles


@pytest.fixture
def roles(made, tmp_path, monkeypatch):
    """The demo's runs by their roles, and those of the other one by `other-` and their roles."""
    shutil.copytree(made[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return {**made[1], **{f"other-{role}": run for role, run in made[2].items()}}


def told(first, second):
    """What is told, by topic, as lists of lines."""
    found = {}
    for line in re.sub(r"\n {13,}", " ", difference(first, second)).splitlines():
        if line[:12].strip():
            topic = line[:12].strip()
        if line:
            found.setdefault(topic, []).append(" ".join(line[12:].split()))
    return found


def test_two_seeds(roles):
    one, other = "demo-ban-gen3-seed0", "demo-ban-gen3-seed1"
    found = told(one, other)
    assert found.pop("first") == [f"runs/{roles[one]} ({one})"]
    assert found.pop("second") == [f"runs/{roles[other]} ({other})"]
    assert found == {
        "seed": ["0 | 1 (patriarch, soft labels of patriarch, generation 1 to 3, soft labels of generation 1 to 2)"],
        "metrics": [f"{metric} 7.00 | 7.25 (+0.25)" for metric in METRICS],
        "equal": ["settings, code, data, environment, the very steps that both come from (data set mnist5k)"],
    }


def test_a_setting_of_an_ancestor(roles):
    found = told(roles["demo-ban-gen3-seed0"], roles["other-demo-ban-gen3-seed0"])
    assert found["settings"] == ["objective.temperature: 1 | 2.5 (generation 2)"]
    assert not {"seed", "code", "data", "inputs", "ancestors", "environment", "metrics", "kind"} & found.keys()
    shared = "data set mnist5k, patriarch, soft labels of patriarch, generation 1, soft labels of generation 1"
    assert found["equal"] == [f"seed, code, data, environment, metrics, the very steps that both come from ({shared})"]


def test_another_objective_is_other_code(roles):
    found = told("demo-ban-gen2-seed0", "demo-tolerant-gen2-seed0")
    patriarch, students = found["settings"]
    assert patriarch == "objective: cross_entropy | tsd (top_k 5, u 0.6) (patriarch)"
    assert students.startswith("objective: ban (temperature 1, ") and "| tolerant (lambda 0.6, " in students
    assert students.endswith(" (generation 1 to 2)")
    assert [line.split()[0] for line in found["code"]] == [
        "gendistill.objectives.cross_entropy",
        "gendistill.objectives.top_score_difference",
        "gendistill.objectives.ban",
        "gendistill.objectives.tolerant",
    ]
    assert re.fullmatch(r"gendistill\.objectives\.ban [0-9a-f]{10} \| not run \(generation 1 to 2\)", found["code"][2])


def test_a_module_that_was_edited_between_two_runs(roles):
    folder = f"runs/{roles['demo-ban-gen1-seed1']}"
    receipt = json.loads(Path(folder, "receipt.json").read_text())
    spec = receipt["spec"]
    was = receipt["modules"]["gendistill.training.schedule"]
    edit_receipt(
        folder,
        spec={**spec, "code": {**spec["code"], "gendistill.training.run": "0" * 10}},
        modules={**receipt["modules"], "gendistill.training.schedule": "1" * 10},
    )
    found = told("demo-ban-gen1-seed0", "demo-ban-gen1-seed1")
    assert found["code"] == [f"gendistill.training.schedule {was} | 1111111111 (generation 1)"]
    assert found["equal"][0].startswith("settings, data, environment, ")
    # The same hash is said to be the same code, whatever its modules.
    edit_receipt(folder, spec=spec)
    assert "code" not in told("demo-ban-gen1-seed0", "demo-ban-gen1-seed1")
    # An older receipt tells only of the module that the step names.
    edit_receipt(folder, spec={**spec, "code": {**spec["code"], "gendistill.training.run": "0" * 10}})
    edit_receipt(folder, modules=None)
    (line,) = told("demo-ban-gen1-seed0", "demo-ban-gen1-seed1")["code"]
    assert re.fullmatch(r"gendistill\.training\.run [0-9a-f]{10} \| 0000000000 \(generation 1\)", line)


def test_other_machines_and_versions(roles):
    for role in ("demo-ban-gen0-seed1", "demo-ban-gen2-seed1"):
        folder = f"runs/{roles[role]}"
        environment = json.loads(Path(folder, "receipt.json").read_text())["environment"]
        edit_receipt(folder, environment={**environment, "torch": "2.12.0", "gpu": "Some GPU", "git_commit": "f" * 40})
    found = told("demo-ban-gen2-seed0", "demo-ban-gen2-seed1")
    who = "(patriarch, generation 2)"
    assert found["environment"] == [
        f"torch 2.13.0 | 2.12.0 {who}",
        f"git commit 0123456789, unchanged | git commit ffffffffff, unchanged {who}",
        f"gpu unknown | Some GPU {who}",
    ]
    assert "environment" not in found["equal"][0]


def test_other_data(roles):
    found = told("demo-dataset-mnist5k", roles["other-demo-ban-gen0-seed0"])
    assert found["kind"] == ["dataset | patriarch"]
    assert "the second comes from the other" in found["ancestors"]
    data = roles["demo-dataset-mnist5k"]
    receipt = json.loads(Path("runs", data, "receipt.json").read_text())
    # The same data set with another split, and a patriarch that learnt from it.
    made = Path("runs/dataset/mnist5k-0000000000")
    shutil.copytree(Path("runs", data), made)
    settings = {**receipt["spec"]["settings"], "split_seed": 7}
    edit_receipt(str(made), spec={**receipt["spec"], "settings": settings})
    edit_receipt(str(made), outputs={"dataset.safetensors": {"sha256": "e" * 64, "bytes": 1}})
    folder = f"runs/{roles['demo-ban-gen0-seed1']}"
    spec = json.loads(Path(folder, "receipt.json").read_text())["spec"]
    edit_receipt(folder, spec={**spec, "inputs": {"dataset": "dataset/mnist5k-0000000000"}})
    found = told("demo-ban-gen0-seed0", "demo-ban-gen0-seed1")
    own = sha256_of(data, "dataset.safetensors")[:12]
    assert found["data"] == [
        "split_seed: 0 | 7 (data set mnist5k)",
        f"dataset.safetensors {own} | eeeeeeeeeeee (data set mnist5k)",
    ]
    assert found["equal"] == ["settings, code, environment"]
    edit_receipt(str(made), outputs=receipt["outputs"])
    assert (
        "made otherwise, but the same to the byte (data set mnist5k)" in told("demo-ban-gen0-seed0", "demo-ban-gen0-seed1")["data"]
    )


def test_copies_of_one_teacher(roles):
    teacher = roles["demo-ban-softlabels1-seed0"]
    folder = f"runs/{roles['other-demo-ban-gen2-seed0']}"
    receipt = json.loads(Path(folder, "receipt.json").read_text())
    assert teacher in receipt["inputs"]
    edit_receipt(folder, inputs={**receipt["inputs"], teacher: {"softlabels.npy": "d" * 64}})
    own = sha256_of(teacher, "softlabels.npy")[:12]
    found = told("demo-ban-gen2-seed0", roles["other-demo-ban-gen2-seed0"])
    assert found["inputs"] == [f"copies of runs/{teacher}: softlabels.npy {own} | dddddddddddd (generation 2)"]
    # An older receipt does not tell which copy it was.
    edit_receipt(folder, inputs=None)
    assert "inputs" not in told("demo-ban-gen2-seed0", roles["other-demo-ban-gen2-seed0"])


def test_a_generation_and_one_that_it_comes_from(roles):
    found = told("demo-ban-gen3-seed0", "demo-ban-gen2-seed0")
    assert found["ancestors"] == [
        "only the first comes from (generation 2, soft labels of generation 2)",
        "the first comes from the other",
    ]
    assert found["settings"] == ["generation: 3 | 2 (generation 3 | generation 2)"]
    assert found["metrics"][0] == "test_error_pct 7.00 | 6.00 (-1)"


def test_a_patriarch_and_a_generation(roles):
    found = told("demo-ban-gen0-seed0", "demo-ban-gen1-seed0")
    assert found["kind"] == ["patriarch | generation"]
    assert found["inputs"] == ["softlabels: not read | 1 (patriarch | generation 1)"]
    assert "recipe" not in " ".join(found["settings"])
    assert found["ancestors"][-1] == "the second comes from the other"


def test_runs_of_different_kinds(roles):
    found = told("demo-ban-gen2-seed0", "demo-ban-ensemble-gen1to3-seed0")
    assert found["kind"] == ["generation | ensemble"]
    assert found["ancestors"][0] == "only the second comes from (soft labels of generation 2, generation 3, ensemble)"
    # Nothing of the two themselves was compared.
    assert "settings" not in found
    assert found["equal"][0].startswith("the very steps that both come from (data set mnist5k, patriarch, ")


def test_images_and_text(roles):
    found = told(
        "demo-ban-gen0-seed0",
        next(role for role in json.loads(Path("results/index.json").read_text()) if "pydoc-" in role and "gen0" in role),
    )
    assert any(line.startswith("_target_: gendistill.data.embedded") for line in found["data"])
    assert any(line.startswith("network: resnet8 (depth 8, ") for line in found["settings"])
    assert "seed" in found["equal"][0]


def test_steps_correspond_that_are_the_same_or_named_alike_or_of_one_kind_and_generation():
    def origins(ensemble, *members):
        steps = [Step(name.split("/")[0], name.split("/")[1], {}, {}, {}) for name in members]
        steps.append(Step("ensemble", ensemble, {}, {}, {"members": list(members)}))
        return {step.name: Origin(step, {"spec": {}}) for step in steps}

    first = origins("x-1", "dataset/d-1", "patriarch/a-1", "patriarch/b-1", "patriarch/c-1")
    second = origins("y-1", "patriarch/e-1", "patriarch/c-2", "patriarch/b-1", "dataset/f-1", "transfer/t-1")
    assert pair_up("ensemble/x-1", "ensemble/y-1", first, second) == [
        ("dataset/d-1", "dataset/f-1"),
        ("patriarch/a-1", "patriarch/e-1"),
        ("patriarch/b-1", "patriarch/b-1"),
        ("patriarch/c-1", "patriarch/c-2"),
        ("ensemble/x-1", "ensemble/y-1"),
        (None, "transfer/t-1"),
    ]


def test_networks_of_one_seed(roles):
    found = told("demo-scratch-net0-seed0", "demo-scratch-net1-seed0")
    assert found["settings"] == ["member: 0 | 1 (patriarch | patriarch, net 1)"]


def test_metrics_that_only_one_has_or_that_are_no_numbers(roles):
    folder = f"runs/{roles['demo-ban-gen1-seed0']}"
    edit_receipt(folder, metrics={"test_error_pct": 5, "loss": float("nan"), "number_format": "float32", "C": 1.0})
    edit_receipt(
        f"runs/{roles['demo-ban-gen1-seed1']}", metrics={"test_error_pct": 4, "loss": 2.5, "number_format": "bfloat16", "new": 1}
    )
    assert told("demo-ban-gen1-seed0", "demo-ban-gen1-seed1")["metrics"] == [
        "test_error_pct 5 | 4 (-1)",
        "loss nan | 2.50 (+nan)",
        "number_format float32 | bfloat16",
        "only the first has C",
        "only the second has new",
    ]


def test_missing_receipts(roles):
    shutil.rmtree(Path("runs", roles["demo-ban-gen1-seed1"]))
    found = told("demo-ban-gen2-seed0", "demo-ban-gen2-seed1")
    assert found["seed"] == ["0 | 1 (generation 2)"]
    assert any("generation" in line for line in found["ancestors"])
    shutil.rmtree(Path("runs", roles["demo-ban-gen0-seed1"]))
    said = "the second's receipt can't be read here: not in this clone (patriarch)"
    assert said in told("demo-ban-ensemble-gen0to3-seed0", "demo-ban-ensemble-gen0to3-seed1")["ancestors"]
    with pytest.raises(UserError, match="no such run"):
        difference("demo-ban-gen1-seed0", "nothing")
