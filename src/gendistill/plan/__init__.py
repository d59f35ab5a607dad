"""Settings -> specs -> ids -> steps. Imports nothing that trains: Snakemake reads this at every start."""

from gendistill.plan.build import Plan, build_plan, read_choice
from gendistill.plan.step import Step

__all__ = ["Plan", "Step", "build_plan", "read_choice"]
