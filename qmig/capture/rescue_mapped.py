"""The block list of a damaged mapped-ram file: whether the pages stand where it says.

Each header tells where it stands itself, for the bitmap is right behind it, and where the pages
are follows from that. So bytes that were lost or inserted show at the next header: what stands
there was moved. Of the block in front of it nobody knows then from which page on it was moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.capture.block_list import BlockListReader
from qmig.capture.extent import FOOTER_LEN, footer_bytes
from qmig.capture.mapped_header import MappedHeaderReader
from qmig.capture.page_size import LEGAL_PAGE_SIZES
from qmig.capture.records import Opaque, Record
from qmig.capture.source import FileSource
from qmig.errors import MalformedStreamError, TruncatedStreamError
from qmig.limits import MAX_DAMAGED_PLACES, MIB, VMDESC_SEARCH_LEN
from qmig.wire.framing import PartHead, QemuVmSection
from qmig.wire.mapped_ram import (
    MAPPED_RAM_HDR_VERSION,
    MappedRamHeader,
    bitmap_len,
    pages_offset_behind,
)
from qmig.wire.ram import RamBlockAddr, RamBlockRecord, RamSaveFlag, RamWord
from qmig.wire.record import fast_struct, fixed_len

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qmig.capture.source import Cursor, Source
    from qmig.errors import StreamError
    from qmig.memory import RamBlock

_EOS: Final = RamWord(word=int(RamSaveFlag.EOS)).build()
_HEADER_LEN: Final = fixed_len(MappedRamHeader)
_USED_LENGTH_LEN: Final = 8
_MOST_NAME_LEN: Final = 255
_MOST_ENTRY_LEN: Final = (
    1 + _MOST_NAME_LEN + _USED_LENGTH_LEN + fixed_len(RamBlockAddr) + _HEADER_LEN
)
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_SEARCH_BEHIND_LEN: Final = 64 * MIB
_SECTION_LEN: Final = fixed_len(PartHead) + len(_EOS) + FOOTER_LEN  # PART or END, without a page
# What ends a later section, where a few are damaged and none was moved.
_LATER: Final = range(_SECTION_LEN, 16 * _SECTION_LEN, _SECTION_LEN)


class _Entry(NamedTuple):
    """An entry of the list with its header.

    Attributes:
        offset: where it begins.
        name: of the block.
        used_length: of the block, in bytes.
        header: behind it.
        header_end: behind the header.
    """

    offset: int
    name: bytes
    used_length: int
    header: MappedRamHeader
    header_end: int

    @property
    def shared(self) -> bool:
        """Whether the block is shared memory, which is not in the file (11.0)."""
        return self.header.bitmap_offset == self.header.pages_offset == 0

    @property
    def moved_len(self) -> int:
        """Bytes that it should stand further on."""
        return 0 if self.shared else self.header.bitmap_offset - self.header_end

    @property
    def sound(self) -> bool:
        """Whether its numbers fit together, wherever it stands."""
        header, size = self.header, self.header.page_size
        if header.version > MAPPED_RAM_HDR_VERSION or size not in LEGAL_PAGE_SIZES:
            return False
        behind = header.bitmap_offset + bitmap_len(self.used_length // size)
        return self.shared or header.pages_offset == pages_offset_behind(behind)


class _MovedHeaderReader(MappedHeaderReader):
    """Reads headers that are known to have been moved by so many bytes."""

    def __init__(
        self,
        cursor: Cursor,
        page_size_len: int | None,
        damage: Callable[[StreamError], None],
        moved_len: int,
    ) -> None:
        super().__init__(cursor, page_size_len, damage)
        self._known_len = moved_len

    def _moved_len(self, header: MappedRamHeader, block: RamBlock) -> int:
        del header, block
        return self._known_len


class RescuedBlockList(BlockListReader):
    """Reads a block list; of a mapped-ram file also where bytes of it were lost or inserted.

    Args:
        cursor: at the first word of the section's body.
        section_id: of the `ram` section.
        mapped: see `BlockListReader`.
        ignore_shared: see `BlockListReader`.
        page_size_len: the target page size where it is known.

    Attributes:
        passed: what was wrong and could be passed.
        moved: indexes of the blocks whose pages may stand elsewhere than they should.
    """

    def __init__(
        self,
        cursor: Cursor,
        *,
        section_id: int,
        mapped: bool | None,
        ignore_shared: bool | None,
        page_size_len: int | None,
    ) -> None:
        super().__init__(
            cursor, mapped=mapped, ignore_shared=ignore_shared, page_size_len=page_size_len
        )
        self.passed: list[StreamError] = []
        self.moved: set[int] = set()
        self._section_id = section_id
        self._size_len = page_size_len
        self._moved_len = 0
        self._header_end = cursor.offset
        self._lost = False

    def read(self) -> Iterator[Record]:
        """See `BlockListReader.read`."""
        yield from super().read()
        if self.mapped and self.blocks:
            yield from self._last_pages()

    def _entry(self) -> Iterator[Record]:
        if not self.mapped:
            yield from super()._entry()
            return
        cursor = self._cursor
        at = cursor.offset
        entry = self._entry_at(at)
        if self.blocks and not self._fits(entry):
            following = self._following(cut=cursor.at_end())
            if following is not None:
                yield from self._go_on(at, following)
                entry = following
            elif self._lost and cursor.peek(len(_EOS)) == _EOS:
                self._left_len = 0  # the lost entries are the rest
                return
            else:
                self._doubt_last(at)
        if entry is not None and entry.sound:
            self._note_moved(entry)
            self._header_end = entry.header_end
            self._size_len = self._size_len or entry.header.page_size
            self._headers = MappedHeaderReader(cursor, self._size_len, None)
            if self._moved_len and not entry.shared:
                self._headers = _MovedHeaderReader(
                    cursor, self._size_len, lambda _: None, self._moved_len
                )
        try:
            yield from super()._entry()
        except TruncatedStreamError:
            at = min(cursor.offset, cursor.source.end() or 0)
            place = self._behind_lost_bytes()
            if place is None:
                raise
            self._pass_end(at, place)
            cursor.offset = place
        if entry is not None and not entry.sound and not self._goes_on():
            self.moved.add(len(self.blocks) - 1)

    def _fits(self, entry: _Entry | None) -> bool:
        """Tell whether an entry stands where the one before it says."""
        if entry is None or not entry.sound or entry.used_length > self._left_len:
            return False
        return entry.shared or entry.moved_len == self._moved_len

    def _goes_on(self) -> bool:
        """Tell whether the list goes on, or ends, behind the pages of the block read last."""
        if self._cursor.peek(len(_EOS)) == _EOS:
            return True
        entry = self._entry_at(self._cursor.offset)
        return entry is not None and entry.sound and entry.moved_len == self._moved_len

    def _following(self, *, cut: bool) -> _Entry | None:
        """Find the next entry behind the header of the block that was read last."""
        if not self._size_len or len(self.passed) >= MAX_DAMAGED_PLACES:
            return None
        names = {block.name.encode("utf-8", "surrogateescape") for block in self.blocks}
        for entry in self._entries(*self._searched(cut=cut), self._size_len):
            if entry.name not in names and entry.used_length <= self._left_len:
                return entry
        return None

    @property
    def _numbers_len(self) -> int:
        """Bytes between the name of a block and its header: its length, and perhaps its address."""
        return _USED_LENGTH_LEN + (fixed_len(RamBlockAddr) if self.ignore_shared else 0)

    def _entry_at(self, offset: int) -> _Entry | None:
        """Return the entry that stands at an offset, None where none does."""
        data = self._cursor.source.read_at(offset, _MOST_ENTRY_LEN)
        name_end = 1 + (data[0] if data else 0)
        header_at = name_end + self._numbers_len
        header_end = header_at + _HEADER_LEN
        if name_end == 1 or len(data) < header_end:
            return None
        entry = RamBlockRecord.parse(data[: name_end + _USED_LENGTH_LEN])
        header = MappedRamHeader.parse(data[header_at:header_end])
        return _Entry(offset, entry.idstr, entry.used_length, header, offset + header_end)

    def _entries(self, start: int, end: int, page_size_len: int) -> Iterator[_Entry]:
        """Find the entries in a range whose numbers fit together."""
        source, numbers_len = self._cursor.source, self._numbers_len
        begin = fast_struct(MappedRamHeader).pack(MAPPED_RAM_HDR_VERSION, page_size_len, 0, 0)[:12]
        for at in _places(source, begin, start, end):
            head_len = min(at - start, 1 + _MOST_NAME_LEN + numbers_len)
            data = source.read_at(at - head_len, head_len)
            name_end = len(data) - numbers_len
            # The longest name that fits: a byte in it can be a length, but none in front of it.
            for length in range(min(_MOST_NAME_LEN, name_end - 1), 0, -1):
                name = data[name_end - length : name_end]
                if data[name_end - length - 1] == length and not name.translate(None, _PRINTABLE):
                    entry = self._entry_at(at - numbers_len - length - 1)
                    if entry is not None and entry.sound and not entry.shared and entry.used_length:
                        yield entry
                    break

    def _searched(self, *, cut: bool) -> tuple[int, int]:
        """Return where to search for what does not stand where it should.

        Args:
            cut: whether the data ends in front of that. Then there is nothing more as a rule, but
                many bytes may be lost, too.
        """
        end = self._cursor.source.end() or 0
        return max(self._header_end, end - VMDESC_SEARCH_LEN) if cut else self._header_end, end

    def _go_on(self, at: int, entry: _Entry) -> Iterator[Record]:
        """Move to an entry that does not stand where it should, or is not the next one."""
        if entry.shared or entry.moved_len == self._moved_len:
            self._lost = True
            self._pass(
                at, "an entry of the list", f"none; one that is stands at 0x{entry.offset:x}"
            )
        if entry.offset > at:
            yield Opaque(at, entry.offset - at, "not read", extent="damage")
        self._cursor.offset = entry.offset

    def _note_moved(self, entry: _Entry) -> None:
        if entry.shared or entry.moved_len == self._moved_len:
            return
        moved_by = self._moved_len - entry.moved_len
        self._moved_len = entry.moved_len
        where = f"{abs(moved_by)} bytes {'behind' if moved_by > 0 else 'in front of'} it"
        if self.blocks:
            self.moved.add(len(self.blocks) - 1)
            where += f": pages of {self.blocks[-1].name} were moved, and nothing tells which"
        self._pass(entry.offset, "an entry where its header says that it is", where)

    def _pass(self, offset: int, expected: str, found: str) -> None:
        self.passed.append(
            MalformedStreamError(
                path=self._cursor.name,
                offset=offset,
                record=f"RAM block list entry {len(self.blocks)}",
                expected=expected,
                found=found,
            )
        )

    def _last_pages(self) -> Iterator[Record]:
        """Look whether what ends the section stands behind the pages of the last block."""
        at = self._cursor.offset
        if self._cursor.peek(len(_EOS)) == _EOS:
            return
        found = self._section_end(cut=self._cursor.at_end())
        if found is None or found - at in _LATER:
            return
        self._pass_end(at, found)
        if found > at:
            yield Opaque(at, found - at, "not read", extent="damage")
        self._cursor.offset = found

    def _doubt_last(self, at: int) -> None:
        """Look whether the section ends where it does if one entry, the last, is lost."""
        if not self._size_len:
            return
        found = self._section_end(cut=self._cursor.at_end())
        header_end = at + self._moved_len + 2 + self._numbers_len + _HEADER_LEN
        bitmap_end = header_end + bitmap_len(self._left_len // self._size_len)
        expected = pages_offset_behind(bitmap_end) - self._moved_len + self._left_len
        if found is not None and found != expected and found - expected not in _LATER:
            self.moved.add(len(self.blocks) - 1)

    def _behind_lost_bytes(self) -> int | None:
        """Find what stands behind pages that do not fit into the file: so it is not cut short."""
        if not self.blocks or self.blocks[-1].mapped is None:
            return None
        following = self._following(cut=True) if self._left_len else None
        return following.offset if following else self._section_end(cut=True)

    def _section_end(self, *, cut: bool) -> int | None:
        """Find the EOS word and footer of the section, wherever they stand."""
        at = self._cursor.offset
        ends = _EOS + footer_bytes(self._section_id)
        start, end = self._searched(cut=cut)
        if not cut:
            end = min(end, at + self._left_len + _SEARCH_BEHIND_LEN)
        for found in _places(self._cursor.source, ends, start, end):
            if self._section_follows(found + len(ends)):
                return found
        return None

    def _pass_end(self, at: int, found: int) -> None:
        self.moved.add(len(self.blocks) - 1)
        self._pass(
            at,
            f"the end of the list, behind the pages of {self.blocks[-1].name}",
            f"it at 0x{found:x}: they were moved, and nothing tells which",
        )

    def _section_follows(self, offset: int) -> bool:
        part = PartHead(type=int(QemuVmSection.SECTION_PART), section_id=self._section_id).build()
        data = self._cursor.source.read_at(offset, len(part) + len(_EOS))
        kinds = (QemuVmSection.SECTION_PART, QemuVmSection.SECTION_END)
        return data[:1] in [bytes([kind]) for kind in kinds] and data[1:] == part[1:] + _EOS


def _places(source: Source, pattern: bytes, start: int, end: int) -> Iterator[int]:
    """Yield where a pattern stands in a range, holes passed over."""
    keep = len(pattern) - 1
    while start < end:
        if isinstance(source, FileSource):
            start = max(start, source.next_data(start) - keep)
        data = source.read_at(start, min(MIB + keep, end - start))
        at = data.find(pattern)
        while at >= 0:
            yield start + at
            at = data.find(pattern, at + 1)
        if len(data) <= keep:
            return
        start += len(data) - keep
