"""ELF cores: what is in them, where VMCOREINFO comes from, and guests that cannot have one."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qmig
from qmig.devices import open_devices
from qmig.devices.cpu_facts import facts_of
from qmig.export.extract import ExtractFormat, ExtractOptions, extract
from qmig.export.layout import Layout, PhysicalRange
from qmig.export.vmcoreinfo import find_vmcoreinfo
from qmig.memory import RamBlock
from tests.conftest import CaptureFiles
from tests.interop.core_reader import CoreFile


@pytest.mark.parametrize("name", ["qemu-10.0-file", "qemu-10.0-aarch64-stopped"])
def test_core_has_memory_and_registers(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    out = tmp_path / "core"
    with qmig.open_capture(*capture_files(name)) as capture:
        found = extract(capture, out, ExtractOptions(ExtractFormat.ELF))
        (cpu,) = open_devices(capture).named("cpu")
        facts = facts_of(cpu)
        core = CoreFile(out)
        assert found.layout is not None
        for one in found.layout.ranges:
            expected = capture.ram[one.block].read(one.block_addr, one.length)
            assert core.read(one.start_addr, one.length) == expected
        shown = [(one.start, one.length) for one in core.head.loads]
        assert shown == [(one.start_addr, one.length) for one in found.layout.ranges]
        core.close()
    assert facts is not None
    (status,) = core.head.named(b"CORE")
    assert struct.unpack_from("<I", status, 32) == (1,)
    if "aarch64" in name:
        assert core.head.machine == 183
        words = struct.unpack_from("<34Q", status, 112)
        names = [*(f"x{at}" for at in range(31)), "sp", "pc", "pstate"]
        assert dict(zip(names, words, strict=True)) == {name: facts[1][name] for name in names}
    else:
        assert core.head.machine == 62
        assert struct.unpack_from("<Q", status, 112 + 16 * 8) == (facts[1]["rip"],)
        assert len(core.head.named(b"QEMU")) == 1


def test_guest_of_another_architecture_has_no_core(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    for name, said in (
        ("qemu-10.0-s390x-stopped", "s390x CPU"),
        ("qemu-10.0-no-configuration", "decoded"),
    ):
        with (
            qmig.open_capture(*capture_files(name)) as capture,
            pytest.raises(qmig.WriterError, match=said),
        ):
            extract(capture, tmp_path / "core", ExtractOptions(ExtractFormat.ELF))
    assert not list(tmp_path.iterdir())


Pages = np.ndarray[Any, np.dtype[np.uint8]]
NOTE = struct.pack("<III", 11, 20, 0) + b"VMCOREINFO\0\0" + b"OSRELEASE=6.1.0-dbg\n"


@dataclass
class View:
    """A block in memory."""

    data: np.ndarray[Any, np.dtype[np.uint8]]
    block: RamBlock

    def known_zero(self, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.asarray(~self.data[first : first + count].any(axis=1))

    def read_pages_into(self, out: Pages, first: int, *, missing: str) -> None:
        out[:] = self.data[first : first + len(out)]


@dataclass
class Ram:
    """A guest's memory: one block."""

    blocks: dict[str, View]
    page_size_len: int = 4096


class Nothing:
    """A guest without devices."""

    def named(self, name: str) -> list[object]:
        return []


class Cpus:
    """A guest whose only devices are CPUs, whose facts they are themselves."""

    def __init__(self, *states: dict[str, int]) -> None:
        self.states = states

    def named(self, name: str) -> list[dict[str, int]]:
        return [*self.states] if name == "cpu" else []


def found_in(data: bytes, devices: object = Nothing()) -> tuple[bytes, str] | None:
    pages = np.frombuffer(data, np.uint8).reshape(-1, 4096)
    block = RamBlock(0, "ram", len(data), 0)
    half = len(data) // 2
    layout = Layout(
        (
            PhysicalRange(0, half, "ram", 0, "test"),
            PhysicalRange(1 << 32, len(data) - half, "ram", half, "test"),
        )
    )
    ram: Any = Ram({"ram": View(pages, block)})
    any_devices: Any = devices
    return find_vmcoreinfo(any_devices, layout, ram, holes=False)


