"""The ancestry of runs and of cells of tables: what is told of each step, and whichever way a run is named."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gendistill.errors import UserError
from gendistill.plan.code import code_hash
from gendistill.provenance.ancestry import provenance
from gendistill.provenance.differences import difference
from gendistill.receipt import write_receipt
from tests.fake_runs import edit_receipt, sha256_of, write_runs
from tests.tiny_project import copy_of_finished, run

OVERRIDES = ("seeds=[0,1]", "scratch=2", "transfer=[]")
PAPER = "tolerant_teachers_table1"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the finished runs of the demo and of a published table, and their plans."""
    folder = tmp_path_factory.mktemp("made")
    with contextlib.chdir(folder):
        paper = write_runs([PAPER], ("seeds=[0,1]", "scale=smoke"))
        demo = write_runs(["demo"], OVERRIDES)
        Path("results/index.json").write_text(json.dumps({**paper.index, **demo.index}))
    return folder, {**paper.roles, **demo.roles}


@pytest.fixture
def roles(made, tmp_path, monkeypatch):
    """The runs by their roles; the current directory is a copy of the folder in which they are."""
    shutil.copytree(made[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return made[1]


def titles(text):
    return re.findall(r"^\[\d+\] .*", text, flags=re.M)


def block(text, number):
    """The lines of one step, each field on one line."""
    found = re.search(rf"^\[{number}\] .*?(?=^\[{number + 1}\] |^Today)", text, flags=re.M | re.S).group()
    return re.sub(r"\n {12,}", " ", found)


def test_each_step_is_told_once_and_after_those_that_it_reads(roles):
    text = provenance("demo-tolerant-gen2-seed1")
    assert titles(text) == [
        "[1] data set mnist5k  (demo-dataset-mnist5k)",
        "[2] patriarch, seed 1  (demo-tolerant-gen0-seed1)",
        "[3] soft labels of patriarch, seed 1  (demo-tolerant-softlabels0-seed1)",
        "[4] generation 1, seed 1  (demo-tolerant-gen1-seed1)",
        "[5] soft labels of generation 1, seed 1  (demo-tolerant-softlabels1-seed1)",
        "[6] generation 2, seed 1  (demo-tolerant-gen2-seed1)",
    ]
    assert text.startswith(f"generation 2, seed 1  (demo-tolerant-gen2-seed1)\nruns/{roles['demo-tolerant-gen2-seed1']}\n")
    assert text.endswith("Today's code gives the same id.\n  settings    Today's settings are the same.")


def test_what_is_told_of_a_step(roles):
    text = provenance("demo-tolerant-gen2-seed1")
    patriarch, student, last = (block(text, number) for number in (2, 4, 6))
    data = roles["demo-dataset-mnist5k"]
    assert "     network     resnet8: depth 8, first_width none, shortcut A, width 16\n" in patriarch
    assert "     objective   tsd: top_k 5, u 0.6\n" in patriarch
    assert "epochs 15" in patriarch
    assert f"gendistill.training.run {code_hash('gendistill.training.run')}" in patriarch
    assert f"     inputs      dataset [1] dataset.safetensors {sha256_of(data, 'dataset.safetensors')[:12]}\n" in patriarch
    weights = sha256_of(roles["demo-tolerant-gen0-seed1"], "model.safetensors")
    assert f"     outputs     model.safetensors {weights[:12]} (2 kB), " in patriarch
    assert f"teacher [2] model.safetensors {weights[:12]}" in block(text, 3)
    assert "     ran         2026-11-21 10:00:00 UTC, 1.5 s\n" in patriarch
    assert "     metrics     test_error_pct 4.25, train_error_pct 4.25, " in patriarch
    # What is as in an earlier step is told by its number.
    assert "     settings    as [2] but objective tolerant (lambda 0.6, lambda_weighs label, temperature 1" in student
    assert "     settings    as [4]\n     code        as [4]\n" in last


def test_settings_that_differ_little_are_told_with_those_of_the_other(roles, tmp_path):
    with contextlib.chdir(tmp_path):
        write_runs(["demo"], (*OVERRIDES, "lineages.ban.objective.temperature=[1,1,2.5]"))
        text = provenance("demo-ban-gen3-seed0")
    assert "     settings    as [4] but objective.temperature 2.5 (there 1)\n" in block(text, 8)


def test_the_environment_is_told_once_and_where_it_differs(roles):
    folder = f"runs/{roles['demo-ban-gen1-seed0']}"
    receipt = json.loads(Path(folder, "receipt.json").read_text())
    edit_receipt(folder, environment={**receipt["environment"], "torch": "2.12.0", "git_changed": True})
    text = provenance("demo-ban-gen2-seed0")
    assert text.count("torch 2.13.0") == text.count("Some CPU") == 1
    assert "  code        git commit 0123456789, unchanged\n" in text
    assert "with packages torch 2.12.0 with code git commit 0123456789, with changes that were not committed" in block(text, 4)
    assert "2.12.0" not in text.replace(re.search(r"^\[4\].*?^\[5\]", text, flags=re.M | re.S).group(), "")


def test_a_run_may_be_named_in_many_ways(roles):
    run = roles["demo-ban-gen1-seed0"]
    expected = provenance("demo-ban-gen1-seed0")
    id = run.partition("/")[2]
    for name in (
        run,
        f"runs/{run}",
        f"runs/{run}/",
        f"./runs/{run}/model.safetensors",
        str(Path("runs", run).resolve()),
        id,
        id[:-3],
    ):
        assert provenance(name) == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("demo-ban-gen9-seed0", "Near it are: demo-ban-gen"),
        ("gen1-seed1", ", demo-ban-gen1-seed1, "),
        ("generation/mnist5k-resnet8-ban", "6 runs begin so: generation/mnist5k-resnet8-ban-gen1-seed0-"),
        ("zzz", "there is no such run here. Allowed: a role of results/index.json"),
        ("", "there is no such run here."),
        ("runs", "there is no such run here."),
        ("demo_eror:ban/3", "there is no table demo_eror in results/tables. Allowed: "),
        ("demo_error:ban", "4 rows are so. Give its labels, after demo_error: of one of\n  ban/0\n  ban/1\n  ban/2\n  ban/3"),
        ("demo_error:bann/1", "there is no such row. Give its labels, after demo_error: of one of\n  ban/0\n"),
        (f"{PAPER}:99", f"there is no such row. Give its labels, or its number, after {PAPER}: of one of\n    1  "),
    ],
)
def test_names_that_mean_no_run_or_several(roles, name, said):
    with pytest.raises(UserError, match=re.escape(said)):
        provenance(name)


