"""What the log of a step tells: how far it is, how it ended, why it failed."""

import os
import re
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

LOGS = Path("logs")
# Enough for the last 400 epochs; a log may be of any size.
TAIL = 64 * 1024
DAY = 24 * 60 * 60
PROGRESS = re.compile(r"([\d,]+) of ([\d,]+) (\w+) \(\d+ %\), ([\d,]+) \w+/s")
EPOCH = re.compile(r"^(\d\d):(\d\d):(\d\d) epoch (\d+)  (?:.*  )?(\w+)_per_second (\S+)$")
BEGIN = re.compile(r"^(\d\d):(\d\d):(\d\d) (?:resumed after (\d+) epochs|[\d,]+ parameters, )")
# What the last line of a step has that is finished, and of one that was asked to stop.
DONE = (" done in ", " another process has finished this step")
STOPPED = "Run the same command again to go on."


@dataclass(frozen=True)
class Log:
    """The end of a log.

    Attributes:
        path: of the file.
        lines: that are not empty.
        changed: when the last one was written, in seconds since 1970.
    """

    path: Path
    lines: list[str]
    changed: float

    @property
    def age(self) -> float:
        """Seconds since the last line."""
        return max(time.time() - self.changed, 0.0)

    @property
    def is_done(self) -> bool:
        """Whether the step said that it is finished."""
        return bool(self.lines) and any(end in self.lines[-1] for end in DONE)

    @property
    def has_ended(self) -> bool:
        """Whether the step said that it ended, in one way or another."""
        return self.is_done or bool(self.error) or (bool(self.lines) and STOPPED in self.lines[-1])

    @property
    def error(self) -> list[str]:
        """The message with which the step failed; empty if it did not, or was killed."""
        for start in range(len(self.lines) - 1, -1, -1):
            if re.match(r"Error in \w+ \S+:$|Error: |Traceback \(most recent call last\)", self.lines[start]):
                return self.lines[start:]
        return []


@dataclass(frozen=True)
class Progress:
    """How far a running step is.

    Attributes:
        share: of the work that is done, from 0 to 1.
        epoch: that is being trained, from 1; 0 where there are no epochs.
        rate: such as `1,234 images/s`.
        seconds_left: None if the log does not tell.
    """

    share: float
    epoch: int
    rate: str
    seconds_left: float | None


def read_log(path: Path) -> Log | None:
    """The end of a log; None if there is none, or it can't be read."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - TAIL, 0))
            # A second process that waits for the first empties the log, which the first then goes on to write further behind.
            text = file.read().replace(b"\0", b"").decode(errors="replace")
            changed = os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    return Log(path, [line for line in text.splitlines() if line.strip()], changed)


def read_progress(log: Log, epochs: int) -> Progress | None:
    """How far a step is, by the last line that tells; None if none does yet.

    Args:
        log: of a step that runs, or was killed.
        epochs: of the training; 0 for a step of another kind.
    """
    for line in reversed(log.lines):
        if found := PROGRESS.search(line):
            done, total, rate = (int(found[group].replace(",", "")) for group in (1, 2, 4))
            left = max((total - done) / rate - log.age, 0.0) if rate else None
            epoch = min(done * epochs // max(total, 1) + 1, epochs)
            return Progress(done / max(total, 1), epoch, f"{rate:,} {found[3]}/s", left)
        if epochs and (found := EPOCH.match(line)):
            done = int(found[4])
            pace = _seconds_per_epoch(log.lines)
            left = max(pace * (epochs - done) - log.age, 0.0) if pace else None
            return Progress(done / epochs, min(done + 1, epochs), f"{float(found[6]):,.0f} {found[5]}/s", left)
    return None


def _seconds_per_epoch(lines: list[str]) -> float | None:
    """The mean time of an epoch since the training started or was resumed."""
    begins = [found for line in lines if (found := BEGIN.match(line))]
    epochs = [found for line in lines if (found := EPOCH.match(line))]
    # An epoch that was resumed in its midst is a short one: it counts only where there is no other.
    marks = epochs if len(epochs) > 1 else begins[-1:] + epochs
    if len(marks) < 2:
        return None
    clocks = [int(mark[1]) * 3600 + int(mark[2]) * 60 + int(mark[3]) for mark in marks]
    # Lines have no date: midnight lies between two of them where the clock goes back.
    passed = sum((later - earlier) % DAY for earlier, later in pairwise(clocks))
    return passed / max(int(marks[-1][4]) - int(marks[0][4] or 0), 1)
