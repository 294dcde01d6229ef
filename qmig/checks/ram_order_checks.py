"""What is wrong with page records only because of what came before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from qmig.capture.container import Role
from qmig.capture.statistics import SeenPages
from qmig.checks.check import Check, Context
from qmig.memory import PageKind
from qmig.wire.ram import RamSaveFlag, RamWord

if TYPE_CHECKING:
    from qmig.capture.container import Container
    from qmig.capture.records import PageBatch, Record
    from qmig.capture.stream import StreamWalk
    from qmig.memory import PageRun

_WORD_LEN: Final = 8
_XBZRLE_HEAD_LEN: Final = 3
_XBZRLE: Final = int(PageKind.XBZRLE)
_FLAG_OF_KIND: Final = {
    PageKind.XBZRLE: RamSaveFlag.XBZRLE,
    PageKind.COMPRESSED: RamSaveFlag.COMPRESS_PAGE,
}


class XbzrleBaseCheck(Check):
    """An XBZRLE record builds on a page that was sent."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._seen: dict[int, SeenPages] = {}
        # Pages that came over channels, or were lost, may be what is built on.
        self._given_up = bool(context.capture.channel_files)

    def batch(self, container: Container, batch: PageBatch) -> None:
        """Note the pages that came, and look what is built on them."""
        if self._given_up:
            return
        seen = self._seen
        for block, kind, first_page, count, *_ in batch.runs:
            pages = seen.get(block)
            if pages is None:
                pages = seen[block] = SeenPages()
            if not pages.add(first_page, count) and kind == _XBZRLE:
                self._unfounded(container, batch, block, first_page)

    def _unfounded(
        self, container: Container, batch: PageBatch, block: int, first_page: int
    ) -> None:
        walk = self.context.walk
        if walk is None or walk.errors or self._seen[block].gave_up or walk.page_size is None:
            self._given_up = True
            return
        run = next(r for r in batch.runs if (r.block, r.first_page) == (block, first_page))
        addr = first_page * walk.page_size.length
        self.context.report(
            "QM120",
            container,
            offset=run.data_offset,
            length=run.payload_len,
            record=f"XBZRLE record of {walk.blocks[block].name}, page 0x{addr:x}",
            expected="a record of the whole page before it",
            found="none",
        )


class FlushWordCheck(Check):
    """MULTIFD_FLUSH words in a stream without channels."""

    RECORDS: ClassVar[frozenset[str]] = frozenset({"RAM word"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._first: tuple[Container, Record] | None = None
        self._words = 0

    def record(self, container: Container, record: Record) -> None:
        """Note the first one."""
        if isinstance(record.wire, RamWord) and record.wire.word == RamSaveFlag.MULTIFD_FLUSH:
            self._first = self._first or (container, record)
            self._words += 1

    def end(self) -> None:
        """Report them, where no channel is there that they could be for."""
        capture = self.context.capture
        if self._first is None or capture.channel_files or capture.errors:
            return
        container, record = self._first
        self.context.report(
            "QM128",
            container,
            offset=record.offset,
            length=record.length,
            record="RAM record",
            field="flags",
            expected="no MULTIFD_FLUSH, as there are no channels",
            found=f"{self._words}, the first one here",
        )


class PostcopyPagesCheck(Check):
    """Pages once postcopy runs: whole ones, and all of a huge page together."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # File -> block and page that must come next, while a huge page is not complete.
        self._open: dict[str, tuple[int, int]] = {}
        self._listens = False
        self._commands = 0  # looked at

    def batch(self, container: Container, batch: PageBatch) -> None:
        """Look at pages, where postcopy runs."""
        walk = self.context.walk
        if walk is None or not self._running(container, walk):
            return
        for run in batch.runs:
            flag = _FLAG_OF_KIND.get(PageKind(run.kind))
            if flag is not None:
                self._not_whole(container, run, flag)
            self._huge(container, walk, run)

    def _running(self, container: Container, walk: StreamWalk) -> bool:
        if container.role is not Role.MAIN:
            return True  # what resumed it, and the channel of preempt
        if not self._listens and len(walk.commands) > self._commands:
            new = walk.commands[self._commands :]
            self._commands = len(walk.commands)
            self._listens = any(command.name == "POSTCOPY_LISTEN" for command in new)
        return self._listens

    def _not_whole(self, container: Container, run: PageRun, flag: RamSaveFlag) -> None:
        head_len = _WORD_LEN + (_XBZRLE_HEAD_LEN if flag == RamSaveFlag.XBZRLE else 4)
        self.context.report(
            "QM126",
            container,
            offset=run.data_offset - head_len,
            length=head_len + run.payload_len,
            record="RAM record",
            field="flags",
            expected="ZERO or PAGE, for postcopy runs",
            found=f"{flag.name}|CONTINUE",
            flags=int(flag | RamSaveFlag.CONTINUE),
        )

    def _huge(self, container: Container, walk: StreamWalk, run: PageRun) -> None:
        block = walk.blocks[run.block]
        page_size = walk.page_size
        if page_size is None:
            return
        pages = (block.page_size or page_size.length) // page_size.length
        wanted = self._open.pop(container.path, None)
        begins = (run.block, run.first_page)
        if wanted is not None and begins != wanted:
            name = walk.blocks[wanted[0]].name
            expected = f"page 0x{wanted[1] * page_size.length:x} of {name}, as a huge page goes on"
        elif wanted is None and run.first_page % pages:
            expected = "the first page of a huge page"
        else:
            expected = ""
        if expected:
            self.context.report(
                "QM127",
                container,
                offset=run.data_offset,
                length=run.payload_len,
                record="RAM record",
                field="offset in the block",
                expected=expected,
                found=f"page 0x{run.first_page * page_size.length:x} of {block.name}",
            )
            return
        behind = run.first_page + run.count
        if behind % pages:
            self._open[container.path] = (run.block, behind)
