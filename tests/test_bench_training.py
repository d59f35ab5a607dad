"""`make bench` at tiny sizes: what it prints and writes, beside a program that stands for torchdistill, and without any."""

import json
import shlex
import sys

import numpy as np
import pytest
import torch

from tests import bench_peer, bench_report, bench_students, bench_torchdistill, bench_training
from tests.tiny import one_thread

pytestmark = pytest.mark.slow
IMAGES, DUMPED = 6, 2
# Speaks as tests/bench_torchdistill.py does.
FAKE = """
import json, sys
ready = {
    "versions": {"torchdistill": "0", "torch": "0", "torchvision": "0"},
    "parameters": PARAMETERS,
    "teacher_mode": {"shipped": "train", "eval": "eval"},
    "workers": 1,
    "images_per_second_by_workers": {"0": 1.0, "1": 2.0},
    "number_format": "float32",
    "tf32_in_convolutions": False,
}
print(json.dumps(ready), flush=True)
for line in sys.stdin:
    go, way, epochs = line.split()
    seconds = {"shipped": 1000.0, "eval": 500.0}[way]
    print(json.dumps({"images": 10 * int(epochs), "seconds": seconds * int(epochs)}), flush=True)
"""
OURS = [f"{labels} {precision}" for labels in ("online", "dumped") for precision in ("float32", "auto")]
PEERS = ["torchdistill shipped", "torchdistill eval"]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    for who in ("teacher", "student"):
        monkeypatch.setitem(bench_students.WORK, who, "resnet8")
    with one_thread():
        yield


def bench(monkeypatch, capsys, folder, peer):
    sizes = ["--images", str(IMAGES), "--dump-images", str(DUMPED), "--rounds", "2", "--seconds", "0"]
    options = ["--device", "cpu", "--threads", "1", "--peer", peer, "--out", str(folder / "out")]
    monkeypatch.setattr(sys, "argv", ["bench", *sizes, *options])
    bench_training.main()
    return json.loads((folder / "out/bench.json").read_text()), capsys.readouterr().out


def table_of(printed, number):
    """The rows of a printed table, each by the text of its cells."""
    tables = [block.splitlines() for block in printed.split("\n\n") if block.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in (tables[number][0], *tables[number][2:])]


def write_fake(folder, parameters):
    file = folder / "fake.py"
    file.write_text(FAKE.replace("PARAMETERS", json.dumps(parameters)))
    return shlex.join([sys.executable, str(file)])


def test_all_ways_take_turns_and_are_set_against_the_peer(tmp_path, monkeypatch, capsys):
    size = bench_students.prepare(tmp_path / "once", 2, 1, torch.device("cpu"))
    found, printed = bench(monkeypatch, capsys, tmp_path, write_fake(tmp_path, size))

    assert list(found["ways"]) == [*PEERS, *OURS, "dump float32", "dump auto"]
    for row in found["ways"].values():
        assert len(row["rounds"]) == 2
        assert row["min"] <= row["median"] <= row["max"]
    assert found["ways"]["torchdistill shipped"]["median"] == pytest.approx(0.01)
    online = found["ways"]["online float32"]
    assert online["of_torchdistill_shipped"] == pytest.approx(online["median"] / 0.01)
    assert online["of_torchdistill_eval"] == pytest.approx(online["median"] / 0.02)
    assert found["work"]["parameters"] == size
    assert found["torchdistill"]["workers"] == 1
    assert {"date", "device", "device_name", "threads", "number_formats", "environment"} <= set(found)

    rows = table_of(printed, 0)
    assert [row[0] for row in rows[1:3]] == ["torchdistill, teacher as shipped", "torchdistill, teacher in eval mode"]
    assert len(rows) == 1 + len(PEERS) + len(OURS)
    assert rows[3][:2] == ["ours, teacher online", "float32"]
    assert rows[3][4] == f"{online['of_torchdistill_shipped']:.2f}"
    assert rows[6][0] == "ours, dumped labels"
    assert rows[6][1].endswith("(default)")
    assert "teacher is in train mode" in printed
    assert "extrapolated" in table_of(printed, 1)[0][4]
    assert (tmp_path / "out/bench.png").read_bytes().startswith(b"\x89PNG")
    assert "teacher as shipped" in (tmp_path / "out/bench.svg").read_text()


def test_without_a_peer_ours_run_alone_and_one_line_says_why(tmp_path, monkeypatch, capsys):
    found, printed = bench(monkeypatch, capsys, tmp_path, shlex.join([sys.executable, "-c", "raise SystemExit(3)"]))
    assert list(found["ways"]) == [*OURS, "dump float32", "dump auto"]
    assert found["torchdistill"] is None
    assert "torchdistill was not run: " in printed
    assert "exit code 3" in printed
    assert [row[4] for row in table_of(printed, 0)[1:]] == [""] * len(OURS)