@pytest.mark.parametrize("page", [0, 3, 1023, 2048, 4095])
def test_note_is_found_at_the_start_of_any_page(page: int) -> None:
    data = bytearray(16 << 20)
    data[page * 4096 : page * 4096 + len(NOTE)] = NOTE
    addr = page * 4096 if page < 2048 else (1 << 32) + (page - 2048) * 4096
    found = found_in(bytes(data))
    assert found == (NOTE, f"found in guest memory, at 0x{addr:x}")


@pytest.mark.parametrize(
    "broken",
    [
        NOTE.replace(b"VMCOREINFO", b"VMCOREINFX"),
        NOTE.replace(b"OSRELEASE", b"osrelease"),
        struct.pack("<III", 11, 0xFFFFFFF0, 0) + NOTE[12:],
        struct.pack("<III", 12, 20, 0) + NOTE[12:],
        struct.pack("<III", 11, 20, 1) + NOTE[12:],
    ],
)
def test_what_only_looks_like_the_note_is_not_taken(broken: bytes) -> None:
    assert found_in(broken.ljust(1 << 20, b"\0")) is None
    assert found_in(bytes(8) + NOTE.ljust((1 << 20) - 8, b"\0")) is None


def kernel_note(phys_base: int) -> bytes:
    """Return the note of a kernel that stands at 0xffffffff81000000."""
    text = f"OSRELEASE=6.1.0\nSYMBOL(_stext)=ffffffff81000000\nNUMBER(phys_base)={phys_base}\n"
    text += "x" * (-len(text) % 4)
    return struct.pack("<III", 11, len(text), 0) + b"VMCOREINFO\0\0" + text.encode()


NOTES = {0x3000: kernel_note(-0x400000), 0x5000: kernel_note(0x600000), 0x9000: kernel_note(0)}
"""Of three kernels whose text would be at 12, 22 and 16 MiB."""
PAGED = {"cr0": 1 << 31, "cr3": 0x10000, "cr4": 0x20, "efer": 0x500}


@pytest.mark.parametrize(
    ("states", "text_addr", "taken"),
    [
        ([PAGED], 22 << 20, 0x5000),  # that of a guest's guest stands in front
        ([{"cr0": 0}, PAGED], 16 << 20, 0x9000),  # a CPU that has not started
        ([PAGED | {"cr3": 0x11000}], 22 << 20, 0x5000),  # in user space
        ([{"cr0": 0}], 22 << 20, 0x3000),  # nothing tells
        ([PAGED], 14 << 20, None),  # none is of the kernel that runs
    ],
)
def test_note_of_the_kernel_that_runs(
    states: list[dict[str, int]],
    text_addr: int,
    taken: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qmig.export.vmcoreinfo.facts_of", lambda state: ("", state))
    data = bytearray(1 << 20)
    for addr, note in NOTES.items():
        data[addr : addr + len(note)] = note
    for at, entry in ((0x10FF8, 0x12001), (0x12FF0, 0x13001), (0x13040, text_addr | 0x81)):
        struct.pack_into("<Q", data, at, entry)
    found = found_in(bytes(data), Cpus(*states))
    if taken is None:
        assert found is None
        return
    assert found is not None
    confirmed = "; a CPU's page tables have its kernel" if "efer" in states[-1] else ""
    assert found == (NOTES[taken], f"found in guest memory, at 0x{taken:x}{confirmed}")


def test_memory_full_of_notes_is_not_searched_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qmig.export.vmcoreinfo.facts_of", lambda state: ("", state))
    asked = []

    def nothing(addr: int, state: object, read: object) -> int:
        asked.append(addr)
        return 0

    monkeypatch.setattr("qmig.export.vmcoreinfo.physical_addr_of", nothing)
    page = kernel_note(0).ljust(4096, b"\0")
    assert found_in(page * 4096, Cpus(PAGED)) is None
    assert len(asked) == 256
