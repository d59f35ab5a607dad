"""Several trainings in one job: the same bits as alone, and nothing lost when one fails or all are stopped."""

import hashlib
import json
import re
import signal
import subprocess
import sys
import time

import pytest

from gendistill.files import only_one
from gendistill.side_by_side import KEPT, restore_kept


@pytest.fixture
def two_seeds(checkout):
    checkout.edit("config/experiment/tiny.yaml", "generations: 5", "generations: 1\nseeds: [0, 1]\nruntime: { side_by_side: 2 }")
    checkout.edit("config/experiment/tiny.yaml", "[0.6, 0.6, 0.6, 0.6, 0.6]", "0.6")
    return checkout


def weights(checkout):
    """The hash of the weights of each network, by the folder."""
    paths = checkout.folder.glob("runs/*/*/model.safetensors")
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def stats(done):
    """Snakemake's table of jobs."""
    return re.search(r"Job stats:\n(.*?)\n\n", done.stdout + done.stderr, re.DOTALL)[1] + "\n"


def logs(checkout, kind):
    return [path.read_text() for path in sorted(checkout.folder.glob(f"logs/{kind}/*.log"))]


@pytest.mark.chains
def test_siblings_share_a_job_keep_what_is_done_when_one_fails_and_have_the_same_bits_as_alone(two_seeds):
    checkout = two_seeds
    # Rule by rule nothing shares a job.
    assert "siblings" not in stats(checkout.snakemake("--until", "softlabels"))
    labels = sorted(checkout.folder.glob("runs/softlabels/*/softlabels.npy"))
    content = labels[1].read_bytes()
    labels[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    failed = checkout.snakemake("--keep-going", check=False)
    assert failed.returncode and not checkout.steps("generation")
    assert re.search(r"siblings_\w+ +1\n", stats(failed)) and "generation" not in stats(failed)
    (told,) = [path.read_text() for path in checkout.folder.glob("logs/siblings/*.log")]
    (named,) = re.findall(r"logs/generation/\S+\.log", told)
    assert "softlabels.npy is corrupt" in (checkout.folder / named).read_text()

    # The one that was done is put back, and what reads it is made, whatever becomes of the other.
    assert checkout.snakemake("--keep-going", check=False).returncode
    (done,) = checkout.steps("generation")
    assert len(checkout.steps("statistics")) == 3 and len(checkout.steps("ensemble")) == 1
    assert not list(checkout.folder.glob(".snakemake/gendistill/kept/*"))

    labels[1].write_bytes(content)
    checkout.snakemake()
    assert done in checkout.steps("generation") and len(checkout.steps("tables")) == 1
    together = weights(checkout)
    (checkout.folder / "runs/generation").rename(checkout.folder / "before")
    for seed in (0, 1):
        checkout.run("gendistill.train", "experiment=tiny", f"run.seed={seed}")
    assert weights(checkout) == together


def leave(folder, content=b"weights"):
    """What a finished step leaves."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(content)
    sha256 = hashlib.sha256(b"weights").hexdigest()
    (folder / "receipt.json").write_text(json.dumps({"outputs": {"model.safetensors": {"sha256": sha256}}}))


def test_what_was_kept_is_put_back_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leave(KEPT / "siblings_1/patriarch/a")
    leave(KEPT / "siblings_1/patriarch/b", b"damaged")
    leave(KEPT / "siblings_2/patriarch/c")
    with only_one(KEPT / "siblings_2", print):
        restore_kept()
    assert (tmp_path / "runs/patriarch/a/model.safetensors").read_bytes() == b"weights"
    assert (tmp_path / "runs/patriarch/a/receipt.json").exists()
    assert not (tmp_path / "runs/patriarch/b").exists()
    # Of a job that still runs, nothing is touched.
    assert not (tmp_path / "runs/patriarch/c").exists()
    assert [path.name for path in KEPT.iterdir()] == ["siblings_2"]


@pytest.mark.chains
def test_siblings_that_are_stopped_are_saved_and_go_on(two_seeds):
    checkout = two_seeds
    checkout.edit("config/experiment/tiny.yaml", "epochs: 2", "epochs: 80")
    checkout.snakemake("--until", "dataset")
    checkout.snakemake("-n")
    (file,) = [
        path
        for path in checkout.folder.glob(".snakemake/gendistill/siblings/*.json")
        if json.loads(path.read_text())[0]["kind"] == "patriarch"
    ]
    command = [sys.executable, "-m", "gendistill", "siblings", str(file), "--device", "cpu"]
    process = subprocess.Popen(command, cwd=checkout.folder, env=checkout.env(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while len(list(checkout.folder.glob("runs/patriarch/*/resume.pt"))) < 2:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    assert not checkout.steps("patriarch")
    assert all("Run the same command again to go on" in text for text in logs(checkout, "patriarch"))

    assert subprocess.run(command, cwd=checkout.folder, env=checkout.env(), capture_output=True).returncode == 0
    assert all("resumed after" in text for text in logs(checkout, "patriarch"))
    stopped = weights(checkout)
    assert len(stopped) == 2
    (checkout.folder / "runs/patriarch").rename(checkout.folder / "before")
    for seed in (0, 1):
        checkout.run("gendistill.train", "experiment=tiny", "run.generation=0", f"run.seed={seed}")
    assert weights(checkout) == stopped
