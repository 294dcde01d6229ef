"""What the benchmarks of verbs that write files share: the captures, outputs, rows and verdicts."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import Samples

ORDINARY = "linux-2g.mig"
LARGE = "linux-8g.mig"
MAPPED = "linux-2g.mapped"
PEAK_MIB = 200.0


class Rows:
    """Times under names, and what is judged of them."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.verdicts: list[tuple[bool, str]] = []

    def show(self, title: str, rows: dict[str, list[float]]) -> None:
        """Print median and minimum of each row."""
        print(title, flush=True)
        for name, seconds in rows.items():
            print(
                f"  {name:<34} median {statistics.median(seconds):7.3f} s   "
                f"min {min(seconds):7.3f} s   max {max(seconds):7.3f} s   {len(seconds)} runs",
                flush=True,
            )

    def judge_ratio(self, text: str, ours: list[float], theirs: list[float], bar: float) -> None:
        """Compare medians with a bar, and tell the ratio of the minima, too."""
        ratio = statistics.median(ours) / statistics.median(theirs)
        shortest = min(ours) / min(theirs)
        words = f"{text}: {ratio:.2f} of its time (minima {shortest:.2f}), bar: at most {bar:g}"
        self.verdicts.append((ratio <= bar, words))

    def judge_peak(self, text: str, samples: Samples) -> None:
        """Compare peak memory with its bar."""
        words = f"{text}: peak memory {samples.peak_mib:.0f} MiB, bar: at most {PEAK_MIB:g} MiB"
        self.verdicts.append((samples.peak_mib <= PEAK_MIB, words))


class Bench:
    """Measurements with the captures of make_guest.py, and the verdicts they lead to.

    Args:
        directory: where the captures are.
        qmig: the program that is measured.
        runs: counted runs of each.
    """

    def __init__(self, directory: Path, qmig: str, runs: int) -> None:
        """Start with no verdict."""
        self._directory = directory
        self._qmig = qmig
        self._runs = runs
        self.rows = Rows()


class Outputs:
    """Names for outputs in one folder, and what becomes of the files.

    On a disk all stay until the end: on one that is told of freed blocks, removing a file of many
    pieces keeps it busy for long, and what is measured next would wait for that. In memory each
    goes before the next is written, by its own program's turn, so that all find the same.
    """

    def __init__(self, folder: Path, *, keep: bool) -> None:
        """Write into `folder`."""
        self._folder = folder
        self._keep = keep
        self._made: list[Path] = []

    def new(self) -> Path:
        """Return a name that is free."""
        if not self._keep:
            self.remove()
        path = self._folder / f"out-{len(self._made)}"
        self._made.append(path)
        return path

    def remove(self) -> None:
        """Remove all files."""
        for path in self._made:
            path.unlink(missing_ok=True)


@contextmanager
def outputs(directory: Path, *, keep: bool) -> Iterator[Outputs]:
    """Give names in a new folder, which goes away in the end."""
    with tempfile.TemporaryDirectory(prefix="speed-", dir=directory) as folder:
        yield Outputs(Path(folder), keep=keep)
