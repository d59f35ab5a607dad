"""The worked example of CONTRIBUTING.md: three files, and a method is there."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

FILE = re.compile(r"^`((?:src|config|tests)/\S+)`:.*?^```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
OVERRIDES = (
    'overrides=["objective=similarity","generations=1","recipe.epochs=2","lineages={{line: {{}}}}","scratch=0","transfer=[]",'
    '"claims=[]","figures=[reliability]","seeds=[0]"{more}]'
)


@pytest.fixture(scope="module")
def example():
    return dict(FILE.findall((ROOT / "CONTRIBUTING.md").read_text()))


def test_the_example_is_a_module_a_settings_file_and_a_test(example):
    assert [path.partition("/")[0] for path in example] == ["src", "config", "tests"]


def test_a_method_is_added_by_its_files_alone(checkout, example):
    before = checkout.run("gendistill", "code-hashes").stdout.splitlines()
    for path, text in example.items():
        (checkout.folder / path).parent.mkdir(exist_ok=True)
        (checkout.folder / path).write_text(text)
    own = next(path for path in example if path.startswith("tests/"))
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", own],
        cwd=checkout.folder,
        env=checkout.env(),
        capture_output=True,
    )
    assert tested.returncode == 0, tested.stdout.decode()
    added = set(checkout.run("gendistill", "code-hashes").stdout.splitlines()) ^ set(before)
    assert [line.partition(":")[0] for line in added] == ["gendistill.objectives.similarity"]
    refused = checkout.run("snakemake", "-n", "--config", OVERRIDES.format(more=',"objective.gamma=abc"'), check=False)
    assert "objective.gamma = 'abc': not allowed. It must be a number" in refused.stdout + refused.stderr
    plan = checkout.run("snakemake", "-n", "--config", OVERRIDES.format(more=""))
    target = re.search(r"runs/generation/\S*similarity\S*/receipt\.json", plan.stdout + plan.stderr)[0]
    checkout.run("snakemake", "--cores", "2", "--config", OVERRIDES.format(more=""), "--", target)
    history = (checkout.folder / target).with_name("history.csv").read_text().splitlines()
    assert {"train_loss_label", "train_loss_similarity"} <= set(history[0].split(","))
