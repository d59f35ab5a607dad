"""The view of a clone is rebuilt if it is not as it was written; DVC shows and compares it: real git, DVC and Snakemake."""

import json
import subprocess
import sys

import pytest

from gendistill.files import write_json
from tests.team import CHANGED, LAMBDAS, jobs, new_team, sha256

pytestmark = pytest.mark.chains

# For each file of the view, whether it counts as up to date as it is, changed, with the marks of a conflict, and removed.
TRY_ALL = """
import json
from pathlib import Path
from gendistill.plan import build_plan
from gendistill.results.view import VIEW, read_view, view_is_current
plan = build_plan(["tiny"])
assert view_is_current(plan)
current = []
for path in map(Path, [VIEW, *read_view()["files"]]):
    content = path.read_bytes()
    for new in (b"<<<<<<< HEAD\\n" + content, content[:-2], None):
        path.unlink() if new is None else path.write_bytes(new)
        if view_is_current(plan):
            current.append(str(path))
        path.write_bytes(content)
    assert view_is_current(plan)
print(json.dumps(current))
"""


@pytest.fixture
def author(_finished, tmp_path_factory, tmp_path):
    return new_team(_finished, tmp_path_factory.getbasetemp(), tmp_path / "team")


def test_a_view_with_an_edited_or_conflicted_file_is_rebuilt(author):
    bob = author.clone("bob")
    view = json.loads((bob.folder / "results/view.json").read_text())
    shown = {str(p.relative_to(bob.folder)) for p in (bob.folder / "results").rglob("*") if p.is_file()}
    cards = {bob.path(f"gen{k}", "README.md") for k in range(6)}
    assert view["files"].keys() == shown - {"results/view.json"} | cards
    done = subprocess.run([sys.executable, "-c", TRY_ALL], cwd=bob.folder, env=bob.env(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    table, card = bob.folder / "results/tables/tiny_error.csv", bob.folder / bob.path("gen3", "README.md")
    table.write_text(table.read_text() + "line,9,1,0.0\n")
    card.write_text("<<<<<<< HEAD\n" + card.read_text())
    # A repository's list of what to remove is believed of this folder only; model cards stay with their networks.
    card_of_former = bob.folder / "runs/generation/former-0123456789/README.md"
    card_of_former.parent.mkdir()
    others = [*(bob.folder.parent / name for name in ("kept.txt", "team.txt")), bob.folder / "pyproject.toml", card_of_former]
    for path in others:
        path.touch()
    former = bob.folder / "results/former.csv"
    former.touch()
    named = ["../kept.txt", str(others[1]), "results/../pyproject.toml", "results/former.csv"]
    named.append(str(card_of_former.relative_to(bob.folder)))
    write_json(bob.folder / "results/view.json", view | {"files": view["files"] | dict.fromkeys(named, "")})
    assert jobs(bob.snakemake()) == {"report": ["results/report.html"]}
    assert all(path.exists() for path in others) and not former.exists()
    card_of_former.unlink()
    # Also what Snakemake knows by modification time only.
    assert bob.git("status", "--porcelain") == ""
    assert bob.large_files() == set()
    assert bob.planned() == {}


def test_dvc_compares_metrics_plots_and_settings_of_commits(author):
    bob = author.clone("bob")
    file = "results/metrics.json"
    shown, before = json.loads((bob.folder / file).read_text()), json.loads(bob.git("show", f"first:{file}"))
    assert json.loads(bob.dvc("metrics", "show", "--json").stdout)[""]["data"][file]["data"] == shown
    diff = json.loads(bob.dvc("metrics", "diff", "first", "--json").stdout)[file]
    new, old = numbers(shown), numbers(before)
    changed = {key for key in new if new[key] != old[key]}
    assert any(key.endswith("line-5.test_error_pct") for key in changed)
    assert {key: (about["old"], about["new"]) for key, about in diff.items()} == {key: (old[key], new[key]) for key in changed}
    settings = json.loads(bob.dvc("params", "diff", "first", "--json").stdout)
    assert settings == {"results/params.yaml": {"tiny.objective.lambda": {"old": LAMBDAS, "new": CHANGED}}}
    bob.dvc("plots", "diff", "first", "--out", "plots")
    page = (bob.folder / "plots/index.html").read_text()
    assert "Test error by generation" in page and '"rev": "first"' in page and '"rev": "workspace"' in page
    assert page.count('"generation": ') == 12


def numbers(nested: dict, start: str = "") -> dict[str, float]:
    """The numbers of nested dictionaries, by their keys joined with points."""
    found = {}
    for key, value in nested.items():
        found |= numbers(value, f"{start}{key}.") if isinstance(value, dict) else {f"{start}{key}": value}
    return found


def test_dvc_gives_a_network_by_its_name_to_who_has_no_clone(author, tmp_path):
    author.git("tag", "-a", "results=tiny-line-gen3-seed0@v1.0.0", "-m", "As published")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    command = [sys.executable, "-m", "dvc", "artifacts", "get", str(author.folder), "results:tiny-line-gen3-seed0"]
    env = {**author.env(), "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sha256(folder / "model.safetensors") == author.receipt(author.path("gen3"))["outputs"]["model.safetensors"]["sha256"]
