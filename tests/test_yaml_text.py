"""YAML is read as PyYAML's own, slower code reads it, and what is none is an error of the same kind."""

import subprocess
import sys

import pytest
import yaml

from gendistill.yaml_text import YAMLError, read_yaml
from tests.conftest import ROOT

FILES = sorted(str(path.relative_to(ROOT)) for folder in ("config", "workflow") for path in (ROOT / folder).rglob("*.yaml"))


def test_every_file_reads_the_same():
    assert len(FILES) > 150
    for name in FILES:
        text = (ROOT / name).read_text()
        assert read_yaml(text) == yaml.load(text, yaml.SafeLoader), name


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\t- 1", "!!python/object/apply:os.getcwd []", "a: \x00"])
def test_what_is_no_yaml_or_unsafe_is_refused(text):
    with pytest.raises(YAMLError):
        read_yaml(text)


def test_a_byte_of_the_command_line_that_is_no_utf8_is_explained():
    command = [sys.executable, "-m", "gendistill", "status", "--config", b"experiments=\xff"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert b"experiments=\\udcff: a value is no YAML (it is no UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr
