"""What a recording of the Linux guest consists of, and the list of it that lies beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

LIST_NAME: Final = "captures.json"
README_NAME: Final = "README"
BOOT_FOLDER: Final = "guest"
DEBUG_FOLDER: Final = "debug"
BOOTS: Final = {
    "pc": ("pc-stopped", "pc-mapped-ram", "pc-multifd", "pc-live"),
    "q35": ("q35-stopped",),
    "libvirt": ("libvirt-zstd",),
}
"""The captures of a whole recording, by the boot of the guest that they come from."""


@dataclass(frozen=True)
class LinuxCapture:
    """A capture of the guest, and what its QEMU said of the guest that stood still.

    Attributes:
        name: the capture's name.
        files: of the capture; the main one is first.
        registers: the file with what `info registers -a` printed.
        dump: the file that `dump-guest-memory` wrote.
        console: the file with what the guest wrote to its serial line.
        qemu: the release that wrote all of it.
        text: what it is, for people.
    """

    name: str
    files: tuple[str, ...]
    registers: str
    dump: str
    console: str
    qemu: str
    text: str


def read_list(directory: Path) -> list[LinuxCapture]:
    """Return what a recording consists of.

    Args:
        directory: the folder that it was made in.

    Raises:
        OSError: there is no list in it.
    """
    entries = json.loads((directory / LIST_NAME).read_text())
    return [LinuxCapture(**entry | {"files": tuple(entry["files"])}) for entry in entries]


def write_list(directory: Path, captures: list[LinuxCapture]) -> None:
    """Write the list for programs and the one for people."""
    entries = [asdict(capture) for capture in captures]
    (directory / LIST_NAME).write_text(json.dumps(entries, indent=1) + "\n")
    lines = [
        f"{BOOT_FOLDER}/: what the guest boots from",
        f"{DEBUG_FOLDER}/vmlinux: its kernel with debug symbols",
        "*.registers: `info registers -a` of the guest that stood still for the capture",
        "*.dump: `dump-guest-memory` (an ELF core) of the same guest",
        "*.console: its serial line, with a line for each process",
        "",
    ]
    for capture in captures:
        length = sum((directory / file).stat().st_size for file in capture.files)
        lines += [
            f"{capture.name}: {capture.text}; QEMU {capture.qemu}, {length:,} bytes",
            f"    {' '.join(capture.files)}",
            f"    {capture.registers} {capture.dump} {capture.console}",
        ]
    (directory / README_NAME).write_text("\n".join(lines) + "\n")
