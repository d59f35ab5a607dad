"""Whether cost stays flat with experiments, seeds, generations: python -m tests.bench_scale (make bench-scale).

All is measured in a copy of the project, each time in a process of its own unless said otherwise. Experiments have the demo's
shape and each another learning rate, so they share no network. Receipts are made up.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gendistill.plan.step import FUNCTIONS
from tests.bench_sharing import run
from tests.conftest import Checkout, copy_project

Times = dict[str, float]
Rows = dict[str, Times]
CACHE = ".snakemake/gendistill"
# What each program answers is a line of JSON; what it is asked for is what Snakemake's --config takes.
PLAN = """
import json, sys, time
started = time.monotonic()
from gendistill.cost.used import used
from gendistill.plan import build_plan, read_choice
choice = read_choice(json.loads(sys.argv[1]))
found, before, started = {"import": time.monotonic() - started}, used()["memory_mb"], time.monotonic()
plan = build_plan(*choice)
found |= {"plan": time.monotonic() - started, "memory_mb": used()["memory_mb"] - before, "steps": len(plan.steps)}
del plan
started = time.monotonic()
build_plan(*choice)
print("ANSWER", json.dumps({**found, "again": time.monotonic() - started}))
"""
WRITE = """
import json, sys
from pathlib import Path
from gendistill.plan import build_plan, read_choice
from gendistill.plan.step import OUTPUTS, SHOWN

NAMES = ("test_error_pct", "best_epoch_test_error_pct", "train_error_pct", "mean_member_test_error_pct",
    "train_accuracy_pct", "test_accuracy_pct", *(f"confidence_top{k}_pct" for k in range(1, 5)))
for number, step in enumerate(build_plan(*read_choice(json.loads(sys.argv[1]))).steps.values()):
    folder = Path(step.folder)
    if step.kind not in SHOWN and not folder.exists():
        folder.mkdir(parents=True)
        outputs = {name: {"sha256": "0" * 64, "bytes": 1000} for name in OUTPUTS[step.kind]}
        metrics = {name: number % 89 / 10 for name in NAMES}
        receipt = {"spec": json.loads(step.to_json()), "metrics": metrics, "outputs": outputs, "times": {"seconds": 1.0}}
        (folder / "receipt.json").write_text(json.dumps(receipt, indent=1))
"""
TABLES = """
import json, sys, time
from pathlib import Path
from gendistill.cost.used import used
from gendistill.files import read_receipt
from gendistill.plan import build_plan, read_choice
from gendistill.plan.step import SHOWN
from gendistill.results import tables

plan = build_plan(*read_choice(json.loads(sys.argv[1])))
found, clock = {"receipts": len(plan.steps) - len(plan.shown())}, time.monotonic()
for step in plan.steps.values():
    if step.kind not in SHOWN:
        read_receipt(Path(step.folder))
found["read"] = time.monotonic() - clock
# Linux counts the peak of memory anew.
Path("/proc/self/clear_refs").write_text("5")
clock, before = time.monotonic(), used()["memory_mb"]
for step in plan.of_kind("tables"):
    Path(step.folder).mkdir(parents=True, exist_ok=True)
    tables.make_tables(step.settings, {}, Path(step.folder), None)
found |= {"tables": time.monotonic() - clock, "memory_mb": used()["memory_mb"] - before}
print("ANSWER", json.dumps(found))
"""
# The command of a step, whose own work is left out.
START = """
import time
clock = [time.monotonic()]
import importlib, json, sys
import gendistill.__main__, gendistill.execute
from gendistill.plan.step import FUNCTIONS
kind = json.loads(sys.argv[1])
clock.append(time.monotonic())
module, _, name = FUNCTIONS[kind].partition(":")
loaded = importlib.import_module(module)
clock.append(time.monotonic())
setattr(loaded, name, lambda *_: clock.append(time.monotonic()) or {})
assert gendistill.__main__.main([kind, "--spec", f"@specs/{kind}.json", "--device", "cpu"]) == 0
print("ANSWER", json.dumps({"clock": [*clock, time.monotonic()], "torch": "torch" in sys.modules}))
"""
SPECS = """
import json
from pathlib import Path
from gendistill.plan import build_plan
from gendistill.plan.settings import paper_names
Path("specs").mkdir()
steps = {step.kind: step for step in build_plan(["demo", "pydoc", *paper_names()], ("scale=smoke",)).steps.values()}
for kind, step in steps.items():
    Path(step.folder).mkdir(parents=True)
    for file in step.files[:-1]:
        Path(file).write_bytes(b"1")
    Path("specs", f"{kind}.json").write_text(step.to_json())