def test_networks_that_differ_are_not_compared(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="the networks differ"):
        bench(monkeypatch, capsys, tmp_path, write_fake(tmp_path, {"teacher": 1, "student": 2}))


def test_what_cannot_be_installed_is_told_in_one_line(tmp_path, monkeypatch):
    def create(folder, **options):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/python").write_text("#!/bin/sh\necho WARNING: none >&2; echo ERROR: No version of $6 >&2; exit 1")
        (folder / "bin/python").chmod(0o755)

    monkeypatch.setattr(bench_peer.venv, "create", create)
    with pytest.raises(RuntimeError) as error:
        bench_peer.peer_python(tmp_path, lambda text: None)
    assert str(error.value) == f"ERROR: No version of {bench_peer.locked('torch')}"
    assert not (tmp_path / ".installed").exists()


def test_students_side_by_side_are_summed_up(tmp_path):
    bench_students.prepare(tmp_path, IMAGES, DUMPED, torch.device("cpu"))
    bench_students.write_store(tmp_path, "cpu", lambda done, total: None)
    options = ["--labels", "dumped", "--precision", "float32", "--device", "cpu", "--threads", "1", "--seed", "0"]
    worker = bench_peer.Worker([sys.executable, "-m", "tests.bench_students", str(tmp_path), *options])
    worker.wait()
    images, seconds = bench_training.side_by_side([worker])(3)
    worker.end()
    assert worker.ready["threads"] == 1
    assert images == 3 * IMAGES
    assert seconds > 0
    assert worker.process.returncode == 0


def test_a_dump_pays_after_as_many_students_as_its_cost_over_what_each_saves():
    rates = {}
    for precision, dumped in (("float32", 400.0), ("auto", 100.0)):
        rates |= {f"dump {precision}": [810.0], f"online {precision}": [200.0], f"dumped {precision}": [dumped]}
    costs = bench_report.dump_costs(rates, epochs=8)
    # 8.1 million views at 810/s; 400,000 images at 200/s and 400/s.
    assert costs["float32"]["dump_seconds"] == pytest.approx(10000)
    assert costs["float32"]["saved_seconds_a_student"] == pytest.approx(1000)
    assert costs["float32"]["break_even_students"] == pytest.approx(10)
    assert costs["float32"]["break_even_epochs"] == pytest.approx(80)
    assert costs["float32"]["one_student_with_dump"] == pytest.approx(2000 / 11000)
    assert costs["auto"]["break_even_students"] == -1


def test_torchdistill_is_fed_the_same_views(tmp_path):
    bench_students.prepare(tmp_path, IMAGES, DUMPED, torch.device("cpu"))
    data = bench_torchdistill.synthetic_cifar100(tmp_path / "images.npz", bench_students.WORK["pad"])
    with np.load(tmp_path / "images.npz") as arrays:
        images, labels = torch.from_numpy(arrays["images"]), arrays["labels"]
        description = bench_students.describe("resnet8", arrays["mean"].tolist(), arrays["std"].tolist(), "float32")
    space = bench_students.SPACE
    windows, views = space.windows(images), torch.arange(len(space))
    assert len(data) == IMAGES
    for i in range(IMAGES):
        ours = description.normalise(space.take(windows, torch.full_like(views, i), views))
        theirs, label = data[i]
        assert label == labels[i]
        # Padding comes before normalisation in both.
        assert (ours - theirs).abs().amax(dim=(1, 2, 3)).min() < 1e-5


@pytest.mark.parametrize("labels", ["online", "dumped"])
def test_students_whose_steps_are_replayed_train_as_the_others(tmp_path, graphs, labels):
    device = torch.device("cpu")
    # Two batches an epoch.
    bench_students.prepare(tmp_path, 2 * bench_students.WORK["batch_size"], 1, device)
    if labels == "dumped":
        bench_students.write_store(tmp_path, "cpu", lambda done, total: None)
    assert bench_students.student(tmp_path, labels, "auto", device, cuda_graphs=True)(3)[0] == 6 * bench_students.WORK["batch_size"]
    assert len(graphs) == (4 if labels == "online" else 2)


def test_ways_whose_steps_are_replayed_are_called_so():
    assert bench_report.label("online auto replayed") == "ours, teacher online, steps replayed"
    assert (
        bench_report.label("dumped auto replayed x 16") == "ours, dumped labels, steps replayed, 16 students side by side, in sum"
    )
