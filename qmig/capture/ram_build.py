"""Build the view of a capture's final RAM: index all runs of pages, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.channel import ChannelWalk
from qmig.capture.multifd import ChannelPages
from qmig.capture.page_index import PageIndex, TooManyRunsError
from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.capture.preempt import PreemptWalk
from qmig.capture.ram_blocks import MappedBlock, RecordedBlock
from qmig.capture.ram_view import Ram, RamBlockView
from qmig.capture.records import PageBatch, Record
from qmig.capture.sections import is_salvaged
from qmig.capture.stream import StreamWalk
from qmig.errors import LimitExceededError
from qmig.limits import MAX_PAGE_RUNS
from qmig.wire.ram import RamSaveFlag

_NUMBER_BITS: Final = 40  # what is left of 63 bits holds 8 million epochs
LAST_EPOCH: Final = (1 << 63 - _NUMBER_BITS) - 1

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qmig.capture.container import Container
    from qmig.capture.source import Source


def build_ram(
    walk: StreamWalk,
    items: Iterable[Record | PageBatch],
    recoveries: Sequence[Container],
    preempts: Sequence[Container],
    channels: Sequence[Container],
    *,
    flush_markers: bool,
) -> tuple[Ram, list[Source]]:
    """Index the pages of all files.

    Args:
        walk: over the main stream, in a seekable source, as are all others.
        items: what it yields.
        recoveries: connections that resumed it, in their order.
        preempts: channels of postcopy-preempt.
        channels: multifd channels.
        flush_markers: whether MULTIFD_FLUSH words are the markers of epochs; else EOS words are.

    Returns:
        The RAM, and sources that must be closed with it.
    """
    marker = RamSaveFlag.MULTIFD_FLUSH if flush_markers else RamSaveFlag.EOS
    index = PageIndex()
    sources: list[Source] = [walk.source]
    try:
        _index_main(items, index, marker)
        _index_postcopy(walk, recoveries, preempts, index, sources)
        size = walk.page_size.length if walk.page_size else DEFAULT_PAGE_SIZE_LEN
        made = _index_channels(walk, channels, index, sources, size)
    except TooManyRunsError as error:
        raise LimitExceededError(
            path=walk.source.name,
            offset=walk.end_offset,
            record="RAM",
            expected=f"at most {MAX_PAGE_RUNS} runs of pages",
            found="more",
        ) from error
    index.finish()
    finished = walk.eof_offset is not None or walk.ram_ended
    blocks: dict[str, RamBlockView] = {}
    for block in walk.blocks:
        if block.mapped is not None or _is_mapped(walk):
            blocks[block.name] = MappedBlock(block, size, source=walk.source, finished=finished)
        else:
            blocks[block.name] = RecordedBlock(
                block, size, index=index, sources=sources, reason=_reason(walk, channels)
            )
    return Ram(blocks, size), made


def order_of(epoch: int, number: int) -> int:
    """Return the place of runs among all: by epoch, the main stream (number 0) before channels.

    Inside an epoch no order is needed, for no page comes twice in it, except the batches that 4.2
    sends again behind a SYNC. There the packet numbers are the one hint at what came last; they
    never decrease within a channel.
    """
    return min(epoch, LAST_EPOCH) << _NUMBER_BITS | min(number, (1 << _NUMBER_BITS) - 1)


def _is_mapped(walk: StreamWalk) -> bool:
    return any(block.mapped is not None for block in walk.blocks)


def _reason(walk: StreamWalk, channels: Sequence[Container]) -> str:
    if is_salvaged(walk):
        return "they were lost in the damaged capture that this one was salvaged from"
    if walk.error is not None:
        return "the stream is damaged or cut short before them"
    if walk.ignore_shared:
        return "they were never sent (the block may be shared memory: x-ignore-shared)"
    if not channels and walk.counters.flush_words:
        return "they were sent over multifd channels, whose files were not given"
    return "they were never sent"


def _index_main(items: Iterable[Record | PageBatch], index: PageIndex, marker: RamSaveFlag) -> None:
    epoch = 0
    for item in items:
        if isinstance(item, PageBatch):
            index.add(item.runs, source=0, order=order_of(epoch, 0))
        elif isinstance(item, Record) and item.name == "RAM word":
            word = item.wire.as_dict()["word"] if item.wire else 0
            epoch += bool(word & marker and not word & RamSaveFlag.MEM_SIZE)


def _index_postcopy(
    walk: StreamWalk,
    recoveries: Sequence[Container],
    preempts: Sequence[Container],
    index: PageIndex,
    sources: list[Source],
) -> None:
    """Index what comes on other connections once postcopy runs: behind all of the main stream.

    A page goes over one connection alone from then on (migration/ram.c, postcopy_preempt).
    """
    walks: list[StreamWalk | PreemptWalk] = []
    for container in recoveries:
        walk = StreamWalk(container.source, container.stream_offset, resumes=walk)
        walks.append(walk)
    walks += [PreemptWalk(c.source, c.stream_offset, walk) for c in preempts]
    for number, later in enumerate(walks):
        for item in later.records():
            if isinstance(item, PageBatch):
                index.add(item.runs, source=len(sources), order=order_of(LAST_EPOCH, number))
        sources.append(later.source)


def _index_channels(
    walk: StreamWalk,
    channels: Sequence[Container],
    index: PageIndex,
    sources: list[Source],
    page_size_len: int,
) -> list[Source]:
    made: list[Source] = []
    for container in channels:
        pages = ChannelPages(
            ChannelWalk(container.source, container.stream_offset, page_size_len=page_size_len),
            walk.blocks,
        )
        raw_index = len(sources)
        sources.append(container.source)
        for epoch, number, inflated, runs in pages.runs():
            index.add(runs, source=raw_index + inflated, order=order_of(epoch, 1 + number))
        inflated_source = pages.inflated_source()
        sources.append(inflated_source)
        made.append(inflated_source)
    return made