def test_a_role_without_its_receipt_and_a_folder_without_runs(roles, tmp_path, monkeypatch):
    Path("runs", roles["demo-ban-gen1-seed0"], "receipt.json").unlink()
    with pytest.raises(UserError, match=r"has no receipt\.json here"):
        provenance("demo-ban-gen1-seed0")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no finished runs here"):
        provenance("demo-ban-gen1-seed0")


def test_a_cell_has_its_value_and_the_ancestry_of_all_its_runs(roles):
    text = provenance("demo_error:ban/2")
    lines = text.splitlines()
    # 4 + 2 for the generation; 0.25 more for seed 1: mean 6.125, standard deviation 0.25 / sqrt(2).
    assert lines[0] == "demo_error: ban/2"
    assert lines[1] == "  test_error_pct 6.12 ± 0.18 (n = 2): 6.00, 6.25"
    runs = [line for line in lines if line.startswith("  from ")]
    assert len(runs) == 2
    assert re.fullmatch(r"  from \[6\] generation 2, seed 0  \(demo-ban-gen2-seed0\)", runs[0])
    assert runs[1].endswith("generation 2, seed 1  (demo-ban-gen2-seed1)")
    # The data set once, and for each seed a patriarch, two generations and two sets of soft labels.
    assert len(titles(text)) == 1 + 2 * 5
    # Of the second seed nothing is told again.
    assert "     settings    as [2]\n     code        as [2]\n" in block(text, 7)


def test_a_row_may_be_named_by_some_of_its_labels(roles):
    assert provenance("demo_ensembles:ban/gen1to3") == provenance("demo_ensembles:ban/gen1to3/3/4")
    assert "[10] ensemble, seed 1  (demo-ban-ensemble-gen1to3-seed1)" not in provenance("demo_ensembles_runs:ban/gen1to3/0")
    one = provenance("demo_error_runs:ban/2/1")
    assert one.splitlines()[:2] == ["demo_error_runs: ban/2/1", "  test_error_pct 6.25"]
    assert len(titles(one)) == 6


def test_a_row_of_a_published_table(roles):
    rows = json.loads(Path("runs", roles[f"{PAPER}-paper_table"], "table.json").read_text())["rows"]
    number, row = next((n, r) for n, r in enumerate(rows, 1) if (r["generation"], r["metric"]) == ("2", "test_accuracy_pct"))
    text = provenance(f"{PAPER}:{number}")
    # 100 minus the errors 6 and 6.25.
    assert text.splitlines()[0].startswith(f"{PAPER}: {row['row']}/")
    assert text.splitlines()[1:3] == [f"  published {row['published']}", "  ours 93.88 ± 0.18 (n = 2)"]
    assert f"({PAPER}-ban-gen2-seed1): test_error_pct 6.25, shown as accuracy" in text
    name = "/".join(row[label] for label in ("row", "network", "dataset", "method", "generation", "metric") if row[label])
    assert provenance(f"{PAPER}:{name}") == text
    assert provenance(f"{PAPER}:{row['row'].upper()}/2/TEST_ACCURACY_PCT") == text


def test_all_labels_of_a_row_mean_it_though_another_row_has_them_too(roles):
    path = Path("runs", roles[f"{PAPER}-paper_table"], "table.json")
    content = json.loads(path.read_text())
    row = next(row for row in content["rows"] if row["n"])
    content["rows"].append({**row, "metric": f"{row['metric']}/more", "ours": 1})
    path.write_text(json.dumps(content))
    name = "/".join(row[label] for label in ("row", "network", "dataset", "method", "generation", "metric") if row[label])
    assert provenance(f"{PAPER}:{name.upper()}").splitlines()[0] == f"{PAPER}: {name}"


