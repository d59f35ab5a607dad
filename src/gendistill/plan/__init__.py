"""Settings -> specs -> ids -> steps. Imports nothing that trains: Snakemake reads this at every start."""

from gendistill.plan.build import build_plan, read_choice
from gendistill.plan.plan import Plan
from gendistill.plan.step import Step

__all__ = ["Plan", "Step", "build_plan", "read_choice"]
