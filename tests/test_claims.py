"""Claims: from a name to the cells they are tested on, the statistics of these, and a verdict over all claims of a report."""

import copy
import json
import re

import numpy as np
import pytest
from scipy import stats

from gendistill.errors import SettingError, UserError
from gendistill.plan import Plan, build_plan, claims
from gendistill.plan.build import add_experiment
from gendistill.plan.settings import compose_experiment, paper_names
from gendistill.results.claims import evaluate_claims, judge
from gendistill.runtime import Runtime
from tests.demo import demo_settings

BETTER = {"metric": "test_error_pct", "first": {"lineage": "line", "generation": 1}, "is": "lower"}
PATRIARCH = {"lineage": "line", "generation": 0}


def planned(monkeypatch, tmp_path, compare, name="demo", settings=None, claim="better"):
    """The plan of a study with one claim."""
    (tmp_path / "config" / "claims").mkdir(parents=True)
    text = json.dumps({claim: {"says": "Students are better.", "source": "a paper, Table 1", "compare": compare}})
    (tmp_path / "config" / "claims" / "own.yaml").write_text(text)
    monkeypatch.setattr(claims, "CONFIG", tmp_path / "config")
    plan = Plan()
    add_experiment(plan, name, {**(settings or demo_settings()), "claims": ["better"]})
    return plan


def comparison_of(plan):
    (step,) = plan.of_kind("claims")
    return step.settings["claims"][0]["comparisons"][0]


def test_a_claim_reads_the_cells_that_it_names_for_every_seed(monkeypatch, tmp_path):
    plan = planned(monkeypatch, tmp_path, [{**BETTER, "second": PATRIARCH}], settings={**demo_settings(), "seeds": [0, 1]})
    found = comparison_of(plan)
    for side, generation in (("first", 1), ("second", 0)):
        cells = [{"seed": s, "steps": [plan.roles[f"demo-line-gen{generation}-seed{s}"]], "key": "test_error_pct"} for s in (0, 1)]
        assert found[side] == {"label": f"line, generation {generation}", "form": "mean", "cells": cells}
    (step,) = plan.of_kind("claims")
    assert set(step.inputs["cells"]) == {name for side in ("first", "second") for c in found[side]["cells"] for name in c["steps"]}


def test_networks_from_scratch_count_once_for_each_seed(monkeypatch, tmp_path):
    settings = {**demo_settings(), "scratch": 3}
    plan = planned(monkeypatch, tmp_path, [{**BETTER, "second": {"lineage": "scratch"}}], settings=settings)
    (cell,) = comparison_of(plan)["second"]["cells"]
    assert len(cell["steps"]) == 3


def test_a_claim_on_ensembles(monkeypatch, tmp_path):
    ensemble = {"table": "ensembles", "members": "gen1to3"}
    test = {"metric": "test_error_pct", "first": ensemble, "is": "lower", "second": {"lineage": "line", "generation": 3}}
    plan = planned(monkeypatch, tmp_path, [test])
    (cell,) = comparison_of(plan)["first"]["cells"]
    assert cell["steps"] == [plan.roles["demo-line-ensemble-gen1to3-seed0"]]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (
            {"first": {"lineage": "line"}},
            r"own\.yaml.*lineage = line: 4 rows of table error are so.*: line/0, line/1",
        ),
        ({"first": {"line": 1}}, "line = 1: unknown. Allowed: table, lineage, generation"),
        ({"first": {"table": "errors"}}, "table = errors: there is no such table. Allowed: error, "),
        ({"metric": "tset_error"}, "metric = tset_error: unknown in table error. Allowed: test_error_pct, "),
        ({"is": "better"}, "better.compare.0.is = 'better': not allowed. It must be lower or higher"),
        ({"than": 1}, r"better\.compare\.0\.than = 1: unknown setting. Allowed: metric, first, is, second"),
    ],
)
def test_a_claim_that_cannot_be_tested_is_an_error(monkeypatch, tmp_path, test, message):
    with pytest.raises(SettingError, match=message):
        planned(monkeypatch, tmp_path, [{**BETTER, "second": PATRIARCH, **test}])


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (
            {"lineage": "lien"},
            "lineage = lien: no row of table error is so. It has line/0, line/1, line/2, line/3 (lineage",
        ),
        ({"table": "transfer", "lineage": "line"}, "lineage = line: no row of table transfer is so. It has none"),
    ],
)
def test_a_claim_on_rows_that_the_study_does_not_have_is_not_tested(monkeypatch, tmp_path, first, reason):
    """Another setting, such as fewer generations, must not stop a run."""
    plan = planned(monkeypatch, tmp_path, [{**BETTER, "second": PATRIARCH}, {**BETTER, "first": first, "second": PATRIARCH}])
    (step,) = plan.of_kind("claims")
    (claim,) = step.settings["claims"]
    assert claim["comparisons"] == [] and claim["not_tested"].startswith(reason)
    evaluate_claims(step.settings, {}, tmp_path, Runtime())
    (judged,) = judge([json.loads((tmp_path / "claims.json").read_text())])
    assert (judged["verdict"], judged["reason"]) == ("not tested", claim["not_tested"])


