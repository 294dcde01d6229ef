"""Where guest memory stands at guest-physical addresses, and what that is known from.

Nothing here is guessed: each range says where its address comes from, and what cannot be known is
an error that says what to give.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from qmig.errors import WriterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qmig.memory import RamBlock

GIB: Final = 1 << 30
FOUR_GIB: Final = 4 * GIB
GIVEN: Final = "--below-4g and --place"

# Memory that is no guest RAM: firmware, its tables, flash, video memory, memory of PCI devices.
_NOT_RAM: Final = (
    (re.compile(r"/rom@"), "a file of the firmware's interface, at no guest-physical address"),
    (re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}"), "memory of a PCI device"),
    (re.compile(r".*\.(v?rom|prom|mrom|bios|flash\d*)(\.|$)|pflash|isa-bios"), "firmware or flash"),
    (re.compile(r".*vram|.*vga"), "video memory"),
    (re.compile(r".*/"), "memory of a device"),
)


@dataclass(frozen=True, slots=True, order=True)
class PhysicalRange:
    """A range of guest-physical addresses that shows a range of a RAM block.

    Attributes:
        start_addr: first guest-physical address.
        length: bytes.
        block: name of the RAM block.
        block_addr: first byte in the block.
        origin: where this is known from.
    """

    start_addr: int
    length: int
    block: str
    block_addr: int
    origin: str

    @property
    def end_addr(self) -> int:
        """The first address behind it."""
        return self.start_addr + self.length


@dataclass(frozen=True, slots=True)
class Hidden:
    """Guest-physical addresses below the end of RAM that show no RAM.

    Attributes:
        start_addr: the first one.
        length: bytes.
        why: what is there instead.
    """

    start_addr: int
    length: int
    why: str


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A RAM block that is in no range.

    Attributes:
        block: its name.
        length: bytes.
        why: why not.
    """

    block: str
    length: int
    why: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The guest-physical memory of a guest.

    Attributes:
        ranges: by address; none overlap.
        hidden: addresses that show something else.
        unplaced: blocks that are at no guest-physical address, or at one that was not asked for.
    """

    ranges: tuple[PhysicalRange, ...]
    hidden: tuple[Hidden, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """What the user knows of the layout.

    Attributes:
        below_4g_len: bytes of RAM below 4 GiB, on x86 machines.
        main: blocks of the main RAM in their order, where they cannot be told.
        placed: block -> guest-physical address.
        without: blocks to leave out.
    """

    below_4g_len: int | None = None
    main: Sequence[str] = ()
    placed: dict[str, int] = field(default_factory=dict)
    without: Sequence[str] = ()


def why_not_ram(name: str) -> str | None:
    """Return what a block is that is no guest RAM by its name; None where it may be some."""
    for pattern, why in _NOT_RAM:
        if pattern.match(name):
            return why
    return None


def cut(ranges: Iterable[PhysicalRange], start: int, end: int) -> list[PhysicalRange]:
    """Return ranges without what they have in [start, end)."""
    kept: list[PhysicalRange] = []
    for one in ranges:
        low, high = max(one.start_addr, start), min(one.end_addr, end)
        if low >= high:
            kept.append(one)
            continue
        if one.start_addr < low:
            kept.append(part(one, one.start_addr, low))
        if high < one.end_addr:
            kept.append(part(one, high, one.end_addr))
    return kept


def part(one: PhysicalRange, start: int, end: int) -> PhysicalRange:
    """Return the part [start, end) of a range."""
    skip = start - one.start_addr
    return PhysicalRange(start, end - start, one.block, one.block_addr + skip, one.origin)


def in_a_row(
    blocks: Sequence[RamBlock], start: int, end_of_first: int, above: int, origin: str
) -> list[PhysicalRange]:
    """Lay blocks one behind the other, with a gap.

    Args:
        blocks: in their order.
        start: guest-physical address of the first byte.
        end_of_first: bytes in front of the gap.
        above: guest-physical address of what lies behind it.
        origin: of the ranges.
    """
    ranges: list[PhysicalRange] = []
    at = 0
    for block in blocks:
        behind = at + block.used_length
        low_len = max(0, min(behind, end_of_first) - at)
        if low_len:
            ranges.append(PhysicalRange(start + at, low_len, block.name, 0, origin))
        high_len = block.used_length - low_len
        if high_len:
            addr = above + at + low_len - end_of_first
            ranges.append(PhysicalRange(addr, high_len, block.name, low_len, origin))
        at = behind
    return ranges


def main_blocks(
    blocks: Sequence[RamBlock], default: str | None, given: Given, total_len: int | None
) -> list[RamBlock]:
    """Return the blocks that the main RAM is made of, in their order.

    Args:
        blocks: of the guest.
        default: the name that the machine type gives its RAM where no memory backend is named.
        given: what the user knows.
        total_len: bytes of the main RAM, None where not known.

    Raises:
        WriterError: they cannot be told from others, or their order is not known.
    """
    by_name = {block.name: block for block in blocks}
    if given.main:
        unknown = [name for name in given.main if name not in by_name]
        if unknown:
            raise WriterError(f"there is no RAM block {unknown[0]!r}")
        return [by_name[name] for name in given.main]
    if default in by_name:
        return [by_name[default]]
    left = {*given.placed, *given.without}
    maybe = [b for b in blocks if b.name not in left and b.used_length and not why_not_ram(b.name)]
    if len(maybe) == 1:
        return maybe
    numbers = [re.fullmatch(r"(?:ram-)?node(\d+)", block.name) for block in maybe]
    nodes = {
        int(found[1]): block for found, block in zip(numbers, maybe, strict=True) if found
    }  # what libvirt and people call the memory of NUMA nodes
    if sorted(nodes) == list(range(len(nodes))) and len(nodes) > 1:
        chosen = [nodes[number] for number in sorted(nodes)]
        if total_len in (None, sum(block.used_length for block in chosen)):
            return chosen
    if total_len is not None:
        fitting = [block for block in maybe if block.used_length == total_len]
        if len(fitting) == 1:
            return fitting
    names = ", ".join(repr(block.name) for block in maybe) or "none"
    raise WriterError(
        f"which RAM blocks the main memory is made of, and in which order, cannot be known (it may "
        f"be of {names}); name them with --main-ram, once each, in the order of their addresses"
    )


def finished(
    ranges: Iterable[PhysicalRange],
    hidden: Iterable[Hidden],
    blocks: Sequence[RamBlock],
    given: Given,
    placed: Iterable[PhysicalRange] = (),
) -> Layout:
    """Return a layout that accounts for every block.

    Args:
        ranges: of the machine's own memory.
        hidden: what it shows instead of RAM.
        blocks: of the guest.
        given: what the user knows.
        placed: ranges of further blocks, by the state of their devices.

    Raises:
        WriterError: a block may be RAM, and its address is not known; or two overlap.
    """
    lengths = {block.name: block.used_length for block in blocks}
    for name in (*given.placed, *given.without):
        if name not in lengths:
            raise WriterError(f"there is no RAM block {name!r}")
    wanted = {name for name in lengths if name in given.placed or name in given.without}
    ready = [one for one in (*ranges, *placed) if one.block not in wanted]
    ready += [
        PhysicalRange(addr, lengths[name], name, 0, "given with --place")
        for name, addr in given.placed.items()
    ]
    known = {one.block for one in ready}
    unplaced: list[Unplaced] = []
    for name, length in lengths.items():
        if name in known or not length:
            continue
        why = "left out as asked" if name in given.without else why_not_ram(name)
        if why is None:
            raise WriterError(
                f"RAM block {name!r} ({length} bytes) may be memory of the guest, and nothing in "
                f"the stream tells its address; give it with --place {name}=ADDRESS, or leave it "
                f"out with --without {name}"
            )
        unplaced.append(Unplaced(name, length, why))
    ready = _joined(ready)
    for one, other in pairwise(ready):
        if other.start_addr < one.end_addr:
            raise WriterError(
                f"RAM blocks {one.block!r} and {other.block!r} would both stand at "
                f"0x{other.start_addr:x}"
            )
    return Layout(tuple(ready), tuple(_joined_hidden(hidden)), tuple(unplaced))


def _joined(ranges: Iterable[PhysicalRange]) -> list[PhysicalRange]:
    """Return ranges by address, those that go on in their block as one."""
    joined: list[PhysicalRange] = []
    for one in sorted(ranges):
        last = joined[-1] if joined else None
        if (
            last is not None
            and (last.end_addr, last.block, last.origin) == (one.start_addr, one.block, one.origin)
            and last.block_addr + last.length == one.block_addr
        ):
            length = last.length + one.length
            joined[-1] = replace(last, length=length)
        else:
            joined.append(one)
    return joined


def _joined_hidden(hidden: Iterable[Hidden]) -> list[Hidden]:
    joined: list[Hidden] = []
    for one in sorted(hidden, key=lambda each: each.start_addr):
        last = joined[-1] if joined else None
        if last and (last.start_addr + last.length, last.why) == (one.start_addr, one.why):
            joined[-1] = replace(last, length=last.length + one.length)
        else:
            joined.append(one)
    return joined
