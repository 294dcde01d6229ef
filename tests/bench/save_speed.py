"""Measure `qmig save --fixed-ram` against QEMU's own mapped-ram and against `cp`.

    python save_speed.py DIRECTORY --qemu QEMU [--tmpfs DIR]

DIRECTORY holds the captures of make_guest.py; QEMU is one of 9.0 or newer, and the bars name 10.0.
QEMU holds the guest of linux-2g.mapped in its memory and saves it again and again; qmig saves a raw
dump of the same memory. They take turns in one run of this script, so that only ratios of times
from the same machine and minutes are judged. Exit code 1 when a bar is missed, 3 when it could not
be measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from make_guest import MACHINES, machine_arguments
from processes import MIB, RunFailedError, Samples, floor_mib, keep_cached, read_back
from rows import LARGE, MAPPED, ORDINARY, Bench, outputs

from fixtures.recorder.debian_guest import BootFiles
from fixtures.recorder.errors import RecordError
from fixtures.recorder.machine import Machine
from fixtures.recorder.replay import loaded

DUMP = "linux-2g.raw"
BLOCK = "pc.ram"
CHANNELS = 2

QEMU_RATIO = 0.8
CP_RATIO = 2.0
SPARSE_LEN = 256 << 30  # a dump of this length, nearly all of it a hole
SPARSE_DATA_LEN = 64 * MIB
UNLIMITED_BANDWIDTH = 1 << 40
MS_IN_S = 1000
COUNTED = "normal"  # what every save prints


def sync(path: Path) -> None:
    """Bring a file to the storage."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def qemu_save(machine: Machine, out: Path) -> tuple[float, float]:
    """Let QEMU save its guest.

    Returns:
        Its `total-time` in seconds; and the time until the file is on the storage, by our clock,
        because closing the file, which comes behind `total-time`, may do part of the work (ext4
        begins to write a file that was made shorter when it is closed).

    Raises:
        RecordError: the migration failed.
    """
    begun = time.perf_counter()
    machine.execute("migrate", {"uri": f"file:{out}"})
    machine.wait_migrated()
    sync(out)
    durable = time.perf_counter() - begun
    total = machine.migration()["total-time"] / MS_IN_S
    # A migrated guest must have run before it migrates again.
    machine.execute("cont")
    machine.execute("stop")
    return float(total), durable


def timed(command: list[str], words: str = "") -> Samples:
    """Run a command once."""
    samples = Samples(command)
    samples.run_once(words)
    return samples


class Saves(Bench):
    """What is measured, by turns."""

    def _save(self, arguments: list[str], out: Path) -> list[str]:
        return [self._qmig, "save", *arguments, "--fixed-ram", str(out), "--quiet"]

    def against_qemu(self, machine: Machine, folder: Path, where: str, *, disk: bool) -> None:
        """Save the same memory by turns."""
        dump = self._directory / DUMP
        names = ("QEMU", "QEMU + fsync", "qmig")
        rows: dict[str, list[float]] = {name: [] for name in names}
        with outputs(folder, keep=disk) as theirs, outputs(folder, keep=disk) as ours:
            for turn in range(self._runs + 1):
                total, durable = qemu_save(machine, theirs.new())
                keep_cached(dump)
                arguments = ["--ram", f"{BLOCK}={dump}", "--channels", str(CHANNELS)]
                ours_s = timed(self._save(arguments, ours.new()), COUNTED).median
                if turn:
                    for name, seconds in zip(names, (total, durable, ours_s), strict=True):
                        rows[name].append(seconds)
            if not disk:
                del rows["QEMU + fsync"]
            self.rows.show(f"save 2 GiB from a raw dump, {CHANNELS} channels, {where}", rows)
        for name in rows:
            if name != "qmig":
                text = f"{where}: qmig save, against {name}"
                self.rows.judge_ratio(text, rows["qmig"], rows[name], QEMU_RATIO)

    def against_cp(self, folder: Path, where: str, *, disk: bool) -> None:
        """Convert an ordinary stream, and copy it, by turns."""
        source = self._directory / ORDINARY
        names = ("cp", "cp + fsync", "qmig")
        rows: dict[str, list[float]] = {name: [] for name in names}
        with outputs(folder, keep=disk) as theirs, outputs(folder, keep=disk) as ours:
            for turn in range(self._runs + 1):
                keep_cached(source)
                out = theirs.new()
                begun = time.perf_counter()
                copied = timed(["/bin/cp", "--reflink=never", str(source), str(out)]).median
                sync(out)
                durable = time.perf_counter() - begun
                keep_cached(source)
                ours_s = timed(self._save([str(source)], ours.new()), COUNTED).median
                if turn:
                    for name, seconds in zip(names, (copied, durable, ours_s), strict=True):
                        rows[name].append(seconds)
            if not disk:
                del rows["cp + fsync"]
            self.rows.show(f"convert {ORDINARY} to mapped-ram, {where}", rows)
        for name in rows:
            if name != "qmig":
                text = f"{where}: conversion, against {name} of the same bytes"
                self.rows.judge_ratio(text, rows["qmig"], rows[name], CP_RATIO)

    def memory(self) -> None:
        """Measure peak memory on guests of different size."""
        print("peak memory")
        with outputs(self._directory, keep=True) as files:
            sparse = files.new()
            _make_sparse(sparse)
            dump = str(self._directory / DUMP)
            cases = {
                f"{DUMP}, 2 GiB": ["--ram", f"{BLOCK}={dump}", "--channels", str(CHANNELS)],
                f"{ORDINARY}, 2 GiB": [str(self._directory / ORDINARY)],
                f"{LARGE}, 8 GiB": [str(self._directory / LARGE)],
                f"a dump with holes, {SPARSE_LEN >> 30} GiB": [
                    *("--ram", f"{BLOCK}={sparse}", "--channels", str(CHANNELS))
                ],
            }
            for name, arguments in cases.items():
                samples = timed(self._save(arguments, files.new()), COUNTED)
                print(f"  {name:<34} {samples.peak_mib:5.0f} MiB   {samples.median:7.3f} s")
                self.rows.judge_peak(name, samples)
        print(f"  no peak can show less than the {floor_mib():.0f} MiB of this script itself")


