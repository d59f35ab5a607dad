"""How long sharing takes with 1,000 networks of small files: python -m tests.bench_sharing (make bench-sharing).

The files of the steps are made up, but all else is real: the plan, tables and report, git, DVC with a local folder as its remote.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import Checkout, copy_project

EXPERIMENT = """\
# @package _global_
defaults:
  - override /dataset: npz
  - override /recipe: digits
dataset: { path: tiny.npz }
network: { width: 4 }
recipe: { epochs: 1, pad: 1 }
generations: 4
seeds: SEEDS
"""
# Write what each step of the experiment would have left, without computing anything.
MAKE_UP = """
import json, os
from pathlib import Path
from gendistill.plan import build_plan
from gendistill.plan.step import LARGE, OUTPUTS
from gendistill.receipt import write_receipt

METRICS = {name: 1 for name in (
    "test_error_pct", "best_epoch_test_error_pct", "train_error_pct", "test_loss", "train_loss", "parameters", "best_epoch",
    "mean_member_test_error_pct", "train_accuracy_pct", "test_accuracy_pct", "train_images", "test_images", "classes",
    *(f"confidence_top{k}_pct" for k in range(1, 5)),
)} | {"shape": [1, 8, 8], "number_format": "float32", "best_epoch_chosen_on": "test", "images_per_second": 1000.0}
for step in build_plan(["many"]).steps.values():
    folder = Path(step.folder)
    if step.kind == "tables":
        continue
    folder.mkdir(parents=True)
    for name in OUTPUTS[step.kind]:
        (folder / name).write_bytes(os.urandom(4000) if name in LARGE else b"epoch,train_loss\\n1,0.5\\n")
    times = {"started": "2026-01-01T00:00:00+00:00", "seconds": 1.0}
    metrics = {**METRICS, "test_error_pct": os.urandom(1)[0] / 10}
    write_receipt(folder, json.loads(step.to_json()), OUTPUTS[step.kind], metrics, times)
"""


def main() -> None:
    """Print and, if asked, write as JSON how long each command took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=1000, help="a multiple of 5")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = measure(Path(folder), given.networks // 5)
    for name, seconds in times.items():
        print(f"{name:55} {statistics.median(seconds):7.2f} s" + (f"  (median of {len(seconds)})" if len(seconds) > 1 else ""))
    if given.json:
        given.json.write_text(json.dumps(times, indent=1) + "\n")


def measure(folder: Path, seeds: int) -> dict[str, list[float]]:
    """Seconds that each command took, in the order in which a team runs them."""
    author = copy_project(folder / "author")
    (author.folder / "config/experiment/many.yaml").write_text(EXPERIMENT.replace("SEEDS", str(list(range(seeds)))))
    root = Path(__file__).resolve().parents[1]
    for name in (".gitignore", ".gitattributes", ".dvcignore"):
        (author.folder / name).write_text((root / name).read_text())
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["dvc", "remote", "add", "-q", "-d", "store", str(folder / "remote")],
    ):
        run(author, *command)
    run(author, "python", "-c", MAKE_UP)
    times: dict[str, list[float]] = {}

    def clock(name: str, checkout: Checkout, *command: str) -> str:
        started = time.monotonic()
        said = run(checkout, *command)
        times.setdefault(name, []).append(time.monotonic() - started)
        return said

    snakemake = ["snakemake", "--cores", "2", "--config", "experiments=[many]"]
    clock("snakemake: tables and report", author, *snakemake)
    for _ in range(3):
        assert "Nothing to be done" in clock("snakemake with nothing to do, author", author, *snakemake)
    share = ["gendistill", "share", "--config", "experiments=[many]"]
    clock("share", author, *share)
    clock("share again, nothing new", author, *share)
    run(author, "git", "add", "-A")
    clock("git commit of all small files", author, "git", "commit", "-qm", "All runs")
    clock("dvc push", author, "dvc", "push", "-q")
    for _ in range(3):
        assert "Nothing to be done" in clock("snakemake with nothing to do, all shared", author, *snakemake)
    clock("git clone", author, "git", "clone", "-q", ".", str(folder / "mate"))
    mate = Checkout(folder / "mate")
    for _ in range(3):
        assert "Nothing to be done" in clock("snakemake with nothing to do, clone without any pull", mate, *snakemake)
    clock("dvc pull", mate, "dvc", "pull", "-q")
    for _ in range(3):
        assert "Nothing to be done" in clock("snakemake with nothing to do, clone with all pulled", mate, *snakemake)
    random.seed(0)
    models = sorted(mate.folder.glob("runs/generation/*/model.safetensors"))
    for model in random.sample(models, 3):
        model.unlink()
        clock("snakemake FILE: one file restored", mate, *snakemake[:3], str(model.relative_to(mate.folder)), *snakemake[3:])
        assert model.exists()
    return times


def run(checkout: Checkout, *command: str) -> str:
    """Run a command with the checkout's own code; `python`, `gendistill`, `dvc` and `snakemake` are those of this environment."""
    if command[0] in ("gendistill", "dvc", "snakemake"):
        command = (sys.executable, "-P", "-m", *command)
    elif command[0] == "python":
        command = (sys.executable, *command[1:])
    identity = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "a"), ("EMAIL", "a@b"))}
    env = {**checkout.env(), **identity, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=checkout.folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
