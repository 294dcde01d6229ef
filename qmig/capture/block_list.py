"""The block list that opens a `ram` section, and where mapped-ram puts the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.mapped_header import MappedHeaderReader
from qmig.capture.page_size import LEGAL_PAGE_SIZES, SMALLEST_PAGE_SIZE_LEN
from qmig.capture.ram_record import (
    WORD_LEN,
    flag_names,
    said_of_opening,
    text_of,
)
from qmig.capture.records import Record
from qmig.capture.source import Cursor
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    StreamError,
    UnsupportedStreamError,
    naming_cut,
)
from qmig.faults import Fault
from qmig.limits import MAX_BLOCK_LEN, MAX_RAM_BLOCKS
from qmig.memory import RamBlock
from qmig.wire.gate import read_record
from qmig.wire.mapped_ram import MAPPED_RAM_HDR_VERSION, MappedRamHeader
from qmig.wire.ram import (
    RamBlockAddr,
    RamBlockPageSize,
    RamBlockRecord,
    RamSaveFlag,
    RamWord,
)
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Flags of a word before the page size is known.
_SMALLEST_PAGE_MASK: Final = SMALLEST_PAGE_SIZE_LEN - 1


class BlockListReader:
    """Reads the block list that opens a `ram` START section.

    Args:
        cursor: at the first word of the section's body.
        mapped: whether the capability mapped-ram is on; None: not known, find out.
        ignore_shared: whether x-ignore-shared is on; None: not known, find out.
        page_size_len: the target page size where it is known.
        damage: called with each error behind which the list goes on; None: it is raised.

    Attributes:
        blocks: the blocks read so far.
        total_len: the sum of lengths that the section announces.
    """

    def __init__(
        self,
        cursor: Cursor,
        *,
        mapped: bool | None,
        ignore_shared: bool | None,
        page_size_len: int | None,
        likely_page_size_len: int = SMALLEST_PAGE_SIZE_LEN,
        damage: Callable[[StreamError], None] | None = None,
    ) -> None:
        self.blocks: list[RamBlock] = []
        self._likely_mask = likely_page_size_len - 1
        self.total_len = 0
        self.mapped = mapped
        self.ignore_shared = ignore_shared
        self._cursor = cursor
        self._headers = MappedHeaderReader(cursor, page_size_len, damage)
        self._left_len = 0
        self._damage = damage

    def read(self) -> Iterator[Record]:
        """Yield the records of the block list, up to its last block.

        Raises:
            StreamError: the list is damaged; `blocks` holds what came before.
        """
        cursor = self._cursor
        start = cursor.offset
        with naming_cut(Fault.RAM_BLOCKS_CUT):
            word = read_record(cursor, RamWord, what="RAM block list")
        flags = word.word & _SMALLEST_PAGE_MASK
        if word.word == RamSaveFlag.EOS:
            raise UnsupportedStreamError(
                path=cursor.name,
                offset=start,
                record="RAM block list",
                field="word",
                expected="MEM_SIZE with the total of all blocks",
                found="EOS: there is no list",
                hint="a QEMU finds the blocks by their names; here their pages have no place",
            )
        if flags != RamSaveFlag.MEM_SIZE:
            raise self._wrong_opening(start, word.word)
        self.total_len = self._left_len = word.word & ~_SMALLEST_PAGE_MASK
        yield Record(start, WORD_LEN, "RAM word", word, flags="MEM_SIZE")
        if self.mapped is None:
            self.mapped = self._find_out_mapped()
        elif self._damage is not None and self.mapped == self._looks_otherwise():
            self._damage(self._other_capability(start))
            self.mapped = not self.mapped
        if self.ignore_shared is None:
            self.ignore_shared = self._find_out_ignore_shared()
        with naming_cut(Fault.RAM_BLOCKS_CUT):
            try:
                while self._left_len:
                    yield from self._entry()
            except MalformedStreamError as error:
                if word.word & self._likely_mask == RamSaveFlag.MEM_SIZE:
                    raise
                raise self._wrong_opening(start, word.word) from error

    def _wrong_opening(self, start: int, word: int) -> MalformedStreamError:
        flags = word & self._likely_mask
        return MalformedStreamError(
            path=self._cursor.name,
            offset=start,
            record="RAM block list",
            field="word",
            expected="MEM_SIZE with the total of all blocks",
            found=f"0x{word:x} ({flag_names(flags)})",
            fault=Fault.RAM_OPENING,
            values=said_of_opening(flags, mapped=bool(self.mapped)),
        )

    def _find_out_mapped(self) -> bool:
        """Without a configuration section: does a mapped-ram header follow the first entry?

        Nothing else can look like one: its version (1) would be the upper half of an addr field
        whose next byte, the length of a name, is 0.
        """
        ahead = Cursor(self._cursor.source, self._cursor.offset, limit=self._cursor.limit)
        try:
            read_record(ahead, RamBlockRecord, what="RAM block list entry 0")
            header = read_record(ahead, MappedRamHeader, what="mapped-ram header")
        except StreamError:
            return False
        return header.version == MAPPED_RAM_HDR_VERSION and header.page_size in LEGAL_PAGE_SIZES

    def _looks_otherwise(self) -> bool:
        """Tell whether the list is mapped though its capability is off, or not though it is on."""
        return self._try(ignore_shared=False) if self.mapped else not self._find_out_mapped()

    def _other_capability(self, start: int) -> MalformedStreamError:
        recorded = "on" if self.mapped else "off"
        true = "off" if self.mapped else "on"
        return MalformedStreamError(
            path=self._cursor.name,
            offset=start,
            record="RAM block list",
            expected=f"blocks as with mapped-ram {recorded}, as the configuration has it",
            found=f"blocks as with mapped-ram {true}",
            fault=Fault.CAPABILITY_MAPPED,
            values={"local": true, "received": recorded},
        )

    def _find_out_ignore_shared(self) -> bool:
        """Without a configuration section: does the list only make sense with addr fields?"""
        if self.mapped or self._try(ignore_shared=False):
            return False
        return self._try(ignore_shared=True)

    def _try(self, *, ignore_shared: bool) -> bool:
        attempt = BlockListReader(
            Cursor(self._cursor.source, self._cursor.offset, limit=self._cursor.limit),
            mapped=False,
            ignore_shared=ignore_shared,
            page_size_len=None,
        )
        attempt._left_len = self._left_len  # the same class
        try:
            while attempt._left_len:
                for _ in attempt._entry():
                    pass
            word = read_record(attempt._cursor, RamWord, what="RAM word")
        except MalformedStreamError:
            return False
        return word.word in (RamSaveFlag.EOS, RamSaveFlag.MULTIFD_FLUSH, RamSaveFlag.HOOK)

    def _entry(self) -> Iterator[Record]:
        cursor = self._cursor
        start = cursor.offset
        what = f"RAM block list entry {len(self.blocks)}"
        if len(self.blocks) >= MAX_RAM_BLOCKS:
            raise LimitExceededError(
                path=cursor.name,
                offset=start,
                record=what,
                expected=f"at most {MAX_RAM_BLOCKS} blocks",
                found="one more",
            )
        entry = read_record(cursor, RamBlockRecord, what=what)
        self._check_entry(entry, start, what)
        block = RamBlock(len(self.blocks), text_of(entry.idstr), entry.used_length, start)
        self.blocks.append(block)
        self._left_len -= entry.used_length
        yield Record(start, cursor.offset - start, "RAM block", entry, block=block.name)
        if self.ignore_shared:
            at = cursor.offset
            addr = read_record(cursor, RamBlockAddr, what=what)
            block.addr = addr.addr
            yield Record(at, cursor.offset - at, "RAM block addr", addr, block=block.name)
        elif not self.mapped and self._page_size_follows():
            at = cursor.offset
            size = read_record(cursor, RamBlockPageSize, what=what)
            block.page_size = size.page_size
            yield Record(at, cursor.offset - at, "RAM block page_size", size, block=block.name)
        if self.mapped:
            yield from self._headers.read(block)

    def _check_entry(self, entry: RamBlockRecord, start: int, what: str) -> None:
        if not entry.idstr:
            raise MalformedStreamError(
                path=self._cursor.name,
                offset=start,
                record=what,
                field="idstr",
                expected="the name of a block, for the lengths so far do not add up to the total",
                found="an empty name",
                fault=Fault.RAM_BLOCK_NAMELESS,
            )
        most = min(self._left_len, MAX_BLOCK_LEN)
        if entry.used_length > most:
            raise MalformedStreamError(
                path=self._cursor.name,
                offset=start + 1 + len(entry.idstr),
                record=what,
                field="used_length",
                expected=f"at most 0x{most:x}, what is left of the total",
                found=f"0x{entry.used_length:x}",
                fault=Fault.RAM_BLOCK_LEN,
                values={"block": text_of(entry.idstr)},
            )

    def _page_size_follows(self) -> bool:
        """Tell a page_size field from a name (never empty) or a word (never without flag)."""
        following = self._cursor.peek(8)
        value = int.from_bytes(following, "big")
        return (
            len(following) == fixed_len(RamBlockPageSize)
            and value & 0x3FF == 0
            and value.bit_count() == 1
        )