def _make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        for at in range(0, SPARSE_DATA_LEN, MIB):
            file.seek(at * (SPARSE_LEN // SPARSE_DATA_LEN))
            file.write(b"\xa5" * MIB)
        file.truncate(SPARSE_LEN)


@contextmanager
def saving_qemu(qemu: Path, directory: Path) -> Iterator[Machine]:
    """Give a QEMU that holds the guest, stopped, and saves it as the bars want."""
    boot = BootFiles(
        kernel=(directory / "guest" / "vmlinuz").absolute(),
        initramfs=(directory / "guest" / "initramfs.cpio").absolute(),
    )
    arguments = machine_arguments(MACHINES[0], boot)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="save-speed-")))
        files = [(directory / MAPPED).absolute()]
        machine = stack.enter_context(
            loaded(qemu, arguments, files, folder, capabilities={"mapped-ram": True})
        )
        machine.set_migration(
            {"mapped-ram": True, "multifd": True},
            {"multifd-channels": CHANNELS, "max-bandwidth": UNLIMITED_BANDWIDTH},
        )
        yield machine


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure qmig save and judge it by its bars.")
    parser.add_argument(
        "directory", type=Path, help="captures of make_guest.py; 30 GB free there, on a disk"
    )
    parser.add_argument("--qemu", type=Path, required=True, help="the QEMU to compare with")
    parser.add_argument("--tmpfs", type=Path, help="also measure with outputs here, in memory")
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each")
    parser.add_argument(
        "--only",
        choices=("qemu", "cp", "memory"),
        action="append",
        help="measure this part alone; can be given again",
    )
    return parser.parse_args()


def _measure(arguments: argparse.Namespace) -> list[tuple[bool, str]]:
    directory: Path = arguments.directory.absolute()
    dump = directory / DUMP
    if not dump.exists():
        maker = Path(__file__).with_name("raw_dump.py")
        subprocess.run([sys.executable, maker, directory / MAPPED, dump], check=True)
    for path in (dump, directory / ORDINARY):
        read_back(path)
    bench = Saves(directory, str(Path(sys.executable).parent / "qmig"), arguments.runs)
    parts: dict[str, Callable[[], None]] = {
        "qemu": lambda: _against_qemu(bench, arguments),
        "cp": lambda: _against_cp(bench, arguments),
        "memory": bench.memory,
    }
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} at the start", flush=True)
    for name, measure in parts.items():
        if not arguments.only or name in arguments.only:
            measure()
    return bench.rows.verdicts


def _against_qemu(bench: Saves, arguments: argparse.Namespace) -> None:
    with saving_qemu(arguments.qemu, arguments.directory.absolute()) as machine:
        if arguments.tmpfs is not None:
            bench.against_qemu(machine, arguments.tmpfs, "in memory", disk=False)
        bench.against_qemu(machine, arguments.directory, "on disk", disk=True)


def _against_cp(bench: Saves, arguments: argparse.Namespace) -> None:
    if arguments.tmpfs is not None:
        bench.against_cp(arguments.tmpfs, "in memory", disk=False)
    bench.against_cp(arguments.directory, "on disk", disk=True)


def main() -> int:
    """Run the command line."""
    arguments = _arguments()
    try:
        verdicts = _measure(arguments)
    except (RunFailedError, RecordError, subprocess.CalledProcessError, OSError) as error:
        print(f"save_speed: {error}", file=sys.stderr)
        return 3
    for met, text in verdicts:
        print(f"{'met   ' if met else 'MISSED'} {text}")
    return 0 if all(met for met, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
