"""What can be read of the block list and of page records, and is wrong all the same."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, ClassVar, Final

from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.capture.ram_record import MAPPED_NEVER, flag_names, text_of
from qmig.checks.check import Check, Context
from qmig.memory import PageKind
from qmig.wire.ram import CompressPageHead, RamBlockRecord, RamSaveFlag, RamWord
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from qmig.capture.container import Container
    from qmig.capture.records import PageBatch, Record
    from qmig.memory import PageRun, RamBlock

_WORD_LEN: Final = 8
_PLAIN_KINDS: Final = frozenset({int(PageKind.ZERO), int(PageKind.PLAIN)})


class BlockListCheck(Check):
    """Names of blocks, and whether all their pages came."""

    RECORDS: ClassVar[frozenset[str]] = frozenset({"RAM block"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._offsets: dict[bytes, int] = {}

    def record(self, container: Container, record: Record) -> None:
        """Look at an entry of the block list."""
        wire = record.wire
        if not isinstance(wire, RamBlockRecord):
            return
        before = self._offsets.setdefault(wire.idstr, record.offset)
        if before != record.offset:
            self.context.report(
                "QM106",
                container,
                offset=record.offset,
                length=record.length,
                record="RAM block list entry",
                field="idstr",
                expected=f"another name than that of the entry at 0x{before:x}",
                found=repr(text_of(wire.idstr)),
            )

    def end(self) -> None:
        """Look for pages that never came, where all that could bring them was read."""
        capture, walk = self.context.capture, self.context.walk
        if walk is None or capture.main is None or capture.errors or walk.page_size is None:
            return
        if capture.channel_files:
            return  # the pages of channels are placed by another check
        absent = False
        for block in walk.blocks:
            seen = capture.statistics.block(block.index)
            pages = block.used_length // walk.page_size.length
            if block.mapped is not None or walk.ignore_shared or seen.resent_pages is None:
                continue
            if seen.seen_pages < pages:
                absent = True
                self.context.report(
                    "QM125",
                    capture.main,
                    offset=block.entry_offset,
                    record=f"RAM block {block.name}",
                    expected=f"{pages} pages",
                    found=f"{seen.seen_pages}",
                )
        if absent:
            from qmig.capture.channel_set import channels_not_given

            error = channels_not_given(capture)
            if error is not None:
                self.context.unjudged.append(error)


class RamWordCheck(Check):
    """The words that are no page records."""

    RECORDS: ClassVar[frozenset[str]] = frozenset({"RAM word"})

    def record(self, container: Container, record: Record) -> None:
        """Look at an EOS or MULTIFD_FLUSH word."""
        wire = record.wire
        if not isinstance(wire, RamWord) or record.detail.get("flags") == "MEM_SIZE":
            return
        word = wire.word
        if word in (RamSaveFlag.EOS, RamSaveFlag.MULTIFD_FLUSH):
            return
        walk = self.context.walk
        size = walk.page_size.length if walk and walk.page_size else DEFAULT_PAGE_SIZE_LEN
        flags = word & (size - 1)
        rest = flags & ~int(RamSaveFlag.EOS | RamSaveFlag.CONTINUE)
        if flags & RamSaveFlag.EOS and rest:
            mapped = bool(walk and any(block.mapped for block in walk.blocks))
            never = flags & MAPPED_NEVER if mapped else 0
            self.context.report(
                "QM212" if never else "QM110",
                container,
                offset=record.offset,
                length=record.length,
                record="RAM record",
                field="flags",
                expected="one kind of record",
                found=f"{flag_names(flags)} (word 0x{word:x})",
                flags=never or flags,
            )
            return
        self.context.report(
            "QM124",
            container,
            offset=record.offset,
            length=record.length,
            record="RAM record",
            field="word",
            expected=f"0x{flags & ~int(RamSaveFlag.CONTINUE):x}",
            found=f"0x{word:x}",
        )


class PageCheck(Check):
    """Pages whose records can be read, and whose content cannot be had."""

    def batch(self, container: Container, batch: PageBatch) -> None:
        """Look at the pages that came otherwise than whole."""
        if {run[1] for run in batch.runs} <= _PLAIN_KINDS:
            return
        for run in batch.runs:
            if run.kind == PageKind.FILL:
                self._fill(container, run)
            elif run.kind == PageKind.XBZRLE:
                self._xbzrle(container, run)
            elif run.kind == PageKind.COMPRESSED:
                self._compressed(container, run)

    def _fill(self, container: Container, run: PageRun) -> None:
        fill = container.source.read_at(run.data_offset, 1)[0]
        self.context.report(
            "QM115",
            container,
            offset=run.data_offset,
            length=1,
            record=f"RAM record of {self._page(run)}",
            field="fill",
            expected="0",
            found=f"0x{fill:02x}" + (f" (and in {run.count - 1} more)" if run.count > 1 else ""),
            fill=fill,
        )

    def _xbzrle(self, container: Container, run: PageRun) -> None:
        from qmig.pages.xbzrle import XbzrleError, decode_into, is_minimal  # loads numpy

        encoding = container.source.read_at(run.data_offset, run.payload_len)
        try:
            decode_into(bytearray(self._page_size_len()), encoding)
        except XbzrleError as error:
            self.context.report(
                "QM118",
                container,
                offset=run.data_offset + error.position,
                length=run.payload_len - error.position,
                record=f"XBZRLE record of {self._page(run)}",
                expected="a legal encoding",
                found=str(error),
            )
            return
        if not is_minimal(encoding):
            self.context.report(
                "QM119",
                container,
                offset=run.data_offset,
                length=run.payload_len,
                record=f"XBZRLE record of {self._page(run)}",
                expected="an encoding as QEMU writes it",
                found="numbers in a longer form" if encoding else "an empty one",
            )

    def _compressed(self, container: Container, run: PageRun) -> None:
        data = container.source.read_at(run.data_offset, run.payload_len)
        size = self._page_size_len()
        inflate = zlib.decompressobj()
        try:
            page = inflate.decompress(data, size + 1)
            found = None if len(page) == size and inflate.eof else f"{len(page)} bytes"
            if found is None and inflate.unused_data:
                found = f"a stream that ends {len(inflate.unused_data)} bytes before the record"
        except zlib.error as error:
            found = str(error)
        if found is not None:
            self.context.report(
                "QM122",
                container,
                offset=run.data_offset,
                length=run.payload_len,
                record=f"COMPRESS_PAGE record of {self._page(run)}",
                expected=f"a whole zlib stream of {size} bytes",
                found=found,
                flags=self._flags(run),
            )

    def _flags(self, run: PageRun) -> int:
        """Return the flags of a compressed page's record, which has a name or continues a block."""
        named = run.stride_len > _WORD_LEN + fixed_len(CompressPageHead) + run.payload_len
        flags = RamSaveFlag.COMPRESS_PAGE
        return int(flags if named else flags | RamSaveFlag.CONTINUE)

    def _page_size_len(self) -> int:
        walk = self.context.walk
        return walk.page_size.length if walk and walk.page_size else DEFAULT_PAGE_SIZE_LEN

    def _page(self, run: PageRun) -> str:
        name = self._block(run).name
        return f"{name}, page 0x{run.first_page * self._page_size_len():x}"

    def _block(self, run: PageRun) -> RamBlock:
        walk = self.context.walk
        if walk is None:
            raise RuntimeError("page records without a main stream")
        return walk.blocks[run.block]
