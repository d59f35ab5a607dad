"""Tables of two experiments, or of two revisions, as differences: real repositories, numbers that a hand can check."""

import csv
import math
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from gendistill.__main__ import main
from gendistill.compare.command import compare
from gendistill.errors import UserError
from gendistill.results.tables import by_run

# Errors by generation and seed.
BAN = {0: [5.0, 5.2, 5.4], 1: [4.9, 5.0, 5.5]}
SHIFTED = {0: [4.0, 4.3, 4.2], 1: [4.8, 5.1, 5.3]}
PUBLISHED = ("row", "network", "dataset", "method", "generation", "metric", "seed", "value", "step")


def write_error(name, errors, train=1.0, seeds=(0, 1, 2), members=None):
    """The file of the table `error` by run, as the report writes it."""
    cells, receipts = [], {}
    for generation, values in errors.items():
        for seed, value in zip(seeds, values, strict=True):
            step = f"patriarch/{name}-{generation}-{seed}-{value}"
            cells.append({"table": "error", "step": step, "lineage": "ban", "generation": generation, "seed": seed})
            receipts[step] = {"test_error_pct": value, "best_epoch_test_error_pct": value, "train_error_pct": train + seed}
    for seed, values in (members or {}).items():
        for member, value in enumerate(values):
            step = f"patriarch/{name}-scratch-{member}-{seed}"
            labels = {"lineage": "scratch", "generation": 0, "member": member, "seed": seed}
            cells.append({"table": "error", "step": step, **labels})
            receipts[step] = {"test_error_pct": value, "best_epoch_test_error_pct": value, "train_error_pct": train}
    Path("results/tables").mkdir(parents=True, exist_ok=True)
    by_run("error", cells, receipts).to_csv(f"results/tables/{name}_error_runs.csv", index=False)


def write_published(name, rows):
    """The file of a published table by run: values by method."""
    lines = [",".join(PUBLISHED)]
    for method, values in rows.items():
        for seed, value in enumerate(values):
            lines.append(f"A | B,ResNet-8,digits,{method},,test_accuracy_pct,{seed},{value},generation/{method}-{seed}-{value}")
    Path("results/tables").mkdir(parents=True, exist_ok=True)
    Path(f"results/tables/{name}_runs.csv").write_text("\n".join(lines) + "\n")


def write_params(**settings):
    Path("results/params.yaml").write_text(yaml.safe_dump(settings))


def git(*arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(message):
    git("add", "-A")
    git("commit", "-qm", message)
    return git("rev-parse", "HEAD")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Two experiments here, and the first as it was in two commits."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q", "-b", "main")
    write_error("demo", SHIFTED)
    write_params(demo={"recipe": {"epochs": 30, "flip": False}, "seeds": [0, 1, 2], "description": "one"})
    commit("first")
    write_error("demo", BAN)
    write_params(demo={"recipe": {"epochs": 60, "flip": False}, "seeds": [0, 1, 2], "description": "two"})
    commit("second")
    write_error("other", SHIFTED)
    settings = {"recipe": {"epochs": 60}, "seeds": [0, 1, 2], "teacher": {"kind": "online"}, "description": "three"}
    write_params(demo=yaml.safe_load(Path("results/params.yaml").read_text())["demo"], other=settings)
    return tmp_path


def rows_of(text):
    """The cells of each row of the tables, by the labels joined and the metric."""
    found = {}
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\) \| ", line.strip("|"))]
            found["/".join(cells[:-5])] = cells[-5:]
    return found


def paired_p(first, second):
    d = np.array(first) - np.array(second)
    return 2 * stats.t.sf(abs(d.mean()) / (d.std(ddof=1) / math.sqrt(len(d))), len(d) - 1)


