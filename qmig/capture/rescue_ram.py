"""Index what is left of a guest's RAM, over all files of a damaged capture."""

from __future__ import annotations

import zlib
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Final

from qmig.capture.page_index import PageIndex
from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.capture.ram_build import LAST_EPOCH, order_of
from qmig.capture.records import NOT_READ, PageBatch
from qmig.capture.rescue_blocks import (
    BROKEN,
    RescuedBlock,
    RescuedMapped,
    RescuedView,
    last_written,
)
from qmig.errors import TruncatedStreamError
from qmig.memory import PageKind, PageRun
from qmig.pages.xbzrle import XbzrleError, decode_into
from qmig.wire.ram import RamSaveFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qmig.capture.container import Container
    from qmig.capture.preempt import PreemptWalk
    from qmig.capture.rescue_channels import RescuedChannel
    from qmig.capture.rescue_walk import MainRescue, RescueWalk
    from qmig.capture.source import Source

    Progress = Callable[[Container, int], None]

_CHECKED: Final = frozenset({PageKind.XBZRLE, PageKind.COMPRESSED, PageKind.RAW_DEFLATE})
_FIRST_STRAY: Final = (1 << 16) - 1  # labels of chains of stray pages go down from here
_NO_BLOCK: Final = 1 << 15  # above all blocks, below all labels
_RAW_DEFLATE: Final = -zlib.MAX_WBITS


