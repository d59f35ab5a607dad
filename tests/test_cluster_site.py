"""The settings of a site, and what Slurm says of them: a made-up `sinfo`."""

import os
import subprocess
from pathlib import Path

import pytest

from gendistill.cluster.site import Site, check_site, longest_minutes, read_site
from gendistill.errors import UserError
from tests.conftest import ROOT


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture
def sinfo(tmp_path, monkeypatch):
    """A function that says what `sinfo` prints."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()

    def says(text):
        script = write(tmp_path / "bin/sinfo", f"#!/bin/sh\nprintf '{text}'\n")
        script.chmod(0o755)

    return says


def test_values_are_text_whatever_they_look_like_in_yaml(tmp_path):
    text = "partition: 2_4\ngpu_partition: no\naccount: 0123  # a comment\ngpu_type:\n"
    assert read_site(write(tmp_path / "site.yaml", text)) == Site("2_4", "no", "0123", None)
    assert read_site(write(tmp_path / "site.yaml", "")) == Site()


@pytest.mark.parametrize(("text", "said"), [("- partition", "NAME: VALUE"), ("partition: [", "parsing"), ("a", "NAME: VALUE")])
def test_a_file_that_is_none_of_a_site_is_told(tmp_path, text, said):
    with pytest.raises(UserError, match=rf"(?s)site.yaml cannot be read: .*{said}"):
        read_site(write(tmp_path / "site.yaml", text))


@pytest.mark.parametrize(
    ("said", "minutes"),
    [("infinite", None), ("30:00", 30), ("12:30:00", 750), ("2-12:30:00", 3630), ("7-00:00:00", 10080), ("", None)],
)
def test_time_limits_of_partitions(sinfo, said, minutes):
    sinfo(f"{said}\\n")
    assert longest_minutes("main") == minutes


def test_what_slurm_does_not_have_is_told(sinfo):
    sinfo("main\\nlong\\n")
    with pytest.raises(
        UserError, match=r"gpu_partition = gpu: Slurm has no such partition. It has: long, main. Set in .*site.yaml"
    ):
        check_site(Site("main", "gpu", "none", "none"))
    check_site(Site("main", "long", "none", "none"))


@pytest.mark.parametrize("name", ["squeue", "sacct"])
def test_our_commands_call_slurms_wherever_they_are_in_the_path(tmp_path, name):
    """Endless recursion would take all processes of a node."""
    write(tmp_path / name, "#!/bin/sh\necho 'of slurm|PREEMPTED'\n").chmod(0o755)
    ours = ROOT / "profiles/slurm/bin"
    for folders in ([ours, tmp_path], [Path("/nowhere"), ours, tmp_path], [ours, ours, tmp_path]):
        path = os.pathsep.join([*map(str, folders), os.defpath])
        done = subprocess.run([ours / name], env={"PATH": path}, capture_output=True, text=True, timeout=20)
        assert done.stdout.startswith("of slurm|"), done.stderr
