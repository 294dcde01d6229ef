"""The layout of x86 machines from bytes made by hand: every split, PAM and SMRAM registers."""

from dataclasses import dataclass, field

import pytest

from qmig.errors import WriterError
from qmig.export.layout import FOUR_GIB, GIB, Given, Layout
from qmig.export.pc_layout import pc_layout
from qmig.limits import MIB
from qmig.memory import RamBlock


@dataclass
class Section:
    """A device that has bytes and nothing else."""

    name: str
    data: bytes
    path: str = ""

    def read(self) -> bytes:
        return self.data


@dataclass
class Sections:
    """Stands for the devices of a capture."""

    sections: list[Section] = field(default_factory=list)

    def named(self, name: str) -> list[Section]:
        return [one for one in self.sections if one.name == name]

    def __iter__(self) -> object:
        return iter(self.sections)


def clock(below: int, above: int) -> Section:
    """Return the clock of a machine; written from the layout of a PC's CMOS, byte by byte."""
    cmos = bytearray(128)
    cmos[0x15:0x17] = min(640, below >> 10).to_bytes(2, "little")
    cmos[0x17:0x19] = min(65535, max(0, below - MIB) >> 10).to_bytes(2, "little")
    cmos[0x34:0x36] = min(65535, max(0, below - 16 * MIB) >> 16).to_bytes(2, "little")
    cmos[0x5B:0x5E] = (above >> 16).to_bytes(3, "little")
    return Section("mc146818rtc", bytes(cmos))


def bridge(registers: dict[int, int], *, q35: bool = False) -> Section:
    config = bytearray(256)
    config[:4] = bytes.fromhex("8680c029" if q35 else "86803712")
    for at, value in registers.items():
        config[at] = value
    name = "0000:00:00.0/mch" if q35 else "0000:00:00.0/I440FX"
    return Section(name, bytes(4) + bytes(config) + bytes(16))


def layout(
    sizes: dict[str, int], *sections: Section, machine: str = "pc", given: Given | None = None
) -> Layout:
    blocks = [RamBlock(at, name, size, 0) for at, (name, size) in enumerate(sizes.items())]
    devices = Sections(list(sections))
    return pc_layout(machine, blocks, devices, given or Given())  # type: ignore[arg-type]  # has what is asked of devices


ALL_RAM = {**dict.fromkeys(range(0x59, 0x60), 0x33), 0x72: 0x40}
SPLITS = (
    (640 << 10, 0),
    (MIB, 0),
    (8 * MIB, 0),
    (16 * MIB, 0),
    (100 * MIB, 0),
    (3 * GIB, 0),
    (3 * GIB, 3 * GIB),
    (2 * GIB, GIB),
    (GIB, 5 * GIB),
    (0xE0000000, 64 << 10),
    (3 * GIB, 200 * GIB),
)


@pytest.mark.parametrize(("below", "above"), SPLITS)
def test_split_is_read_from_the_clock(below: int, above: int) -> None:
    found = layout({"pc.ram": below + above}, clock(below, above), bridge(ALL_RAM))
    low = (0, below, 0)
    high = [(FOUR_GIB, above, below)] if above else []
    shown = [(one.start_addr, one.length, one.block_addr) for one in found.ranges]
    assert shown == [low, *high]


@pytest.mark.parametrize(
    ("told", "there"),
    [
        ((3 * GIB, 3 * GIB), 5 * GIB),
        ((2 * GIB, 0), 3 * GIB),
        ((GIB, GIB), 3 * GIB),
        ((0, 0), 64 * MIB),
    ],
)
def test_clock_that_contradicts_the_ram_is_an_error(told: tuple[int, int], there: int) -> None:
    with pytest.raises(WriterError, match="--below-4g"):
        layout({"pc.ram": there}, clock(*told), bridge(ALL_RAM))


@pytest.mark.parametrize("at", [0x15, 0x16, 0x17, 0x18, 0x34, 0x35, 0x5B, 0x5C, 0x5D])
def test_each_byte_of_the_clock_counts(at: int) -> None:
    section = clock(3 * GIB, 3 * GIB)
    broken = bytearray(section.data)
    broken[at] ^= 1
    with pytest.raises(WriterError, match="--below-4g"):
        layout({"pc.ram": 6 * GIB}, Section(section.name, bytes(broken)), bridge(ALL_RAM))


def test_units_that_are_not_whole_on_both_sides_are_not_guessed() -> None:
    below, above = 3 * GIB + 4096, GIB - 4096
    with pytest.raises(WriterError, match="--below-4g"):
        layout({"pc.ram": below + above}, clock(below, above), bridge(ALL_RAM))


def test_without_a_clock_there_is_no_layout_but_for_a_microvm() -> None:
    with pytest.raises(WriterError, match="no state of a real-time clock"):
        layout({"pc.ram": GIB})
    found = layout({"microvm.ram": 5 * GIB}, machine="microvm")
    assert [(one.start_addr, one.length) for one in found.ranges] == [
        (0, 3 * GIB),
        (FOUR_GIB, 2 * GIB),
    ]


def test_so_much_ram_that_it_may_stand_elsewhere_is_not_guessed() -> None:
    with pytest.raises(WriterError, match="1 TiB"):
        layout({"pc.ram": 1024 * GIB}, clock(3 * GIB, 1021 * GIB), bridge(ALL_RAM))


