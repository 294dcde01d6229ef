"""What of a damaged capture is not there: how much RAM, and which devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qmig.capture.mapped import count_set_pages
from qmig.errors import SourceError, TruncatedStreamError
from qmig.wire.framing import QemuVmSection

if TYPE_CHECKING:
    from qmig.capture.capture import Capture
    from qmig.capture.source import Source
    from qmig.capture.stream import StreamWalk
    from qmig.memory import RamBlock


@dataclass(frozen=True)
class MissingPages:
    """Pages of a block that the capture does not hold.

    Attributes:
        block: name of the block.
        pages: pages of the block.
        read_pages: how many of them were read. They may be older than the last ones sent.
    """

    block: str
    pages: int
    read_pages: int


@dataclass
class Missing:
    """What a damaged capture does not hold.

    Attributes:
        block_list: whether the block list is there.
        ram: the blocks that are not whole; empty where RAM was complete before the damage.
        ram_may_be_old: whether later versions of pages that were read may be missing.
        devices: name and instance of devices whose sections cannot be read to their ends.
        devices_known: whether the stream tells which devices there should be.
    """

    block_list: bool = True
    ram: list[MissingPages] = field(default_factory=list)
    ram_may_be_old: bool = False
    devices: list[tuple[str, int]] = field(default_factory=list)
    devices_known: bool = True


def missing_of(capture: Capture) -> Missing | None:
    """Return what a capture that was judged does not hold; None where nothing kept it from reading.

    Args:
        capture: surveyed, as a `Judge` leaves it.
    """
    walk = capture.survey.walk
    if walk is None or capture.main is None or not capture.errors:
        return None
    found = Missing(block_list=bool(walk.blocks))
    if not _ram_is_complete(capture, walk):
        found.ram_may_be_old = any(block.mapped is None for block in walk.blocks)
        for block in walk.blocks:
            pages = _pages(capture, walk, block)
            if pages.read_pages < pages.pages:
                found.ram.append(pages)
    described = walk.known_description
    whole = {
        (row.idstr, row.instance_id)
        for row in walk.sections.rows
        if row.complete and row.kind == QemuVmSection.SECTION_FULL
    }
    if described is None:
        found.devices_known = walk.eof_offset is not None
        broken = (
            (row.idstr, row.instance_id)
            for row in walk.sections.rows
            if not row.complete and row.kind == QemuVmSection.SECTION_FULL
        )
        found.devices = [device for device in broken if device not in whole]
    else:
        devices = [(device.name, device.instance_id) for device in described.devices]
        found.devices = [device for device in devices if device not in whole]
    return found


def _ram_is_complete(capture: Capture, walk: StreamWalk) -> bool:
    """Tell whether all pages were read, and nothing was wrong between the first and the last."""
    if any(channel.error for channel in capture.channels):
        return False
    rows = [row for row in walk.sections.rows if row.idstr == "ram" and row.complete]
    starts = [row.offset for row in rows if row.kind == QemuVmSection.SECTION_START]
    ends = [row.offset + row.length for row in rows if row.kind == QemuVmSection.SECTION_END]
    if not starts or not ends:
        return False
    return not any(starts[0] <= error.offset < ends[0] for error in walk.errors)


def _pages(capture: Capture, walk: StreamWalk, block: RamBlock) -> MissingPages:
    size = walk.page_size.length if walk.page_size else 0
    total = block.pages(size) if size else 0
    if block.mapped is not None and capture.main is not None:
        cut_off = _cut_off(capture.main.source, block, total, size)
        return MissingPages(block.name, total, total - cut_off)
    seen = capture.statistics.block(block.index).seen_pages
    return MissingPages(block.name, total, min(seen, total))


def _cut_off(source: Source, block: RamBlock, pages: int, page_size_len: int) -> int:
    """Return how many pages of a mapped-ram block have a bit and lie behind the end of the data."""
    layout, end = block.mapped, source.end()
    if layout is None or end is None or not pages:
        return 0
    inside = max(0, min(pages, (end - layout.header.pages_offset) // page_size_len))
    if inside == pages:
        return 0
    try:
        return count_set_pages(source, layout, pages) - count_set_pages(source, layout, inside)
    except (TruncatedStreamError, SourceError):
        return pages - inside