def test_two_experiments(results):
    text = compare("demo", "other", file=Path("out/differences.csv"))
    rows = rows_of(text)
    # The best epoch's errors are those of the last one: they are not tested again.
    names = [f"ban/{generation}/{metric}" for generation in (0, 1) for metric in ("test_error_pct", "train_error_pct")]
    assert list(rows)[2:] == names
    p = [paired_p(BAN[generation], SHIFTED[generation]) for generation in (0, 1)]
    # Holm, over these two and the two of training errors, which are equal: p = 1.
    adjusted = [4 * p[0], max(min(1, 3 * p[1]), 4 * p[0])]
    assert rows["ban/0/test_error_pct"] == ["5.20 ± 0.20", "4.17 ± 0.15", "+1.03 [+0.90, +1.20]", f"{adjusted[0]:.3f}", "3 pairs"]
    assert rows["ban/1/test_error_pct"][2:] == ["+0.07 [-0.10, +0.20]", f"{adjusted[1]:.3f}", "3 pairs"]
    assert rows["ban/0/train_error_pct"][2:4] == ["+0.00 [+0.00, +0.00]", "1.000"]
    assert "all 4 tests" in text and "- A: demo, here\n- B: other, here\n" in text
    assert "- recipe.flip: false | not set\n- teacher.kind: not set | online\n" in text and "description" not in text
    with open("out/differences.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [f"{r['lineage']}/{r['generation']}/{r['metric']}" for r in written] == names
    assert [float(r["p"]) for r in written][::2] == pytest.approx(p) and written[0]["paired"] == "True"
    assert float(written[0]["first_mean"]) - float(written[0]["second_mean"]) == pytest.approx(float(written[0]["difference"]))


def test_the_same_turned_round(results):
    there, back = rows_of(compare("demo", "other")), rows_of(compare("other", "demo"))
    assert back["ban/0/test_error_pct"] == [there["ban/0/test_error_pct"][n] for n in (1, 0)] + [
        "-1.03 [-1.20, -0.90]",
        *there["ban/0/test_error_pct"][3:],
    ]


def test_one_metric(results):
    text = compare("demo", "other", "test_error_pct")
    assert list(rows_of(text))[2:] == ["ban/0/test_error_pct", "ban/1/test_error_pct"] and "all 2 tests shown" in text
    # Asked for by name, the best epoch's is shown, though it is the last one's.
    assert list(rows_of(compare("demo", "other", "best_epoch_test_error_pct")))[2:] == [
        "ban/0/best_epoch_test_error_pct",
        "ban/1/best_epoch_test_error_pct",
    ]
    with pytest.raises(UserError, match=r"--metric error: neither has it. Known: test_error_pct, best_epoch.*, train_error_pct"):
        compare("demo", "other", "error")


@pytest.mark.parametrize("named", [("HEAD", "HEAD~1"), ("main", "before"), ("demo", "before"), ("demo@main", "demo@before")])
def test_revisions(results, named):
    """As committed, whatever lies here now; a revision beside a name is that name there."""
    git("tag", "before", "HEAD~1")
    if named[0] != "demo":
        write_error("demo", {0: [9.0, 9.0, 9.0]})
    status = git("status", "--porcelain")
    text = compare(*named)
    assert rows_of(text)["ban/0/test_error_pct"][:3] == ["5.20 ± 0.20", "4.17 ± 0.15", "+1.03 [+0.90, +1.20]"]
    assert "- recipe.epochs: 60 | 30" in text and git("rev-parse", "before")[:12] in text
    assert git("status", "--porcelain") == status and git("rev-parse", "--abbrev-ref", "HEAD") == "main"


def test_an_experiment_here_and_there(results):
    assert "+1.03" in compare("demo", "other@HEAD~0" if commit("third") else "") and "other, at HEAD~0" in compare(
        "demo", "other@HEAD~0"
    )
    with pytest.raises(UserError, match=r"other@HEAD~1: there are no results of other, at HEAD~1 .*Names there: demo\."):
        compare("demo", "other@HEAD~1")


def test_a_revision_beside_a_name_is_that_name_there(results):
    commit("third")
    write_error("demo", SHIFTED)
    for named, difference in ((("demo", "HEAD"), "-1.03"), (("HEAD", "demo"), "+1.03")):
        text = compare(*named)
        assert difference in text and "demo, at HEAD" in text and "## other" not in text


def test_revisions_of_a_project_within_a_repository(results, monkeypatch):
    Path("project").mkdir()
    git("mv", "results", "project/results")
    commit("moved")
    monkeypatch.chdir("project")
    write_error("demo", SHIFTED)
    assert rows_of(compare("demo", "HEAD"))["ban/0/test_error_pct"][2] == "-1.03 [-1.20, -0.90]"


def test_all_that_two_revisions_have(results):
    write_published("table1", {"kd": [90.0, 91.0, 92.5]})
    commit("third")
    write_published("table1", {"kd": [90.5, 92.0, 94.0]})
    Path("results/tables/other_error_runs.csv").unlink()
    write_error("new", BAN)
    commit("fourth")
    text = compare("HEAD", "HEAD~1")
    p = paired_p([90.5, 92.0, 94.0], [90.0, 91.0, 92.5])
    # Runs that both have are nothing to test: they do not count for the correction.
    assert "The same runs in both: ban/0, ban/1." in text and "the one test shown" in text
    assert rows_of(text)["A \\| B/ResNet-8/digits/kd/test_accuracy_pct"][2:] == ["+1.00 [+0.50, +1.50]", f"{p:.3f}", "3 pairs"]
    assert "Tables that only A has: new." in text and "Tables that only B has: other." in text
    assert text.index("## demo") < text.index("## table1")


def test_published_tables(results):
    write_published("table1", {"kd": [90.0, 91.0], "at": [80.0, 81.0], "mine": [70.0, 70.0]})
    write_published("table2", {"kd": [91.0, 93.0], "at": [80.0, 81.0], "theirs": [70.0, 70.0]})
    text = compare("table1", "table2")
    rows = rows_of(text)
    # A bar within a name does not end its cell; labels that no row has are left out.
    assert (
        "| A \\| B | ResNet-8  | digits    | kd       | test_accuracy_pct |" in " ".join(text.splitlines())
        and "generation |" not in text
    )
    assert rows["A \\| B/ResNet-8/digits/kd/test_accuracy_pct"][2] == "-1.50 [-2.00, -1.00]"
    assert rows["A \\| B/ResNet-8/digits/at/test_accuracy_pct"][2:] == ["the same runs", "–", "2"]
    assert "Only A has: A | B/ResNet-8/digits/mine." in text and "Only B has: A | B/ResNet-8/digits/theirs." in text
    assert "How the settings differ is not known" in text
    with pytest.raises(UserError, match="no table in common: demo, here, has error; table1, here, has a published table"):
        compare("demo", "table1")


def test_published_tables_of_which_nothing_was_run(results):
    write_published("table1", {})
    write_published("table2", {"kd": [91.0, 93.0]})
    with pytest.raises(UserError, match="there are no values to compare"):
        compare("table1", "table1")
    assert "The two have no row in common." in compare("table1", "table2")


def test_what_only_one_has(results):
    write_error("more", {**BAN, 2: [5.0, 5.0, 5.1]})
    assert "Only B has: ban/2." in compare("demo", "more")
    path = Path("results/tables/more_error_runs.csv")
    text = path.read_text().replace("train_error_pct", "other_error_pct")
    path.write_text(text)
    assert "Only A has: ban/0 train_error_pct, ban/1 train_error_pct." in compare("demo", "more")


def test_seeds_that_only_one_has(results):
    write_error("more", {0: [4.0, 4.3, 4.2, 9.0]}, seeds=(0, 1, 2, 7))
    text = compare("demo", "more")
    assert rows_of(text)["ban/0/test_error_pct"][:3] == ["5.20 ± 0.20", "4.17 ± 0.15", "+1.03 [+0.90, +1.20]"]
    assert "Seeds: seed 7 only in B (left out): all rows." in text
    write_error("more", {0: [4.0, 4.3, 4.2, 4.1], 1: [5.0, 5.0, 5.1, 5.2]}, seeds=(2, 10, 11, 12))
    text = compare("demo", "more", "test_error_pct")
    first, second = BAN[0], [4.0, 4.3, 4.2, 4.1]
    expected = 2 * stats.ttest_ind(first, second, equal_var=False).pvalue
    assert rows_of(text)["ban/0/test_error_pct"][3:] == [f"{expected:.3f}", "3 and 4"]
    assert "Seeds: seed 0, 1 only in A; seed 10, 11, 12 only in B (not paired): all rows." in text


def test_one_seed(results):
    for name, value in (("one", 5.0), ("two", 4.5)):
        write_error(name, {0: [value]}, seeds=(0,))
    assert rows_of(compare("one", "two"))["ban/0/test_error_pct"] == ["5.00 (one run)", "4.50 (one run)", "+0.50", "–", "1 and 1"]


def test_members_of_one_seed_count_once(results):
    write_error("a", BAN, members={0: [4.0, 5.0, 6.0], 1: [5.0, 5.0, 5.6], 2: [4.4, 4.6, 4.8]})
    write_error("b", BAN, members={0: [4.0, 4.0, 4.0], 1: [5.0, 5.0, 5.0], 2: [4.5, 4.5, 4.8]})
    text = compare("a", "b", "test_error_pct")
    row = rows_of(text)["scratch/0/test_error_pct"]
    assert row[0] == "4.93 ± 0.31" and row[2] == "+0.40 [+0.00, +1.00]" and row[4] == "3 pairs"
    assert "a seed counts once" in text and "a seed counts once" not in compare("demo", "other")


def test_a_network_that_is_there_twice(results):
    path = Path("results/tables/other_error_runs.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[2]]) + "\n")
    with pytest.raises(UserError, match=r"other_error_runs.csv, here, line 8, ban/0: test_error_pct of seed 1 is there twice"):
        compare("demo", "other")
    write_published("table1", {"kd": [90.0, 91.0]})
    path = Path("results/tables/table1_runs.csv")
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(UserError, match=r"kd: test_accuracy_pct of seed 0 is there twice"):
        compare("table1", "table1")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",4.3,", ",nan,", "line 3, ban/0: test_error_pct of seed 1 is nan: only finite numbers"),
        (",4.3,", ",inf,", "seed 1 is inf"),
        (",4.3,", ",4;3,", "seed 1 is 4;3"),
        ("lineage", "line", "other_error_runs.csv, here has no column lineage. Needed: lineage, generation, seed, step"),
        (",1,4.3", ",x,4.3", "line 3: seed = x: must be a whole number"),
        ("ban,0,2", "<<<<<<< HEAD\nban,0,2", "line 4: seed = None"),
    ],
)
def test_damaged_files(results, old, new, message):
    path = Path("results/tables/other_error_runs.csv")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError) as error:
        compare("demo", "other")
    assert message in str(error.value)


