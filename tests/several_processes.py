"""Train on tiny images with two processes; each of them runs this file, and reads what to do from standard input.

A job is a JSON object: `folder`, `dataset`, `inputs`, `path` (of image files), `settings`, and maybe `stop` (the step before which
the last process is asked to stop), `fail` (process 1 makes a mistake) or `die` (process 1 is killed).
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from gendistill.errors import InterruptedTraining, UserError
from gendistill.training import loop
from gendistill.training.launch import together
from gendistill.training.run import train_network
from tests.tiny import stop_at

EVALUATION_BATCH = 5


def train(job, processes):
    last = processes.rank == processes.count - 1
    runtime = stop_at(job.get("stop", -1) if last else -1)
    runtime.processes, runtime.source = processes, {"path": job.get("path", ".")}
    if processes.rank:
        runtime.progress = lambda *_: misbehave(job)
    inputs = {role: Path(folder) for role, folder in job["inputs"].items()}
    try:
        train_network(job["settings"], inputs, Path(job["folder"]), runtime)
    except InterruptedTraining as stop:
        if processes.rank == 0:
            print(f"{Path(job['folder']).name}: {stop}", flush=True)


def misbehave(job):
    if job.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.get("fail"):
        raise UserError("an image is missing")


def main():
    torch.set_num_threads(1)
    loop.EVALUATION_BATCH = EVALUATION_BATCH
    text = sys.stdin.read()
    try:
        with together(2, "cpu", ["-m", "tests.several_processes"], text, lambda: False) as processes:
            for job in json.loads(text):
                train(job, processes)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
