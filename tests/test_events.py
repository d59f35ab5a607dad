"""TensorBoard event files: their bytes, what a reader finds in them, and that a resumed training has no epoch twice."""

import struct
from pathlib import Path

import pytest

from gendistill import events
from gendistill.events import event_writer

# Event(wall_time=1.5, step=300, summary={test_loss: 0.25, train_loss: -2.5}), serialised and framed by tensorboard 2.21.0.
GOLDEN = (
    "33000000000000000ca7205609000000000000f83f10ac022a250a100a097465737"
    "45f6c6f7373150000803e0a110a0a747261696e5f6c6f737315000020c04046ae67"
)


def fields(content):
    """A protocol buffer as (number, value) pairs, by its published encoding."""
    found, at = [], 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = content[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(content):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            found.append((number, varint()))
            continue
        size = {1: 8, 5: 4}.get(kind) or varint()
        value = content[at : at + size]
        at += size
        found.append((number, struct.unpack({1: "<d", 5: "<f"}[kind], value)[0] if kind in (1, 5) else value))
    return found


def read_events(folder):
    """The scalars of the only file in a folder that is not empty, as (step, tag, value) in their order; and its other events."""
    (path,) = [path for path in folder.glob("events.out.tfevents.*") if path.stat().st_size]
    content, scalars, others = path.read_bytes(), [], []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = dict(fields(content[12 : 12 + length]))
        content = content[16 + length :]
        if 5 not in event:
            others.append(event)
        else:
            values = [dict(fields(value)) for number, value in fields(event[5]) if number == 1]
            scalars += [(event[2], value[1].decode(), value[2]) for value in values]
    return scalars, others


def row(epoch, **columns):
    return {"epoch": epoch, "learning_rate": 0.5 / epoch, "train_loss": 4.0 / 2**epoch, **columns}


@pytest.mark.parametrize("text, checksum", [(b"123456789", 0xE3069283), (b"\0" * 32, 0x8A9136AA), (bytes(range(32)), 0x46DD794E)])
def test_the_checksum_is_that_of_the_standard(text, checksum):
    (masked,) = struct.unpack("<I", events._masked_checksum(text))
    rotated = (masked - 0xA282EAD8) % 2**32
    assert (rotated << 15 | rotated >> 17) % 2**32 == checksum


def test_a_record_has_the_bytes_that_tensorboard_writes(monkeypatch):
    monkeypatch.setattr(events.time, "time", lambda: 1.5)
    written = events._scalars({"epoch": 300, "train_loss": -2.5, "test_loss": 0.25}, {"train_loss", "test_loss"})
    assert written.hex() == GOLDEN


def test_each_column_is_a_scalar_at_its_epoch_as_soon_as_it_is_known(tmp_path):
    write, rows = event_writer(tmp_path / "run", print), []
    for epoch in (1, 2, 3):
        rows.append(row(epoch))
        write(rows)
        scalars, _ = read_events(tmp_path / "run")
        # Learning rate 0.5 / epoch, loss 4 / 2^epoch, as float32.
        expected = [[(e, "learning_rate", 0.5 / e), (e, "train_loss", 4.0 / 2**e)] for e in range(1, epoch + 1)]
        assert scalars == [(e, tag, pytest.approx(value, rel=1e-7)) for pair in expected for e, tag, value in pair]
    # The last epoch is evaluated after it.
    rows[-1]["test_loss"] = 0.75
    write(rows)
    write(rows)
    after, others = read_events(tmp_path / "run")
    assert after == [*scalars, (3, "test_loss", 0.75)]
    assert others[0][3] == b"brain.Event:2"


def test_a_resumed_training_has_no_epoch_twice(tmp_path):
    first, rows = event_writer(tmp_path, print), []
    for epoch in (1, 2, 3):
        rows.append(row(epoch))
        first(rows)
    (before,) = tmp_path.iterdir()
    # The checkpoint is of epoch 1; the lost epochs are trained again, with other numbers so that the test can tell.
    second, rows = event_writer(tmp_path, print), rows[:1]
    assert list(tmp_path.iterdir()) == [before], "nothing changes before there is something to tell"
    for epoch in (2, 3):
        rows.append(row(epoch, train_loss=float(epoch)))
        second(rows)
    scalars, others = read_events(tmp_path)
    assert [(step, value) for step, tag, value in scalars if tag == "train_loss"] == [(1, 2.0), (2, 2.0), (3, 3.0)]
    # What a TensorBoard that looks on has read before, it forgets: SessionLog.START at step 0.
    assert [dict(fields(event[7])) for event in others if 7 in event] == [{1: 1}]
    assert all(event.get(2, 0) == 0 for event in others)
    assert sorted(tmp_path.iterdir())[0] == before and before.stat().st_size == 0
    event_writer(tmp_path, print)(rows)
    assert len(list(tmp_path.iterdir())) == 2 and not before.exists()


def test_a_disk_that_refuses_does_not_stop_the_training(tmp_path):
    told = []
    (tmp_path / "file").touch()
    write = event_writer(tmp_path / "file" / "run", told.append)
    write([row(1)])
    write([row(1), row(2)])
    assert len(told) == 1
    assert told[0].startswith("no more TensorBoard files are written: ")


def test_tensorboard_reads_the_same(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed")
    write, rows = event_writer(tmp_path, print), []
    for epoch in range(1, 6):
        rows.append(row(epoch, test_loss=float(epoch)))
        write(rows)
    found = reader.EventAccumulator(str(tmp_path))
    found.Reload()
    resumed, rows = event_writer(tmp_path, print), rows[:3]
    for epoch in range(4, 7):
        rows.append(row(epoch, test_loss=10.0 * epoch))
        resumed(rows)
    fresh = reader.EventAccumulator(str(tmp_path))
    # One that was looking on, and one that looks afterwards.
    for each in (found, fresh):
        each.Reload()
        assert sorted(each.Tags()["scalars"]) == ["learning_rate", "test_loss", "train_loss"]
        assert [(event.step, event.value) for event in each.Scalars("test_loss")] == [
            (1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0), (6, 60.0),
        ]  # fmt: skip


def test_runs_lie_in_folders_of_their_own():
    assert Path("logs/tensorboard") == events.FOLDER


def test_a_number_too_large_for_an_event_is_infinite(tmp_path):
    """A perplexity may be larger than any float32, and the training goes on."""
    event_writer(tmp_path / "run", print)([row(1, validation_perplexity=1e39, test_perplexity=float("nan"))])
    scalars, _ = read_events(tmp_path / "run")
    found = {tag: value for _, tag, value in scalars}
    assert found["validation_perplexity"] == float("inf") and found["test_perplexity"] != found["test_perplexity"]
