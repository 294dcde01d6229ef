"""What mapped-ram puts behind an entry of the block list: header, bitmap, hole and pages."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from qmig.capture.mapped import first_lost_pages
from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN, LEGAL_PAGE_SIZES
from qmig.capture.records import Record
from qmig.errors import (
    MalformedStreamError,
    StreamError,
    TruncatedStreamError,
    naming_cut,
    printed_int,
)
from qmig.faults import Fault
from qmig.memory import MappedLayout
from qmig.wire.gate import read_record
from qmig.wire.mapped_ram import MAPPED_RAM_HDR_VERSION, MappedRamHeader, bitmap_len
from qmig.wire.ram import RamSaveFlag, RamWord
from qmig.wire.record import field_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qmig.capture.source import Cursor
    from qmig.memory import RamBlock

_EOS: Final = RamWord(word=int(RamSaveFlag.EOS)).build()
_LOOK_LEN: Final = 256  # the longest name
_PRINTABLE: Final = bytes(range(0x20, 0x7F))


class MappedHeaderReader:
    """Reads the headers of one block list.

    Args:
        cursor: that of the block list.
        page_size_len: the target page size where it is known.
        damage: called with each error behind which the reader can go on; None: it raises them.
    """

    def __init__(
        self,
        cursor: Cursor,
        page_size_len: int | None,
        damage: Callable[[StreamError], None] | None,
    ) -> None:
        self._cursor = cursor
        self._page_size_len = page_size_len
        self._damage = damage

    def read(self, block: RamBlock) -> Iterator[Record]:
        """Yield header, bitmap, gap and pages of a block, and move behind them.

        Raises:
            StreamError: the header is wrong, or the file ends before the block does.
        """
        cursor = self._cursor
        start = cursor.offset
        what = f"mapped-ram header of {block.name}"
        with naming_cut(Fault.MAPPED_AREA_CUT):
            header = read_record(cursor, MappedRamHeader, what=what)
        yield Record(start, cursor.offset - start, "mapped-ram header", header, block=block.name)
        if header.bitmap_offset == 0 and header.pages_offset == 0:  # 11.0: a shared block
            return
        moved_len = self._moved_len(header, block)
        if moved_len and self._damage is not None:
            self._damage(self._moved(header, start, block))
            header = MappedRamHeader(
                version=header.version,
                page_size=header.page_size,
                bitmap_offset=header.bitmap_offset - moved_len,
                pages_offset=header.pages_offset - moved_len,
            )
        try:
            self._check(header, start, block)
        except MalformedStreamError as error:
            if self._damage is None or header.pages_offset < cursor.offset:
                raise
            self._damage(error)
        sane = header.page_size in LEGAL_PAGE_SIZES
        size = header.page_size if sane else self._page_size_len or DEFAULT_PAGE_SIZE_LEN
        layout = MappedLayout(header, start, bitmap_len(block.used_length // size))
        block.mapped = layout
        yield from self._regions(block, layout)

    def _moved_len(self, header: MappedRamHeader, block: RamBlock) -> int:
        """Return how many bytes the stream lies before the place that the header counts from.

        QEMU puts the bitmap behind the header, so another bitmap_offset tells how far the stream
        was moved, if what stands behind the pages is found with it and not without it.
        """
        moved_len = header.bitmap_offset - self._cursor.offset
        if self._damage is None or not moved_len or not self._cursor.source.seekable:
            return 0
        behind = header.pages_offset + block.used_length
        fits = self._goes_on(behind - moved_len) and not self._goes_on(behind)
        return moved_len if fits else 0

    def _goes_on(self, offset: int) -> bool:
        """Tell whether an entry of the block list, or the EOS word behind it, can stand there."""
        data = self._cursor.source.read_at(offset, _LOOK_LEN) if offset > 0 else b""
        if data[: len(_EOS)] == _EOS:
            return True
        name = data[1 : 1 + data[0]] if data else b""
        return bool(name) and not name.translate(None, _PRINTABLE)

    def _moved(self, header: MappedRamHeader, start: int, block: RamBlock) -> MalformedStreamError:
        return MalformedStreamError(
            path=self._cursor.name,
            offset=start + field_table(MappedRamHeader)["bitmap_offset"][0],
            record=f"mapped-ram header of {block.name}",
            field="bitmap_offset",
            expected=f"0x{self._cursor.offset:x}, the end of this header",
            found=f"0x{header.bitmap_offset:x}: the stream was moved in its file",
            fault=Fault.MAPPED_MOVED,
        )

    def _check(self, header: MappedRamHeader, start: int, block: RamBlock) -> None:
        def wrong(
            field: str, expected: str, fault: Fault, **values: int | str
        ) -> MalformedStreamError:
            return MalformedStreamError(
                path=self._cursor.name,
                offset=start + field_table(MappedRamHeader)[field][0],
                record=f"mapped-ram header of {block.name}",
                field=field,
                expected=expected,
                found=f"0x{getattr(header, field):x}",
                fault=fault,
                values={"block": block.name, **values},
            )

        if header.version > MAPPED_RAM_HDR_VERSION:
            raise wrong("version", "1", Fault.MAPPED_VERSION, version=printed_int(header.version))
        if header.page_size not in LEGAL_PAGE_SIZES:
            fault = Fault.MAPPED_PAGE_SIZE if header.page_size else Fault.MAPPED_PAGE_SIZE_ZERO
            raise wrong("page_size", "a target page size, 256 to 65536", fault)
        if self._page_size_len is None:
            self._page_size_len = header.page_size
        if header.page_size != self._page_size_len:
            expected = f"{self._page_size_len}, the target page size"
            raise wrong("page_size", expected, Fault.MAPPED_PAGE_SIZE)
        if header.pages_offset % header.page_size:
            raise wrong("pages_offset", "a multiple of the page size", Fault.MAPPED_PAGES_ALIGNMENT)
        if header.pages_offset < self._cursor.offset:
            expected = f"an offset behind this header, 0x{self._cursor.offset:x}"
            raise wrong("pages_offset", expected, Fault.MAPPED_PAGES_PLACE)

    def _regions(self, block: RamBlock, layout: MappedLayout) -> Iterator[Record]:
        cursor, header, name = self._cursor, layout.header, block.name
        at = cursor.offset
        what = f"mapped-ram area of {name}"
        in_place = header.bitmap_offset == at and at + layout.bitmap_len <= header.pages_offset
        if in_place:
            with naming_cut(Fault.MAPPED_BITMAP_CUT):
                cursor.skip(layout.bitmap_len, what=f"mapped-ram bitmap of {name}")
            yield Record(at, layout.bitmap_len, "mapped-ram bitmap", block=name)
        with naming_cut(Fault.MAPPED_AREA_CUT):
            at = cursor.offset
            with self._naming_lost_page(block, layout):
                cursor.skip(header.pages_offset - at, what=what, field="gap before the pages")
            if cursor.offset > at:
                yield Record(at, cursor.offset - at, "mapped-ram gap", block=name)
            at = cursor.offset
            with self._naming_lost_page(block, layout):
                cursor.skip(block.used_length, what=what, field="pages")
        yield Record(at, block.used_length, "mapped-ram pages", block=name)

    @contextmanager
    def _naming_lost_page(self, block: RamBlock, layout: MappedLayout) -> Iterator[None]:
        """Say of the end of data inside this context which page it takes away first, if one."""
        try:
            yield
        except TruncatedStreamError as error:
            source = self._cursor.source
            end = source.end()
            if source.seekable and end is not None and self._damage is not None:
                lost = first_lost_pages(source, layout, block, end)
                if lost is not None:
                    error.fault, error.values = Fault.MAPPED_PAGES_CUT, lost
            raise
