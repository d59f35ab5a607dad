"""Figures: which a study has, what they read, and that the numbers drawn are those given."""

import copy
import csv
import functools
import hashlib
import importlib
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gendistill.errors import SettingError, UserError
from gendistill.evaluation.statistics import calibration
from gendistill.plan import Plan, build_plan
from gendistill.plan.build import add_experiment
from gendistill.plan.step import FUNCTIONS, READS
from gendistill.results.figures.make import make_figure
from gendistill.results.figures.style import COLUMN, PAGE, look, rendered
from tests.conftest import ROOT
from tests.demo import demo_settings

RUNTIME = SimpleNamespace(log=lambda text: None)
# t(0.975, n - 1) by n, as statistical tables print it.
T = {2: 12.706, 3: 4.303, 5: 2.776, 10: 2.262}
MODULES = sorted(path.stem for path in ROOT.glob("src/gendistill/results/figures/*.py"))
DRAWINGS = [name for name in MODULES if name not in ("__init__", "make", "style")]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Caches and runs lie below the current directory."""
    monkeypatch.chdir(tmp_path)


def plan_of(**changes):
    plan = Plan()
    add_experiment(plan, "demo", {**copy.deepcopy(demo_settings()), **changes})
    return plan


def figures_of(plan):
    return {step.settings["figure"]: step for step in plan.of_kind("figure")}


def draw(name, cells, **settings):
    with look():
        figure = importlib.import_module(f"gendistill.results.figures.{name}").draw(settings, cells)
        figure.draw_without_rendering()
    return figure


def lines_of(axes):
    """x and y of each line of a legend or with a label of its own."""
    return {line.get_label(): line.get_xydata() for line in axes.get_lines() if not line.get_label().startswith("_")}


def bars_of(axes):
    """The lower and upper ends of all bars, in order."""
    return [segment[:, 1] for bars in axes.collections if hasattr(bars, "get_segments") for segment in bars.get_segments()]


def by_generation(values, lineage="ban", panel="", metric="test_error_pct"):
    """Cells of a lineage: the values of each generation, one for each seed."""
    return [
        {"panel": panel, "lineage": lineage, "generation": k, "seed": seed, "metrics": {metric: value}}
        for k, own in enumerate(values)
        for seed, value in enumerate(own)
    ]


ERROR = {"metric": "test_error_pct", "axis": "test error (%)"}


@pytest.mark.parametrize("n", [2, 3, 10])
def test_lines_are_means_and_bars_t_intervals(n):
    values = np.random.default_rng(0).normal(5, 1, (4, n))
    (axes,) = draw("error_by_generation", by_generation(values.tolist()), **ERROR).axes
    np.testing.assert_allclose(lines_of(axes)[f"ban (n = {n})"], np.stack([range(4), values.mean(axis=1)], axis=1))
    halves = [T[n] * math.sqrt(sum((v - own.mean()) ** 2 for v in own) / (n - 1)) / math.sqrt(n) for own in values]
    expected = np.stack([values.mean(axis=1) - halves, values.mean(axis=1) + halves], axis=1)
    np.testing.assert_allclose(bars_of(axes), expected, rtol=1e-3)
    single = [line.get_ydata() for line in axes.get_lines() if len(line.get_xdata()) == 4 * n]
    np.testing.assert_allclose(single, [values.ravel()])
    low, high = axes.get_ylim()
    assert low < expected.min() and high > expected.max()


def test_one_seed_has_no_bars_and_no_baseline_no_band():
    (axes,) = draw("error_by_generation", by_generation([[5], [4]]), **ERROR).axes
    np.testing.assert_allclose(lines_of(axes)["ban (n = 1)"], [[0, 5], [1, 4]])
    assert not axes.collections and not axes.patches and len(axes.get_lines()) == 1


def test_networks_without_students_are_a_band():
    cells = by_generation([[5, 6], [4, 4]]) + by_generation([[3, 5, 4]], "scratch")
    (axes,) = draw("error_by_generation", cells, **ERROR).axes
    assert set(lines_of(axes)) == {"ban (n = 2)", "scratch (n = 3)"}
    np.testing.assert_allclose(lines_of(axes)["scratch (n = 3)"][:, 1], 4)
    half = T[3] * 1 / math.sqrt(3)
    np.testing.assert_allclose(axes.patches[0].get_bbox().intervaly, [4 - half, 4 + half], rtol=1e-3)


@pytest.mark.parametrize(("count", "panels"), [(1, 1), (5, 1), (12, 3), (20, 5)])
def test_many_lineages_are_shared_out_over_panels(count, panels):
    cells = [cell for i in range(count) for cell in by_generation([[5], [4 + i]], f"line{i}")] + by_generation([[3]], "scratch")
    figure = draw("error_by_generation", cells, **ERROR)
    drawn = [lines_of(axes) for axes in figure.axes]
    assert len(drawn) == panels and all("scratch (n = 1)" in lines for lines in drawn)
    found = {label: line[1, 1] for lines in drawn for label, line in lines.items() if label != "scratch (n = 1)"}
    assert found == {f"line{i} (n = 1)": 4 + i for i in range(count)}
    assert figure.get_size_inches()[0] == (COLUMN if panels == 1 else PAGE)


def test_each_printed_network_has_a_panel():
    cells = by_generation([[5], [4]], panel="ResNet-20") + by_generation([[3], [2]], panel="ResNet-56")
    left, right = draw("error_by_generation", cells, **ERROR).axes
    assert [axes.get_legend().get_title().get_text() for axes in (left, right)] == ["ResNet-20", "ResNet-56"]
    np.testing.assert_allclose(lines_of(right)["ban (n = 1)"][:, 1], [3, 2])


def test_training_curves_have_the_mean_and_range_of_evaluated_epochs():
    curves = {(0, 0): (9, 5), (0, 1): (7, 1), (1, 0): (8, 4), (1, 1): (4, 2)}
    cells = [
        {
            "lineage": "ban",
            "generation": k,
            "rows": [
                {"epoch": "1", "train_loss": "2.5", "test_error_pct": ""},
                {"epoch": "2", "train_loss": "1.5", "test_error_pct": str(first)},
                {"epoch": "4", "train_loss": "0.5", "test_error_pct": str(last)},
            ],
        }
        for (k, _), (first, last) in curves.items()
    ]
    error, loss = draw("training_curves", cells, metrics={"test_error_pct": "test error (%)", "train_loss": "loss"}).axes
    np.testing.assert_allclose([line.get_xydata() for line in error.get_lines()], [[[2, 8], [4, 3]], [[2, 6], [4, 3]]])
    assert [len(line.get_xdata()) for line in loss.get_lines()] == [3, 3]
    edges = [{tuple(point) for point in band.get_paths()[0].vertices} for band in error.collections]
    assert edges == [{(2, 7), (2, 9), (4, 1), (4, 5)}, {(2, 4), (2, 8), (4, 2), (4, 4)}]


def test_confidence_is_drawn_as_far_as_there_are_classes():
    cells = [
        {"lineage": "ban", "generation": k, "metrics": {"confidence_top1_pct": 90 - k, "confidence_top2_pct": 10 + k}}
        for k in range(2)
    ]
    (axes,) = draw("confidence_by_rank", cells).axes
    assert {label: line[:, 1].tolist() for label, line in lines_of(axes).items()} == {
        "patriarch": [90, 10],
        "generation 1": [89, 11],
    }
    assert list(axes.get_xticks()) == [1, 2]


def calibrated(images, confidence, accuracy, error, **labels):
    rows = [
        {"images": str(n), "confidence_pct": str(c) if n else "", "accuracy_pct": str(a) if n else ""}
        for n, c, a in zip(images, confidence, accuracy, strict=True)
    ]
    return {"lineage": "ban", "generation": 0, "metrics": {"ece_test_pct": error}, "rows": rows, **labels}


def test_reliability_weighs_the_bins_of_all_seeds_by_their_images():
    cells = [
        calibrated([0, 9, 30], [0, 40, 80], [0, 50, 90], 2.0),
        calibrated([0, 0, 10], [0, 0, 84], [0, 0, 70], 4.0),
    ]
    (axes,) = draw("reliability", cells).axes
    half = T[2] * math.sqrt(2) / math.sqrt(2)
    found = lines_of(axes)[f"patriarch, ECE 3.0 ± {half:.1f} %"]
    np.testing.assert_allclose(found, [[(30 * 80 + 10 * 84) / 40, (30 * 90 + 10 * 70) / 40]])


def test_second_classes_are_a_mean_with_borders_of_superclasses():
    shares = np.random.default_rng(0).uniform(size=(2, 2, 5, 5))
    names = ["a", "b", "c", "d", "e"]
    cells = [
        {
            "lineage": "ban",
            "generation": k,
            "rows": [{"class": name, **dict(zip(names, map(str, row), strict=True))} for name, row in zip(names, own, strict=True)],
        }
        for k, seeds in zip((0, 3), shares, strict=True)
        for own in seeds
    ]
    figure = draw("second_classes", cells, superclasses={"one": 2, "two": 3})
    left, right, bar = figure.axes
    assert [axes.get_title() for axes in (left, right)] == ["ban, patriarch (n = 2)", "ban, generation 3 (n = 2)"]
    for axes, own in zip((left, right), shares, strict=True):
        np.testing.assert_allclose(axes.get_images()[0].get_array(), 100 * own.mean(axis=0))
        squares = [line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == 5]
        assert [(min(square), max(square)) for square in squares] == [(-0.5, 1.5), (1.5, 4.5)]
    assert left.get_images()[0].norm is right.get_images()[0].norm and bar.get_xlabel()
    assert [label.get_text() for label in left.get_yticklabels()] == names


def test_ensembles_stand_at_the_networks_that_they_cost():
    def cell(kind, cost, error, lineage="ban", generation=None, seed=0):
        metrics = {"test_error_pct": error}
        labels = {"lineage": lineage, "kind": kind, "generation": generation, "networks_trained": cost, "seed": seed}
        return {**labels, "metrics": metrics}

    cells = [
        *(cell("network", 1, error, generation=0, seed=seed) for seed, error in enumerate((6, 8))),
        # Two students of the patriarch cost the same, and are no repetitions of one.
        *(cell("network", 2, error, generation=1, seed=seed) for seed, error in enumerate((4, 6))),
        *(cell("network", 2, error, generation=2, seed=seed) for seed, error in enumerate((1, 3))),
        *(cell("lineage", 3, error, seed=seed) for seed, error in enumerate((3, 5))),
        *(cell("scratch", 3, error, "scratch", seed=seed) for seed, error in enumerate((2, 3))),
    ]
    (axes,) = draw("ensemble_size", cells).axes
    found = {label: line.tolist() for label, line in lines_of(axes).items()}
    assert found["one network of a generation"] == [[1, 7], [2, 5], [2, 2]]
    assert found["ensemble with the patriarch"] == [[3, 4]] and found["ensemble from scratch"] == [[3, 2.5]]
    assert axes.get_title("left") == "ban (n = 2)"


def pair(row, student, teacher, seed, size, **labels):
    both = {"panel": "small", "series": "", "row": row, "seed": seed, **labels}
    return [
        {**both, "of": "student", "metrics": {"test_error_pct": student, "parameters": 1}},
        {**both, "of": "teacher", "metrics": {"test_error_pct": teacher, "parameters": size}},
    ]


def test_teachers_stand_at_their_size_in_order():
    cells = [c for seed in (0, 1) for c in pair("big", 4 + seed, 2, seed, 9e6) + pair("small", 6 + seed, 5, seed, 2e6)]
    cells += [{"panel": "small", "of": "scratch", "series": "", "row": "s", "seed": 0, "metrics": {"test_error_pct": 8}}]
    (axes,) = draw("teacher_size", cells).axes
    found = {label: line.tolist() for label, line in lines_of(axes).items()}
    assert found["student (n = 2)"] == [[2, 6.5], [9, 4.5]]
    assert found["teacher (n = 2)"] == [[2, 5], [9, 2]]
    assert [y for _, y in found["student from scratch (n = 1)"]] == [8, 8]


def test_teachers_stopped_at_one_epoch_stay_apart():
    """At a small scale teachers of several lengths have the fewest epochs that there are."""
    cells = pair("big (35)", 4, 3, 0, 1, epochs=2) + pair("big (50)", 6, 5, 0, 1, epochs=2) + pair("big", 1, 2, 0, 1, epochs=9)
    (axes,) = draw("early_stopped_teachers", cells).axes
    assert lines_of(axes)["student (n = 1)"].tolist() == [[2, 4], [2, 6], [9, 1]]


def test_temperature_and_alpha_are_varied_one_at_a_time():
    pairs = {(1, 0.9): 5, (4, 0.9): 4, (20, 0.9): 6, (4, 0.1): 7, (4, 0.5): 8}
    cells = [
        {"series": "big", "temperature": t, "alpha": a, "seed": 0, "metrics": {"test_error_pct": error}}
        for (t, a), error in pairs.items()
    ]
    left, right = draw("temperature_alpha", cells).axes
    assert lines_of(left)["teacher big (n = 1)"].tolist() == [[1, 5], [4, 4], [20, 6]]
    assert lines_of(right)["teacher big (n = 1)"].tolist() == [[0.1, 7], [0.5, 8], [0.9, 4]]
    assert left.get_xlabel() == "temperature T, at α = 0.9" and right.get_xlabel() == "α, at temperature T = 4"


def test_letters_are_at_least_8_points():
    figure = draw("error_by_generation", by_generation([[5, 6], [4, 5]]), **ERROR)
    texts = [text for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize")) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 8 and len(texts) > 8


# From here on: steps.


def write_step(step, metrics, files):
    """A finished step with these metrics and files."""
    folder = Path(step.folder)
    folder.mkdir(parents=True, exist_ok=True)
    outputs = {}
    for name, rows in files.items():
        with open(folder / name, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        outputs[name] = {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
    (folder / "receipt.json").write_text(json.dumps({"metrics": metrics, "outputs": outputs}))


def make(plan, name, folder):
    step = figures_of(plan)[name]
    inputs = {role: [Path("runs", parent) for parent in names] for role, names in step.inputs.items()}
    return make_figure(step.settings, inputs, Path(folder), RUNTIME)


def write_networks(plan):
    history = [{"epoch": e, "train_loss": 2 / e, "train_error_pct": 50 / e} for e in (1, 2, 3)]
    for kind in ("patriarch", "generation"):
        for step in plan.of_kind(kind):
            write_step(step, {"test_error_pct": 5 + step.settings["seed"]}, {"history.csv": history})


def test_the_same_runs_give_the_same_files(monkeypatch):
    plan = plan_of(seeds=[0, 1])
    write_networks(plan)
    kept = []
    for folder, epoch in (("a", "0"), ("b", "1700000000")):
        # Matplotlib would take the date from here.
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        assert make(plan, "error_by_generation", folder) == {"cells": 8}
        kept.append({path.name: path.read_bytes() for path in Path(folder).iterdir()})
    assert kept[0].keys() == {"figure.svg", "figure.pdf", "figure.png"}
    assert kept[0] == kept[1]
    svg = kept[0]["figure.svg"].decode()
    assert "<text" in svg and "ban" not in svg and "line (n = 2)" in svg and "<image" not in svg and "dc:date" not in svg
    assert b"/Type0" in kept[0]["figure.pdf"] or b"/TrueType" in kept[0]["figure.pdf"]


def test_a_figure_reads_small_files_only_and_says_what_is_missing():
    plan = plan_of()
    steps = figures_of(plan)
    assert {path.rpartition("/")[2] for path in steps["error_by_generation"].reads} == {"receipt.json"}
    assert {path.rpartition("/")[2] for path in steps["training_curves"].reads} == {"receipt.json", "history.csv"}
    assert {path.rpartition("/")[2] for path in steps["reliability"].reads} == {"receipt.json", "calibration.csv"}
    write_networks(plan)
    make(plan, "training_curves", "out")
    student = plan.of_kind("generation")[0]
    Path(student.folder, "history.csv").write_text("epoch\n1\n")
    with pytest.raises(UserError, match=rf"{student.id}/history.csv is corrupt"):
        make(plan, "training_curves", "out")
    assert all(not READS.get(role, ("",))[0].endswith((".safetensors", ".npy")) for step in steps.values() for role in step.inputs)


def test_an_experiment_has_the_figures_that_its_steps_allow():
    found = plan_of(scratch=2)
    assert set(figures_of(found)) == {
        "error_by_generation",
        "training_curves",
        "confidence_by_rank",
        "reliability",
        "ensemble_size",
    }
    superclasses = {**demo_settings()["dataset"], "superclasses": str(ROOT / "config/superclasses/digits.yaml")}
    second = figures_of(plan_of(dataset=superclasses))["second_classes"]
    assert {cell["generation"] for cell in second.settings["cells"]} == {0, 3}
    assert sum(second.settings["superclasses"].values()) == 10
    text = build_plan(["pydoc"])
    assert set(figures_of(text)) == {"error_by_generation", "training_curves"}
    assert figures_of(text)["error_by_generation"].settings["metric"] == "test_perplexity"


def test_ensemble_sizes_count_teachers():
    shown = figures_of(plan_of(teacher=["previous", "patriarch", 2]))["ensemble_size"].settings["cells"]
    costs = {cell["generation"]: cell["networks_trained"] for cell in shown if cell["kind"] == "network"}
    assert costs == {0: 1, 1: 2, 2: 2, 3: 3}


def test_figures_can_be_named():
    assert list(figures_of(plan_of(figures=["reliability"]))) == ["reliability"]
    with pytest.raises(
        SettingError, match=r"figures = pie: there is no such figure\. Allowed: error_by_generation, .*ensemble_size"
    ):
        plan_of(figures=["pie"])
    with pytest.raises(SettingError, match="figures = second_classes: the experiment has no steps that it could be drawn from"):
        plan_of(figures=["second_classes"])
    with pytest.raises(
        SettingError, match=r"figures = reliability: there is no such figure\. Allowed: error_by_generation, teacher_"
    ):
        build_plan(["efficacy_figure6"], ("figures=[reliability]",))
    with pytest.raises(SettingError, match="figures = teacher_size: the table has no rows that it could be drawn from"):
        build_plan(["efficacy_figure6"], ("figures=[teacher_size]",))


PUBLISHED = {
    "tolerant_teachers_figure2": "error_by_generation",
    "efficacy_figure2": "teacher_size",
    "efficacy_figure4": "early_stopped_teachers",
    "efficacy_figure5": "early_stopped_teachers",
    "efficacy_figure6": "temperature_alpha",
}


@functools.cache
def published(name):
    return build_plan([name])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures_draw_every_network_of_their_tables(name):
    plan = published(name)
    (step,) = plan.of_kind("figure")
    (table,) = plan.of_kind("paper_table")
    assert step.settings["figure"] == PUBLISHED[name]
    cells = step.settings["cells"]
    assert {cell["step"] for cell in cells} == {read for cell in table.settings["cells"] for read in cell["steps"]}
    assert step.settings["title"] and name in step.settings["alt"]
    seeds = {cell["seed"] for cell in cells}
    assert step.settings["caption"].endswith(f"{len(seeds)} seeds." if len(seeds) > 1 else "One seed, so lines have no bars.")


def test_a_figure_at_scale_smoke_says_so():
    (step,) = build_plan(["efficacy_figure6"], ("scale=smoke", "seeds=[0]")).of_kind("figure")
    assert "the numbers mean nothing" in step.settings["caption"]


def test_early_stopped_teachers_stand_at_their_epochs():
    (step,) = published("efficacy_figure4").of_kind("figure")
    shown = {(cell["series"], cell["row"]): cell["epochs"] for cell in step.settings["cells"] if cell["panel"] == "WRN-16-1"}
    assert shown["WRN-16-3", "WRN16-1 | WRN16-3 (35)"] == 35 and shown["WRN-16-8", "WRN16-1 | WRN16-8"] == 200
    assert len(shown) == 10


def test_a_figure_is_drawn_anew_only_where_what_it_draws_changes():
    before, after = (figures_of(plan_of(ensemble={"average": a}, scratch=2)) for a in ("probabilities", "logits"))
    assert {name for name in before if before[name].id != after[name].id} == {"ensemble_size"}
    assert set(before["reliability"].code) == {FUNCTIONS["figure"].partition(":")[0], "gendistill.results.figures.reliability"}


def test_every_drawing_belongs_to_a_study():
    from gendistill.plan import figures, published_figures

    assert {*figures.OF_EXPERIMENTS, *published_figures.OF_TABLES} == set(DRAWINGS)


def ece_by_masks(logits, labels):
    """Independent of the code: by masks, in NumPy."""
    z = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    found, error = [], 0.0
    for b in range(15):
        own = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        found.append(own.sum())
        if own.any():
            error += own.mean() * abs(right[own].mean() - confidence[own].mean())
    return found, 100 * error


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_calibration(scale):
    random = np.random.default_rng(0)
    logits, labels = scale * random.normal(size=(500, 6)), random.integers(6, size=500)
    rows, error = calibration(torch.from_numpy(logits), torch.from_numpy(labels))
    counts, expected = ece_by_masks(logits, labels)
    assert [row["images"] for row in rows] == counts
    assert error == pytest.approx(expected)
    again = sum(row["images"] / 500 * abs(row["accuracy_pct"] - row["confidence_pct"]) for row in rows if row["images"])
    assert error == pytest.approx(again)


def test_calibration_by_hand():
    """Two images at 0.8 of which one is right, one at 1.0 that is right: 2/3 |0.5 - 0.8|. And 0.8 = 12/15 ends the 12th bin."""
    logits = torch.tensor([[0.8, 0.2], [0.8, 0.2], [1.0, 0.0]], dtype=torch.float64).log()
    rows, error = calibration(logits, torch.tensor([0, 1, 0]))
    assert error == pytest.approx(20)
    assert [row["images"] for row in rows] == [0] * 11 + [2] + [0, 0, 1]
    assert "accuracy_pct" not in rows[0] and rows[11]["accuracy_pct"] == 50


def test_rendered_formats():
    figure = draw("error_by_generation", by_generation([[5], [4]]), **ERROR)
    starts = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    for kind, start in starts.items():
        assert rendered(figure, kind, "Title").startswith(start)


def test_an_experiment_of_networks_from_scratch_only_has_no_training_curves_of_lineages():
    plan = build_plan(["demo"], ("~lineages.ban", "~lineages.tolerant"))
    assert plan.of_kind("figure") and not [step for step in plan.of_kind("figure") if step.settings["figure"] == "training_curves"]


def test_a_figure_of_settings_that_no_step_of_the_table_has():
    with pytest.raises(SettingError, match="figures = temperature_alpha: the table has no rows that it could be drawn from"):
        build_plan(["ban_icml2018_table2"], ("figures=[temperature_alpha]",))
