"""Where packets of a multifd channel begin, as far as their bytes tell without being read.

By this the page size is found where nothing else tells it, and a walk goes on behind damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.page_size import LEGAL_PAGE_SIZES
from qmig.limits import MIB
from qmig.wire.magic import MULTIFD_MAGIC_BYTES
from qmig.wire.multifd import MULTIFD_BEGIN, MultifdPacketHdr, pages_per_packet
from qmig.wire.multifd_flags import COMPRESSION_MASK, MultifdCompression, MultifdFlag
from qmig.wire.record import field_table, fixed_len

if TYPE_CHECKING:
    from qmig.capture.source import Source

_HEAD_LEN: Final = fixed_len(MultifdPacketHdr)
_FLAGS_AT: Final = field_table(MultifdPacketHdr)["flags"][0]
_KNOWN_FLAGS: Final = int(MultifdFlag.SYNC | MultifdFlag.DEVICE_STATE) | COMPRESSION_MASK
_OFFSET_LEN: Final = 8
_METHODS: Final = frozenset(MultifdCompression)


def next_packet(source: Source, start: int) -> int | None:
    """Return the offset of the first packet header from `start` on; None: there is none.

    Pages can hold anything, but hardly a packet's magic, its version and a set of known flags in
    a row.
    """
    at = start
    while True:
        data = source.read_at(at, MIB + _HEAD_LEN)
        found = data.find(MULTIFD_BEGIN)
        while 0 <= found < MIB and found + _HEAD_LEN <= len(data):
            if _known_flags(data[found : found + _HEAD_LEN]):
                return at + found
            found = data.find(MULTIFD_BEGIN, found + 1)
        if len(data) < MIB + _HEAD_LEN:
            return None
        at += MIB


def begins_packet(head: bytes) -> bool:
    """Tell whether bytes behind a packet are those of another one, or too few to say.

    One field of the two that all packets begin with may be damaged: then the header is where it
    must be all the same.
    """
    if len(head) < _FLAGS_AT:
        return MULTIFD_BEGIN.startswith(head)
    return head[:4] == MULTIFD_BEGIN[:4] or head[4:8] == MULTIFD_BEGIN[4:]


def _known_flags(head: bytes) -> bool:
    flags = int.from_bytes(head[_FLAGS_AT:_HEAD_LEN], "big")
    return not flags & ~_KNOWN_FLAGS and flags & COMPRESSION_MASK in _METHODS


def packet_page_size(source: Source, offsets_at: int, pages_alloc: int) -> int | None:
    """Return the page size that a packet of 4.0 and later shows; None: it shows none.

    Args:
        source: where its channel is.
        offsets_at: where its array of offsets begins, whose length the page size decides.
        pages_alloc: as it stands in its header; 0 in SYNC packets of 9.2 and later.
    """
    sizes = {pages_per_packet(size): size for size in LEGAL_PAGE_SIZES}
    if pages_alloc in sizes:
        return sizes[pages_alloc]
    magic = MULTIFD_MAGIC_BYTES
    behind = {offsets_at + pages * _OFFSET_LEN: size for pages, size in sizes.items()}
    found = (size for at, size in behind.items() if source.read_at(at, len(magic)) == magic)
    return next(found, None) or behind.get(source.end() or 0)