def test_a_claim_on_printed_rows_that_are_not_run_is_not_tested(monkeypatch, tmp_path):
    settings = copy.deepcopy(compose_experiment(NAME))
    settings["table"]["cells"] = [{"for": {"generation": [0, 1, 2, 3]}, "is": {"lineage": "ban"}}]
    settings["table"]["not_run"] = [{"for": {"generation": 4}, "why": "a test"}]
    plan = planned(monkeypatch, tmp_path, [{**PRINTED, "first": {"generation": 4}}], NAME, settings)
    assert plan.of_kind("claims")[0].settings["claims"][0]["not_tested"].endswith("it is not run")


def test_an_unknown_claim_is_an_error_that_lists_the_known_ones(monkeypatch, tmp_path):
    with pytest.raises(SettingError, match=r"claims = better: there is no such claim. Allowed: worse\. Set in config/experiment"):
        planned(monkeypatch, tmp_path, [{**BETTER, "second": PATRIARCH}], claim="worse")


def test_two_claims_of_one_name(monkeypatch, tmp_path):
    planned(monkeypatch, tmp_path, [{**BETTER, "second": PATRIARCH}])
    own = tmp_path / "config" / "claims" / "own.yaml"
    own.with_name("second.yaml").write_text(own.read_text())
    with pytest.raises(SettingError, match=r"claim better: it is in config/claims/own.yaml and in config/claims/second.yaml"):
        claims.read_claims()


NAME = "tolerant_teachers_table1"
PRINTED = {"metric": "test_accuracy_pct", "first": {"generation": 2}, "is": "higher", "second": {"generation": 0}}


def test_a_claim_on_a_published_table_reads_its_rows(monkeypatch, tmp_path):
    plan = planned(monkeypatch, tmp_path, [PRINTED], NAME, copy.deepcopy(compose_experiment(NAME)))
    found = comparison_of(plan)
    assert found["first"]["form"] == "accuracy"
    assert [cell["steps"] for cell in found["first"]["cells"]] == [[plan.roles[f"{NAME}-ban-gen2-seed0"]]]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"first": {"method": "ban"}}, "method = ban, test_accuracy_pct: 5 rows are so"),
        ({"first": {"generation": 9}}, "generation = 9, test_accuracy_pct: 0 rows are so; there must be one"),
        ({"first": {"lineage": "ban"}}, "lineage = ban: unknown. Allowed: row, network, dataset, method, generation"),
        ({"metric": "accuracy"}, "metric = accuracy: unknown. Allowed: params_millions, "),
    ],
)
def test_a_claim_on_a_published_table_that_cannot_be_tested(monkeypatch, tmp_path, test, message):
    with pytest.raises(SettingError, match=message):
        planned(monkeypatch, tmp_path, [{**PRINTED, **test}], NAME, copy.deepcopy(compose_experiment(NAME)))


def claim_of(*comparisons):
    return {"name": "better", "says": "It is.", "source": "x", "not_tested": "", "comparisons": list(comparisons)}


def evaluated(tmp_path, monkeypatch, first, second, form="mean", scale="full", metrics=None):
    """The content of claims.json for values by seed of two sides."""
    tmp_path.mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    sides = {}
    for side, values in (("first", first), ("second", second)):
        cells = []
        for seed, members in values.items():
            steps = []
            for member, value in enumerate(members if isinstance(members, list) else [members]):
                steps.append(f"patriarch/{side}{member}-{seed}")
                folder = tmp_path / "runs" / steps[-1]
                folder.mkdir(parents=True)
                receipt = {"spec": {"kind": "patriarch", "settings": {"seed": seed}}, "metrics": {"error": value}}
                (folder / "receipt.json").write_text(json.dumps(receipt))
            cells.append({"seed": seed, "steps": steps, "key": "error"})
        sides[side] = {"label": side, "form": form, "cells": cells}
    claim = {
        "name": "better",
        "says": "It is.",
        "source": "x",
        "not_tested": "",
        "comparisons": [{"metric": "error", "is": "lower", **sides}],
    }
    settings = {"study": "own", "scale": scale, "claims": [claim]}
    evaluate_claims(settings, {}, tmp_path, Runtime())
    return json.loads((tmp_path / "claims.json").read_text())


