"""The `ram` section: block list, page records up to EOS, and where mapped-ram puts its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.page_size import LEGAL_PAGE_SIZES
from qmig.capture.page_walk import PageWalk, compress_bound
from qmig.capture.records import PageBatch, Record
from qmig.capture.source import Cursor
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    StreamError,
    UnsupportedStreamError,
)
from qmig.limits import MAX_BLOCK_LEN, MAX_RAM_BLOCKS, MIB
from qmig.memory import MappedLayout, PageKind, PageRun, RamBlock
from qmig.wire.gate import read_record
from qmig.wire.mapped_ram import MAPPED_RAM_HDR_VERSION, MappedRamHeader, bitmap_len
from qmig.wire.ram import (
    ENCODING_FLAG_XBZRLE,
    CompressPageHead,
    FillByte,
    RamBlockAddr,
    RamBlockPageSize,
    RamBlockRecord,
    RamPageName,
    RamSaveFlag,
    RamWord,
    XbzrleHead,
)
from qmig.wire.record import field_table, fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WORD_LEN: Final = fixed_len(RamWord)
_SMALLEST_PAGE_MASK: Final = 0xFF  # flags of a word before the page size is known
_BATCH_LEN: Final = 32 * MIB  # bytes walked before what lies behind is given back
_BATCH_RUNS: Final = 65_536
_LEGAL_WORDS: Final = "one of ZERO, PAGE, XBZRLE, COMPRESS_PAGE, EOS, MULTIFD_FLUSH"


def text_of(name: bytes) -> str:
    """Return a name from a stream as text; bytes that are not UTF-8 become surrogates."""
    return name.decode("utf-8", "surrogateescape")


def flag_names(flags: int) -> str:
    """Return the names of the flags in a word ("PAGE|CONTINUE"), unknown bits in hex."""
    if flags == 0:
        return "no flag"
    known = [flag.name or "" for flag in RamSaveFlag if flags & flag]
    rest = flags & ~sum(RamSaveFlag)
    return "|".join([*known, *([f"0x{rest:x}"] if rest else [])])


class BlockListReader:
    """Reads the block list that opens a `ram` START section.

    Args:
        cursor: at the first word of the section's body.
        mapped: whether the capability mapped-ram is on; None: not known, find out.
        ignore_shared: whether x-ignore-shared is on; None: not known, find out.
        page_size_len: the target page size where it is known.

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
    ) -> None:
        self.blocks: list[RamBlock] = []
        self.total_len = 0
        self.mapped = mapped
        self.ignore_shared = ignore_shared
        self._cursor = cursor
        self._page_size_len = page_size_len
        self._left_len = 0

    def read(self) -> Iterator[Record]:
        """Yield the records of the block list, up to its last block.

        Raises:
            StreamError: the list is damaged; `blocks` holds what came before.
        """
        cursor = self._cursor
        start = cursor.offset
        word = read_record(cursor, RamWord, what="RAM block list")
        flags = word.word & _SMALLEST_PAGE_MASK
        if flags != RamSaveFlag.MEM_SIZE:
            raise MalformedStreamError(
                path=cursor.name,
                offset=start,
                record="RAM block list",
                field="word",
                expected="MEM_SIZE with the total of all blocks",
                found=f"0x{word.word:x} ({flag_names(flags)})",
            )
        self.total_len = self._left_len = word.word & ~_SMALLEST_PAGE_MASK
        yield Record(start, _WORD_LEN, "RAM word", word, flags="MEM_SIZE")
        if self.mapped is None:
            self.mapped = self._find_out_mapped()
        if self.ignore_shared is None:
            self.ignore_shared = self._find_out_ignore_shared()
        while self._left_len:
            yield from self._entry()

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
            yield from self._mapped(block)

    def _check_entry(self, entry: RamBlockRecord, start: int, what: str) -> None:
        if not entry.idstr:
            raise MalformedStreamError(
                path=self._cursor.name,
                offset=start,
                record=what,
                field="idstr",
                expected="the name of a block, for the lengths so far do not add up to the total",
                found="an empty name",
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

    def _mapped(self, block: RamBlock) -> Iterator[Record]:
        cursor = self._cursor
        start = cursor.offset
        what = f"mapped-ram header of {block.name}"
        header = read_record(cursor, MappedRamHeader, what=what)
        yield Record(start, cursor.offset - start, "mapped-ram header", header, block=block.name)
        if header.bitmap_offset == 0 and header.pages_offset == 0:  # 11.0: a shared block
            return
        self._check_mapped(header, start, what)
        pages = block.used_length // header.page_size
        layout = MappedLayout(header, start, bitmap_len(pages))
        block.mapped = layout
        yield from self._mapped_regions(block, layout)

    def _check_mapped(self, header: MappedRamHeader, start: int, what: str) -> None:
        def wrong(field: str, expected: str) -> MalformedStreamError:
            return MalformedStreamError(
                path=self._cursor.name,
                offset=start + field_table(MappedRamHeader)[field][0],
                record=what,
                field=field,
                expected=expected,
                found=f"0x{getattr(header, field):x}",
            )

        if header.version > 1:
            raise wrong("version", "1")
        if header.page_size not in LEGAL_PAGE_SIZES:
            raise wrong("page_size", "a target page size, 256 to 65536")
        if self._page_size_len is None:
            self._page_size_len = header.page_size
        if header.page_size != self._page_size_len:
            raise wrong("page_size", f"{self._page_size_len}, the target page size")
        if header.pages_offset % header.page_size:
            raise wrong("pages_offset", "a multiple of the page size")
        if header.pages_offset < self._cursor.offset:
            raise wrong("pages_offset", f"an offset behind this header, 0x{self._cursor.offset:x}")

    def _mapped_regions(self, block: RamBlock, layout: MappedLayout) -> Iterator[Record]:
        """Yield bitmap, gap and pages, and move behind them."""
        cursor, header, name = self._cursor, layout.header, block.name
        at = cursor.offset
        what = f"mapped-ram area of {name}"
        in_place = header.bitmap_offset == at and at + layout.bitmap_len <= header.pages_offset
        if in_place:
            cursor.skip(layout.bitmap_len, what=f"mapped-ram bitmap of {name}")
            yield Record(at, layout.bitmap_len, "mapped-ram bitmap", block=name)
        at = cursor.offset
        cursor.skip(header.pages_offset - at, what=what, field="gap before the pages")
        if cursor.offset > at:
            yield Record(at, cursor.offset - at, "mapped-ram gap", block=name)
        at = cursor.offset
        cursor.skip(block.used_length, what=what, field="pages")
        yield Record(at, block.used_length, "mapped-ram pages", block=name)


class PageRecordReader:
    """Reads the page records of the `ram` sections of one stream.

    Args:
        blocks: the block list.
        page_size_len: bytes of a target page.
        mapped: whether the stream is mapped-ram, where only EOS words are legal.

    Attributes:
        flush_words: MULTIFD_FLUSH words so far.
        eos_words: EOS words so far.
    """

    def __init__(self, blocks: Sequence[RamBlock], page_size_len: int, *, mapped: bool) -> None:
        self.flush_words = 0
        self.eos_words = 0
        self._blocks = blocks
        self._mapped = mapped
        self._page_size_len = page_size_len
        self._walk = PageWalk(blocks, page_size_len)

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
            if flags & RamSaveFlag.EOS:
                self.eos_words += 1
                yield Record(start, _WORD_LEN, "RAM word", word, flags=flag_names(flags))
                return
            if flags == RamSaveFlag.MULTIFD_FLUSH and not self._mapped:
                self.flush_words += 1
                yield Record(start, _WORD_LEN, "RAM word", word, flags=flag_names(flags))
                continue
            run = self._page(cursor, start, word.word, flags)
            yield PageBatch(start, cursor.offset - start, [run])

    def _fast_batch(self, cursor: Cursor) -> PageBatch | None:
        if self._mapped:
            return None
        start = cursor.offset
        data, base = cursor.source.span(start)
        if cursor.limit is not None and base + len(data) > cursor.limit:
            data, base = bytes(data[start - base : cursor.limit - base]), start
        runs: list[PageRun] = []
        after = self._walk.walk(
            data, start - base, base, runs, max_len=_BATCH_LEN, max_runs=_BATCH_RUNS
        )
        if not runs:
            return None
        cursor.offset = base + after
        return PageBatch(start, cursor.offset - start, runs)

    def _page(self, cursor: Cursor, start: int, word: int, flags: int) -> PageRun:
        """Read one page record behind its word, through the schemas."""
        kind = flags & ~int(RamSaveFlag.CONTINUE)  # as an IntFlag it would drop unknown bits
        if flags == RamSaveFlag.HOOK:
            raise UnsupportedStreamError(
                path=cursor.name,
                offset=start,
                record="RAM record",
                field="flags",
                expected="a record that is not part of an RDMA migration",
                found="HOOK",
                hint="what follows is defined by RDMA and cannot be read from a file",
            )
        if self._mapped or kind not in (
            RamSaveFlag.ZERO,
            RamSaveFlag.PAGE,
            RamSaveFlag.XBZRLE,
            RamSaveFlag.COMPRESS_PAGE,
        ):
            raise MalformedStreamError(
                path=cursor.name,
                offset=start,
                record="RAM record",
                field="flags",
                expected="EOS (the stream is mapped-ram)" if self._mapped else _LEGAL_WORDS,
                found=f"{flag_names(flags)} (word 0x{word:x})",
            )
        block = self._block_of(cursor, start, flags)
        addr = word - flags
        limit = self._blocks[block].used_length
        if addr + self._page_size_len > limit:
            raise MalformedStreamError(
                path=cursor.name,
                offset=start,
                record=f"RAM record in {self._blocks[block].name}",
                field="offset in the block",
                expected=f"at most 0x{max(0, limit - self._page_size_len):x}",
                found=f"0x{addr:x}",
            )
        page_kind, payload_len = self._body(cursor, RamSaveFlag(kind), addr)
        data_offset = cursor.offset
        if kind == RamSaveFlag.ZERO and cursor.peek(1) not in (b"", b"\0"):
            page_kind = PageKind.FILL
        cursor.skip(payload_len, what=f"RAM record of page 0x{addr:x}", field="page data")
        record_len = cursor.offset - start
        return PageRun(
            block,
            int(page_kind),
            addr // self._page_size_len,
            1,
            data_offset,
            record_len,
            payload_len,
        )

    def _block_of(self, cursor: Cursor, start: int, flags: int) -> int:
        if flags & RamSaveFlag.CONTINUE:
            if self._walk.block < 0:
                raise MalformedStreamError(
                    path=cursor.name,
                    offset=start,
                    record="RAM record",
                    field="flags",
                    expected="the name of a block before the first CONTINUE",
                    found=flag_names(flags),
                )
            return self._walk.block
        at = cursor.offset
        name = read_record(cursor, RamPageName, what="RAM record").idstr
        block = self._walk.names.get(name)
        if block is None:
            raise MalformedStreamError(
                path=cursor.name,
                offset=at,
                record="RAM record",
                field="idstr",
                expected="the name of a block in the block list",
                found=repr(name[:64]),
            )
        self._walk.block = block
        return block

    def _body(self, cursor: Cursor, kind: RamSaveFlag, addr: int) -> tuple[PageKind, int]:
        """Read the head of a record's body; return its kind and the bytes behind the head."""
        what = f"RAM record of page 0x{addr:x}"
        start = cursor.offset
        if kind == RamSaveFlag.PAGE:
            return PageKind.PLAIN, self._page_size_len
        if kind == RamSaveFlag.ZERO:
            return PageKind.ZERO, fixed_len(FillByte)
        if kind == RamSaveFlag.COMPRESS_PAGE:
            length = read_record(cursor, CompressPageHead, what=what).compressed_len
            most = compress_bound(self._page_size_len)
            if not 0 < length <= most:
                raise MalformedStreamError(
                    path=cursor.name,
                    offset=start,
                    record=what,
                    field="compressed_len",
                    expected=f"1 to {most}",
                    found=str(length),
                )
            return PageKind.COMPRESSED, length
        head = read_record(cursor, XbzrleHead, what=what)
        if head.flag != ENCODING_FLAG_XBZRLE or head.encoded_len > self._page_size_len:
            bad_flag = head.flag != ENCODING_FLAG_XBZRLE
            raise MalformedStreamError(
                path=cursor.name,
                offset=start + (0 if bad_flag else 1),
                record=what,
                field="flag" if bad_flag else "encoded_len",
                expected="1" if bad_flag else f"at most {self._page_size_len}",
                found=str(head.flag if bad_flag else head.encoded_len),
            )
        return PageKind.XBZRLE, head.encoded_len
