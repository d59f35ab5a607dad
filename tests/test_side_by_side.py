"""Several trainings in one job: the same bits as alone, and nothing lost when one fails or all are stopped."""

import hashlib
import json
import re
import signal
import subprocess
import sys
import time

import pytest


@pytest.fixture
def two_seeds(checkout):
    checkout.edit("config/experiment/tiny.yaml", "generations: 5", "generations: 1\nseeds: [0, 1]\nruntime: { side_by_side: 2 }")
    checkout.edit("config/experiment/tiny.yaml", "[0.6, 0.6, 0.6, 0.6, 0.6]", "0.6")
    return checkout


def weights(checkout):
    """The hash of the weights of each network, by the folder."""
    paths = checkout.folder.glob("runs/*/*/model.safetensors")
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def logs(checkout, kind):
    return [path.read_text() for path in sorted(checkout.folder.glob(f"logs/{kind}/*.log"))]


def test_siblings_share_a_job_keep_what_is_done_when_one_fails_and_have_the_same_bits_as_alone(two_seeds):
    checkout = two_seeds
    told = checkout.snakemake("--until", "softlabels").stderr
    # One job for both patriarchs.
    assert re.search(r"siblings_\w+ +1\n", told) and not re.search(r"patriarch +\d", told)
    labels = sorted(checkout.folder.glob("runs/softlabels/*/softlabels.npy"))
    content = labels[1].read_bytes()
    labels[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    failed = checkout.snakemake(check=False)
    assert failed.returncode and not checkout.steps("generation")
    (told,) = [path.read_text() for path in checkout.folder.glob("logs/siblings/*.log") if "Not done" in path.read_text()]
    (named,) = re.findall(r"logs/generation/\S+\.log", told)
    assert "softlabels.npy is corrupt" in (checkout.folder / named).read_text()
    assert sum("done in" in text for text in logs(checkout, "generation")) == 1

    labels[1].write_bytes(content)
    checkout.snakemake()
    again = logs(checkout, "generation")
    # The one that was done was not trained again.
    assert sum("epoch 1 " in text for text in again) == 1
    assert sum("another process has finished this step" in text and "epoch" not in text for text in again) == 1
    assert not list(checkout.folder.glob(".snakemake/gendistill/kept/*/*"))
    together = weights(checkout)
    assert len(together) == 4
    assert "Nothing to be done" in checkout.snakemake("-n").stdout

    for path in checkout.folder.glob("runs"):
        path.rename(checkout.folder / "before")
    checkout.edit("config/experiment/tiny.yaml", "runtime: { side_by_side: 2 }", "")
    assert "rule siblings_" not in checkout.snakemake().stderr
    assert weights(checkout) == together


def test_siblings_that_are_stopped_are_saved_and_go_on(two_seeds):
    checkout = two_seeds
    checkout.edit("config/experiment/tiny.yaml", "epochs: 2", "epochs: 60")
    checkout.snakemake("--until", "dataset")
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
