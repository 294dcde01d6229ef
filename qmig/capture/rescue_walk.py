"""Walk a damaged main stream: up to the damage, and on behind it, again and again.

Each undamaged stretch is a piece. Behind damage it is not known which block a page record with
CONTINUE continues, for the name may have been in the lost bytes. Such records are read as those of
a stray block, with a chain number; whoever indexes them finds the block, if only one is large
enough, or drops them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.block_list import BlockListReader
from qmig.capture.extent import FOOTER_LEN
from qmig.capture.ram import PageRecordReader
from qmig.capture.ram_record import is_plain_text, text_of
from qmig.capture.records import Opaque, PageBatch
from qmig.capture.rescue_mapped import RescuedBlockList
from qmig.capture.rescue_sections import ElementCollector
from qmig.capture.resync import Damaged, next_head, next_place
from qmig.capture.source import Cursor
from qmig.capture.stream import StreamWalk
from qmig.errors import MalformedStreamError, StreamError, TruncatedStreamError
from qmig.limits import MAX_BLOCK_LEN, MAX_DAMAGED_PLACES
from qmig.memory import RamBlock
from qmig.wire.framing import QemuVmSection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.container import Container
    from qmig.capture.records import Record
    from qmig.capture.sections import Section
    from qmig.capture.vmdescription import VmDescriptionReader
    from qmig.memory import PageRun

    Item = Record | PageBatch

_MOST_SHOWN_LEN: Final = 40  # of a name that is none
_NO_NAME: Final = "?" * 256  # one longer than a name can be, so that no record has it


class _StrayReader(PageRecordReader):
    """Reads page records of which the first ones may continue a block that is not known."""

    def __init__(self, blocks: list[RamBlock], page_size_len: int, *, mapped: bool) -> None:
        super().__init__(blocks, page_size_len, mapped=mapped, exact=True)
        self._walk.block = blocks[-1].index


class RescueWalk(StreamWalk):
    """The walk over one piece of a main stream.

    Args:
        container: the file.
        page_size_len: the target page size where the user knows it.
        resumes: the finished walk over the piece or connection before this one.
        offset: where the piece begins; None: where the stream does.

    Attributes:
        passed: what was wrong and did not stop it.
        mended: of that, what an output does not have, because it is written anew.
        unsure: offsets of the sections whose end is not certain.
        moved_blocks: indexes of the blocks whose pages may stand elsewhere in a mapped-ram file.
    """

    _exact = True

    def __init__(
        self,
        container: Container,
        *,
        page_size_len: int | None = None,
        resumes: RescueWalk | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(
            container.source,
            container.stream_offset if offset is None else offset,
            page_size_len=page_size_len,
            resumes=resumes,
        )
        self._behind_damage = offset is not None
        self._mapped = False
        self.passed: list[StreamError] = []
        self.mended: list[StreamError] = []
        self.unsure: set[int] = set()
        self.moved_blocks: set[int] = set()
        if resumes is None:
            return
        self.moved_blocks = resumes.moved_blocks
        self._mapped = resumes.mapped
        self.configuration = resumes.configuration
        self._note_page_bits()
        if self._behind_damage:  # the same file: what was found ahead holds
            self._description = resumes.description_reader

    @property
    def description_reader(self) -> VmDescriptionReader:
        """What is known of the vmdescription."""
        return self._description

    @property
    def mapped(self) -> bool:
        """Whether it is a mapped-ram stream."""
        capabilities = self.configuration.capabilities if self.configuration else None
        named = "mapped-ram" in (capabilities or ())
        return self._mapped or named or any(block.mapped for block in self.blocks)

    @property
    def known_page_size_len(self) -> int | None:
        """Bytes of a target page, as far as it was read; None: nothing told it."""
        if self.page_size is not None:
            return self.page_size.length
        headers = [block.mapped.header for block in self.blocks if block.mapped]
        return headers[0].page_size if headers else None

    @property
    def stray_block(self) -> int:
        """Index of the block that stands for one that is not known."""
        return len(self.blocks)

    @property
    def _passes_over_damage(self) -> bool:
        # The output has its own header and RAM sections, and each device its footer anew; of other
        # sections it would have the damage.
        section = self._open_section
        full = section is not None and section.kind is QemuVmSection.SECTION_FULL
        return section is None or full or section.idstr == "ram"

    def _pass_over(self, error: StreamError) -> None:
        section = self._open_section
        full = section is not None and section.kind is QemuVmSection.SECTION_FULL
        if section is not None and full and section.extent != "vmdescription":
            # Neither its footer nor its description tells its end: it may hold the next one, too.
            self.unsure.add(section.offset)
            self.passed.append(error)
            return
        self.mended.append(error)

    def _register(self, cursor: Cursor, section: Section) -> None:
        name = section.idstr.encode("utf-8", "surrogateescape")
        if not is_plain_text(name):
            # Its length may be what is damaged: a long one would swallow other sections.
            raise MalformedStreamError(
                path=cursor.name,
                offset=section.offset,
                record="section header",
                field="idstr",
                expected="the name of a device",
                found=repr(text_of(name[:_MOST_SHOWN_LEN])),
            )
        super()._register(cursor, section)

    def _block_list(
        self, cursor: Cursor, section: Section, *, mapped: bool | None, ignore_shared: bool | None
    ) -> BlockListReader:
        reader = RescuedBlockList(
            cursor,
            section_id=section.section_id,
            mapped=mapped,
            ignore_shared=ignore_shared,
            page_size_len=self.page_size.length if self.page_size else None,
        )
        reader.passed, self.moved_blocks = self.passed, reader.moved
        return reader

    def _ram_part(self, cursor: Cursor, *, mapped: bool = False) -> Iterator[Item]:
        if self._behind_damage and self._pages is None:
            size = self._decided_page_size(cursor)
            stray = RamBlock(len(self.blocks), _NO_NAME, MAX_BLOCK_LEN, -1)
            self._pages = _StrayReader([*self.blocks, stray], size.length, mapped=self.mapped)
        yield from super()._ram_part(cursor, mapped=mapped)


class MainRescue:
    """Walks all pieces of one connection of a main stream.

    Args:
        container: the file, in a seekable source.
        page_size_len: the target page size where the user knows it.
        resumes: the last piece of the connection that this one resumes.

    Attributes:
        pieces: the walks, finished but for the last one.
        elements: the sections and commands.
        damage: what was wrong, in order.
        mended: what was wrong besides, and is written anew in an output.
        eof_offset: of the EOF byte, None where it was not found.
        described_offset: of the vmdescription that was found from the end of the data; None: it
            was not needed, or there is none.
        doubtful: number of a piece -> the run that stands right in front of the damage behind it.
            Where bytes were lost or inserted in its last page, they show in the next record only.
    """

    def __init__(
        self,
        container: Container,
        *,
        page_size_len: int | None,
        resumes: RescueWalk | None = None,
    ) -> None:
        self.container = container
        self.pieces = [RescueWalk(container, page_size_len=page_size_len, resumes=resumes)]
        self.elements = ElementCollector(container.path)
        self.damage: list[StreamError] = []
        self.mended: list[StreamError] = []
        self.eof_offset: int | None = None
        self.described_offset: int | None = None
        self.doubtful: dict[int, PageRun] = {}
        self._last_run: PageRun | None = None

    @property
    def last(self) -> RescueWalk:
        """The walk over the last piece."""
        return self.pieces[-1]

    def records(self) -> Iterator[tuple[int, Item]]:
        """Yield the number of the piece and the record, for all that can be read."""
        while True:
            walk = self.last
            yield from self._piece(walk)
            if walk.eof_offset is not None:
                self.eof_offset = walk.eof_offset
            self.damage += walk.passed
            self.mended += walk.mended
            if walk.error is None:
                self.elements.close(complete=True)
                return
            self.damage.append(walk.error)
            place = self._place_behind(walk, walk.error)
            if self._last_run is not None and not self._is_cut(walk.error):
                self.doubtful[len(self.pieces) - 1] = self._last_run
            self.elements.stopped(walk.error.offset, footers=walk.footers)
            if place is None or len(self.damage) >= MAX_DAMAGED_PLACES:
                return
            self.pieces.append(RescueWalk(self.container, resumes=walk, offset=place))

    def _is_cut(self, error: StreamError) -> bool:
        """Tell whether the data ends there, and nothing shows that it goes on."""
        ends = isinstance(error, TruncatedStreamError) or bool(error.values.get("cut"))
        return ends and self.described_offset is None

    def _piece(self, walk: RescueWalk) -> Iterator[tuple[int, Item]]:
        number = len(self.pieces) - 1
        self._last_run = None
        for item in walk.records():
            if isinstance(item, Opaque) and item.detail.get("extent") == "damage":
                continue
            name = getattr(item, "name", "")
            self.elements.add(item, name, walk.handlers, behind_damage=number > 0)
            self._last_run = item.runs[-1] if isinstance(item, PageBatch) else None
            yield number, item

    def _place_behind(self, walk: RescueWalk, error: StreamError) -> int | None:
        """Return where the next piece begins."""
        source = walk.source
        if walk.eof_offset is not None or source.failure is not None:
            return None  # the vmdescription alone is lost; or a decompressor gave up for good
        reader = walk.description_reader
        reader.look_ahead(walk.end_offset)
        self.described_offset = reader.found_offset
        if self.described_offset is None and isinstance(error, TruncatedStreamError):
            return None  # it is cut short: what is left is the beginning of one record
        start = max(walk.end_offset, walk.start_offset + 1)
        element = self.elements.open
        section = walk.handlers.get(element.section_id) if element is not None else None
        damaged = Damaged(
            section=section,
            known_ids=walk.handlers,
            footers=walk.footers,
            in_package=False,
            devices=reader.device_keys,
            eof_offset=None if self.described_offset is None else self.described_offset - 1,
        )
        cursor = Cursor(source, start)
        begun = any(piece.sections.rows for piece in self.pieces)
        found = None if begun else next_head(cursor, start)
        found = found or next_place(cursor, start, damaged)
        if found is None:
            return None
        place = found.offset + FOOTER_LEN if found.footer else found.offset
        end = source.end()
        return None if end is not None and place >= end else place
