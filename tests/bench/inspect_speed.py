"""Measure `qmig inspect` against QEMU's own analyze-migration.py, and judge it by fixed bars.

    python inspect_speed.py DIRECTORY --analyze-migration PATH

DIRECTORY holds the captures of make_guest.py. Both programs run as whole processes, by turns, in
one run of this script, so that only ratios of times from the same machine and minute are judged.
Exit code 1 when a bar is missed, 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from processes import MIB, RunFailedError, Samples, compare, floor_mib, keep_cached, read_back

ORDINARY = "linux-2g.mig"
LIVE = "linux-2g-live.mig"
LARGE = "linux-8g.mig"
MAPPED = "linux-2g.mapped"
LONG = "linux-2g-long.mig"

ORDINARY_RATIO = 5.0
LARGE_RATIO = 10.0
MAPPED_SECONDS = 0.5
PEAK_MIB = 150.0
# The table of page runs may grow with the runs: ten times the 15,000 of the 2 GiB guest are
# 130,000 more, at five 8-byte columns 5 MiB. Nothing else may.
GROWTH_MIB = 8.0
VERSION_RATIO = 3.0
# A start takes some 20 ms: more runs than of the long commands are needed for a steady median.
START_RUNS = 21
# Every capture has this block, so an inspect that printed nothing of use is not taken for fast.
EXPECTED_WORDS = "pc.ram"


@dataclass(frozen=True)
class Verdict:
    """One bar, and whether it was met."""

    met: bool
    text: str


class Bench:
    """The measurements, and the verdicts they lead to."""

    def __init__(self, directory: Path, inspect: list[str], analyze: list[str], runs: int) -> None:
        """Measure the captures in `directory`; `inspect` and `analyze` lack only the file."""
        self._directory = directory
        self._inspect = inspect
        self._analyze = analyze
        self._runs = runs
        self.verdicts: list[Verdict] = []

    def against_analyze(self, file_name: str, bar: float | None) -> None:
        """Compare both programs on one capture; `bar` is the ratio of medians to reach."""
        path = self._directory / file_name
        ours, theirs = compare(
            [[*self._inspect, str(path)], [*self._analyze, str(path)]],
            runs=self._runs,
            path=path,
            expected_words=EXPECTED_WORDS,
        )
        ratio = theirs.median / ours.median
        _show(path, {"inspect": ours, "analyze-migration.py": theirs})
        print(f"  ratio of medians {ratio:.2f}")
        if bar is not None:
            text = f"{file_name}: {ratio:.2f} times as fast, bar: at least {bar:g}"
            self._judge(text, met=ratio >= bar)
        self._judge_peak(file_name, ours)

    def mapped(self) -> None:
        """Time the inspection of the mapped-ram capture."""
        samples = self._inspect_alone(MAPPED)
        text = f"{MAPPED}: {samples.median:.3f} s, bar: at most {MAPPED_SECONDS:g} s"
        self._judge(text, met=samples.median <= MAPPED_SECONDS)
        self._judge_peak(MAPPED, samples)

    def growth(self) -> None:
        """Compare peak memory with that of a stream ten times as long."""
        short = self._inspect_alone(ORDINARY)
        target = self._directory / LONG
        try:
            # A process of its own: it maps both files, and its peak must not become ours.
            maker = Path(__file__).with_name("long_stream.py")
            source = self._directory / ORDINARY
            sys.stdout.flush()
            subprocess.run([sys.executable, maker, source, target], check=True)
            long = self._inspect_alone(LONG)
        finally:
            target.unlink(missing_ok=True)
        grown = long.peak_mib - short.peak_mib
        text = f"{LONG}: peak memory {grown:+.1f} MiB, bar: at most +{GROWTH_MIB:g} MiB"
        self._judge(text, met=grown <= GROWTH_MIB)
        self._judge_peak(LONG, long)

    def start_up(self, version: list[str]) -> None:
        """Compare the shortest use of the program with that of the interpreter."""
        if not Path(version[0]).exists():
            self._judge(f"start-up: {version[0]} is not installed", met=False)
            return
        ours, bare = compare(
            [version, [sys.executable, "-c", "pass"]], runs=max(self._runs, START_RUNS), path=None
        )
        print("start-up")
        _show_rows({shlex.join([Path(version[0]).name, *version[1:]]): ours, "python": bare})
        ratio = ours.median / bare.median
        text = f"start-up: {ratio:.2f} times python -c pass, bar: at most {VERSION_RATIO:g}"
        self._judge(text, met=ratio <= VERSION_RATIO)

    def _inspect_alone(self, file_name: str) -> Samples:
        path = self._directory / file_name
        command = [*self._inspect, str(path)]
        samples = compare([command], runs=self._runs, path=path, expected_words=EXPECTED_WORDS)[0]
        _show(path, {"inspect": samples})
        return samples

    def _judge_peak(self, file_name: str, samples: Samples) -> None:
        text = f"{file_name}: peak memory {samples.peak_mib:.0f} MiB, bar: {PEAK_MIB:g} MiB"
        self._judge(text, met=samples.peak_mib <= PEAK_MIB)

    def _judge(self, text: str, *, met: bool) -> None:
        self.verdicts.append(Verdict(met, text))


def _show(path: Path, rows: dict[str, Samples]) -> None:
    print(f"{path.name}: {path.stat().st_size / MIB:.0f} MiB")
    _show_rows(rows)


def _show_rows(rows: dict[str, Samples]) -> None:
    for name, samples in rows.items():
        print(
            f"  {name:<22} median {samples.median:7.3f} s   min {samples.shortest:7.3f} s   "
            f"peak {samples.peak_mib:5.0f} MiB   {len(samples.seconds)} runs"
        )


def _machine_facts() -> str:
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {load:.2f} at the start"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure qmig inspect and judge it by its bars.")
    parser.add_argument("directory", type=Path, help="captures of make_guest.py; 8 GB free there")
    parser.add_argument(
        "--analyze-migration", type=Path, required=True, help="QEMU's scripts/analyze-migration.py"
    )
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    parser.add_argument(
        "--command",
        help="what to measure in place of `qmig inspect`; the file is put behind it",
    )
    parser.add_argument(
        "--as-found",
        action="store_true",
        help="leave the captures in the page cache as they lie there, do not read them back first",
    )
    return parser.parse_args()


def _measure(arguments: argparse.Namespace) -> list[Verdict]:
    qmig = str(Path(sys.executable).parent / "qmig")
    inspect = shlex.split(arguments.command) if arguments.command else [qmig, "inspect"]
    analyze = [sys.executable, str(arguments.analyze_migration), "-f"]
    directory: Path = arguments.directory
    print(f"{_machine_facts()}; {shlex.join(inspect)} FILE")
    warm = keep_cached if arguments.as_found else read_back
    for file_name in (ORDINARY, LIVE, LARGE, MAPPED):
        warm(directory / file_name)
    bench = Bench(directory, inspect, analyze, arguments.runs)
    bench.start_up([qmig, "--version"])
    bench.against_analyze(ORDINARY, ORDINARY_RATIO)
    bench.against_analyze(LIVE, None)
    bench.against_analyze(LARGE, LARGE_RATIO)
    bench.mapped()
    bench.growth()
    print(f"no peak can show less than the {floor_mib():.0f} MiB of this script itself")
    return bench.verdicts


def main() -> int:
    """Run the command line."""
    arguments = _arguments()
    try:
        verdicts = _measure(arguments)
    except (RunFailedError, subprocess.CalledProcessError, OSError) as error:
        print(f"inspect_speed: {error}", file=sys.stderr)
        return 3
    for verdict in verdicts:
        print(f"{'met   ' if verdict.met else 'MISSED'} {verdict.text}")
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