def test_names_that_mean_nothing(results):
    for given in ("dema", "dema@nowhere", "HEAD~9", "-q", "--since=2020", "demo@", ""):
        with pytest.raises(UserError, match=r"no such revision. Allowed: .*NAME@REVISION. Names here: demo, other\."):
            compare("demo", given)
    commit("third")
    git("rm", "-rq", "results")
    commit("nothing left")
    with pytest.raises(UserError, match=r"HEAD: at HEAD .* has no results. They are compared as committed"):
        compare("HEAD", "HEAD~1")
    with pytest.raises(UserError, match=r"Names here: none \(results/tables has no \*_runs.csv"):
        compare("demo", "HEAD~1")


def test_without_a_repository(results):
    """Names need none."""
    git("mv", "-k", "nothing", "nowhere")
    subprocess.run(["rm", "-rf", ".git"], check=True)
    assert "+1.03" in compare("demo", "other")
    with pytest.raises(UserError, match="no such revision"):
        compare("demo", "HEAD")


def test_tables_at_scale_smoke(results):
    write_params(demo={"scale": {"name": "smoke"}}, other={"scale": {"name": "full"}})
    text = compare("demo", "other")
    assert "- scale.name: smoke | full" in text and "At scale smoke the numbers mean nothing." in text


def test_on_the_command_line(results, monkeypatch, capsys):
    monkeypatch.setattr("gendistill.__main__.check_directory", lambda: None)
    assert main(["compare", "demo", "other", "--metric", "test_error_pct", "--csv", "differences.csv"]) == 0
    shown = capsys.readouterr().out
    assert shown == compare("demo", "other", "test_error_pct") + "\n" and len(Path("differences.csv").read_text().splitlines()) == 3
    assert main(["compare", "demo", "nobody"]) == 2 and "Error: nobody: there are no results" in capsys.readouterr().err


def test_the_command_runs_in_its_checkout_only(results, capsys):
    assert main(["compare", "demo", "other"]) == 2 and "has the settings and the code of" in capsys.readouterr().err