def test_values_by_seed_are_paired_and_members_averaged(tmp_path, monkeypatch):
    first, second = {0: 4.1, 1: 5.0, 2: 4.4, 3: 4.7}, {0: [5.0, 5.2], 1: [5.6, 5.0], 2: [5.1, 5.3], 3: [5.9, 5.5]}
    (claim,) = evaluated(tmp_path, monkeypatch, first, second)["claims"]
    (found,) = claim["comparisons"]
    means = [sum(second[seed]) / 2 for seed in range(4)]
    assert [value["second"] for value in found["values"]] == pytest.approx(means)
    d = np.array([first[seed] for seed in range(4)]) - means
    t = d.mean() / (d.std(ddof=1) / 2)
    assert found["difference"] == pytest.approx(d.mean())
    assert found["p"] == pytest.approx(2 * stats.t.sf(abs(t), 3))
    assert (found["n"], found["paired"]) == (4, True)


def test_values_have_the_form_that_the_paper_prints(tmp_path, monkeypatch):
    content = evaluated(tmp_path, monkeypatch, {0: 25.0, 1: 26.0}, {0: 30.0, 1: 28.0}, form="accuracy")
    assert content["claims"][0]["comparisons"][0]["values"] == [
        {"seed": 0, "first": 75.0, "second": 70.0},
        {"seed": 1, "first": 74.0, "second": 72.0},
    ]


def test_a_receipt_without_the_metric(tmp_path, monkeypatch):
    evaluated(tmp_path, monkeypatch, {0: 1.0}, {0: 2.0})
    receipt = tmp_path / "runs/patriarch/first0-0/receipt.json"
    receipt.write_text(receipt.read_text().replace("error", "loss"))
    side = {"label": "a", "form": "mean", "cells": [{"seed": 0, "steps": ["patriarch/first0-0"], "key": "error"}]}
    test = {"metric": "error", "is": "lower", "first": side, "second": side}
    settings = {
        "study": "own",
        "scale": "full",
        "claims": [{"name": "c", "says": "", "source": "", "not_tested": "", "comparisons": [test]}],
    }
    with pytest.raises(UserError, match="the receipt of patriarch/first0-0 has no metric error"):
        evaluate_claims(settings, {}, tmp_path, Runtime())


CLEAR = {seed: 4.0 + 0.1 * (seed % 3) for seed in range(8)}
WORSE = {seed: 6.0 + 0.1 * (seed % 2) for seed in range(8)}


def verdicts(*contents):
    return [(claim["verdict"], [c["verdict"] for c in claim["comparisons"]]) for claim in judge(list(contents))]


def test_the_verdicts_on_clear_differences(tmp_path, monkeypatch):
    good = evaluated(tmp_path / "a", monkeypatch, CLEAR, WORSE)
    bad = evaluated(tmp_path / "b", monkeypatch, WORSE, CLEAR)
    few = evaluated(tmp_path / "c", monkeypatch, {s: CLEAR[s] for s in (0, 1)}, {s: WORSE[s] for s in (0, 1)})
    same = evaluated(tmp_path / "d", monkeypatch, CLEAR, {seed: CLEAR[7 - seed] for seed in CLEAR})
    words = ["reproduced", "contradicted", "undecided", "undecided"]
    assert verdicts(good, bad, few, same) == [(word, [word]) for word in words]


def test_of_several_comparisons_all_must_hold_and_none_fail(tmp_path, monkeypatch):
    good = evaluated(tmp_path / "a", monkeypatch, CLEAR, WORSE)
    bad = evaluated(tmp_path / "b", monkeypatch, WORSE, CLEAR)
    few = evaluated(tmp_path / "c", monkeypatch, {0: 4.0}, {0: 5.0})
    parts = {name: content["claims"][0]["comparisons"][0] for name, content in (("good", good), ("bad", bad), ("few", few))}

    def together(*names):
        content = copy.deepcopy(good)
        content["claims"][0]["comparisons"] = [parts[name] for name in names]
        (claim,) = judge([content])
        return claim["verdict"]

    assert together("good", "good") == "reproduced"
    assert together("good", "few") == "undecided"
    assert together("good", "few", "bad") == "contradicted"