# QEMU's PAM regions: which register and which half of it shows what.
PAM = [(0xF0000, 0x10000, 0x59, 4)] + [
    (0xC0000 + at * 0x4000, 0x4000, 0x5A + at // 2, 4 * (at % 2)) for at in range(12)
]


@pytest.mark.parametrize(("start", "length", "register", "shift"), PAM)
def test_each_pam_register_shows_firmware_in_place_of_ram(
    start: int, length: int, register: int, shift: int
) -> None:
    sizes = {"pc.ram": GIB, "pc.rom": 128 << 10, "pc.bios": 128 << 10}
    for attributes, ram in ((0, False), (1, True), (2, True), (3, True)):
        value = 0x33 & ~(3 << shift) | attributes << shift
        found = layout(sizes, clock(GIB, 0), bridge({**ALL_RAM, register: value}))
        low = [(r.start_addr, r.end_addr, r.block) for r in found.ranges if r.start_addr < GIB]
        rom = "pc.rom" if start < 0xE0000 else "pc.bios"
        behind = start + length
        assert low == (
            [(0, GIB, "pc.ram")]
            if ram
            else [(0, start, "pc.ram"), (start, behind, rom), (behind, GIB, "pc.ram")]
        )
        assert found.hidden == ()


def test_ram_shows_where_there_is_no_firmware_and_no_video_memory() -> None:
    found = layout({"pc.ram": GIB}, clock(GIB, 0), bridge({}))
    assert [(one.start_addr, one.end_addr) for one in found.ranges] == [(0, GIB)]


@pytest.mark.parametrize("open_", [False, True])
def test_vga_hides_ram_unless_smram_is_open(open_: bool) -> None:
    config = bytes(4) + bytes(0x0A) + b"\x00\x03" + bytes(300)
    registers = {**ALL_RAM, 0x72: 0x40 * open_}
    for name in ("0000:00:02.0/virtio-gpu", "vga", "0000:00:02.0/vga"):
        found = layout({"pc.ram": GIB}, clock(GIB, 0), bridge(registers), Section(name, config))
        hidden = [(one.start_addr, one.length) for one in found.hidden]
        assert hidden == ([] if open_ else [(0xA0000, 0x20000)])
        assert len(found.ranges) == (1 if open_ else 2)
    other = Section("0000:00:02.0/e1000", bytes(4) + bytes(0x0A) + b"\x00\x02" + bytes(300))
    assert layout({"pc.ram": GIB}, clock(GIB, 0), bridge(registers), other).hidden == ()


def test_firmware_shows_where_pam_hides_the_ram() -> None:
    sizes = {"pc.ram": GIB, "pc.bios": 256 << 10, "pc.rom": 128 << 10}
    found = layout(sizes, clock(GIB, 0), bridge({}))
    shown = [(one.start_addr, one.length, one.block, one.block_addr) for one in found.ranges]
    assert shown == [
        (0, 0xC0000, "pc.ram", 0),
        (0xC0000, 0x20000, "pc.rom", 0),
        (0xE0000, 0x20000, "pc.bios", 0x20000),
        (0x100000, GIB - MIB, "pc.ram", 0x100000),
        (FOUR_GIB - 0x40000, 0x40000, "pc.bios", 0),
    ]


def test_smm_memory_of_a_q35_is_hidden() -> None:
    registers = {**dict.fromkeys(range(0x90, 0x97), 0x33), 0x9D: 0x40}
    for size, esmramc in ((1, 0b001), (2, 0b011), (8, 0b101), (16, 0b111)):
        config = {**registers, 0x9E: esmramc, 0x50: 16}
        found = layout({"pc.ram": 3 * GIB}, clock(2 * GIB, GIB), bridge(config, q35=True))
        assert found.ranges[0].end_addr == 2 * GIB - size * MIB
        assert found.ranges[1].start_addr == FOUR_GIB
        assert [one.length for one in found.hidden] == [size * MIB]
    locked = layout({"pc.ram": GIB}, clock(GIB, 0), bridge({**registers, 0x9C: 2}, q35=True))
    assert [(one.start_addr, one.length) for one in locked.hidden] == [(0x30000, 0x20000)]


def test_nodes_of_names_that_tell_no_order_are_asked_for() -> None:
    sizes = {"ram-a": GIB, "ram-b": GIB}
    with pytest.raises(WriterError, match="--main-ram"):
        layout(sizes, clock(2 * GIB, 0), bridge(ALL_RAM))
    found = layout(sizes, clock(2 * GIB, 0), bridge(ALL_RAM), given=Given(main=["ram-b", "ram-a"]))
    assert [one.block for one in found.ranges] == ["ram-b", "ram-a"]


def test_nodes_beside_a_dimm_are_told_by_their_names_and_the_clock() -> None:
    sizes = {"ram-node0": GIB, "ram-node1": 3 * GIB, "dimm0": GIB}
    given = Given(without=["dimm0"])
    found = layout(sizes, clock(3 * GIB, GIB), bridge(ALL_RAM), given=given)
    shown = [(one.start_addr, one.length, one.block, one.block_addr) for one in found.ranges]
    assert shown == [
        (0, GIB, "ram-node0", 0),
        (GIB, 2 * GIB, "ram-node1", 0),
        (FOUR_GIB, GIB, "ram-node1", 2 * GIB),
    ]
    with pytest.raises(WriterError, match="dimm0"):
        layout(sizes, clock(3 * GIB, GIB), bridge(ALL_RAM))
