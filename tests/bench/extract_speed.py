"""Measure `qmig extract` to a sparse raw image against `cp --sparse=always`.

    python extract_speed.py DIRECTORY [--tmpfs DIR]

DIRECTORY holds the captures of make_guest.py. `cp` copies the mapped-ram file, qmig takes the
guest-physical memory out of the same file and out of the ordinary stream; all take turns in one
run of this script, so that only ratios of times from the same machine and minutes are judged. Exit
code 1 when a bar is missed, 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from processes import RunFailedError, Samples, floor_mib, keep_cached, read_back
from rows import LARGE, MAPPED, ORDINARY, Bench, outputs

CP_RATIO = 1.2
MORE_GROUND = 1.01  # of the storage that cp takes, for that of an image from the same memory
EXPECTED_WORDS = "known from: CMOS"  # what qmig says of the layout of every such guest


class Extracts(Bench):
    """What is measured, by turns."""

    def extract(self, source: Path, out: Path) -> list[str]:
        """Return the command that is measured."""
        return [self._qmig, "extract", str(source), "--format", "raw", "-o", str(out), "--quiet"]

    def against_cp(self, folder: Path, where: str, *, disk: bool) -> None:
        """Copy the mapped-ram file, and take the memory out of both captures, by turns."""
        mapped = self._directory / MAPPED
        names = ("cp", MAPPED, ORDINARY)
        rows = {name: Samples([]) for name in names}
        with outputs(folder, keep=disk) as files:
            for turn in range(self._runs + 1):
                copied = files.new()
                command = ["/bin/cp", "--reflink=never", "--sparse=always", str(mapped)]
                _run(rows["cp"], [*command, str(copied)], mapped, counted=turn > 0)
                ground = _ground_len(copied)
                for name in names[1:]:
                    source = self._directory / name
                    out = files.new()
                    command = self.extract(source, out)
                    _run(rows[name], command, source, EXPECTED_WORDS, counted=turn > 0)
                    _check_sparse(out, ground)
        self.rows.show(
            f"2 GiB to a sparse raw image, {where}",
            {name: samples.seconds for name, samples in rows.items()},
        )
        print("  processor seconds, medians: ", end="")
        busy = {name: statistics.median(samples.cpu_seconds) for name, samples in rows.items()}
        print(", ".join(f"{name} {seconds:.2f}" for name, seconds in busy.items()))
        for name in names[1:]:
            text = f"{where}: extract from {name}, against cp --sparse=always of {MAPPED}"
            self.rows.judge_ratio(text, rows[name].seconds, rows["cp"].seconds, CP_RATIO)

    def memory(self) -> None:
        """Measure peak memory on guests of different size."""
        print("peak memory")
        with outputs(self._directory, keep=True) as files:
            for name in (MAPPED, ORDINARY, LARGE):
                samples = Samples([])
                source = self._directory / name
                _run(samples, self.extract(source, files.new()), source, EXPECTED_WORDS)
                print(f"  {name:<34} {samples.peak_mib:5.0f} MiB   {samples.median:7.3f} s")
                self.rows.judge_peak(name, samples)
        print(f"  no peak can show less than the {floor_mib():.0f} MiB of this script itself")


def _run(
    samples: Samples, command: list[str], source: Path, words: str = "", *, counted: bool = True
) -> None:
    keep_cached(source)
    samples.command = command
    samples.run_once(words, counted=counted)


def _ground_len(path: Path) -> int:
    """Return the bytes that a file takes on the storage."""
    return path.stat().st_blocks * 512


def _check_sparse(path: Path, ground_len: int) -> None:
    """Hold an image's ground against that of the copy: what is not sparse is not taken for fast.

    Raises:
        RunFailedError: it takes more.
    """
    found = _ground_len(path)
    if found > ground_len * MORE_GROUND:
        raise RunFailedError(f"{path}: takes {found} bytes of storage, cp's copy {ground_len}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure qmig extract and judge it by its bars.")
    parser.add_argument(
        "directory", type=Path, help="captures of make_guest.py; 25 GB free there, on a disk"
    )
    parser.add_argument("--tmpfs", type=Path, help="also measure with outputs here, in memory")
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each")
    parser.add_argument(
        "--only", choices=("cp", "memory"), action="append", help="measure this part alone"
    )
    return parser.parse_args()


def _measure(arguments: argparse.Namespace) -> list[tuple[bool, str]]:
    directory: Path = arguments.directory.absolute()
    for name in (MAPPED, ORDINARY):
        read_back(directory / name)
    bench = Extracts(directory, str(Path(sys.executable).parent / "qmig"), arguments.runs)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} at the start", flush=True)
    chosen = arguments.only or ("cp", "memory")
    if "cp" in chosen:
        if arguments.tmpfs is not None:
            bench.against_cp(arguments.tmpfs, "in memory", disk=False)
        bench.against_cp(directory, "on disk", disk=True)
    if "memory" in chosen:
        bench.memory()
    return bench.rows.verdicts


def main() -> int:
    """Run the command line."""
    arguments = _arguments()
    try:
        verdicts = _measure(arguments)
    except (RunFailedError, subprocess.CalledProcessError, OSError) as error:
        print(f"extract_speed: {error}", file=sys.stderr)
        return 3
    for met, text in verdicts:
        print(f"{'met   ' if met else 'MISSED'} {text}")
    return 0 if all(met for met, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