def test_many_claims_make_a_finding_harder(tmp_path, monkeypatch):
    values = {0: 4.0, 1: 4.1, 2: 4.05, 3: 4.2}, {0: 4.5, 1: 4.9, 2: 4.9, 3: 4.6}
    content = evaluated(tmp_path / "a", monkeypatch, *values)
    p = content["claims"][0]["comparisons"][0]["p"]
    assert 0.005 < p < 0.05
    (alone,) = judge([content])
    assert alone["comparisons"][0]["adjusted_p"] == pytest.approx(p)
    assert alone["verdict"] == "reproduced"
    many = judge([content] * 20)
    # By the formula for normal values: (z of the level + z of 80 %)^2 times the squared spread; t needs a few more.
    d = [first - second for first, second in zip(values[0].values(), values[1].values(), strict=True)]
    z = [stats.norm.ppf(1 - 0.05 / tests / 2) + stats.norm.ppf(0.8) for tests in (1, 20)]
    least = [(each * np.std(d, ddof=1) / np.mean(d)) ** 2 for each in z]
    needed = [claim["comparisons"][0]["power_seeds"] for claim in (alone, many[0])]
    assert all(low <= found <= low + 6 for low, found in zip(least, needed, strict=True)) and needed[0] < needed[1]
    # Holm's smallest of 20 equal p-values.
    assert many[0]["comparisons"][0]["adjusted_p"] == pytest.approx(min(1, 20 * p))
    assert {claim["verdict"] for claim in many} == {"undecided"}


def test_scale_smoke_tests_nothing_and_takes_no_part(tmp_path, monkeypatch):
    good = evaluated(tmp_path / "a", monkeypatch, CLEAR, WORSE)
    smoke = evaluated(tmp_path / "b", monkeypatch, CLEAR, WORSE, scale="smoke")
    both = judge([good, smoke])
    assert [claim["verdict"] for claim in both] == ["reproduced", "not tested"]
    assert both[1]["reason"] == "at scale smoke the numbers mean nothing"
    assert both[0]["comparisons"] == judge([good])[0]["comparisons"]


@pytest.mark.parametrize(
    ("override", "tested"),
    [
        ("seeds=[0,1,2,3]", True),
        ("lineages.ban.generations=4", True),
        ("runtime.threads=2", True),
        ("network=resnet20", False),
        ("dataset=cifar10", False),
        ("recipe.epochs=3", False),
        ("lineages.tolerant.patriarch.objective=label_smoothing", False),
    ],
)
def test_claims_are_not_tested_on_another_study_than_their_words_are_of(override, tested):
    (step,) = build_plan(["demo"], (override,)).of_kind("claims")
    for claim in step.settings["claims"]:
        assert claim["not_tested"] == (
            "" if tested else f"on the command line other values are given for {override.partition('=')[0]}"
        )
        assert bool(claim["comparisons"]) == tested


@pytest.mark.parametrize("name", ["claims", "macros", "50%", "two words", "_own", "a/b"])
def test_a_name_that_cannot_name_files_and_parts_of_the_report(name):
    with pytest.raises(SettingError, match=rf"experiments = {re.escape(name)}: must be letters, digits"):
        build_plan([name])


def test_claims_can_be_chosen_by_an_override():
    assert compose_experiment("demo")["claims"]
    assert compose_experiment("demo", ("claims=[]",))["claims"] == []
    assert compose_experiment("demo", ("seeds=[0]", "claims=[one,'two']"))["claims"] == ["one", "two"]
    with pytest.raises(SettingError, match=r"claims = none: there is no such claim. Allowed: .*demo_generation_1"):
        build_plan(["demo"], ("claims=[none]",))
    with pytest.raises(SettingError, match=r"claims = 'none': not allowed. It must be a list of different names of claims"):
        build_plan(["demo"], ("claims=none",))
    with pytest.raises(SettingError, match="experiment demo cannot be composed"):
        build_plan(["demo"], ("claims=[one",))


@pytest.mark.parametrize("name", ["demo", *paper_names()])
def test_every_claim_of_a_study_as_it_is_set_is_tested(name):
    for step in build_plan([name], without_data=True).of_kind("claims"):
        assert [claim["not_tested"] for claim in step.settings["claims"]] == [""] * len(step.settings["claims"])
