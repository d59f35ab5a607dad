"""Networks that are trained together, by Snakemake: each is taken out, can teach, and is measured with what it costs."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from gendistill.plan.build import build_plan
from tests.conftest import copy_project

pytestmark = pytest.mark.chains

STUDY = """\
# @package _global_
defaults:
  - override /dataset: npz
  - override /network: resnet8
  - override /objective: kd
  - override /recipe: digits
dataset:
  path: tiny.npz
network:
  width: 4
recipe:
  epochs: 2
  precision: float32
  pad: 1
generations: 1
lineages:
  exits:
    generations: 0
    patriarch: { objective: own_teacher, network: { name: multi_exit, networks: [{ name: resnet8, width: 4 }] } }
  peers:
    patriarch:
      objective: mutual
      network: { name: peers, networks: [{ name: resnet8, width: 4 }, { name: resnet8, width: 6 }], takes: peer2 }
figures: [error_by_generation, training_curves]
"""
ENDS = ("member", "early_exit", "generation", "figure")


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A copy of the project in which the joint networks are trained and taken out, and the roles of its plan."""
    project = copy_project(tmp_path_factory.mktemp("joint") / "project")
    (project.folder / "config/experiment/joint.yaml").write_text(STUDY)
    code = "import json; from gendistill.plan.build import build_plan; print(json.dumps(build_plan(['joint']).index))"
    index = json.loads(project.run("timeit", "-n", "1", "-r", "1", code).stdout.splitlines()[0])
    wanted = [f"{folder}/receipt.json" for folder in index.values() if folder.split("/")[1] in ENDS]
    project.snakemake(*wanted, experiments="joint")
    return project, {role: project.folder / folder for role, folder in index.items()}


def receipt(folder):
    return json.loads((folder / "receipt.json").read_text())


def test_each_network_is_taken_out_with_its_own_weights(chain):
    _, folders = chain
    joint = load_file(folders["joint-peers-gen0-joint-seed0"] / "model.safetensors")
    for role, number in (("joint-peers-gen0-seed0", 1), ("joint-peers-gen0-peer1-seed0", 0)):
        own = load_file(folders[role] / "model.safetensors")
        assert own.keys() == {name.removeprefix(f"peers.{number}.") for name in joint if name.startswith(f"peers.{number}.")}
        for name, weight in own.items():
            np.testing.assert_array_equal(weight, joint[f"peers.{number}.{name}"])
    widths = [
        load_file(folders[f"joint-peers-gen0{m}-seed0"] / "model.safetensors")["stem.weight"].shape[0] for m in ("", "-peer1")
    ]
    assert widths == [6, 4]


def test_the_main_network_says_what_the_training_said_of_it(chain):
    _, folders = chain
    joint, taken = folders["joint-exits-gen0-joint-seed0"], folders["joint-exits-gen0-seed0"]
    own, other = (load_file(folder / "logits.safetensors") for folder in (joint, taken))
    np.testing.assert_allclose(other["logits"], own["logits"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(other["labels"], own["labels"])
    assert receipt(taken)["metrics"]["test_error_pct"] == receipt(joint)["metrics"]["test_error_pct"]
    assert len((taken / "history.csv").read_text().splitlines()) == 3
    assert len((folders["joint-exits-gen0-exit1-seed0"] / "history.csv").read_text().splitlines()) == 2


def test_exits_cost_more_the_deeper_they_are_and_leaving_early_costs_less(chain):
    _, folders = chain
    exits = [receipt(folders[f"joint-exits-gen0{name}-seed0"])["metrics"] for name in ("-exit1", "-exit2", "")]
    costs = [metrics["multiply_adds"] for metrics in exits]
    assert 0 < costs[0] < costs[1] < costs[2]
    found = receipt(folders["joint-exits-gen0-seed0-early_exit"])["metrics"]
    assert found["multiply_adds_millions"] == pytest.approx(costs[2] / 1e6)
    assert found["test_accuracy_pct"] == pytest.approx(100 - exits[2]["test_error_pct"])


def test_the_network_that_goes_on_teaches_the_next_generation(chain):
    project, folders = chain
    student = folders["joint-peers-gen1-seed0"]
    labels = next(
        project.folder / "runs" / name for role, name in receipt(student)["spec"]["inputs"].items() if role == "softlabels"
    )
    assert receipt(labels)["spec"]["inputs"]["teacher"] == f"member/{folders['joint-peers-gen0-seed0'].name}"
    said = project.run("gendistill", "provenance", f"runs/generation/{student.name}").stdout
    assert "peer2 of patriarch" in said


def test_a_member_can_be_loaded_by_its_name(chain):
    project, folders = chain
    (project.folder / "results").mkdir(exist_ok=True)
    index = {role: str(folder.relative_to(project.folder)) for role, folder in folders.items()}
    (project.folder / "results/index.json").write_text(json.dumps(index))
    code = (
        "import torch, gendistill; loaded = gendistill.load('joint-peers-gen0-peer1-seed0'); "
        "print(sum(p.numel() for p in loaded.network.parameters()))"
    )
    said = project.run("timeit", "-n", "1", "-r", "1", code).stdout
    assert int(said.splitlines()[0]) == receipt(folders["joint-peers-gen0-peer1-seed0"])["metrics"]["parameters"]


def test_which_peer_goes_on_does_not_change_the_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = "{{name: peers, networks: [resnet8, resnet14], takes: {}}}"
    found = {}
    for taken in ("peer1", "peer2"):
        lineage = f"line: {{generations: 0, patriarch: {{objective: mutual, network: {network.format(taken)}}}}}"
        plan = build_plan(["demo"], (f"lineages={{{lineage}}}", "seeds=[0]", "scratch=0", "transfer=[]", "claims=[]"))
        found[taken] = {role.removeprefix("demo-line-gen0-"): name for role, name in plan.roles.items() if "line-gen0" in role}
    assert found["peer1"]["joint-seed0"] == found["peer2"]["joint-seed0"]
    assert found["peer1"]["seed0"] == found["peer2"]["peer1-seed0"]
    assert found["peer1"]["peer2-seed0"] == found["peer2"]["seed0"]
