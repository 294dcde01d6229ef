"""The `ram` section: block list, page records up to EOS, and where mapped-ram puts its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.mapped_header import MappedHeaderReader
from qmig.capture.page_size import LEGAL_PAGE_SIZES, SMALLEST_PAGE_SIZE_LEN
from qmig.capture.page_walk import PageWalk
from qmig.capture.ram_record import (
    WORD_LEN,
    PageRecordParser,
    flag_names,
    inexact_word,
    said_of_opening,
    text_of,
)
from qmig.capture.records import Opaque, PageBatch, Record
from qmig.capture.source import Cursor
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    StreamError,
    UnsupportedStreamError,
    naming_cut,
)
from qmig.faults import Fault
from qmig.limits import MAX_BLOCK_LEN, MAX_DAMAGED_PLACES, MAX_RAM_BLOCKS, MIB
from qmig.memory import PageRun, RamBlock
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
    from collections.abc import Callable, Iterator, Sequence

# Flags of a word before the page size is known.
_SMALLEST_PAGE_MASK: Final = SMALLEST_PAGE_SIZE_LEN - 1
_BATCH_LEN: Final = 32 * MIB  # bytes walked before what lies behind is given back
_BATCH_RUNS: Final = 65_536
_WORDS_ALONE: Final = (RamSaveFlag.EOS, RamSaveFlag.MULTIFD_FLUSH)
_PAGELESS: Final = int(RamSaveFlag.EOS | RamSaveFlag.MULTIFD_FLUSH)
_OF_BLOCKS: Final = (Fault.RAM_BLOCK_UNKNOWN, Fault.RAM_CONTINUE)


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


class PageRecordReader:
    """Reads the page records of the `ram` sections of one stream.

    Args:
        blocks: the block list.
        page_size_len: bytes of a target page.
        mapped: whether the stream is mapped-ram, where only EOS words are legal.
        damage: called with each error of a record behind which the next one can be found; None:
            it is raised.
        exact: take words without a page only as every QEMU writes them. A QEMU looks at one of
            their bits, and so does this reader else; but where a page lost or gained bytes, what
            stands where the next word should be has that bit as likely as not.

    Attributes:
        flush_words: MULTIFD_FLUSH words so far.
        eos_words: EOS words so far.
    """

    def __init__(
        self,
        blocks: Sequence[RamBlock],
        page_size_len: int,
        *,
        mapped: bool,
        damage: Callable[[StreamError], None] | None = None,
        exact: bool = False,
    ) -> None:
        self._exact = exact
        self.flush_words = 0
        self.eos_words = 0
        self._blocks = blocks
        self._mapped = mapped
        self._page_size_len = page_size_len
        self._damage = damage
        self._damaged_records = 0
        self._walk = PageWalk(blocks, page_size_len)
        self._parser = PageRecordParser(self._walk, blocks, page_size_len, mapped=mapped)
        self._lost: PageWalk | None = None  # over pages of a block that is not known

    def read(
        self, cursor: Cursor, *, careful: bool = False, bare: bool = False
    ) -> Iterator[Record | PageBatch]:
        """Yield the records up to the EOS word that closes a section's body, that one included.

        Args:
            cursor: at the first word.
            careful: read each record through its schema; slow, for comparison.
            bare: the records are not those of a section: they go on to the end of data (the
                channel of postcopy-preempt).

        Raises:
            StreamError: a record is damaged or not legal.
        """
        with naming_cut(Fault.RAM_CUT):
            yield from self._records(cursor, careful=careful, bare=bare)

    def _records(
        self, cursor: Cursor, *, careful: bool, bare: bool
    ) -> Iterator[Record | PageBatch]:
        while True:
            if not careful:
                batch = self._fast_batch(cursor)
                if batch is not None:
                    yield batch
                    cursor.source.release(cursor.offset)
                    continue
            if bare and cursor.at_end():
                return
            start = cursor.offset
            word = read_record(cursor, RamWord, what="RAM record")
            flags = word.word & (self._page_size_len - 1)
            if self._exact and word.word not in _WORDS_ALONE and flags & _PAGELESS:
                raise inexact_word(cursor, start, word.word, flags)
            if flags & RamSaveFlag.EOS:
                self.eos_words += 1
                yield Record(start, WORD_LEN, "RAM word", word, flags=flag_names(flags))
                return
            if flags == RamSaveFlag.MULTIFD_FLUSH and not self._mapped:
                yield from self._flushes(cursor, start, word, flag_names(flags))
                continue
            try:
                run = self._parser.page(cursor, start, word.word)
            except StreamError as error:
                behind = self._behind(cursor, start, error)
                if behind is None:
                    raise
                cursor.offset = behind
                yield Opaque(start, behind - start, "RAM record", extent="damage")
                continue
            yield PageBatch(start, cursor.offset - start, [run])

    def _flushes(self, cursor: Cursor, start: int, word: RamWord, flags: str) -> Iterator[Record]:
        """Yield a MULTIFD_FLUSH word, and those behind it that are the same to the byte.

        A real stream has one for a round. One of nothing else must not take a schema's time for
        each.
        """
        content = word.build()
        while True:
            self.flush_words += 1
            yield Record(start, WORD_LEN, "RAM word", word, flags=flags)
            start = cursor.offset
            if cursor.peek(WORD_LEN) != content:
                return
            cursor.advance(WORD_LEN)

    def _behind(self, cursor: Cursor, start: int, error: StreamError) -> int | None:
        """Report a damaged record; return where the next one begins, None where to stop."""
        if self._damage is None or self._damaged_records >= MAX_DAMAGED_PLACES:
            return None
        behind = self._parser.behind(cursor, start, error)
        if behind is None:
            return None
        # What continues a block that is not known is no further error, nor is any page where the
        # block list was lost.
        lost = self._lost is not None and error.fault is Fault.RAM_CONTINUE
        if not lost and (self._blocks or error.fault not in _OF_BLOCKS):
            self._damaged_records += 1
            self._damage(error)
        if error.fault is Fault.RAM_BLOCK_UNKNOWN:
            self._walk.block = -1
            self._lost = PageWalk([RamBlock(0, "", MAX_BLOCK_LEN, start)], self._page_size_len)
            self._lost.block = 0
        return behind

    def _fast_batch(self, cursor: Cursor) -> PageBatch | Record | None:
        if self._mapped:
            return None
        lost = self._lost is not None and self._walk.block < 0
        walk = self._lost if self._lost is not None and lost else self._walk
        start = cursor.offset
        data, base = cursor.source.span(start)
        if cursor.limit is not None and base + len(data) > cursor.limit:
            data, base = bytes(data[start - base : cursor.limit - base]), start
        runs: list[PageRun] = []
        after = walk.walk(data, start - base, base, runs, max_len=_BATCH_LEN, max_runs=_BATCH_RUNS)
        if not runs:
            return None
        cursor.offset = base + after
        if lost:
            return Opaque(start, cursor.offset - start, "RAM records", extent="damage")
        return PageBatch(start, cursor.offset - start, runs)
