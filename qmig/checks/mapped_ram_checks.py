"""What a mapped-ram file can have wrong behind headers that can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from qmig.capture.source import FileSource
from qmig.capture.stream import StreamWalk
from qmig.checks.check import Check, Context
from qmig.limits import MIB
from qmig.wire.mapped_ram import (
    MAPPED_RAM_FILE_OFFSET_ALIGNMENT,
    MAPPED_RAM_HDR_VERSION,
    MappedRamHeader,
)
from qmig.wire.record import field_table, fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.container import Container
    from qmig.capture.records import Record
    from qmig.checks.check import Walk
    from qmig.memory import MappedLayout, RamBlock

_PIECE_PAGES: Final = 1 << 19  # bits taken for one number
_KEPT_LEN: Final = MIB  # of a bitmap that has just gone by
_FEW_PAGES: Final = 512  # where each of them is looked for
_READ_LEN: Final = 16 * MIB  # of data under clear bits that is looked at; a hole costs nothing


class _Bits(NamedTuple):
    """What a bitmap says.

    Attributes:
        set_pages: how many pages have their bit set.
        padding_offset: of the byte with the first set bit behind the last page; None: none is.
    """

    set_pages: int
    padding_offset: int | None


class MappedRamCheck(Check):
    """Headers, bitmaps, and what stands under their bits."""

    RECORDS: ClassVar[frozenset[str]] = frozenset({"mapped-ram header", "mapped-ram bitmap"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._bits: dict[str, _Bits] = {}  # of blocks in a source whose bytes come once

    def record(self, container: Container, record: Record) -> None:
        """Look at a header, or at a bitmap that cannot be read later."""
        wire = record.wire
        if not isinstance(wire, MappedRamHeader):
            if not container.source.seekable and record.length <= _KEPT_LEN:
                self._note_bits(container, record)
            return
        if wire.version < MAPPED_RAM_HDR_VERSION:
            self._wrong(container, record, "QM202", "version", str(MAPPED_RAM_HDR_VERSION))
        alignment = MAPPED_RAM_FILE_OFFSET_ALIGNMENT
        # One that is no multiple of a page is an error on its own.
        if wire.pages_offset % alignment and not wire.pages_offset % (wire.page_size or 1):
            self._wrong(container, record, "QM206", "pages_offset", f"a multiple of {alignment:#x}")

    def _note_bits(self, container: Container, record: Record) -> None:
        walk, name = self.context.walk, record.detail["block"]
        if walk is None:
            return
        block = walk.blocks[-1]
        layout = block.mapped
        bits = None
        if layout is not None and block.name == name:
            pages = block.used_length // max(1, layout.header.page_size)
            bits = _count(container, layout, pages)
        if bits is not None:
            self._bits[name] = bits

    def _wrong(
        self, container: Container, record: Record, rule_id: str, field: str, expected: str
    ) -> None:
        at, length = field_table(MappedRamHeader)[field]
        self.context.report(
            rule_id,
            container,
            offset=record.offset + at,
            length=length,
            record=f"mapped-ram header of {record.detail['block']}",
            field=field,
            expected=expected,
            found=f"0x{getattr(record.wire, field):x}",
        )

    def file_end(self, container: Container, walk: Walk) -> None:
        """Look at the places and the bitmaps of all blocks that were read."""
        if not isinstance(walk, StreamWalk) or walk.page_size is None:
            return
        empty = True
        blocks = [block for block in walk.blocks if block.mapped is not None]
        if not blocks:
            return
        for block in blocks:
            empty &= not self._block(container, block, walk.page_size.length)
        if empty and not walk.errors:
            first = blocks[0]
            self.context.report(
                "QM214",
                container,
                offset=_layout(first).header.bitmap_offset,
                length=_layout(first).bitmap_len,
                record="mapped-ram bitmaps",
                expected="a page with its bit set in some block",
                found=f"none in {len(blocks)} blocks",
            )

    def _block(self, container: Container, block: RamBlock, page_size_len: int) -> bool:
        """Look at a block; tell whether a page may have its bit set."""
        layout = _layout(block)
        header = layout.header
        behind = layout.header_offset + fixed_len(MappedRamHeader)
        if header.page_size != page_size_len or not self._placed(container, block, behind):
            return True
        pages = block.used_length // page_size_len
        seekable = container.source.seekable
        bits = _count(container, layout, pages) if seekable else self._bits.get(block.name)
        if bits is None:
            if not seekable:
                return True
            if not self.context.walk or not self.context.walk.errors:
                self._bitmap_cut(container, block)
            return True
        if bits.padding_offset is not None:
            self.context.report(
                "QM213",
                container,
                offset=bits.padding_offset,
                length=header.bitmap_offset + layout.bitmap_len - bits.padding_offset,
                record=f"mapped-ram bitmap of {block.name}",
                expected=f"{pages} bits and zeros behind them",
                found="a set bit behind the last page",
            )
        if isinstance(container.source, FileSource):
            self._content(container, container.source, block, page_size_len)
        return bits.set_pages > 0

    def _bitmap_cut(self, container: Container, block: RamBlock) -> None:
        header = _layout(block).header
        at, length = field_table(MappedRamHeader)["bitmap_offset"]
        self.context.report(
            "QM210",
            container,
            offset=_layout(block).header_offset + at,
            length=length,
            record=f"mapped-ram header of {block.name}",
            field="bitmap_offset",
            expected="a bitmap inside the file",
            found=f"0x{header.bitmap_offset:x}",
        )

    def _placed(self, container: Container, block: RamBlock, behind: int) -> bool:
        """Look at where bitmap and pages are; tell whether they can be what they should be."""
        layout = _layout(block)
        header = layout.header
        bitmap_end = header.bitmap_offset + layout.bitmap_len
        field, rule_id, expected = "", "", ""
        if header.bitmap_offset != behind:
            field, rule_id = "bitmap_offset", "QM207"
            expected = f"0x{behind:x}, the end of this header"
        pages_end = header.pages_offset + block.used_length
        inside = header.bitmap_offset < pages_end and header.pages_offset < bitmap_end
        if inside or header.bitmap_offset < behind:
            field, rule_id = ("pages_offset" if inside else "bitmap_offset"), "QM208"
            expected = "the bitmap behind the header, and the pages behind the bitmap"
        if rule_id:
            at, length = field_table(MappedRamHeader)[field]
            self.context.report(
                rule_id,
                container,
                offset=layout.header_offset + at,
                length=length,
                record=f"mapped-ram header of {block.name}",
                field=field,
                expected=expected,
                found=f"0x{getattr(header, field):x}",
            )
        return rule_id != "QM208"

    def _content(
        self, container: Container, source: FileSource, block: RamBlock, page_size_len: int
    ) -> None:
        """Compare bits with where the file has data, as its holes tell."""
        header = _layout(block).header
        # What lies behind the end of the file is told by another rule.
        there_len = (source.end() or 0) - header.pages_offset
        pages = max(0, min(block.used_length, there_len) // page_size_len)
        stale, left_len = -1, _READ_LEN
        over_holes, first_hole = 0, -1
        at = 0
        ranges = [*_data_pages(source, header.pages_offset, pages, page_size_len), (pages, pages)]
        for begin, end in ranges:
            count, first = _set_pages(container, header, at, begin)
            over_holes += count
            first_hole = first if first_hole < 0 else first_hole
            at = end
            if stale >= 0 or left_len <= 0:
                continue
            for page in _clear_pages(container, header, begin, end):
                offset = header.pages_offset + page * page_size_len
                left_len -= page_size_len
                if source.read_at(offset, page_size_len).strip(b"\0"):
                    stale = page
                if stale >= 0 or left_len <= 0:
                    break
        if stale >= 0:
            self._page(container, block, "QM215", stale, page_size_len, "data under a clear bit")
        if over_holes:
            found = f"a hole under a set bit, for {over_holes} pages"
            self._page(container, block, "QM216", first_hole, page_size_len, found)

    def _page(
        self,
        container: Container,
        block: RamBlock,
        rule_id: str,
        page: int,
        page_size_len: int,
        found: str,
    ) -> None:
        self.context.report(
            rule_id,
            container,
            offset=_layout(block).header.pages_offset + page * page_size_len,
            length=page_size_len,
            record=f"mapped-ram pages of {block.name}, page 0x{page * page_size_len:x}",
            expected="a hole" if rule_id == "QM215" else "data",
            found=found,
        )


def _layout(block: RamBlock) -> MappedLayout:
    if block.mapped is None:
        raise RuntimeError(f"{block.name} is no block of a mapped-ram file")
    return block.mapped


def _count(container: Container, layout: MappedLayout, pages: int) -> _Bits | None:
    """Read a bitmap; return None where the data ends inside it."""
    header = layout.header
    if not container.source.read_at(header.bitmap_offset + layout.bitmap_len - 1, 1):
        return None
    set_pages = 0
    padding: int | None = None
    for first, bits in _pieces(container, header, 0, layout.bitmap_len * 8):
        padded = bits >> max(0, pages - first)
        if padded and padding is None:
            padding_page = max(first, pages) + (padded & -padded).bit_length() - 1
            padding = header.bitmap_offset + padding_page // 8
        set_pages += bits.bit_count() - padded.bit_count()
    return _Bits(set_pages, padding)


def _pieces(
    container: Container,
    header: MappedRamHeader,
    begin: int,
    end: int,
    *,
    piece_pages: int = _PIECE_PAGES,
    holes: bool = False,
) -> Iterator[tuple[int, int]]:
    """Yield the bits of pages [begin, end) piece by piece.

    Args:
        container: the file.
        header: tells where the bitmap is.
        begin: first page.
        end: behind the last page.
        piece_pages: the most pages in a piece.
        holes: yield what is in holes of the file as well: clear bits.

    Yields:
        The first page of a piece, and its bits, the lowest one for that page.
    """
    source = container.source
    while begin < end:
        if isinstance(source, FileSource) and not holes:
            data_at = source.next_data(header.bitmap_offset + begin // 8)
            begin = max(begin, (data_at - header.bitmap_offset) * 8)
            if begin >= end:
                return
        stop = min(end, begin + piece_pages)
        low, high = begin // 8, -(-stop // 8)
        data = source.read_at(header.bitmap_offset + low, high - low)
        bits = int.from_bytes(data, "little") >> (begin - low * 8)
        yield begin, bits & ((1 << (stop - begin)) - 1)
        begin = stop


def _set_pages(
    container: Container, header: MappedRamHeader, begin: int, end: int
) -> tuple[int, int]:
    """Return how many pages of a range have their bit set, and the first of them (or -1)."""
    count, first_set = 0, -1
    for first, bits in _pieces(container, header, begin, end):
        if bits and first_set < 0:
            first_set = first + (bits & -bits).bit_length() - 1
        count += bits.bit_count()
    return count, first_set


def _clear_pages(
    container: Container, header: MappedRamHeader, begin: int, end: int
) -> Iterator[int]:
    """Yield the pages of a range whose bit is clear."""
    pieces = _pieces(container, header, begin, end, piece_pages=_FEW_PAGES, holes=True)
    for first, bits in pieces:
        clear = ~bits & ((1 << min(_FEW_PAGES, end - first)) - 1)
        while clear:
            yield first + (clear & -clear).bit_length() - 1
            clear &= clear - 1


def _data_pages(
    source: FileSource, start: int, pages: int, page_size_len: int
) -> Iterator[tuple[int, int]]:
    """Yield the ranges of pages that are not wholly in a hole, in order."""
    end = start + pages * page_size_len
    at = source.next_data(start)
    before = 0
    while at < end:
        hole = min(end, source.next_hole(at))
        begin = max(before, (at - start) // page_size_len)
        before = -(-(hole - start) // page_size_len)
        if before > begin:
            yield begin, before
        if hole <= at:
            return
        at = source.next_data(hole)
