"""What is rebuilt, and what is not, when something changes: real Snakemake runs on a tiny chain of 5 generations."""

import re

import pytest


def planned(checkout, experiments="tiny"):
    """How often each rule would run."""
    done = checkout.snakemake("-n", experiments=experiments)
    text = done.stdout + done.stderr
    if "Nothing to be done" in text:
        return {}
    counts = text[text.index("Job stats") :].partition("total")[0]
    found = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", counts, re.MULTILINE)}
    return {rule: n for rule, n in found.items() if rule != "default"}


def generation_numbers(steps):
    return sorted(int(re.search(r"-gen(\d+)-", name)[1]) for name in steps)


def test_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished.snakemake().stderr


def test_lambda_of_generation_3_rebuilds_generations_3_to_5_and_what_reads_them(finished):
    before = finished.steps()
    finished.edit("config/experiment/tiny.yaml", "[0.6, 0.6, 0.6, 0.6, 0.6]", "[0.6, 0.6, 0.3, 0.6, 0.6]")
    finished.snakemake()
    new = finished.steps() - before
    assert generation_numbers(n for n in new if n.startswith("generation/")) == [3, 4, 5]
    kinds = sorted(name.split("/")[0] for name in new)
    # Soft labels of generations 3 and 4 are read by 4 and 5; those of 2 are there already.
    assert kinds == sorted(["generation", "statistics"] * 3 + ["softlabels"] * 2 + ["ensemble"] * 6 + ["figure", "tables"])
    assert generation_numbers(n for n in new if n.startswith("statistics/")) == [3, 4, 5]
    assert before <= finished.steps()


def test_setting_put_back_trains_nothing_and_shows_the_old_results(finished):
    page = (finished.folder / "results/metrics.json").read_text()
    finished.edit("config/experiment/tiny.yaml", "0.6, 0.6]", "0.6, 0.1]")
    finished.snakemake()
    steps = finished.steps()
    assert (finished.folder / "results/metrics.json").read_text() != page
    finished.edit("config/experiment/tiny.yaml", "0.6, 0.1]", "0.6, 0.6]")
    assert planned(finished) == {"report": 1}
    finished.snakemake("results/report.html")
    assert finished.steps() == steps
    assert (finished.folder / "results/metrics.json").read_text() == page


def test_swapped_values_of_two_settings_are_rebuilt(finished):
    text = "[0.6, 0.6]"
    finished.edit("config/experiment/tiny.yaml", "generations: 5", "generations: 2")
    finished.edit("config/experiment/tiny.yaml", "[0.6, 0.6, 0.6, 0.6, 0.6]", f"{text}\n  temperature: 0.5")
    first = planned(finished)
    finished.edit("config/experiment/tiny.yaml", f"{text}\n  temperature: 0.5", "0.5\n  temperature: 0.6")
    assert first["generation"] == 2
    finished.snakemake()
    finished.edit("config/experiment/tiny.yaml", "0.5\n  temperature: 0.6", "0.6\n  temperature: 0.5")
    assert planned(finished)["generation"] == 2


def test_touched_files_rebuild_nothing(finished):
    for i, path in enumerate(sorted(finished.folder.rglob("*"))):
        if ".snakemake" not in path.parts and "tiny.npz" not in path.name:
            path.touch() if i % 2 else None
    assert planned(finished) == {}


def test_comments_and_docstrings_rebuild_nothing(finished):
    path = "src/gendistill/objectives/tolerant.py"
    finished.edit(path, "label_weight = lambda_ if", "# A remark.\n    label_weight = lambda_ if")
    finished.edit(path, "The mixture of TT", "Another docstring about the mixture of TT")
    finished.edit("src/gendistill/training/loop.py", "history: list[Row] = []", "history: list[Row] = []  # a remark")
    assert planned(finished) == {}


def test_an_edited_objective_rebuilds_its_users_only(finished):
    # The patriarch, trained by cross-entropy, and its soft labels stay.
    finished.edit("src/gendistill/objectives/tolerant.py", "temperature**2 * divergence", "temperature**2 * 1.5 * divergence")
    counts = planned(finished)
    assert counts == {"generation": 5, "softlabels": 4, "ensemble": 9, "statistics": 5, "figure": 1, "tables": 1, "report": 1}


@pytest.mark.parametrize(
    "path", ["objectives/ban.py", "objectives/top_score_difference.py", "data/cifar.py", "runtime.py", "execute.py"]
)
def test_an_edited_unrelated_module_rebuilds_nothing(finished, path):
    file = finished.folder / "src/gendistill" / path
    file.write_text(file.read_text() + "\n\nADDED = 1\n")
    assert planned(finished) == {}


def test_an_edited_template_writes_the_report_anew(finished):
    finished.edit("src/gendistill/results/report.html.j2", "<h1>Results</h1>", "<h1>All results</h1>")
    assert planned(finished) == {"report": 1}


def test_an_added_method_rebuilds_nothing(finished):
    (finished.folder / "src/gendistill/objectives/new.py").write_text("def loss(logits, labels, teacher_logits):\n    return 0\n")
    (finished.folder / "config/objective/new.yaml").write_text(
        "name: new\n_target_: gendistill.objectives.new.loss\ntrains: student\n"
    )
    assert planned(finished) == {}


def test_two_experiments_share_their_patriarch(finished):
    text = (finished.folder / "config/experiment/tiny.yaml").read_text()
    (finished.folder / "config/experiment/other.yaml").write_text(
        text.replace("0.6, 0.6, 0.6, 0.6, 0.6", "0.2").replace("generations: 5", "generations: 1")
    )
    before = finished.steps()
    finished.snakemake(experiments="tiny,other")
    new = sorted(name.split("/")[0] for name in finished.steps() - before)
    assert new == ["ensemble", "figure", "generation", "statistics", "tables"]


def test_a_name_changes_nothing_but_the_data_do(finished):
    finished.edit("config/experiment/tiny.yaml", "tiny.npz", "moved.npz")
    (finished.folder / "tiny.npz").rename(finished.folder / "moved.npz")
    assert planned(finished) == {}
    write_other_images(finished.folder / "moved.npz")
    assert planned(finished)["dataset"] == 1


def write_other_images(path):
    import numpy as np

    arrays = dict(np.load(path))
    arrays["train_images"] = arrays["train_images"][::-1].copy()
    np.savez(path, **arrays)


def test_receipts_say_everything(finished):
    import json

    for path in finished.folder.glob("runs/*/*/receipt.json"):
        receipt = json.loads(path.read_text())
        assert receipt["spec"]["id"] == path.parent.name
        assert {"settings", "code", "inputs"} <= receipt["spec"].keys()
        assert {"python", "git_commit", "processor"} <= receipt["environment"].keys()
        assert receipt["times"]["seconds"] >= 0
        assert all((path.parent / name).exists() for name in receipt["outputs"])
