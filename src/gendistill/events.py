"""TensorBoard event files, written while a network is trained.

An event file is a sequence of records (TensorFlow, tensorflow/core/lib/io/record_writer.h): the length as uint64, the checksum of
these 8 bytes, the content, the checksum of the content; all little-endian. Each content is a protocol buffer `Event`
(tensorflow/core/util/event.proto). Scalars need so little of both that no package is needed.
"""

import math
import os
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

FOLDER = Path("logs") / "tensorboard"
# Field numbers of event.proto and summary.proto.
WALL_TIME, STEP, FILE_VERSION, SUMMARY, SESSION_LOG = 1, 2, 3, 5, 7
VALUE, TAG, SIMPLE_VALUE = 1, 1, 2
STATUS, START = 1, 1
VARINT, DOUBLE, BYTES, FLOAT = 0, 1, 2, 5
# In float32. A perplexity may be larger.
LARGEST_FLOAT = 3.4028234663852886e38
Rows = list[dict[str, float]]


def event_writer(folder: Path, log: Callable[[str], None]) -> Callable[[Rows], None]:
    """A function that takes the rows of all epochs so far, and writes what is new in them: each column as a scalar, at its epoch.

    Its first call starts a new file with all rows, and then empties the files of earlier attempts: a resumed training has no epoch
    twice, and what was trained after the checkpoint and lost is not shown. A TensorBoard that is looking on forgets it too.

    Args:
        folder: of the run, for event files only.
        log: told if the files can't be written; the training goes on without.
    """
    path: Path | None = None
    known, last = 0, set[str]()
    failed = False

    def write(rows: Rows) -> None:
        nonlocal path, known, last, failed
        if failed:
            return
        try:
            first = path is None
            if path is None:
                path = _new_file(folder)
            # Only the last row that was there may have got more columns.
            changed = rows[max(known - 1, 0) :]
            new = [_scalars(row, row.keys() - {"epoch"} - (last if place == 0 else set())) for place, row in enumerate(changed)]
            with open(path, "ab") as file:
                file.write(b"".join(new))
            known, last = len(rows), set(rows[-1])
            if first:
                _empty(old for old in folder.glob("events.out.tfevents.*") if old != path)
        except OSError as error:
            failed = True
            log(f"no more TensorBoard files are written: {error}")

    return write


def _new_file(folder: Path) -> Path:
    """A file that TensorBoard reads after all that are there, which says that a training starts, or starts again."""
    folder.mkdir(parents=True, exist_ok=True)
    # TensorBoard reads in the order of the names.
    path = folder / f"events.out.tfevents.{time.time_ns() // 1000:020}.gendistill"
    version = _field(FILE_VERSION, BYTES, b"brain.Event:2")
    start = _field(STEP, VARINT, 0) + _field(SESSION_LOG, BYTES, _field(STATUS, VARINT, START))
    path.write_bytes(_event(version) + _event(start))
    return path


def _empty(files: Iterable[Path]) -> None:
    for file in files:
        # A TensorBoard that is looking on sticks to a file that it has begun, and does not get over it if that is gone.
        if file.stat().st_size:
            os.truncate(file, 0)
        else:
            file.unlink()


def _scalars(row: dict[str, float], tags: set[str]) -> bytes:
    """The record of some columns of one row; of none, nothing."""
    if not tags:
        return b""
    values = (_field(TAG, BYTES, tag.encode()) + _field(SIMPLE_VALUE, FLOAT, row[tag]) for tag in sorted(tags))
    summary = b"".join(_field(VALUE, BYTES, value) for value in values)
    return _event(_field(STEP, VARINT, int(row["epoch"])) + _field(SUMMARY, BYTES, summary))


def _event(content: bytes) -> bytes:
    content = _field(WALL_TIME, DOUBLE, time.time()) + content
    length = struct.pack("<Q", len(content))
    return length + _masked_checksum(length) + content + _masked_checksum(content)


def _field(number: int, kind: int, value: float | bytes) -> bytes:
    """A field of a protocol buffer (protobuf.dev/programming-guides/encoding)."""
    key = _varint(number << 3 | kind)
    if isinstance(value, bytes):
        return key + _varint(len(value)) + value
    if kind == VARINT:
        return key + _varint(int(value))
    if kind == FLOAT and abs(value) > LARGEST_FLOAT:
        value = math.copysign(math.inf, value)
    return key + struct.pack("<d" if kind == DOUBLE else "<f", value)


def _varint(value: int) -> bytes:
    """A natural number, seven bits to the byte, the lowest first."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _masked_checksum(content: bytes) -> bytes:
    """CRC-32C (RFC 3720, appendix B.4), rotated and shifted as record_writer.h says."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _table() -> list[int]:
    """The CRC-32C of each byte, by its polynomial in reversed bits."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = _table()