"""
CHAIN = """\
# @package _global_
defaults:
  - override /dataset: mnist5k
  - override /recipe: digits
network: { width: 4 }
recipe: { epochs: 4, pad: 1 }
generations: 10
seeds: [0, 1, 2]
"""
GENERATIONS = """
import csv, json
from pathlib import Path
from gendistill.execute import execute
from gendistill.plan import build_plan

found = []
for step in build_plan(["chain"]).steps.values():
    if step.kind in ("dataset", "patriarch", "softlabels", "generation"):
        assert execute(json.loads(step.to_json()), "cpu") == 0
        receipt = json.loads(Path(step.receipt).read_text())
        if step.kind == "softlabels":
            dumped = receipt["times"]["seconds"]
        if step.kind == "generation":
            rows = list(csv.DictReader(Path(step.folder, "history.csv").open()))
            rate = sum(float(row["images_per_second"]) for row in rows) / len(rows)
            found.append([step.settings["generation"], receipt["times"]["seconds"], rate, dumped])
print("ANSWER", json.dumps(found))
"""


def main() -> None:
    """Print the tables and, if asked, write their numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--experiments", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=5, help="of what takes seconds; what takes longer is run once or three times")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        checkout = prepared(Path(folder, "project"))
        for part in given.parts:
            title, measure = PARTS[part]
            found[part] = measure(checkout, given)
            print(f"\n**{title}**\n\n{as_table(found[part])}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


def prepared(folder: Path) -> Checkout:
    """A copy of the project under git, as users have it."""
    checkout = copy_project(folder)
    (folder / ".gitignore").write_text("/runs/\n/.snakemake/\n/specs/\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "The project"]):
        run(checkout, "git", *command)
    return checkout


def as_table(rows: Rows) -> str:
    """Markdown; numbers with three digits."""
    names = list(next(iter(rows.values())))
    lines = [["", *names], ["---"] * (1 + len(names))]
    for label, row in rows.items():
        lines.append([label, *(f"{row[name]:,.0f}" if abs(row[name]) >= 100 else f"{row[name]:.3g}" for name in names)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ask(checkout: Checkout, program: str, argument: Any = None) -> Any:
    """What a program answers."""
    said = run(checkout, "python", "-c", program, *([] if argument is None else [json.dumps(argument)]))
    return next((json.loads(line[7:]) for line in said.splitlines() if line.startswith("ANSWER ")), None)


def medians(runs: list[Times]) -> Times:
    """Of each number that several runs gave."""
    return {name: statistics.median(each[name] for each in runs) for name in runs[0]}


def forget(checkout: Checkout) -> None:
    """Let the next command be a first one."""
    for file in (checkout.folder / CACHE).glob("*"):
        file.unlink()


def make_experiments(checkout: Checkout, count: int) -> dict[str, list[str]]:
    """Write experiments of the demo's shape, and name them."""
    folder = checkout.folder / "config/experiment"
    demo = (folder / "demo.yaml").read_text()
    for i in range(count):
        (folder / f"many{i}.yaml").write_text(f"{demo}recipe: {{ learning_rate: {0.01 + i * 1e-5:.5f} }}\n")
    return {"experiments": [f"many{i}" for i in range(count)]}


def measure_plans(checkout: Checkout, given: argparse.Namespace) -> Rows:
    """Seconds of plans by the number of experiments, and of all published tables."""
    names = {f"{count:,} experiments": (count, make_experiments(checkout, count)) for count in given.experiments}
    published = len(list((checkout.folder / "config/paper").glob("*.yaml")))
    names["all published tables"] = published, {"paper": "all", "scale": "smoke"}
    return {name: plan_times(checkout, choice, count, given.rounds) for name, (count, choice) in names.items()}


def plan_times(checkout: Checkout, choice: Any, count: int, rounds: int) -> Times:
    """Of the first command, of later ones, and of a second plan in one process."""
    cold = []
    for _ in range(1 if count >= 100 else 3):
        forget(checkout)
        cold.append(ask(checkout, PLAN, choice))
    later = medians([ask(checkout, PLAN, choice) for _ in range(rounds if count < 1000 else 3)])
    return {
        "steps": later["steps"],
        "first command, s": medians(cold)["plan"],
        "later command, s": later["plan"],
        "second plan in a process, s": later["again"],
        "a later one, ms an experiment": 1000 * later["plan"] / count,
        "steps/s": later["steps"] / later["plan"],
        "memory, MB": later["memory_mb"],
        "kB a step": 1000 * later["memory_mb"] / later["steps"],
    }


def measure_tables(checkout: Checkout, given: argparse.Namespace) -> Rows:
    """Seconds of reading made-up receipts and of building tables from them: of many experiments, and of one with many seeds."""
    choices = {f"{count:,} experiments": make_experiments(checkout, count) for count in given.experiments}
    choices |= {f"demo, {count:,} seeds": {"seeds": count} for count in given.experiments}
    return {name: table_times(checkout, choice, name) for name, choice in choices.items()}


def table_times(checkout: Checkout, choice: Any, name: str) -> Times:
    """Of one process: reading, then the tables of all experiments."""
    ask(checkout, WRITE, choice)
    own = medians([ask(checkout, TABLES, choice) for _ in range(1 if "1,000" in name else 3)])
    return {
        "receipts": own["receipts"],
        "reading, s": own["read"],
        "reading, us a receipt": 1e6 * own["read"] / own["receipts"],
        "tables, s": own["tables"],
        "tables, us a receipt": 1e6 * own["tables"] / own["receipts"],
        "memory of tables, MB": own["memory_mb"],
    }


def measure_start(checkout: Checkout, given: argparse.Namespace) -> Rows:
    """Seconds that each kind of step takes beside its own work, by part."""
    run(checkout, "python", "-c", SPECS)
    runs: dict[str, list[Times]] = {kind: [] for kind in FUNCTIONS}
    for _, kind in itertools.product(range(given.rounds), FUNCTIONS):
        for receipt in checkout.folder.glob("runs/*/*/receipt.json"):
            receipt.unlink()
        before = time.monotonic()
        said = ask(checkout, START, kind)
        clock = [before, *said["clock"], time.monotonic()]
        parts = ("interpreter", "command", "imports of the step", "spec and lock", "receipt", "exit")
        own = {name: end - start for name, (start, end) in zip(parts, itertools.pairwise(clock), strict=True)}
        runs[kind].append({**own, "all, s": clock[-1] - before, "torch": said["torch"]})
    return {kind: medians(own) for kind, own in runs.items()}


def measure_snakemake(checkout: Checkout, given: argparse.Namespace) -> Rows:
    """Seconds of a dry run, and of the plan in it."""
    found: Rows = {}
    for name, choice in (("demo", {"experiments": "demo"}), ("all published tables", {"paper": "all", "scale": "smoke"})):
        ask(checkout, PLAN, choice)
        times, plan = [], medians([ask(checkout, PLAN, choice) for _ in range(3)])
        for _ in range(3 if name == "demo" else 1):
            started = time.monotonic()
            run(checkout, "snakemake", "-n", "-q", "all", "--config", *(f"{key}={value}" for key, value in choice.items()))
            times.append(time.monotonic() - started)
        found[name] = {
            "steps": plan["steps"],
            "dry run, s": statistics.median(times),
            "plan in it, s": plan["import"] + plan["plan"],
        }
    return found


def measure_generations(checkout: Checkout, given: argparse.Namespace) -> Rows:
    """Time per image of each generation of a chain taught by stored soft labels: medians over three seeds, in one process."""
    (checkout.folder / "config/experiment/chain.yaml").write_text(CHAIN)
    rows = ask(checkout, GENERATIONS)
    found = {}
    for generation in sorted({row[0] for row in rows}):
        seconds, rate, dumped = (statistics.median(row[i] for row in rows if row[0] == generation) for i in (1, 2, 3))
        found[f"generation {generation}"] = {"step, s": seconds, "training, ms/image": 1000 / rate, "soft labels, s": dumped}
    return found


PARTS: dict[str, tuple[str, Callable[[Checkout, argparse.Namespace], Rows]]] = {
    "start": ("Seconds that a step takes beside its own work", measure_start),
    "generations": ("Generations", measure_generations),
    "snakemake": ("Snakemake's own start", measure_snakemake),
    "plan": ("Plans", measure_plans),
    "tables": ("Receipts and tables", measure_tables),
}

if __name__ == "__main__":
    main()