def test_another_copy_of_what_was_read_is_told(roles):
    teacher, own = roles["demo-ban-gen1-seed0"], sha256_of(roles["demo-ban-gen1-seed0"], "model.safetensors")
    outputs = json.loads(Path("runs", teacher, "receipt.json").read_text())["outputs"]
    other = {"sha256": "f" * 64, "bytes": 2000}
    # The history, which has times in it, is not what is read.
    edit_receipt(f"runs/{teacher}", outputs={**outputs, "history.csv": other})
    assert "another copy" not in provenance("demo-ban-gen2-seed0")
    edit_receipt(f"runs/{teacher}", outputs={**outputs, "model.safetensors": other})
    text = provenance("demo-ban-gen2-seed0")
    note = f"made from another copy of [4] generation 1, seed 0: model.safetensors {own[:12]}, ffffffffffff in its receipt today"
    assert note in block(text, 5)
    assert "copy" not in block(text, 6)
    assert "copies      Made from other copies of earlier steps than those that are here now: [5]." in text
    assert "Today's code gives the same id." in text


def test_older_receipts_and_missing_ones(roles):
    edit_receipt(f"runs/{roles['demo-ban-gen2-seed0']}", modules=None, inputs=None)
    shutil.rmtree(Path("runs", roles["demo-ban-gen1-seed0"]))
    Path("runs", roles["demo-ban-softlabels2-seed0"], "receipt.json").write_text("{")
    text = provenance("demo-ban-gen2-seed0")
    assert "     inputs      dataset [1]; softlabels [3]\n" in block(text, 4)
    assert "[2] generation (number unknown)  (demo-ban-gen1-seed0)\n" in text
    assert "its receipt can't be read here: not in this clone" in block(text, 2)
    assert "Today's code gives the same id, as far as can be told without the receipts of [2] generation" in text
    assert "is damaged" in provenance("demo-ban-gen3-seed0")


def test_a_receipt_tells_the_modules_and_the_files_that_were_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/dataset/d").mkdir(parents=True)
    outputs = {"dataset.safetensors": {"sha256": "a" * 64, "bytes": 1}}
    Path("runs/dataset/d/receipt.json").write_text(json.dumps({"outputs": outputs}))
    ban, run = "gendistill.objectives.ban", "gendistill.training.run"
    # The second module was edited after the step was planned: what it ran is not known.
    spec = {"code": {ban: code_hash(ban), run: "0000000000"}, "inputs": {"dataset": "dataset/d", "networks": ["patriarch/gone"]}}
    write_receipt(Path("runs/x/y"), spec, (), {}, {})
    receipt = json.loads(Path("runs/x/y/receipt.json").read_text())
    assert receipt["inputs"] == {"dataset/d": {"dataset.safetensors": "a" * 64}}
    assert {ban, "gendistill", "gendistill.objectives"} <= receipt["modules"].keys()
    assert not [module for module in receipt["modules"] if "training" in module]
    assert all(re.fullmatch("[0-9a-f]{10}", own) for own in receipt["modules"].values())


def test_neither_torch_nor_pandas_is_needed(roles):
    code = (
        "import sys\nfrom gendistill.provenance.ancestry import provenance\n"
        "from gendistill.provenance.differences import difference\n"
        "print(provenance('demo_error:ban/3'), difference('demo-ban-gen1-seed0', 'demo-ban-gen1-seed1'))\n"
        "print([name for name in ('torch', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_run_that_was_trained_for_real(tmp_path_factory):
    with copy_of_finished(tmp_path_factory) as project:
        index = json.loads((project / "results/index.json").read_text())
        role = next(role for role in index if role.endswith("-gen1-seed0"))
        done = run(project, "-m", "gendistill", "provenance", role)
        assert done.returncode == 0, done.stderr
        assert "Today's code gives the same id." in done.stdout
        assert "Today's settings are the same." in done.stdout
        receipt = json.loads((project / index[role] / "receipt.json").read_text())
        read = receipt["inputs"][receipt["spec"]["inputs"]["softlabels"]]["softlabels.npy"]
        assert f"softlabels.npy {read[:12]}" in done.stdout
        done = run(project, "-m", "gendistill", "diff", role, role)
        assert "are the same run" in done.stdout
        assert run(project, "-m", "gendistill", "provenance", "nothing").returncode == 2


def test_the_same_run_under_two_roles(roles):
    text = difference("demo-ban-gen0-seed0", "demo-scratch-net0-seed0")
    assert text == (
        f"demo-ban-gen0-seed0 and demo-scratch-net0-seed0 are the same run: runs/{roles['demo-ban-gen0-seed0']}"
        "  (demo-ban-gen0-seed0, demo-scratch-net0-seed0)"
    )
