"""What `extract` takes out is what the QEMU that wrote the stream says of the same stopped guest.

The ELF core is held against QEMU's own `dump-guest-memory`, read through a pipe, all of its memory
and notes; the raw image against `pmemsave` over both ends of each range.
"""

import os
import threading
from pathlib import Path
from typing import Final

import pytest

import qmig
from fixtures.recorder.machine import Machine
from qmig.export.extract import ExtractFormat, ExtractOptions, extract
from tests.conftest import FindQemu
from tests.interop.core_reader import CoreFile, CoreHead, memory, read_head
from tests.interop.long_mode import MARK, MARK_ADDR, RAX, write_disk

_EDGE_LEN: Final = 1 << 20
_SECONDS: Final = 120.0
_PLAIN: Final = ("-nodefaults", "-display", "none", "-accel", "tcg", "-S", "-no-user-config")
_DISK: Final = (
    *("-drive", "file=disk.img,format=raw,if=none,id=d0"),
    *("-device", "virtio-blk-pci,drive=d0,bootindex=0"),
)
_NODES: Final = (
    *("-object", "memory-backend-ram,id=ram-node0,size=1G"),
    *("-object", "memory-backend-ram,id=ram-node1,size=3G"),
    *("-numa", "node,memdev=ram-node0", "-numa", "node,memdev=ram-node1"),
)
GUESTS: Final = {
    "pc-3g": ("-M", "pc", "-m", "3G"),
    "pc-6g-4": ("-M", "pc", "-m", "6G", "-smp", "4"),
    "pc-6g-below-1g": ("-M", "pc,max-ram-below-4g=1G", "-m", "6G"),
    "pc-two-nodes": ("-M", "pc", "-m", "4G", *_NODES),
    "q35-3g-4": ("-M", "q35", "-m", "3G", "-smp", "4"),
    "q35-6g": ("-M", "q35", "-m", "6G"),
    "q35-3g-below-1g": ("-M", "q35,max-ram-below-4g=1G", "-m", "3G", "-smp", "4"),
    "q35-two-nodes": ("-M", "q35", "-m", "4G", "-smp", "4", *_NODES),
}


class Comparison(threading.Thread):
    """Reads QEMU's dump from a pipe and holds it against the memory of our core."""

    def __init__(self, pipe: Path, core: CoreFile) -> None:
        super().__init__(daemon=True)
        self.theirs: CoreHead | None = None
        self.compared_len = 0
        self.differing: list[int] = []
        self._pipe = pipe
        self._core = core

    def run(self) -> None:
        with self._pipe.open("rb") as file:
            self.theirs = read_head(file)
            shown = self._core.head.shown()
            for addr, data in memory(file, self.theirs):
                end = addr + len(data)
                inside = any(low <= addr and end <= high for low, high in shown)
                if not inside or self._core.read(addr, len(data)) != data:
                    self.differing.append(addr)
                self.compared_len += len(data)
            while file.read(_EDGE_LEN):  # QEMU puts an empty table of strings behind it
                pass


@pytest.mark.qemu
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", GUESTS)
def test_core_and_image_are_what_qemu_says(name: str, find_qemu: FindQemu, tmp_path: Path) -> None:
    write_disk(tmp_path / "disk.img")
    stream, core_path, raw = tmp_path / "stream", tmp_path / "core", tmp_path / "raw"
    arguments = (*_PLAIN, *GUESTS[name], *_DISK)
    with Machine(find_qemu("10.0"), arguments, tmp_path, command_seconds=_SECONDS) as machine:
        machine.execute("cont")
        machine.wait_for(lambda: machine.read_word(MARK_ADDR) == MARK, "mark", _SECONDS)
        machine.execute("stop")
        machine.execute("migrate", {"uri": f"exec:cat > {stream.name}"})
        machine.wait_migrated()
        with qmig.open_capture(stream) as capture:
            extract(capture, raw, ExtractOptions(ExtractFormat.RAW))
            found = extract(capture, core_path, ExtractOptions(ExtractFormat.ELF))
        core = CoreFile(core_path)
        theirs = compare_with_dump(machine, core, tmp_path)
        compare_with_pmemsave(machine, core.head, raw)
        core.close()
    assert found.cpus == (4 if "-smp" in GUESTS[name] else 1)
    assert core.head.machine == theirs.machine
    assert core.head.shown() == theirs.shown()
    assert len(theirs.named(b"CORE")) == len(theirs.named(b"QEMU")) == found.cpus
    assert core.head.notes == theirs.notes
    assert RAX.to_bytes(8, "little") in core.head.named(b"CORE")[0]


def compare_with_dump(machine: Machine, core: CoreFile, folder: Path) -> CoreHead:
    """Hold all memory of a core against QEMU's own; return the head of QEMU's."""
    pipe = folder / "dump"
    os.mkfifo(pipe)
    comparison = Comparison(pipe, core)
    comparison.start()
    machine.execute("dump-guest-memory", {"paging": False, "protocol": f"file:{pipe}"})
    comparison.join(_SECONDS)
    assert not comparison.is_alive()
    assert comparison.theirs is not None
    assert comparison.differing == []
    assert comparison.compared_len == sum(load.length for load in core.head.loads)
    return comparison.theirs


def compare_with_pmemsave(machine: Machine, head: CoreHead, raw: Path) -> None:
    """Hold the ends of each range of the raw image against what QEMU saves of it."""
    with raw.open("rb") as image:
        for start, end in head.shown():
            length = min(_EDGE_LEN, end - start)
            for addr in {start, end - length}:
                image.seek(addr)
                assert image.read(length) == machine.save_physical(addr, length), hex(addr)