class RamRescue:
    """Collects pages from connections and channels, in their order.

    Args:
        flush_markers: whether MULTIFD_FLUSH words end epochs; else EOS words do.
        progress: told (file, offset in its stream) now and then.

    Attributes:
        payload_pages: pages that came with a payload.
        broken_pages: pages whose payload is damaged.
        doubtful_pages: pages right in front of damage that may lack bytes, or have some more.
    """

    def __init__(self, *, flush_markers: bool, progress: Progress | None = None) -> None:
        self._progress = progress
        self.payload_pages = 0
        self.broken_pages = 0
        self.doubtful_pages = 0
        self._index = PageIndex()
        self._sources: list[Source] = []
        self._marker = RamSaveFlag.MULTIFD_FLUSH if flush_markers else RamSaveFlag.EOS
        self._connections = 0
        self._strays: dict[int, int] = {}  # label -> last page of the chain
        self._page_size_len = DEFAULT_PAGE_SIZE_LEN

    def add_connection(self, main: MainRescue) -> None:
        """Walk a main stream, or a connection that resumes one, and take its pages.

        Raises:
            TooManyRunsError: there are more than can be kept.
        """
        self._connections += 1
        epoch, piece = 0, -1
        label = _FIRST_STRAY
        for number, item in main.records():
            if number != piece:
                self._doubt(main, piece, label, epoch)
                piece = number
                self._sources.append(main.container.source)
                label = _FIRST_STRAY - len(self._strays)
            if self._progress is not None:
                self._progress(main.container, item.offset + item.length)
            if isinstance(item, PageBatch):
                self._note_page_size(main.last)
                runs = self._labelled(item.runs, main.last, number, label)
                self._add(runs, self._order(epoch))
            elif item.name == "RAM word" and item.wire is not None:
                word = item.wire.as_dict()["word"]
                epoch += bool(word & self._marker and not word & RamSaveFlag.MEM_SIZE)
        self._doubt(main, piece, label, epoch)

    def _order(self, epoch: int) -> int:
        # Only the first connection has epochs: the others come behind all of them.
        return (
            order_of(epoch, 0)
            if self._connections == 1
            else order_of(LAST_EPOCH, self._connections)
        )

    def _doubt(self, main: MainRescue, piece: int, label: int, epoch: int) -> None:
        """Take away the page right in front of the damage that ended a piece."""
        run = main.doubtful.pop(piece, None)
        if run is not None:
            (run,) = self._labelled([run], main.pieces[piece], piece, label)
            self._doubt_last(run, self._order(epoch))

    def _doubt_last(self, run: PageRun, order: int) -> None:
        """Take away the last page of a run."""
        if run.kind == PageKind.ZERO:  # the word of a zero page is all of it
            return
        page = run.first_page + run.count - 1
        last = run._replace(kind=PageKind.PLAIN, first_page=page, count=1)
        self.doubtful_pages += 1
        self._index.add([last], source=BROKEN, order=order)

    def _note_page_size(self, walk: RescueWalk) -> None:
        self._page_size_len = walk.known_page_size_len or self._page_size_len

    def _labelled(
        self, runs: Sequence[PageRun], walk: RescueWalk, piece: int, label: int
    ) -> Iterable[PageRun]:
        """Put the pages of a stray block under the label of their chain."""
        if piece == 0:
            return runs
        return self._relabelled(runs, walk.stray_block, label)

    def _relabelled(
        self, runs: Sequence[PageRun], stray_block: int, label: int
    ) -> Iterator[PageRun]:
        for run in runs:
            if run.block != stray_block:
                yield run
                continue
            last = run.first_page + run.count - 1
            self._strays[label] = max(self._strays.get(label, 0), last)
            yield run._replace(block=label)

    def add_preempt(self, walk: PreemptWalk) -> None:
        """Take the pages of a postcopy-preempt channel: behind those of all connections."""
        self._sources.append(walk.source)
        order = order_of(LAST_EPOCH, self._connections + 1)
        last: PageRun | None = None
        for item in walk.records():
            if isinstance(item, PageBatch):
                self._add(item.runs, order)
                last = item.runs[-1]
            elif item.name != NOT_READ:
                last = None
        if last is not None and not isinstance(walk.error, TruncatedStreamError | None):
            self._doubt_last(last, order)

    def add_channel(self, channel: RescuedChannel, container: Container) -> None:
        """Take the pages of a multifd channel, the one in that file."""
        raw = len(self._sources)
        self._sources += [channel.walk.source, channel.plain]
        for packet in channel.packet_runs():
            order = order_of(packet.epoch, 1 + packet.number)
            source = raw + packet.inflated
            if self._progress is not None:
                self._progress(container, channel.walk.end_offset)
            if packet.broken:
                plain = [run for run in packet.runs if run.kind == PageKind.PLAIN]
                self._put(plain, BROKEN, order)
                zeros = [run for run in packet.runs if run.kind == PageKind.ZERO]
                self._put(zeros, source, order)
            else:
                self._add(packet.runs, order, source)

    def _add(self, runs: Iterable[PageRun], order: int, source: int | None = None) -> None:
        """Add runs, those with a damaged payload as broken."""
        at = len(self._sources) - 1 if source is None else source
        for sound, some in groupby(runs, lambda run: self._is_sound(run, at)):
            self._put(list(some), at if sound else BROKEN, order)

    def _put(self, runs: list[PageRun], source: int, order: int) -> None:
        pages = sum(run.count for run in runs if run.kind != PageKind.ZERO)
        if source == BROKEN:
            self.broken_pages += pages
        else:
            self.payload_pages += pages
        self._index.add(runs, source=source, order=order)

    def _is_sound(self, run: PageRun, source: int) -> bool:
        """Tell whether the payload of a page can be decoded."""
        if run.kind not in _CHECKED:
            return True
        data = self._sources[source].read_at(run.data_offset, run.payload_len)
        if run.kind == PageKind.XBZRLE:
            try:
                decode_into(bytearray(self._page_size_len), data)
            except XbzrleError:
                return False
            return True
        window = zlib.MAX_WBITS if run.kind == PageKind.COMPRESSED else _RAW_DEFLATE
        inflate = zlib.decompressobj(window)
        try:
            page = inflate.decompress(data, self._page_size_len + 1)
        except zlib.error:
            return False
        return len(page) == self._page_size_len and inflate.eof

    def views(self, walk: RescueWalk, *, finished: bool, all_listed: bool) -> list[RescuedView]:
        """Return the blocks with what is known of them; no page can be added from here on.

        Args:
            walk: the last piece of the main stream.
            finished: whether the save of the RAM came to its end.
            all_listed: whether the block list is whole.
        """
        self._place_strays(walk, all_listed=all_listed)
        self._index.finish()
        size = walk.known_page_size_len or self._page_size_len
        # A damaged length may end inside a page; of that page nothing was ever sent.
        blocks = [
            replace(block, used_length=block.used_length - block.used_length % size)
            for block in walk.blocks
        ]
        if walk.mapped:
            written = len(walk.blocks) if finished else last_written(walk.blocks, walk.source)
            return [
                RescuedMapped(
                    block,
                    size,
                    source=walk.source,
                    written=block.index <= written,
                    moved=block.index in walk.moved_blocks,
                )
                for block in blocks
            ]
        return [
            RescuedBlock(block, size, index=self._index, sources=self._sources) for block in blocks
        ]

    def _place_strays(self, walk: RescueWalk, *, all_listed: bool) -> None:
        """Find the block of each chain of pages whose name is lost, if only one has room."""
        for label, last_page in self._strays.items():
            needed_len = (last_page + 1) * self._page_size_len
            room = [block.index for block in walk.blocks if block.used_length >= needed_len]
            found = room[0] if len(room) == 1 and all_listed else _NO_BLOCK
            self._index.relabel({label: found})
