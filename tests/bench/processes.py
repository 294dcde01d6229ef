"""Whole processes, measured: wall time, peak memory, and what they printed."""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
READ_LEN = 4 * MIB


class RunFailedError(Exception):
    """A measured command did not do its work; its time means nothing."""


@dataclass
class Samples:
    """What repeated runs of one command took."""

    command: list[str]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def median(self) -> float:
        """Median of the wall times, in seconds."""
        return statistics.median(self.seconds)

    @property
    def shortest(self) -> float:
        """Shortest of the wall times, in seconds."""
        return min(self.seconds)

    @property
    def peak_mib(self) -> float:
        """Most resident memory of any run, in MiB."""
        return self.peak_bytes / MIB

    def run_once(self, expected_words: str = "", *, counted: bool = True) -> None:
        """Run the command to its end.

        Args:
            expected_words: What its standard output has to hold.
            counted: Whether time and memory go into the figures; a warm-up's do not.

        Raises:
            RunFailedError: Its exit code is not 0, or the words are missing.
        """
        with tempfile.TemporaryFile() as output:
            redirect = [(os.POSIX_SPAWN_DUP2, output.fileno(), 1)]
            start = time.perf_counter()
            process = os.posix_spawn(
                self.command[0], self.command, os.environ, file_actions=redirect
            )
            _, status, usage = os.wait4(process, 0)
            seconds = time.perf_counter() - start
            exit_code = os.waitstatus_to_exitcode(status)
            if exit_code:
                raise RunFailedError(f"{' '.join(self.command)}: exit code {exit_code}")
            output.seek(0)
            if expected_words.encode() not in output.read():
                raise RunFailedError(f"{' '.join(self.command)}: no {expected_words!r} printed")
        if counted:
            self.seconds.append(seconds)
            self.cpu_seconds.append(usage.ru_utime + usage.ru_stime)
            # Linux counts in KiB.
            self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * 1024)


def floor_mib() -> float:
    """Peak memory of this very process, in MiB: no `Samples` can show less.

    A process inherits the peak of the one that starts it. So what measures has to stay small:
    it imports nothing heavy and maps no capture.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def compare(
    commands: Sequence[list[str]], *, runs: int, path: Path | None, expected_words: str = ""
) -> list[Samples]:
    """Run commands by turns (A B A B), after one uncounted run of each.

    Args:
        commands: What to run, each a program's path and its arguments.
        runs: Counted runs of each.
        path: The file they read; brought back into the page cache before every run.
        expected_words: What each has to print.

    Returns:
        One `Samples` a command, in their order.

    Raises:
        RunFailedError: A run failed.
    """
    samples = [Samples(command) for command in commands]
    for turn in range(runs + 1):
        for sample in samples:
            if path is not None:
                keep_cached(path)
            sample.run_once(expected_words, counted=turn > 0)
    return samples


def read_back(path: Path) -> None:
    """Drop a file from the page cache and read it from disk again.

    Pages of a file that was just written lie singly in memory; those of a file read from disk
    lie in large pieces, which are far cheaper to map. A capture at rest is the latter.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    keep_cached(path)


def keep_cached(path: Path) -> None:
    """Read a file through, its holes left out."""
    buffer = bytearray(READ_LEN)
    with path.open("rb", buffering=0) as file:
        for start, end in _data_ranges(file.fileno()):
            for offset in range(start, end, READ_LEN):
                os.preadv(file.fileno(), [buffer], offset)


def _data_ranges(descriptor: int) -> Iterator[tuple[int, int]]:
    size = os.fstat(descriptor).st_size
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
