"""What the Snakefile knows of the command line: as Snakemake itself understands it."""

import sys

import pytest
from snakemake_interface_executor_plugins.settings import ExecMode

from gendistill.command_line import asked_of_snakemake
from tests.conftest import ROOT


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.chdir(ROOT)

    def ask(*arguments):
        monkeypatch.setattr(sys, "argv", ["snakemake", *arguments])
        return asked_of_snakemake()

    return ask


@pytest.mark.parametrize(
    "arguments",
    [["--profile", "slurm"], ["--profile=slurm"], ["--profile", "profiles/slurm/"], ["--executor=slurm"], ["-e", "slurm"]],
)
def test_slurm_is_found_however_it_is_named(asked, arguments):
    assert asked(*arguments, "--config", "experiments=[tiny]").executor == "slurm"


def test_slurm_is_found_in_the_environment(asked, monkeypatch):
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "slurm")
    assert asked("-n").executor == "slurm"


@pytest.mark.parametrize("arguments", [[], ["--conda-prefix", "/tmp/slurm"], ["-d", "/scratch/slurm"], ["results/slurm"]])
def test_other_words_that_end_in_slurm_are_none(asked, arguments):
    assert asked("--cores", "1", *arguments).executor in (None, "local")


def test_what_decides_on_shared_jobs(asked):
    found = asked("-nS", "--until", "patriarch", "--", "runs/patriarch/x/model.safetensors")
    assert found.dryrun and found.summary and found.until == {"patriarch"}
    assert list(found.targets) == ["runs/patriarch/x/model.safetensors"]
    assert asked("--cores", "1", "--mode", "remote").mode == ExecMode.REMOTE
    assert asked("--cores", "1").mode == ExecMode.DEFAULT


def test_a_program_that_uses_snakemake_as_a_library_has_other_options(asked):
    assert asked("--no-option-of-snakemakes", "7").mode == ExecMode.DEFAULT
