"""What Volatility finds in the captures of a recording, with qmig and without.

`python -m tests.linux.volatility RECORDING` prints the table of docs/volatility.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qmig.volatility.command import PLUGIN_FOLDER
from tests.interop.core_reader import CoreFile
from tests.linux.captured import DEBUG_FOLDER, LinuxCapture, read_list
from tests.linux.guest import PROCESS, PROCESSES
from tests.linux.symbol_table import write_symbol_table

SECONDS: Final = 250.0
SYMBOLS_FOLDER: Final = "symbols"
HEADER: Final = (
    "| capture | with qmig: banner | processes | Volatility alone: banner | processes |\n"
    "| --- | --- | --- | --- | --- |"
)
_VOL: Final = "import sys; from volatility3.cli import main; sys.argv[0] = 'vol'; main()"
# Names of which the guest has one process each, for as long as it runs.
_LASTING: Final = PROCESSES - {"init", "scribe"}


@dataclass(frozen=True)
class Seen:
    """What Volatility finds in a capture.

    Attributes:
        banners: the kernel's banners by address.
        processes: name by id.
        complaints: what qmig said on the way.
    """

    banners: dict[int, str]
    processes: dict[int, str]
    complaints: list[str]


@dataclass(frozen=True)
class Row:
    """What comes of a capture, in words for people."""

    capture: str
    banner: str
    processes: str
    banner_alone: str
    processes_alone: str

    def text(self) -> str:
        """Return the row of the table."""
        cells = (self.banner, self.processes, self.banner_alone, self.processes_alone)
        return f"| {' | '.join((self.capture, *cells))} |"


class Volatility:
    """Volatility's command line with the symbols of the guest's kernel.

    Args:
        recording: the folder of the recording; the symbol table is made in it once.
        cache: a folder for what Volatility keeps.
    """

    def __init__(self, recording: Path, cache: Path) -> None:
        self._recording = recording
        self._cache = cache
        table = recording / SYMBOLS_FOLDER / "linux" / "kernel.json.xz"
        if not table.exists():
            table.parent.mkdir(parents=True, exist_ok=True)
            write_symbol_table(recording / DEBUG_FOLDER / "vmlinux", table)

    def look(self, capture: LinuxCapture, *, with_qmig: bool) -> Seen:
        """Return what is found in a capture."""
        banners = self._run("banners.Banners", capture, with_qmig=with_qmig)
        processes = self._run("linux.pslist.PsList", capture, with_qmig=with_qmig)
        said = (banners.stderr + processes.stderr).splitlines()
        return Seen(
            {each["Offset"]: each["Banner"] for each in _rows(banners)},
            {each["PID"]: each["COMM"] for each in _rows(processes)},
            [line for line in said if "qmig" in line],
        )

    def row(self, capture: LinuxCapture, by_qmig: Seen, alone: Seen) -> Row:
        """Return what came of a capture, with qmig and without."""
        cells: list[str] = []
        for seen in (by_qmig, alone):
            cells.append(_of_banners(seen, self.right_banners(capture, seen)))
            cells.append(_of_processes(seen, told_processes(self._recording, capture)))
        return Row(capture.name, *cells)

    def right_banners(self, capture: LinuxCapture, seen: Seen) -> set[int]:
        """Return the addresses at which QEMU's own core has the banner that was found there."""
        core = CoreFile(self._recording / capture.dump)
        right = {
            addr
            for addr, text in seen.banners.items()
            if core.read(addr, len(text)) == text.encode("latin-1")
        }
        core.close()
        return right

    def _run(
        self, plugin: str, capture: LinuxCapture, *, with_qmig: bool
    ) -> subprocess.CompletedProcess[str]:
        main, *channels = (str(self._recording / name) for name in capture.files)
        words = [sys.executable, "-c", _VOL, "-q", "--offline", "-r", "json"]
        words += ["-s", str(self._recording / SYMBOLS_FOLDER)]
        if with_qmig:
            words += ["-p", str(PLUGIN_FOLDER), "--qmig-channels", *channels]
        words += ["-f", main, plugin]
        environment = os.environ | {"XDG_CACHE_HOME": str(self._cache)}
        return subprocess.run(
            words, capture_output=True, text=True, timeout=SECONDS, env=environment
        )


def told_processes(recording: Path, capture: LinuxCapture) -> dict[int, str]:
    """Return the processes that the guest told and that last, name by id."""
    console = (recording / capture.console).read_text(errors="replace")
    lines = re.findall(rf"^{PROCESS} (\d+) (\S+)\s*$", console, re.MULTILINE)
    return {int(pid): name for pid, name in lines if name in _LASTING}


def _rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Return what Volatility printed as JSON; nothing where it gave up."""
    found = done.stdout.find("[\n") if done.returncode == 0 else -1
    rows: list[dict[str, Any]] = [] if found < 0 else json.loads(done.stdout[found:])
    return rows


def _of_banners(seen: Seen, right: set[int]) -> str:
    if not seen.banners:
        return "not found"
    if right == set(seen.banners):
        return "at its address"
    return "some at wrong addresses" if right else "at wrong addresses"


def _of_processes(seen: Seen, told: dict[int, str]) -> str:
    if not seen.processes:
        return "none"
    listed = seen.processes.items() >= told.items()
    return "all that the guest listed" if listed else "others than the guest listed"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="qmig-") as scratch:
        volatility = Volatility(Path(sys.argv[1]), Path(scratch))
        print(HEADER)
        for recorded in read_list(Path(sys.argv[1])):
            seen = [volatility.look(recorded, with_qmig=each) for each in (True, False)]
            print(volatility.row(recorded, *seen).text(), flush=True)
