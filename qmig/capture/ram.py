"""Page records of a `ram` section, up to EOS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.page_walk import PageWalk
from qmig.capture.ram_record import (
    WORD_LEN,
    PageRecordParser,
    flag_names,
    inexact_word,
)
from qmig.capture.records import Opaque, PageBatch, Record
from qmig.capture.source import Cursor
from qmig.errors import (
    StreamError,
    naming_cut,
)
from qmig.faults import Fault
from qmig.limits import MAX_BLOCK_LEN, MAX_DAMAGED_PLACES, MIB
from qmig.memory import PageRun, RamBlock
from qmig.wire.gate import read_record
from qmig.wire.ram import (
    RamSaveFlag,
    RamWord,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BATCH_LEN: Final = 32 * MIB  # bytes walked before what lies behind is given back
_BATCH_RUNS: Final = 65_536
_WORDS_ALONE: Final = (RamSaveFlag.EOS, RamSaveFlag.MULTIFD_FLUSH)
_PAGELESS: Final = int(RamSaveFlag.EOS | RamSaveFlag.MULTIFD_FLUSH)
_OF_BLOCKS: Final = (Fault.RAM_BLOCK_UNKNOWN, Fault.RAM_CONTINUE)


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
