"""Where a Slurm for the tests cannot be had they are skipped; where one does not start they fail. No Slurm is started here."""

import os
import shutil
import subprocess

import pytest

from tests.conftest import ROOT
from tests.slurm_cluster import NO_PACKAGES, running_slurm


def write_program(path, script):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def start(tmp_path):
    """A function that runs start-slurm.sh with these made-up programs and nothing that could change this machine."""

    def run(**programs):
        for name, script in programs.items():
            write_program(tmp_path / "bin" / name, script)
        for name in ("date", "grep", "hostname"):
            (tmp_path / "bin" / name).symlink_to(shutil.which(name, path=os.defpath))
        command = [shutil.which("bash", path=os.defpath), ROOT / "tests/slurm/start-slurm.sh", tmp_path / "state"]
        done = subprocess.run(command, env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True)
        assert not (tmp_path / "state").exists()
        return done

    return run


def test_who_is_not_root_cannot_have_the_packages(start):
    done = start(id="echo 1000")
    assert done.returncode == NO_PACKAGES and "must run as root" in done.stderr


def test_without_apt_get_there_are_no_packages(start):
    done = start(id="echo 0", dpkg="exit 1")
    assert done.returncode == NO_PACKAGES and "no apt-get to install: munge slurmctld slurmd" in done.stderr


def test_a_program_that_fails_with_the_same_code_is_an_error(start):
    assert start(id="echo 0", dpkg="echo Status: install ok installed", mkdir=f"exit {NO_PACKAGES}").returncode == 1


def fake_scripts(folder, code):
    write_program(folder / "start-slurm.sh", f"echo said this; echo and that >&2; exit {code}")
    write_program(folder / "stop-slurm.sh", 'echo "$@" > stopped')
    return folder


@pytest.mark.parametrize(
    ("code", "outcome", "said"),
    [
        (NO_PACKAGES, pytest.skip.Exception, "cannot be installed here: and that"),
        (1, pytest.fail.Exception, "does not start:\nsaid this\nand that"),
        (124, pytest.fail.Exception, "does not start:\nsaid this\nand that"),
    ],
)
def test_only_missing_packages_skip(tmp_path, monkeypatch, code, outcome, said):
    monkeypatch.chdir(tmp_path)
    # Both: a skip that nothing catches would skip this test too.
    both = (pytest.skip.Exception, pytest.fail.Exception)
    with pytest.raises(both, match=said) as found, running_slurm(fake_scripts(tmp_path / "scripts", code), tmp_path / "state"):
        raise AssertionError("no Slurm runs")
    assert found.type is outcome
    assert (tmp_path / "stopped").read_text() == f"{tmp_path}/state --purge\n"


def test_a_slurm_that_runs_is_stopped_after_the_tests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with running_slurm(fake_scripts(tmp_path / "scripts", 0), tmp_path / "state") as state:
        assert state == tmp_path / "state" and not (tmp_path / "stopped").exists()
    assert (tmp_path / "stopped").exists()
