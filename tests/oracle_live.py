"""The independent reader's part for live handlers other than `ram`; see `tests.oracle`.

Each function yields the lengths of what lies behind one another in the body of one section.
"""

import mmap
import struct
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

Data: TypeAlias = bytes | mmap.mmap
Framing: TypeAlias = Callable[[Data, int, bool], Iterator[int]]

_VFIO_TAGS: Final = 0xFFFFFFFFEF100000
_DISK_BLOCK_LEN: Final = 1 << 20

_u32: Final = struct.Struct(">I").unpack_from
_u64: Final = struct.Struct(">Q").unpack_from


def framing_of(idstr: bytes) -> Framing | None:
    """Return how the body of a live handler is laid out, None where no grammar is known."""
    if idstr.endswith(b"/vfio"):
        return _vfio
    return {
        b"dirty-bitmap": _dirty_bitmap,
        b"spapr/htab": _htab,
        b"s390-storage_attributes": _attributes,
        b"block": _disk,
    }.get(idstr)


def _dirty_bitmap(data: Data, at: int, _start: bool) -> Iterator[int]:
    flags = 0
    while not flags & 0x01:
        flags = data[at]
        end = at + 1
        for flag in (0x08, 0x04):
            end += 1 + data[end] if flags & flag else 0
        end += 5 * bool(flags & 0x10)
        if flags & 0x40:
            end += 12
            end += 0 if flags & 0x02 else 8 + _u64(data, end)[0]
        yield end - at
        at = end


def _htab(data: Data, at: int, start: bool) -> Iterator[int]:
    (head,) = _u32(data, at)
    yield 4
    at += 4
    counts = None
    while not start and head == 0 and counts != (0, 0, 0):
        counts = struct.unpack_from(">IHH", data, at)
        yield 8 + 16 * counts[1]
        at += 8 + 16 * counts[1]


def _attributes(data: Data, at: int, _start: bool) -> Iterator[int]:
    flags = 0
    while flags != 0x01:
        flags = data[at + 7]
        length = 16 + _u64(data, at + 8)[0] if flags == 0x02 else 8
        yield length
        at += length


def _disk(data: Data, at: int, _start: bool) -> Iterator[int]:
    flags = 0
    while not flags & 0x02:
        flags = data[at + 7]
        length = 8
        if flags & 0x01:
            length += 1 + data[at + 8] + (0 if flags & 0x08 else _DISK_BLOCK_LEN)
        yield length
        at += length


def _vfio(data: Data, at: int, _start: bool) -> Iterator[int]:
    tag = 0
    while tag not in (_VFIO_TAGS + 1, _VFIO_TAGS + 5):
        (tag,) = _u64(data, at)
        length = 16 + _u64(data, at + 8)[0] if tag == _VFIO_TAGS + 4 else 8
        yield length
        at += length
