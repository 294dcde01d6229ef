"""The parts of the document that tell of RAM: its blocks, and the multifd channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.mapped import count_set_pages
from qmig.capture.requirements import is_mapped
from qmig.errors import TruncatedStreamError
from qmig.memory import PageKind
from qmig.render.document import Absent, Document, known, make
from qmig.render.words import pure
from qmig.wire.multifd_flags import MultifdCompression

if TYPE_CHECKING:
    from qmig.capture.capture import Capture
    from qmig.capture.stream import StreamWalk
    from qmig.capture.survey import Channel
    from qmig.memory import RamBlock

_KINDS = {kind: kind.name.lower() for kind in PageKind}


def ram_object(capture: Capture) -> Document | None:
    """Return the RAM blocks and what was sent of each, or None without a main stream."""
    walk = capture.survey.walk
    if walk is None:
        return None
    return {
        "total_length": walk.total_ram_len,
        "layout": "mapped-ram" if is_mapped(walk) else "records",
        "blocks": [_block(capture, walk, block) for block in walk.blocks],
    }


def _block(capture: Capture, walk: StreamWalk, block: RamBlock) -> Document:
    counts = capture.statistics.block(block.index)
    pages = block.pages(walk.page_size.length) if walk.page_size else None
    mapped = is_mapped(walk)
    in_bitmap = "the pages stand at fixed offsets, under a bitmap"
    return make(
        name=pure(block.name),
        used_length=block.used_length,
        entry_offset=block.entry_offset,
        host_page_size=known(block.page_size, "the block list entry has no page_size field"),
        addr=known(block.addr, "the block list entry has no addr field"),
        pages=known(pages, "the page size is not known"),
        pages_sent=(
            Absent(in_bitmap)
            if mapped
            else {name: counts.pages.get(kind, 0) for kind, name in _KINDS.items()}
        ),
        pages_resent=(
            Absent(in_bitmap)
            if mapped
            else known(counts.resent_pages, "the pages came in too many ranges to tell")
        ),
        pages_never_sent=(
            Absent(in_bitmap)
            if mapped
            else known(
                None if pages is None else max(0, pages - counts.seen_pages),
                "the page size is not known",
            )
        ),
        wire_length=(
            Absent(in_bitmap)
            if mapped
            else Absent("pages of several blocks are compressed in one stream for each channel")
            if _compressed_together(capture)
            else counts.wire_len
        ),
        mapped=_mapped(walk, block),
    )


def _compressed_together(capture: Capture) -> bool:
    """Tell whether channels compress whole packets, so that a page alone has no length."""
    if not capture.channels:
        return False
    from qmig.capture.inflate import WHOLE_PACKET

    return any(
        not channel.walk.counters.methods.isdisjoint(WHOLE_PACKET) for channel in capture.channels
    )


def _mapped(walk: StreamWalk, block: RamBlock) -> Document | Absent:
    layout = block.mapped
    if layout is None:
        reason = "the block is shared memory, which was not saved"
        return Absent(reason if is_mapped(walk) else "the stream is not mapped-ram")
    header = layout.header
    pages_set: int | Absent
    try:
        pages_set = (
            count_set_pages(walk.source, layout, block.used_length // header.page_size)
            if walk.source.seekable
            else Absent("the bitmap has gone by: it is compressed, or came through a pipe")
        )
    except TruncatedStreamError:
        pages_set = Absent("the file ends before the end of the bitmap")
    return make(
        version=header.version,
        page_size=header.page_size,
        header_offset=layout.header_offset,
        bitmap_offset=header.bitmap_offset,
        bitmap_length=layout.bitmap_len,
        pages_offset=header.pages_offset,
        pages_set=pages_set,
    )


def channel_rows(capture: Capture) -> list[Document]:
    """Return what each multifd channel carries, by channel id."""
    return [_channel(channel) for channel in capture.channels]


def _channel(channel: Channel) -> Document:
    walk = channel.walk
    counters = walk.counters
    init_len = None if walk.init is None else len(walk.init.build())
    return make(
        file=pure(channel.container.path),
        channel_id=known(walk.channel_id, "the initial packet is not whole"),
        uuid=known(walk.uuid and str(walk.uuid), "the guest has none: it is all zeros"),
        initial_packet_length=known(init_len, "the initial packet is not whole"),
        page_size=known(walk.page_size_len, "no packet tells it"),
        packets=counters.packets,
        normal_pages=counters.normal_pages,
        zero_pages=counters.zero_pages,
        syncs=counters.syncs,
        syncs_with_pages=counters.syncs_with_pages,
        empty_packets=counters.empty_packets,
        compression=[compression_name(method) for method in sorted(counters.methods)],
        device_state_packets=counters.device_state_packets,
        device_state_length=counters.device_state_len,
        payload_length=counters.payload_len,
        length=walk.end_offset - walk.start_offset,
        complete=channel.error is None,
    )


def compression_name(method: int) -> str:
    """Return the name of a compression method, or its number."""
    if method == MultifdCompression.NOCOMP:
        return "none"
    if method in set(MultifdCompression):
        return MultifdCompression(method).name.lower()
    return f"0x{method:02x}"
