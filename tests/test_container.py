"""The recipes for Docker and Apptainer: in step with each other, with the lock file and with what they copy; their steps run."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

from tests.conftest import ROOT

CONTAINER = ROOT / "workflow/container"
DOCKERFILE = (CONTAINER / "Dockerfile").read_text()
APPTAINER = (CONTAINER / "gendistill.def").read_text()
SCRIPT = CONTAINER / "install.sh"
INSTALL = "sh /opt/source/workflow/container/install.sh /opt/gendistill"
RUN = f"RUN {INSTALL} && rm -rf /opt/source"


def section(name):
    """The lines of a section of the Apptainer recipe, without comments."""
    found = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", APPTAINER, re.MULTILINE | re.DOTALL)
    return [line.strip() for line in found[1].splitlines() if line.strip() and not line.strip().startswith("#")]


def commands():
    """The instructions of the Dockerfile, each in one line, without comments."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def minimum(text):
    return tuple(map(int, re.search(r">=\s*(\d+)\.(\d+)", text).groups()))


def test_both_have_the_oldest_python_that_the_package_allows():
    (docker,) = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)
    (apptainer,) = re.findall(r"^From: (\S+)$", APPTAINER, re.MULTILINE)
    assert docker == apptainer
    version = tuple(map(int, re.fullmatch(r"python:(\d+)\.(\d+)-slim", docker).groups()))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = next(
        line for line in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"] if line.startswith("python>")
    )
    assert version == minimum(project["requires-python"]) == minimum(conda)


def test_both_copy_the_same_files_and_run_the_same_script():
    copied = [line.split()[1:] for line in commands() if line.startswith("COPY ")]
    docker = {}
    for *sources, target in copied:
        docker |= {source: f"{target}{source}" if target.endswith("/") else target for source in sources}
    assert docker == dict(line.split() for line in section("files"))
    assert {"requirements.lock", "pyproject.toml", "src", "workflow/container/install.sh"} <= docker.keys()
    assert all((ROOT / path).exists() for path in docker)
    assert docker == {path: f"/opt/source/{path}" for path in docker}
    assert section("post").count(INSTALL) == 1
    assert RUN in commands()


def test_both_have_the_same_environment_labels_and_packages():
    (docker,) = [line for line in commands() if line.startswith("ENV ")]
    assert docker.split()[1:] == [line.removeprefix("export ") for line in section("environment")]
    assert "PATH=/opt/gendistill/bin:$PATH" in docker
    (labels,) = [line for line in commands() if line.startswith("LABEL ")]
    found = dict(re.findall(r'(\S+)="([^"]*)"', labels))
    assert found == dict(line.split(maxsplit=1) for line in section("labels"))
    (packages,) = [line for line in commands() if "apt-get" in line]
    assert packages.removeprefix("RUN ").split(" && ") == section("post")[:3]
    assert "git" in packages.split()


def test_both_leave_the_build_of_torch_to_the_builder():
    assert commands().index('ARG TORCH_INDEX_URL=""') < commands().index(RUN)
    assert 'TORCH_INDEX_URL=""' in section("arguments")
    assert "export TORCH_INDEX_URL={{ TORCH_INDEX_URL }}" in section("post")


def test_the_image_is_not_roots_and_holds_results_of_nobody():
    user = commands().index("USER 1000")
    assert not [line for line in commands()[user:] if line.startswith(("RUN", "COPY", "ADD"))]
    ignored = (CONTAINER / "Dockerfile.dockerignore").read_text().split("\n")
    copied = {source for line in commands() if line.startswith("COPY ") for source in line.split()[1:-1]}
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


@pytest.mark.parametrize("index", ["", "https://example.org/cpu"])
def test_the_script_installs_torch_first_from_the_index_that_is_asked_for(tmp_path, index):
    """With a Python that only writes down what it is asked to do."""
    log = tmp_path / "log"
    (tmp_path / "python").write_text(
        f'#!/bin/sh\necho "$@" >> {log}\nif [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
    )
    (tmp_path / "python").chmod(0o755)
    env = {"PATH": os.defpath, "PYTHON": str(tmp_path / "python"), "TMPDIR": str(tmp_path)} | (
        {"TORCH_INDEX_URL": index} if index else {}
    )
    subprocess.run(["sh", SCRIPT, tmp_path / "place"], env=env, check=True)
    venv, torch, lock, package = log.read_text().splitlines()
    assert venv == f"-m venv {tmp_path}/place"
    pins = [line for line in (ROOT / "requirements.lock").read_text().split() if line.startswith(("torch==", "torchvision=="))]
    assert torch.endswith(" ".join(["--quiet", *(["--index-url", index] if index else []), *pins]))
    assert lock.endswith(f"--requirement {ROOT}/requirements.lock")
    assert "--no-deps" in package
    assert all("--no-cache-dir" in line for line in (torch, lock, package))
    assert not list(tmp_path.glob("tmp*")), "the copy of the source is left behind"


def test_the_script_asks_for_a_folder():
    done = subprocess.run(["sh", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"usage: sh {SCRIPT} FOLDER\n"


@pytest.mark.slow
def test_the_steps_of_the_recipes_give_an_environment_that_works(tmp_path):
    """On this machine instead of in a container; with the packages that pip finds here."""
    copy = tmp_path / "source"
    for path in (line.split()[0] for line in section("files")):
        target = copy / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / path, target)
    before = sorted(copy.rglob("*"))
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    place = tmp_path / "place"
    command = ["sh", str(copy / "workflow/container/install.sh"), str(place)]
    done = subprocess.run(command, env={**env, "PYTHON": sys.executable}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(copy.rglob("*")) == before, "building must leave nothing beside the source"
    # Nothing that runs from there needs the source.
    shutil.rmtree(copy)

    def output(*command):
        return subprocess.run(
            [place / "bin" / command[0], *command[1:]], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert output("gendistill", "--help").startswith("usage: gendistill")
    lock = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split() if "==" in line)
    assert output("snakemake", "--version").strip() == lock["snakemake"]
    assert output("python", "-c", "import torch; print(torch.__version__)").partition("+")[0].strip() == lock["torch"]
    assert "dvc" in output("dvc", "--help")
    # pytest would keep gigabytes.
    shutil.rmtree(place)
